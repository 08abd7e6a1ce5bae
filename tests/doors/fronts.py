"""The proxies that visitors come through, on hosts of their own before the portal, and how the portal is told of them."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab.caddy import Caddy
from lab.front import INNER4, INNER6, NEAR4, NEAR6, OUTER4, OUTER6, Front
from lab.haproxy import HAProxy
from lab.net import Namespace
from lab.nginx import Nginx

NAME = "open.example.org"
URL = f"https://{NAME}:8443"
UPSTREAMS = {4: f"{NEAR4}:8080", 6: f"[{NEAR6}]:8080"}
PORTAL: dict[str, Any] = {
    "url": URL, "tls": "off", "listen": ["0.0.0.0:8080", "[::]:8080"], "trusted_proxies": [f"{INNER4}/32", f"{INNER6}/128"],
}  # fmt: skip


@dataclass(frozen=True)
class Place:
    """Where a proxy runs, what it holds, and which certificate it shows (a file, and its key)."""

    namespace: Namespace
    directory: Path
    certificate: str
    key: str

    def both(self) -> str:
        """Certificate and key in one file, as HAProxy wants them."""
        file = self.directory / "both.pem"
        file.write_text(Path(self.certificate).read_text("ascii") + Path(self.key).read_text("ascii"), "ascii")
        return str(file)


Make = Callable[[Place, str], contextlib.AbstractContextManager[Any]]


@dataclass(frozen=True)
class Arrangement:
    """Proxies from the innermost out, each made for the place it has and the upstream it passes on to; `header` and `more` are the portal's."""

    name: str
    proxies: tuple[Make, ...]
    header: str = "X-Forwarded-For"
    leg: int = 4
    """The family by which the innermost reaches the portal."""
    more: dict[str, Any] = field(default_factory=dict)

    def portal(self) -> dict[str, Any]:
        """The table [portal]."""
        chain = {"trusted_proxies": [*PORTAL["trusted_proxies"], f"{OUTER4}/32", f"{OUTER6}/128"]} if len(self.proxies) > 1 else {}
        return {**PORTAL, **chain, "client_ip_header": self.header, **self.more}

    @contextlib.contextmanager
    def standing(self, front: Front, directory: Path, certificate: str, key: str) -> Iterator[None]:
        """The proxies listening, and visitors led to the outermost."""
        with contextlib.ExitStack() as stack:
            last = UPSTREAMS[self.leg].replace("8080", "8444" if "listen_proxy_protocol" in self.more else "8080")
            for host, make, upstream in zip((front.inner, front.outer), self.proxies, (last, "10.7.0.10:8443"), strict=False):
                here = directory / host.name
                here.mkdir()
                stack.enter_context(make(Place(host, here, certificate, key), upstream))
            (front.through_outer if len(self.proxies) > 1 else front.through_inner)()
            yield


def nginx(*lines: str, maps: str = "", secure: bool = False) -> Make:
    """nginx that ends TLS and writes `lines` of proxy_set_header; `secure`: it passes on by TLS."""

    def make(place: Place, upstream: str) -> Nginx:
        written = "\n".join(f"proxy_set_header {line};" for line in ("Host $http_host", 'Connection ""', *lines))
        return Nginx(
            place.namespace,
            place.directory,
            f"""
            {maps}
            # connections are kept, and shared by visitors
            upstream portal {{ server {upstream}; keepalive 16; }}
            server {{
                listen 8443 ssl; listen [::]:8443 ssl; server_name {NAME};
                ssl_certificate {place.certificate}; ssl_certificate_key {place.key};
                location / {{ proxy_pass {"https" if secure else "http"}://portal; proxy_http_version 1.1; {written} }}
            }}""",
        )

    return make


# RFC 7239, 6: IPv6 in brackets and quotes
FORWARDED_MAP = """
    map $remote_addr $node { ~^[0-9.]+$ "for=$remote_addr"; ~^[0-9A-Fa-f:.]+$ "for=\\"[$remote_addr]\\""; default "for=unknown"; }
    map $http_forwarded $appended { "" $node; default "$http_forwarded, $node"; }
"""


def stream() -> Make:
    """nginx that passes bytes on, behind a PROXY header of version 1."""

    def make(place: Place, upstream: str) -> Nginx:
        server = f"server {{ listen 8443; listen [::]:8443; proxy_pass {upstream}; proxy_protocol on; }}"
        return Nginx(place.namespace, place.directory, stream=server)

    return make


def haproxy(*lines: str, mode: str = "http", bind: str = "bind :::8443 v4v6", server: str = "") -> Make:
    """HAProxy that ends TLS in mode `http`, and passes bytes on in mode `tcp`."""

    def make(place: Place, upstream: str) -> HAProxy:
        return HAProxy(
            place.namespace,
            place.directory,
            "\n    ".join(
                [
                    f"defaults\n    mode {mode}\n    timeout connect 5s\n    timeout client 30s\n    timeout server 1h",
                    # connections are kept, and shared by visitors
                    *(["http-reuse always"] if mode == "http" else []),
                    "frontend visitors",
                    *(f"{one} ssl crt {place.both()} alpn h2,http/1.1" if mode == "http" else one for one in bind.split("; ")),
                    *lines,
                    "default_backend portal",
                    "backend portal",
                    f"server safeip {upstream} {server}",
                ]
            ),
        )

    return make


def caddy(options: str = "", *, secure: bool = False) -> Make:
    """Caddy that ends TLS; `secure`: it passes on by TLS."""
    options += f"\ttransport http {{\ntls_insecure_skip_verify\ntls_server_name {NAME}\n}}" if secure else ""

    def make(place: Place, upstream: str) -> Caddy:
        site = f"{NAME}:8443 {{\n\ttls {place.certificate} {place.key}\n\treverse_proxy {upstream} {{\n{options}\n}}\n}}\n"
        return Caddy(place.namespace, place.directory, site)

    return make


HEADERS = (
    Arrangement("nginx, X-Forwarded-For in place of the visitor's", (nginx("X-Forwarded-For $remote_addr"),)),
    Arrangement("nginx, X-Forwarded-For appended, by IPv6", (nginx("X-Forwarded-For $proxy_add_x_forwarded_for"),), leg=6),
    Arrangement("nginx, X-Real-IP", (nginx("X-Real-IP $remote_addr"),), "X-Real-IP"),
    Arrangement("nginx, CF-Connecting-IP", (nginx("CF-Connecting-IP $remote_addr"),), "CF-Connecting-IP"),
    Arrangement("nginx, Forwarded in place of the visitor's", (nginx("Forwarded $node", maps=FORWARDED_MAP),), "Forwarded"),
    Arrangement("nginx, Forwarded appended, by IPv6", (nginx("Forwarded $appended", maps=FORWARDED_MAP),), "Forwarded", leg=6),
    Arrangement(
        "HAProxy, Forwarded in a line of its own",
        (
            haproxy(
                "http-request add-header Forwarded for=%[src] if { src 0.0.0.0/0 }",
                'http-request add-header Forwarded for=\\"[%[src]]\\" if !{ src 0.0.0.0/0 }',
                bind="bind *:8443; bind :::8443 v6only",
            ),
        ),
        "Forwarded",
    ),
    Arrangement("HAProxy, forwardfor", (haproxy("option forwardfor"),)),
    Arrangement(
        "HAProxy, forwardfor, sockets apart, by IPv6", (haproxy("option forwardfor", bind="bind *:8443; bind :::8443 v6only"),), leg=6
    ),
    Arrangement("HAProxy, X-Real-IP", (haproxy("http-request set-header X-Real-IP %[src]"),), "X-Real-IP"),
    Arrangement("Caddy", (caddy(),)),
    Arrangement("Caddy, X-Real-IP, by IPv6", (caddy("\theader_up X-Real-IP {remote_host}"),), "X-Real-IP", leg=6),
)

_OWN_TLS = {"listen_proxy_protocol": ["0.0.0.0:8444", "[::]:8444"], "tls": "auto"}
_TLS_BEFORE = {**_OWN_TLS, "tls": "off"}
_APART = "bind *:8443; bind :::8443 v6only"
PROXIED = (
    Arrangement("nginx, stream", (stream(),), more=_OWN_TLS),
    Arrangement("HAProxy, send-proxy", (haproxy(mode="tcp", bind=_APART, server="send-proxy"),), more=_OWN_TLS),
    Arrangement("HAProxy, send-proxy, mapped, by IPv6", (haproxy(mode="tcp", server="send-proxy"),), leg=6, more=_OWN_TLS),
    Arrangement("HAProxy, send-proxy-v2", (haproxy(mode="tcp", server="send-proxy-v2"),), more=_OWN_TLS),
    Arrangement(
        "HAProxy, send-proxy-v2 with all its options, looked after, by IPv6",
        (
            haproxy(
                "unique-id-format %[uuid]",
                mode="tcp",
                bind=_APART,
                server="send-proxy-v2 proxy-v2-options ssl,cert-cn,cert-sig,crc32c,unique-id,authority check inter 100ms",
            ),
        ),
        leg=6,
        more=_OWN_TLS,
    ),
    # it ends TLS, and keeps connections
    Arrangement("HAProxy, send-proxy, TLS before", (haproxy(server="send-proxy"),), more=_TLS_BEFORE),
    Arrangement("HAProxy, send-proxy-v2, TLS before", (haproxy(server="send-proxy-v2"),), leg=6, more=_TLS_BEFORE),
)
_APPENDED = "X-Forwarded-For $proxy_add_x_forwarded_for"
CHAINS = (
    Arrangement("HAProxy behind nginx", (haproxy("option forwardfor"), nginx(_APPENDED, secure=True))),
    Arrangement(
        "nginx behind nginx, Forwarded",
        (nginx("Forwarded $appended", maps=FORWARDED_MAP), nginx("Forwarded $appended", maps=FORWARDED_MAP, secure=True)),
        "Forwarded",
    ),
    Arrangement("nginx behind Caddy", (nginx(_APPENDED), caddy(secure=True)), leg=6),
    Arrangement(
        "Caddy behind HAProxy",
        (
            caddy(f"\ttrusted_proxies {OUTER4} {OUTER6}\n"),
            haproxy("option forwardfor", server=f"ssl verify none sni str({NAME})"),
        ),
    ),
    # the header is read where the PROXY header names a trusted proxy
    Arrangement("nginx's stream behind nginx", (stream(), nginx(_APPENDED, secure=True)), more=_OWN_TLS),
)
