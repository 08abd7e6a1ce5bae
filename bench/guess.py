"""Opening a link while passwords are guessed, against opening it in peace.

Two kinds of guessers, eight at a time, each as fast as it can: from addresses of their own, which get banned as in
life; and with an address and a name that never come again, as a botnet behind a trusted proxy, so that nobody is
banned and every guess costs a run of argon2. Peace and guessing in turn, in one run.
"""

import contextlib
import http.client
import json
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median, quantiles
from urllib.parse import urlencode, urlsplit

from bench._figures import shown, table
from bench.click_to_open import Clicker
from lab.gateway import GATEWAY4, Gateway
from lab.process import wait_for

ROUNDS = 4
SLICE_S = 6.0  # eight who share one hash at a time need four to be banned
CLIENTS = 8
PORT = 8080
AIM = 3
# Arguments: the source addresses of the clients, or "proxy". Writes one byte for each guess that was compared.
GUESSER = f"""
import http.client, itertools, random, re, sys, threading, urllib.parse
addresses = sys.argv[1].split(",")
numbers = itertools.count(random.getrandbits(40))
def guess(source):
    while True:
        try:
            http_ = http.client.HTTPConnection("{GATEWAY4}", {PORT}, timeout=1, source_address=source and (source, 0))
            page = ask(http_, "GET", None, {{}}, source)
            cookies = "; ".join(line.partition(";")[0] for line in page.headers.get_all("Set-Cookie", []))
            form = re.search(r'name="form" value="([^"]+)"', page.text)[1]
            while True:
                number = next(numbers)
                name = f"n{{number}}"  # each another: a name that is guessed too often locks before anybody is banned
                body = urllib.parse.urlencode({{"form": form, "name": name, "password": f"guess {{number}}", "code": ""}})
                reply = ask(http_, "POST", body, {{"Cookie": cookies, "Content-Type": "application/x-www-form-urlencoded"}}, source)
                if reply.status == 403:  # looked at; 429 and 503 are not
                    sys.stdout.write("."); sys.stdout.flush()
        except (OSError, http.client.HTTPException, TypeError):
            pass
def ask(http_, method, body, headers, source):
    if not source:
        number = next(numbers)
        headers["X-Forwarded-For"] = f"11.{{number >> 16 & 255}}.{{number >> 8 & 255}}.{{number & 255}}"
    http_.request(method, "/sign-in", body, {{"Host": "home.test:{PORT}", "Origin": "null", **headers}})
    reply = http_.getresponse()
    reply.text = reply.read().decode()
    return reply
for number in range({CLIENTS}):
    threading.Thread(target=guess, args=(addresses[number] if addresses != ["proxy"] else None,)).start()
"""


@dataclass
class Kind:
    """One kind of guessers, and what the clicks took beside them and in peace, in microseconds."""

    name: str
    peace: list[float] = field(default_factory=list)
    beside: list[float] = field(default_factory=list)
    guesses: int = 0
    seconds: float = 0.0


class Bench:
    """A visitor who opens a link, again and again, and guessers who come and go."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        url = gateway.add_link("Mamie", ("cloud",), "--for", "2h")
        page = gateway.visitor.fetch(url)
        form = next(form for form in page.forms if form.method == "POST")
        cookies = "; ".join(f"{name}={value}" for name, value in gateway.visitor.cookies.items())
        self.path, self.body = urlsplit(url).path, urlencode(form.fields)
        self.headers = {"Host": urlsplit(url).netloc, "Cookie": cookies, "Origin": "null", "Accept-Language": "en"}
        self.clicker = Clicker(gateway, PORT)
        self.control = http.client.HTTPConnection("localhost")
        self.control.sock = socket.socket(socket.AF_UNIX)
        self.control.sock.connect(str(gateway.runtime / "control.sock"))

    def click(self) -> float:
        """Microseconds from the POST of the link's form to an accepted connection to the service."""
        took = self.clicker.click(self.path, self.body, self.headers, 80)
        self.control.request("DELETE", f"/api/v1/grants?address={self.gateway.visitor.ipv4}")
        if json.loads(self.control.getresponse().read())["revoked"] != 1:
            raise RuntimeError("the click had granted nothing")
        return took

    def clicks(self) -> list[float]:
        """As many as SLICE_S hold."""
        end, took = time.monotonic() + SLICE_S, []
        while time.monotonic() < end:
            took.append(self.click())
        return took

    @contextlib.contextmanager
    def guessing(self, kind: Kind, number: int) -> Iterator[None]:
        """Guessers at work for the block's time."""
        if kind.name == "banned":
            namespace = self.gateway.stranger.namespace
            sources = [f"203.0.113.{100 + CLIENTS * number + client}" for client in range(CLIENTS)]
            namespace.configure(*(f"addr add {source}/24 dev eth0" for source in sources))
        else:
            namespace, sources = self.gateway.second.namespace, ["proxy"]
        log = Path(self.gateway.directory) / f"{kind.name}{number}.log"
        process = namespace.start("/usr/bin/python3", "-c", GUESSER, ",".join(sources), log=log)
        try:
            wait_for("the guessers", lambda: log.stat().st_size >= CLIENTS, 20)
            begin, before = time.monotonic(), log.stat().st_size
            yield
            kind.seconds += time.monotonic() - begin
            kind.guesses += log.stat().st_size - before
        finally:
            process.kill()

    def measure(self, kind: Kind) -> None:
        for number in range(ROUNDS):
            kind.peace += self.clicks()
            with self.guessing(kind, number):
                kind.beside += self.clicks()


def p99(times: list[float]) -> float:
    return quantiles(times, n=100)[98]


def main() -> None:
    portal = {
        "url": f"http://home.test:{PORT}", "listen": [f"0.0.0.0:{PORT}"], "tls": "off",
        "trusted_proxies": ["192.0.2.130/32"],
    }  # fmt: skip
    with Gateway(portal=portal, prefix="sipb") as gateway:
        bench = Bench(gateway)
        kinds = [Kind("banned"), Kind("never the same")]
        for kind in kinds:
            bench.measure(kind)
        bans = len(gateway.elements("banned4"))
        bench.clicker.http.close()
        bench.control.close()
    if bans < ROUNDS * CLIENTS / 2:
        raise RuntimeError(f"only {bans} addresses were banned")
    rows = [
        (
            kind.name, f"{kind.guesses / kind.seconds:.0f}/s", shown(median(kind.peace)), shown(median(kind.beside)),
            shown(p99(kind.peace)), shown(p99(kind.beside)), f"{p99(kind.beside) / p99(kind.peace):.2f}",
        )
        for kind in kinds
    ]  # fmt: skip
    table(("8 guessers", "guesses", "median in peace", "beside", "p99 in peace", "beside", f"ratio (aim: {AIM})"), rows)
    print(f"{bans} of {ROUNDS * CLIENTS} addresses were banned; {len(kinds[1].beside):,} clicks beside the others.\n")


if __name__ == "__main__":
    main()
