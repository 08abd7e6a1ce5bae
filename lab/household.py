"""A household to look at: people, links and what happened, made through the command line's door and the forms."""

import http.client
import itertools
import os
import re
import signal
import stat
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any, Self
from urllib.parse import quote

import pyotp

from lab.config import SERVICES, Table
from lab.gateway import Gateway
from lab.process import LabError
from lab.visitor import Answer, Visitor
from safeip.control import Control

URL = "https://home.test:8443"
PASSWORD = "four words nobody guesses"
PEOPLE: dict[str, dict[str, object]] = {
    "yves": {"role": "admin"},
    "mamie": {"services": ["cloud", "films"], "links": True},
    "leo": {},  # may open nothing yet
}
WITHOUT_CODES: dict[str, dict[str, object]] = {"camille": {"services": ["films", "garden"]}, "odile": {"role": "admin"}}
_SERVICES: dict[str, Table] = {
    **SERVICES,
    "films": {**SERVICES["films"], "url": "https://home.test:8096/"},  # by https: pages try whether it answers
    "game": {**SERVICES["game"], "default_duration": "6h", "shared_max_duration": "1h"},
    # everybody comes by IPv4
    "garden": {"title": "Garden", "ports": ["tcp/8091"], "url": "https://home.test:8096/garden", "families": ["ipv6"], "max_duration": "30d", "shared_pin": True},
}
_ATTIC: Table = {"title": "Attic", "ports": ["tcp/8090"], "default_duration": "2h", "max_duration": "1d"}
_PORTAL: Table = {
    "registration": "approval",
    "trusted_proxies": ["192.0.2.10/32", "2001:db8:1::10/128"],
    "url_ipv4": "https://open4.test:8443",
    "url_ipv6": "https://open6.test:8443",
}


class Household:
    """A gateway whose visitors come from whatever address a page is to be seen from.

    The lab's visitor stands for a proxy that the portal trusts: X-Forwarded-For says who asks. At first there are
    people only; `settle` makes links, grants, knocks and bans.
    """

    def __init__(self) -> None:
        self.sessions: dict[str, dict[str, str]] = {}
        """The cookies of everybody who is signed in, by name."""
        self.links: dict[str, str] = {}
        """URLs of links, by what they are good for."""
        self._hosts = itertools.count()
        self._numbers = itertools.count(1)
        self._settled = False
        self.gateway = Gateway(prefix="siph", services={**_SERVICES, "attic": _ATTIC}, portal=_PORTAL)
        self._door = str(self.gateway.runtime / "control.sock")
        try:
            self._people()
        except BaseException:
            self.gateway.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.gateway.close()

    def address(self) -> str:
        """An IPv4 address that nobody has come from yet."""
        network, host = divmod(next(self._hosts), 250)
        return f"198.51.{101 + network}.{host + 2}"

    def number(self) -> int:
        """A number that nobody's name has yet."""
        return next(self._numbers)

    def visitor(self, address: str) -> "Caller":
        """A browser without script, at an address."""
        return Caller(self.gateway, address)

    def ask(self, method: str, path: str, **body: object) -> Any:  # noqa: ANN401 (JSON has no narrower type)
        """What the command line asks of the daemon; a program for each question would take half a second."""
        return Control(self._door).ask(method, path, body=body or None)

    def link(self, label: str = "Mamie", services: tuple[str, ...] = ("cloud",), **options: object) -> str:
        """A new link; its URL. The options are those of `safeip link add`."""
        return str(self.ask("POST", "/links", label=label, services=services, **options)["url"])

    def invite(self, name: str, **rights: object) -> str:
        """Invite somebody; the invitation's URL."""
        return str(self.ask("POST", "/people", name=name, invite=True, **rights)["url"])

    def settle(self) -> None:
        """Make what a household has after a while. A second call does nothing."""
        if self._settled:
            return
        self._settled = True
        opened = (
            ("198.51.100.77", "cloud", "3h", "Laptop in the garden house"),
            ("2001:db8:77:1::/64", "films", "26h", "Television, Odile"),
        )
        for address, service, length, note in opened:
            self.ask("PUT", f"/grants/{service}/{quote(address, safe='')}", note=note, **{"for": length})
        self.ask("POST", "/bans", address="203.0.113.99", **{"for": "1d"})
        for port in (80, 8096, 25565):
            self.gateway.stranger.reaches(f"http://home.test:{port}/", timeout=0.1)
        self.gateway.second.reaches("http://home.test/", family=6, timeout=0.1)
        self.links |= {
            "one": self.link("Mamie", ("cloud",), **{"for": "2h"}),
            "several": self.link("Jean", ("cloud", "films", "game")),
            "pin": self.link("Odile", pin="2468"),
            "limits": self.link("Léo", expires="30d", uses=900),
            "films": self.link("Odile", ("films",)),
            "no-page": self.link("Jean", ("game",)),
            "other-family": self.link("Jean", ("garden",)),
            "other-family-once": self.link("Jean", ("garden",), uses=1),
            "paused": self.link("Camille"),
            "ended": self.link("Camille", expires="1s"),
            "used-up": self.link("Camille", uses=1),
            "locked": self.link("Odile", pin="1357"),
        }
        self.ask("POST", f"/links/{link_id(self.links['paused'])}/pause")
        self.visitor(self.address()).open(self.links["used-up"])
        self.visitor(self.address()).open(self.links["one"])
        while self.visitor(self.address()).open(self.links["locked"], pin="0000").status != 429:
            pass  # the link locks after a few wrong PINs
        self._tokens()
        self.invite("odette", services=["films"])
        jean = self.visitor(self.address())
        fields = {"name": "jean", "password": PASSWORD, "again": PASSWORD, "message": "Jean from number 12"}
        jean.submit(jean.get("/ask"), fields)

    def _tokens(self) -> None:
        """A router that calls, one that has not yet, and what has ended."""
        router = self.token("Odile, router", "grant:self", services=["films", "game"], expires="365d", **{"for": "12h"})
        self.visitor("198.51.100.80").call("PUT", "/grants/films/self", router)
        self.token("Prometheus", "read")
        self.token("Chat bot", "read", "grant:any", services=["game"], expires="1s")

    def token(self, label: str, *scopes: str, **options: object) -> str:
        """A new token; its text. The options are those of the API."""
        return str(self.ask("POST", "/tokens", label=label, scopes=scopes, **options)["text"])

    def _people(self) -> None:
        self.links["nothing"] = self.link(services=("attic",))
        self.gateway.configure(services=_SERVICES, portal=_PORTAL)
        self.gateway.restart()
        for name, rights in PEOPLE.items():
            self.sessions[name] = self.accept(self.invite(name, **rights))
        for name, rights in WITHOUT_CODES.items():
            self.ask("POST", "/people", name=name, password=PASSWORD, **rights)
            browser = self.visitor(self.address())
            browser.submit(browser.get("/sign-in"), {"name": name, "password": PASSWORD})
            self.sessions[name] = browser.cookies

    def accept(self, url: str) -> dict[str, str]:
        """Accept an invitation; the cookies of whoever is signed in then."""
        browser = self.visitor(self.address())
        page = browser.get(url)
        found = re.search(r'class="secret">([A-Z2-7 ]+)<', page.text)
        if found is None:
            raise LabError(f"{url}: status {page.status}, no key for an app")
        answer = browser.submit(page, {"password": PASSWORD, "again": PASSWORD, "code": self.code(found[1])})
        if answer.status != 200:
            raise LabError(f"{url}: not accepted, status {answer.status}")
        return browser.cookies

    def code(self, secret: str) -> str:
        """What an app shows now, given its key as a page writes it."""
        return pyotp.TOTP(secret.replace(" ", "")).now()

    def grant(self, address: str) -> str:
        """Let somebody in; the address."""
        self.ask("PUT", f"/grants/cloud/{quote(address, safe='')}", note="Léo")
        return address

    def close_all(self, holder: str) -> None:
        """Take back what a holder has open."""
        Control(self._door).ask("DELETE", "/grants", query={"holder": holder})

    @contextmanager
    def full_disk(self) -> Iterator[None]:
        """While it lasts, the portal can save nothing."""
        folder = self.gateway.state
        mode = stat.S_IMODE(folder.stat().st_mode)
        folder.chmod(0o500)
        try:
            yield
        finally:
            folder.chmod(mode)

    @contextmanager
    def stopped_gate(self) -> Iterator[None]:
        """While it lasts, the gate answers nobody."""
        gate = self.gateway.gate_pid()
        os.kill(gate, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(gate, signal.SIGCONT)

    @contextmanager
    def other_gate(self, **keys: object) -> Iterator[None]:
        """While it lasts, `[gate]` of the configuration says this. The daemon starts anew, twice."""
        self.gateway.configure(services=_SERVICES, portal=_PORTAL, gate=keys)
        try:
            self.gateway.restart()
            yield
        finally:
            self.gateway.configure(services=_SERVICES, portal=_PORTAL)
            self.gateway.restart()


def link_id(url: str) -> str:
    """The id of a link, given its URL."""
    return url.rpartition("/l/")[2][:6]


class Caller:
    """A browser without script behind the proxy, at `address`."""

    def __init__(self, gateway: Gateway, address: str) -> None:
        lab = gateway.visitor
        self._visitor = Visitor(lab.namespace, lab.ipv4, lab.ipv6, lab.names)
        self._headers = {"X-Forwarded-For": address}

    @property
    def cookies(self) -> dict[str, str]:
        return self._visitor.cookies

    def get(self, where: str) -> Answer:
        """A page, by its path or URL."""
        return self._visitor.fetch(
            where if where.startswith("https:") else URL + where, headers=self._headers
        )

    @contextmanager
    def connection(self) -> Iterator[http.client.HTTPConnection]:
        """A connection to the portal, for several requests."""
        with closing(http.client.HTTPConnection("home.test", 8443)) as connection:
            connection.sock = self._visitor.connect(URL, timeout=30)
            yield connection

    def half_a_form(self, path: str) -> tuple[int, dict[str, str], bytes]:
        """What the portal answers to a form whose body does not come: status, headers, body."""
        with self.connection() as connection:
            connection.putrequest("POST", path)
            for name, value in self._headers.items():
                connection.putheader(name, value)
            connection.putheader("Content-Type", "application/x-www-form-urlencoded")
            connection.putheader("Content-Length", "9")
            connection.endheaders(b"form=")
            with closing(connection.getresponse()) as answer:
                return answer.status, dict(answer.headers), answer.read()

    def call(self, method: str, path: str, token: str) -> Answer:
        """Ask the API with a token, without a body."""
        return self._visitor.fetch(
            f"{URL}/api/v1{path}", method, headers={**self._headers, "Authorization": f"Bearer {token}"}
        )

    def submit(self, page: Answer, fields: dict[str, str]) -> Answer:
        """Its form, filled in."""
        return self._visitor.submit(page, fields, self._headers)

    def open(self, url: str, *, pin: str = "") -> Answer:
        """Open a link."""
        return self.submit(self.get(url), {"pin": pin} if pin else {})
