"""Other hosts open the way by one call of the API: the examples, run as they are, and what phones send."""

import contextlib
import http.server
import json
import os
import re
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from at_once import none_reaches
from by_socket import close_all, grants

from lab.gateway import GATEWAY4, GATEWAY6, NAME, Gateway
from lab.net import Namespace
from lab.process import wait_for
from lab.visitor import Answer, Family, Visitor

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "open-the-way"
PORTAL = f"https://{NAME}:8443"
CLOUD = f"http://{NAME}/"
OTHER: dict[Family, Family] = {4: 6, 6: 4}


@pytest.fixture(scope="module")
def house() -> Iterator[Gateway]:
    with Gateway(prefix="sipt") as gateway:
        yield gateway


@pytest.fixture
def gateway(house: Gateway) -> Iterator[Gateway]:
    yield house
    close_all(house)


class Elsewhere:
    """A host in the Internet that knows the portal's name and trusts its certificate, and has a token in a file."""

    def __init__(self, gateway: Gateway, namespace: Namespace, directory: Path, token: str) -> None:
        self.namespace = namespace
        (directory / "hosts").write_text(f"127.0.0.1 localhost\n{GATEWAY4} {NAME}\n{GATEWAY6} {NAME}\n", "utf-8")
        (directory / "token").write_text(token + "\n", "ascii")
        (directory / "token").chmod(0o600)
        certificate = str(gateway.state / "tls" / "certificate.pem")
        self.environment = {
            "PATH": "/usr/bin:/bin", "HOME": str(directory), "SAFEIP_PORTAL": PORTAL, "SAFEIP_TOKEN_FILE": f"{directory}/token",
            "SSL_CERT_FILE": certificate, "CURL_CA_BUNDLE": certificate, "PYTHONUNBUFFERED": "1",
        }  # fmt: skip
        self._hosts = f"{directory}/hosts"

    def command(self, name: str, *words: str) -> list[str]:
        program = str(EXAMPLES / name)
        inside = [program] if name.endswith(".sh") else ["/usr/bin/python3", "-B", program]
        return ["unshare", "--mount", "sh", "-c", 'mount --bind "$0" /etc/hosts && exec "$@"', self._hosts, *inside, *words]

    def run(self, name: str, *words: str) -> "subprocess.CompletedProcess[str]":
        with self.namespace.entered():
            return subprocess.run(
                self.command(name, *words), env=self.environment, capture_output=True, text=True, check=False, timeout=60
            )


def host(gateway: Gateway, visitor: Visitor, directory: Path, *scopes: str) -> Elsewhere:
    return Elsewhere(gateway, visitor.namespace, directory, gateway.add_token("Laptop", *scopes, service="cloud"))


def opened(gateway: Gateway) -> list[tuple[str, str]]:
    return [(grant["service"], grant["address"]) for grant in grants(gateway)]


def test_the_scripts_with_curl_opens_both_families(gateway: Gateway, tmp_path: Path) -> None:
    visitor = gateway.visitor
    there = host(gateway, visitor, tmp_path, "grant:self")
    assert not visitor.reaches(CLOUD)
    done = there.run("way.sh", "cloud", "3h")
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(opened(gateway)) == [("cloud", "192.0.2.10"), ("cloud", "2001:db8:1::/64")]
    assert {element.timeout_s for name in ("cloud4", "cloud6") for element in gateway.elements(name)} == {3 * 3600}
    for family in OTHER:
        assert visitor.reaches(CLOUD, family=family, timeout=30)
    assert none_reaches((gateway.stranger, CLOUD, 4), (gateway.stranger, CLOUD, 6))
    assert there.run("way.sh").returncode == 0, "again, and for the default"
    refused = there.run("way.sh", "films")
    assert refused.returncode != 0
    assert "no such service" in (refused.stdout + refused.stderr) or "is not a service" in refused.stdout


def test_the_script_with_curl_shows_no_token_in_its_arguments(gateway: Gateway, tmp_path: Path) -> None:
    there = host(gateway, gateway.visitor, tmp_path, "grant:self")
    secret = (tmp_path / "token").read_text().strip().rpartition("_")[2]
    fake = tmp_path / "curl"
    fake.write_text('#!/bin/sh\ncat >/dev/null\nprintf "%s\\n" "$@"\n', "ascii")
    fake.chmod(0o755)
    there.environment["PATH"] = f"{tmp_path}:/usr/bin:/bin"
    said = there.run("way.sh", "cloud", "3h").stdout
    assert "--header" in said
    assert secret not in said


def test_the_program_in_python_opens_for_itself_and_for_others(gateway: Gateway, tmp_path: Path) -> None:
    there = host(gateway, gateway.visitor, tmp_path, "grant:any")
    done = there.run("way.py", "cloud")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(r"cloud is open for (192\.0\.2\.10|2001:db8:1::/64) until \S+Z\n", done.stdout)
    done = there.run("way.py", "cloud", "203.0.113.66", "3h")
    assert (done.returncode, done.stderr) == (0, "")
    assert gateway.stranger.reaches(CLOUD, timeout=30)
    assert there.run("way.py", "cloud", "2001:db8:66::66").returncode == 0
    assert gateway.stranger.reaches(CLOUD, family=6, timeout=30)
    for words, said in ((("nothing",), "nothing"), (("cloud", "nonsense"), "nonsense"), (("cloud", "10.9.0.10"), "trusted")):
        refused = there.run("way.py", *words)
        assert (refused.returncode, refused.stdout) == (1, "")
        assert said in refused.stderr
        assert "Traceback" not in refused.stderr


def test_a_token_for_oneself_opens_for_nobody_else(gateway: Gateway, tmp_path: Path) -> None:
    there = host(gateway, gateway.visitor, tmp_path, "grant:self")
    refused = there.run("way.py", "cloud", "203.0.113.66")
    assert refused.returncode == 1
    assert opened(gateway) == []


def test_a_page_of_another_server_opens_for_who_presses_its_button(gateway: Gateway, tmp_path: Path) -> None:
    there = host(gateway, gateway.second, tmp_path, "grant:any")
    # the server in front: here everybody is Mamie
    serve = (
        "import sys; sys.path.insert(0, sys.argv[1]); import page; from wsgiref.simple_server import make_server\n"
        "def front(environ, start):\n"
        "    environ['REMOTE_USER'] = environ.get('HTTP_X_NAME', 'Mamie')\n"
        "    return page.application(environ, start)\n"
        "make_server('192.0.2.130', 8081, front).serve_forever()"
    )
    command = [*there.command("page.py")[:-2], "-B", "-c", serve, str(EXAMPLES)]
    server = there.namespace.start(*command, log=tmp_path / "page.log", env=there.environment)
    url, visitor = "http://192.0.2.130:8081/", gateway.visitor
    wait_for("the page", lambda: server.poll() is None and visitor.reaches(url), 30)
    shown = visitor.fetch(url)
    assert opened(gateway) == []
    form = shown.forms[0]
    assert form.method == "POST"

    def press(site: str, **headers: str) -> Answer:
        sent = {"Sec-Fetch-Site": site, "X-Forwarded-For": "203.0.113.66", **headers}
        return visitor.fetch(url, "POST", fields={}, headers=sent)

    assert press("cross-site").status == 403
    assert press("same-origin", **{"X-Name": ""}).status == 403
    assert opened(gateway) == []
    pressed = press("same-origin")
    assert (pressed.status, "Open for 192.0.2.10 until" in pressed.text) == (200, True)
    assert opened(gateway) == [("cloud", "192.0.2.10")]
    assert grants(gateway)[0]["note"] == "Mamie"
    assert visitor.reaches(CLOUD, timeout=30)
    assert not gateway.second.reaches(CLOUD), "the server itself gains nothing"


class Telegram(http.server.ThreadingHTTPServer):
    """The two methods of the Bot API that the bot calls, at the second visitor's own loopback."""

    def __init__(self, messages: list[dict[str, Any]]) -> None:
        self.waiting = [{"update_id": number, "message": message} for number, message in enumerate(messages, 100)]
        self.said: list[dict[str, Any]] = []
        super().__init__(("127.0.0.1", 0), Method)


class Method(http.server.BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        assert isinstance(self.server, Telegram)
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        result: Any = True
        if self.path == "/bot7:secret/getUpdates":
            result = [update for update in self.server.waiting if update["update_id"] >= body["offset"]]
        elif self.path == "/bot7:secret/sendMessage":
            self.server.said.append(body)
        self.send_response(200)
        self.end_headers()
        with contextlib.suppress(OSError):  # the bot was stopped meanwhile
            self.wfile.write(json.dumps({"ok": True, "result": result}).encode())

    def log_message(self, *_: object) -> None:
        """Nothing."""


def test_a_chat_bot_answers_with_a_link_that_works_once(gateway: Gateway, tmp_path: Path) -> None:
    there = host(gateway, gateway.second, tmp_path, "links")
    messages: list[dict[str, Any]] = [
        {"chat": {"id": 666, "first_name": "Stranger"}, "text": "/open"},
        {"chat": {"id": 42, "first_name": "Mamie"}, "text": "hello"},
        {"sticker": 1},
        {"chat": {"id": 42, "first_name": "Mamie"}, "text": "/open"},
    ]
    (tmp_path / "bot").write_text("7:secret\n", "ascii")
    with there.namespace.entered(), Telegram(messages) as telegram:
        threading.Thread(target=telegram.serve_forever, daemon=True).start()
        port = telegram.server_address[1]
        environment = there.environment | {"BOT_API": f"http://127.0.0.1:{port}", "BOT_CHATS": "42 43", "BOT_TOKEN_FILE": f"{tmp_path}/bot"}
        bot = there.namespace.start(*there.command("bot.py"), log=tmp_path / "bot.log", env=environment)
        try:
            wait_for("the bot's answer", lambda: bot.poll() is None and bool(telegram.said), 30)
        finally:
            bot.stop()
            telegram.shutdown()
    (answer,) = telegram.said
    assert answer["chat_id"] == 42
    url = answer["text"].split()[-1]
    assert url.startswith(f"{PORTAL}/l/")
    assert gateway.stranger.fetch(url).status == 200, "a preview"
    assert opened(gateway) == []
    assert gateway.visitor.open_link(url).status == 200
    assert opened(gateway) == [("cloud", "192.0.2.10")]
    assert gateway.stranger.fetch(url).status == 410
    assert not gateway.stranger.reaches(CLOUD)


@pytest.mark.parametrize("body", ["", "{}", '{"for": "3h"}'])
@pytest.mark.parametrize("family", [4, 6])
def test_what_phones_send_opens(gateway: Gateway, family: Family, body: str) -> None:
    """The request as the README names it, with the headers that the two apps add."""
    text = gateway.add_token("Phone", "grant:self", service="cloud")
    readme = (EXAMPLES / "README").read_text("utf-8")
    found = re.search(r"(?m)^    PUT https://open\.example\.org:8443(\S+)\n    Authorization: Bearer safeip_ID_SECRET$", readme)
    assert found
    lines = [f"PUT {found[1]} HTTP/1.1", f"Host: {NAME}:8443", f"Authorization: Bearer {text}", "Accept: */*", "Accept-Language: fr-FR"]
    lines += [f"Content-Length: {len(body)}", *(["Content-Type: application/json"] if body else []), "Connection: close", "", body]
    visitor = gateway.visitor
    with visitor.connect(PORTAL, family) as connection:
        connection.sendall("\r\n".join(lines).encode())
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 201 "), answer
    assert visitor.reaches(CLOUD, family=family, timeout=30)
    assert not visitor.reaches(CLOUD, family=OTHER[family])


def test_every_example_is_named_and_none_is_written_for_another_portal() -> None:
    readme = (EXAMPLES / "README").read_text("utf-8")
    files = sorted(path.name for path in EXAMPLES.iterdir() if path.name not in {"README", "__pycache__"})
    assert sorted(re.findall(r"^([a-z]+\.[a-z]+)  ", readme, re.MULTILINE)) == files
    assert all(os.access(EXAMPLES / name, os.X_OK) for name in files)
    done = subprocess.run(["shellcheck", str(EXAMPLES / "way.sh")], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")
