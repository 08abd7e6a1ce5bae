"""Routers that keep their homes open: the real ddclient and the real inadyn, with the examples, over TLS with the portal's own certificate."""

import base64
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from at_once import none_reaches
from by_socket import close_all, grants
from test_examples import EXAMPLES, replaced

from lab.gateway import GATEWAY4, GATEWAY6, Gateway
from lab.net import ip
from lab.process import wait_for
from lab.visitor import Answer

WITHIN_S = 30.0
CLOUD = "http://home.test/"
PORTAL = {f"url{end}": f"https://open{end[-1:] if end else ''}.example.org:8443" for end in ("", "_ipv4", "_ipv6")}
FAMILIES = (4, 6)
LINE4, LINE6 = "192.0.2.10", "2001:db8:1::/64"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with Gateway(prefix="sipt", portal=PORTAL) as there:
        hosts = f"127.0.0.1 localhost\n{GATEWAY4} open.example.org open4.example.org\n{GATEWAY6} open.example.org open6.example.org\n"
        (there.directory / "hosts").write_text(hosts, "utf-8")
        (there.directory / "nsswitch.conf").write_text("hosts: files\n", "utf-8")
        yield there


@pytest.fixture(autouse=True)
def closed(gateway: Gateway) -> Iterator[None]:
    yield
    close_all(gateway)
    gateway.cli("unban", LINE4, check=False)


@dataclass
class Router:
    """A program on the visitor's line; `directory` is its memory. `say` changes its configuration from then on."""

    gateway: Gateway
    directory: Path
    name: str
    text: str = ""
    certificate: Path = Path()

    def say(self, text: str, *changes: tuple[str, str]) -> None:
        """Use this token, as the example has it, and with `changes` of the example."""
        self.text = text
        user = text.split("_")[1]
        self.certificate = self.directory / "portal.pem"
        self.certificate.write_bytes((self.gateway.state / "tls" / "certificate.pem").read_bytes())
        login = {"ddclient": "login=ID", "inadyn": "username = ID"}[self.name]
        config = replaced(
            (EXAMPLES / "dyndns" / f"{self.name}.conf").read_text("utf-8"),
            ("password=safeip_ID_SECRET" if self.name == "ddclient" else "password = safeip_ID_SECRET", login.replace("ID", text)
                .replace("login", "password").replace("username", "password")),
            (login, login.replace("ID", user)),
            (f"/etc/{self.name}-portal.pem", str(self.certificate)),
            *changes,
        )  # fmt: skip
        self.config.write_text(config, "utf-8")
        self.config.chmod(0o600)

    @property
    def config(self) -> Path:
        return self.directory / f"{self.name}.conf"

    def call(self, *, force: bool = False) -> str:
        """Run it once, as it would look again by itself or with `force` tell in any case; what it says."""
        where = self.directory
        command = {
            "ddclient": [
                "ddclient", "-daemon=0", "-verbose", "-noquiet", "-file", str(self.config), "-cache", str(where / "ddclient.cache"),
                "-pid", str(where / "ddclient.pid"), *(["-force"] if force else []),
            ],
            "inadyn": [
                "inadyn", "--once", "--foreground", "--no-pidfile", "--config", str(self.config), "--loglevel", "debug",
                "--cache-dir", str(where), *(["--force"] if force else []),
            ],
        }[self.name]  # fmt: skip
        # every name that there is, and nobody who would know another
        mount = " && ".join(f"mount --bind {self.gateway.directory}/{name} /etc/{name}" for name in ("hosts", "nsswitch.conf")) + ' && exec "$@"'
        done = self.gateway.visitor.namespace.run("unshare", "-m", "sh", "-c", mount, "sh", *command, check=False, timeout=4 * WITHIN_S)
        return done.stdout + done.stderr

    def forget(self) -> None:
        """What it has told so far."""
        for file in [*self.directory.glob("*.cache"), *self.directory.glob("*.example.org*")]:
            file.unlink()


@pytest.fixture(params=["ddclient", "inadyn"])
def router(request: pytest.FixtureRequest, gateway: Gateway, tmp_path: Path) -> Router:
    return Router(gateway, tmp_path, request.param)


def held(gateway: Gateway, service: str = "cloud") -> dict[str, str]:
    """Address and holder of what is open."""
    return {grant["address"]: grant["holder"] for grant in grants(gateway) if grant["service"] == service}


def open_to(gateway: Gateway, *, within_s: float = 1.0) -> list[bool]:
    with ThreadPoolExecutor() as pool:  # whoever is not let in hears nothing, for as long as they ask
        return list(pool.map(lambda family: gateway.visitor.reaches(CLOUD, family=family, timeout=within_s), FAMILIES))


# what must not open


def test_a_wrong_password_opens_nothing_and_shuts_nobody_out(gateway: Gateway, router: Router) -> None:
    good = gateway.add_token("Mamie's router", "grant:self")
    wrong = good[:-1] + ("a" if good[-1] != "a" else "b")
    router.say(wrong)
    for _ in range(2):
        said = router.call(force=True)
        assert re.search(r"401|[Aa]uth", said), said
        assert "good" not in re.sub(r"[\w ]*not good", "", said)
    assert not held(gateway)
    assert not gateway.cli_json("bans")
    router.forget()
    router.say(good)
    assert "good " in router.call(force=True)


def test_a_certificate_that_is_not_the_portals_is_told_nothing(gateway: Gateway, router: Router) -> None:
    token = gateway.add_token("Mamie's router", "grant:self")
    router.say(token)
    other, _key = gateway._certificate()
    router.certificate.write_bytes(Path(other).read_bytes())
    said = router.call(force=True)
    assert not held(gateway), said
    [row] = [row for row in gateway.cli_json("token", "list") if row["id"] == token.split("_")[1]]
    assert row["last_used_at"] is None


def test_a_token_that_was_removed_closes_and_opens_nothing(gateway: Gateway, router: Router) -> None:
    token = gateway.add_token("Mamie's router", "grant:self")
    router.say(token)
    router.call()
    assert open_to(gateway, within_s=WITHIN_S) == [True, True]
    gateway.cli("token", "remove", token.split("_")[1])
    assert open_to(gateway) == [False, False]
    assert re.search(r"401|[Aa]uth", router.call(force=True))
    assert not held(gateway)


def test_more_than_twenty_calls_are_abuse(gateway: Gateway, router: Router) -> None:
    router.say(gateway.add_token("Mamie's router", "grant:self"))
    said = [router.call(force=True) for _ in range(11)]
    assert [("abuse" in one) for one in said] == [False] * 10 + [True]
    assert open_to(gateway, within_s=WITHIN_S) == [True, True]


def test_a_token_for_one_service_opens_that_alone(gateway: Gateway, router: Router) -> None:
    router.say(gateway.add_token("Mamie's router", "grant:self", service=["films"]))
    assert "good " in router.call()
    assert set(held(gateway, "films")) == {LINE4, LINE6}
    assert not held(gateway)
    assert open_to(gateway) == [False, False]


def test_grant_self_is_for_where_it_comes_from(gateway: Gateway, router: Router) -> None:
    """A router that names a stranger's address lets itself in and nobody else."""
    token = gateway.add_token("Mamie's router", "grant:self")
    at = {"ddclient": "use=if, if=eth0", "inadyn": 'checkip-command = "ip -4 -oneline address show dev eth0 scope global"'}[router.name]
    lie = gateway.stranger.ipv4
    router.say(token, (at, {"ddclient": f'use=cmd, cmd="echo {lie}"', "inadyn": f'checkip-command = "echo {lie}"'}[router.name]))
    assert lie in router.call()
    assert set(held(gateway)) == {LINE4, LINE6}
    assert not gateway.stranger.reaches(CLOUD)


# what it is for


def test_the_first_call_lets_in_both_families_and_nobody_else(gateway: Gateway, router: Router) -> None:
    token = gateway.add_token("Mamie's router", "grant:self")
    router.say(token)
    assert open_to(gateway) == [False, False]
    said = router.call()
    assert f"good {LINE4}" in said
    assert "good 2001:db8:1::10" in said
    assert held(gateway) == dict.fromkeys((LINE4, LINE6), f"token:{token.split('_')[1]}")
    assert open_to(gateway, within_s=WITHIN_S) == [True, True]
    assert none_reaches((gateway.stranger, CLOUD, 4), (gateway.stranger, CLOUD, 6))


def test_it_calls_again_when_nothing_has_changed_and_its_time_begins_anew(gateway: Gateway, router: Router) -> None:
    """Without a word from anybody: as the interval in its configuration says, here one second."""
    token = gateway.add_token("Mamie's router", "grant:self", args=["--for", "1h"])
    interval = {"ddclient": ("max-interval=4h", "max-interval=1"), "inadyn": ("forced-update = 14400", "forced-update = 1")}[router.name]
    router.say(token, interval)
    router.call()
    before = {grant["address"]: grant["remaining_s"] for grant in grants(gateway) if grant["service"] == "cloud"}
    said = ""

    def told() -> bool:
        nonlocal said
        said = router.call()
        return f"nochg {LINE4}" in said and "nochg 2001:db8:1::10" in said

    wait_for("the time to fall", lambda: all(grant["remaining_s"] < 3598 for grant in grants(gateway)), WITHIN_S)
    wait_for("the interval", told, WITHIN_S, every=0.5)
    after = {grant["address"]: grant["remaining_s"] for grant in grants(gateway) if grant["service"] == "cloud"}
    assert after.keys() == before.keys() == {LINE4, LINE6}
    assert min(after.values()) >= 3590
    assert open_to(gateway, within_s=WITHIN_S) == [True, True]


def test_the_home_closes_some_time_after_the_router_has_stopped(gateway: Gateway, router: Router) -> None:
    router.say(gateway.add_token("Mamie's router", "grant:self", args=["--for", "6s"]))
    began = time.monotonic()
    for _ in range(3):
        called = time.monotonic()
        router.call(force=True)
        assert open_to(gateway, within_s=2) == [True, True] or time.monotonic() - called > 6, "before its time was over"
        wait_for("the next call", lambda: min((grant["remaining_s"] for grant in grants(gateway)), default=0) < 4, WITHIN_S)
    assert time.monotonic() - began > 6, "then it was not kept open"
    wait_for("the end", lambda: open_to(gateway) == [False, False], WITHIN_S)
    assert not held(gateway)


def test_a_new_address_is_let_in_and_the_old_one_leaves(gateway: Gateway, router: Router) -> None:
    """The provider gives the line another address and another prefix; the client notices by itself."""
    # ddclient by itself waits for 30 s between two calls
    soon = [("max-interval=4h", "max-interval=4h\nmin-interval=0")] if router.name == "ddclient" else []
    router.say(gateway.add_token("Mamie's router", "grant:self"), *soon)
    router.call()
    assert set(held(gateway)) == {LINE4, LINE6}
    line = gateway.visitor.namespace
    renumber(gateway, line.name, ("192.0.2.10/25", "192.0.2.11/25"), ("2001:db8:1::10/64", "2001:db8:7::10/64"), ("192.0.2.1", "2001:db8:7::1"))
    try:
        assert open_to(gateway) == [False, False]
        said = router.call()
        assert "good 192.0.2.11" in said
        assert "good 2001:db8:7::10" in said
        assert set(held(gateway)) == {"192.0.2.11", "2001:db8:7::/64"}
        assert open_to(gateway, within_s=WITHIN_S) == [True, True]
    finally:
        renumber(gateway, line.name, ("192.0.2.11/25", "192.0.2.10/25"), ("2001:db8:7::10/64", "2001:db8:1::10/64"), ("192.0.2.1", "2001:db8:1::1"))
    # whoever gets the old address from the provider next is not in
    assert open_to(gateway) == [False, False]


def renumber(gateway: Gateway, name: str, four: tuple[str, str], six: tuple[str, str], hops: tuple[str, str]) -> None:
    gateway.internet.configure("addr replace 2001:db8:7::1/64 dev visitor nodad")
    ip(
        f"addr del {four[0]} dev eth0", f"addr add {four[1]} dev eth0", f"route replace default via {hops[0]}",
        f"addr del {six[0]} dev eth0", f"addr add {six[1]} dev eth0 nodad", f"route replace default via {hops[1]}",
        namespace=name,
    )  # fmt: skip


def test_no_secret_stays_behind(gateway: Gateway, router: Router) -> None:
    token = gateway.add_token("Mamie's router", "grant:self")
    router.say(token)
    router.call()
    secret = token.split("_")[2].encode()
    basic = base64.b64encode(f"{token.split('_')[1]}:{token}".encode())
    files = [path for path in gateway.directory.rglob("*") if path.is_file()]
    assert any(b"Mamie's router" in path.read_bytes() for path in files)
    for path in files:
        assert secret not in path.read_bytes(), path
        assert basic not in path.read_bytes(), path


# routers with a form to fill in


def urls() -> list[str]:
    text = (EXAMPLES / "dyndns" / "routers.txt").read_text("utf-8")
    found = re.findall(r'^    (?:.*")?(https://[^\s"]+)', text, re.MULTILINE)
    assert len(found) == 4, found
    return found


@pytest.mark.parametrize("url", urls())
def test_the_update_urls_for_routers_do_what_the_text_says(gateway: Gateway, url: str) -> None:
    token = gateway.add_token("Mamie's router", "grant:any", args=["--for", "8d"])
    user = token.split("_")[1]
    fills = {
        "<domain>": "open.example.org", "[DOMAIN]": "open.example.org", "<ipaddr>": LINE4, "[IP]": LINE4,
        "<ip6lanprefix>": "2001:db8:5::/64", "[USERNAME]:[PASSWORD]@": "",
    }  # fmt: skip
    for old, new in fills.items():
        url = url.replace(old, new)
    assert not re.search(r"[<>\[\]]", url)
    wanted = {LINE4, "2001:db8:5::/64"} if "ip6lanprefix" in url else {LINE4}
    for word in ("good", "nochg"):
        assert asked(gateway, url, user, token).text == f"{word} {','.join(sorted(wanted))}\n"
        assert set(held(gateway)) == wanted


def asked(gateway: Gateway, url: str, user: str, password: str, **more: Any) -> Answer:
    basic = base64.b64encode(f"{user}:{password}".encode()).decode()
    headers = {"Authorization": f"Basic {basic}", "User-Agent": "Fritz!Box DDNS/1.0.1"}
    gateway.visitor.names = {**gateway.visitor.names, "open.example.org": (GATEWAY4, GATEWAY6)}
    return gateway.visitor.fetch(url, headers=headers, **more)


def test_a_restart_forgets_neither_token_nor_grant(gateway: Gateway) -> None:
    token = gateway.add_token("Mamie's router", "grant:self")
    url = f"https://open.example.org:8443/nic/update?hostname={quote('cloud,films')}"
    assert asked(gateway, url, token.split("_")[1], token.split("_")[2]).text == f"good {LINE4}\n" * 2
    gateway.restart()
    assert asked(gateway, url, token.split("_")[1], token).text == f"nochg {LINE4}\n" * 2


def test_a_router_at_home_is_told_that_all_is_well(gateway: Gateway) -> None:
    token = gateway.add_token("Home's own", "grant:self")
    url = "https://open.example.org:8443/nic/update?hostname=cloud"
    basic = base64.b64encode(f"{token.split('_')[1]}:{token}".encode()).decode()
    gateway.local.names = {**gateway.local.names, "open.example.org": ("127.0.0.1", "::1")}
    answer = gateway.local.fetch(url, headers={"Authorization": f"Basic {basic}", "User-Agent": "router"})
    assert answer.text == "nochg 127.0.0.1\n"
    assert not held(gateway)
