"""What visitors write to seem to come from elsewhere, each with what it hopes for."""

from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Literal

# between the request line and Host, after Host, before the request within TLS, before TLS, behind the request as its body
Where = Literal["first", "headers", "before", "outside", "body"]


@dataclass(frozen=True)
class Claim:
    """The addresses that somebody claims to come from."""

    ipv4: str
    ipv6: str


@dataclass(frozen=True)
class Forged:
    """`text` in which {v4}, {v6} and others stand for what is claimed; {post} for a request that opens a link, claiming it too."""

    reason: str
    text: str
    where: Where = "headers"

    def bytes(self, claim: Claim, post: bytes) -> bytes:
        """What is sent for it."""
        whole = IPv4Address(claim.ipv4)
        parts = whole.packed
        words = {
            "v4": claim.ipv4,
            "v6": claim.ipv6,
            "long6": claim.ipv6.replace("::", ":0000:0000:0000:"),
            "upper6": claim.ipv6.upper(),
            "hex4": f"{parts[0]:02x}{parts[1]:02x}:{parts[2]:02x}{parts[3]:02x}",
            "octal": ".".join(f"0{part:o}" for part in parts),
            "hexadecimal": ".".join(f"0x{part:X}" for part in parts),
            "number": str(int(whole)),
            "padded": ".".join(f"{part:03}" for part in parts),
            "wide": "".join(chr(ord(sign) + 0xFEE0) if sign.isdigit() else sign for sign in claim.ipv4),
            "arabic": "".join(chr(0x660 + int(sign)) if sign.isdigit() else sign for sign in claim.ipv4),
            "percent": "".join(f"%{ord(sign):02X}" for sign in claim.ipv4),
            "binary4": b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".decode("latin-1") + (parts + b"\x7f\0\0\1\x12\x34\x01\xbb").decode("latin-1"),
            "local": b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0".decode("latin-1"),
        }
        binary = self.text in {"{binary4}", "{local}"}
        text = self.text.format_map({**words, "post": post.decode("latin-1")})
        return text.encode("latin-1" if binary else "utf-8")


def _lines(name: str, *values: str) -> str:
    return "\r\n".join(f"{name}: {value}" for value in values)


_FOR = "X-Forwarded-For"
_NAMES = (
    "X-Forwarded", "Forwarded-For", "X-Original-Forwarded-For", "X-Forwarded-Client-IP", "X-Client-IP", "Client-IP", "True-Client-IP",
    "X-Cluster-Client-IP", "Fastly-Client-IP", "Fly-Client-IP", "X-Remote-IP", "X-Remote-Addr", "X-Originating-IP", "X-ProxyUser-Ip",
    "Proxy-Client-IP", "WL-Proxy-Client-IP", "X-Azure-ClientIP", "X-Envoy-External-Address", "X-Vercel-Forwarded-For",
    "CF-Connecting-IPv6", "CF-Pseudo-IPv4", "Remote-Addr", "REMOTE_ADDR", "HTTP_X_FORWARDED_FOR", "X-Host", "X-Forwarded-Host", "Via", "From",
)  # fmt: skip

FORGED = (
    # X-Forwarded-For
    Forged("the header as it is written everywhere", f"{_FOR}: {{v4}}"),
    Forged("an IPv6 address", f"{_FOR}: {{v6}}"),
    Forged("lower case", f"{_FOR.lower()}: {{v4}}"),
    Forged("upper case", f"{_FOR.upper()}: {{v6}}"),
    Forged("mixed case", "x-FoRwArDeD-fOr: {v4}"),
    Forged("before Host", f"{_FOR}: {{v4}}", "first"),
    Forged("two lines: the first counts", _lines(_FOR, "{v4}", "203.0.113.1")),
    Forged("two lines: the last counts", _lines(_FOR, "203.0.113.1", "{v4}")),
    Forged("two lines, one of them empty", _lines(_FOR, "{v4}", "")),
    Forged("a list: the first counts", f"{_FOR}: {{v4}}, 203.0.113.1"),
    Forged("a list: the last counts", f"{_FOR}: 203.0.113.1, {{v4}}"),
    Forged("a list of nobody else", f"{_FOR}: {{v4}}, {{v4}}, {{v4}}"),
    Forged("a trusted proxy stands behind it", f"{_FOR}: {{v4}}, 10.8.0.10"),
    Forged("the other one does", f"{_FOR}: {{v4}}, 10.7.0.20"),
    Forged("both do, by both families", f"{_FOR}: {{v6}}, 10.7.0.20, fd00:7::20, 10.8.0.10, fd00:8::10"),
    Forged("loopback does", f"{_FOR}: {{v4}}, 127.0.0.1"),
    Forged("loopback of IPv6 does", f"{_FOR}: {{v6}}, ::1"),
    Forged("the gateway does", f"{_FOR}: {{v4}}, 10.8.0.1"),
    Forged("the whole way is proxies", f"{_FOR}: 10.8.0.10, 10.8.0.10"),
    Forged("a comma at the end", f"{_FOR}: {{v4}},"),
    Forged("a comma at the start", f"{_FOR}: ,{{v4}}"),
    Forged("commas alone", f"{_FOR}: ,,,,"),
    Forged("semicolons instead", f"{_FOR}: {{v4}}; 203.0.113.1"),
    Forged("spaces instead", f"{_FOR}: {{v4}} 203.0.113.1"),
    Forged("nothing", f"{_FOR}:"),
    Forged("with a port", f"{_FOR}: {{v4}}:1234"),
    Forged("with a port in brackets", f"{_FOR}: [{{v6}}]:443"),
    Forged("IPv4 in brackets", f"{_FOR}: [{{v4}}]"),
    Forged("in quotes", f'{_FOR}: "{{v4}}"'),
    Forged("mapped", f"{_FOR}: ::ffff:{{v4}}"),
    Forged("mapped, in hexadecimal", f"{_FOR}: ::ffff:{{hex4}}"),
    Forged("mapped, a proxy behind it", f"{_FOR}: {{v4}}, ::ffff:10.8.0.10"),
    Forged("compatible", f"{_FOR}: ::{{v4}}"),
    Forged("translated (NAT64)", f"{_FOR}: 64:ff9b::{{hex4}}"),
    Forged("6to4", f"{_FOR}: 2002:{{hex4}}::1"),
    Forged("a zone", f"{_FOR}: {{v6}}%eth0"),
    Forged("a zone, escaped", f"{_FOR}: {{v6}}%25eth0"),
    Forged("link-local, which is trusted", f"{_FOR}: fe80::1"),
    Forged("link-local with a zone", f"{_FOR}: fe80::1%wan"),
    Forged("IPv6 in full", f"{_FOR}: {{long6}}"),
    Forged("IPv6 in capitals", f"{_FOR}: {{upper6}}"),
    Forged("octal", f"{_FOR}: {{octal}}"),
    Forged("hexadecimal", f"{_FOR}: {{hexadecimal}}"),
    Forged("one number", f"{_FOR}: {{number}}"),
    Forged("padded with zeros", f"{_FOR}: {{padded}}"),
    Forged("wide digits", f"{_FOR}: {{wide}}"),
    Forged("another script's digits", f"{_FOR}: {{arabic}}"),
    Forged("percent signs", f"{_FOR}: {{percent}}"),
    Forged("a network", f"{_FOR}: {{v4}}/32"),
    Forged("every address", f"{_FOR}: 0.0.0.0"),
    Forged("every address of IPv6", f"{_FOR}: ::"),
    Forged("a name", f"{_FOR}: localhost"),
    Forged("nobody", f"{_FOR}: unknown"),
    Forged("obfuscated", f"{_FOR}: _{{v4}}"),
    Forged("tabs around it", f"{_FOR}:\t{{v4}}\t"),
    Forged("folded: the list goes on in the next line", f"{_FOR}: 203.0.113.1,\r\n {{v4}}"),
    Forged("folded into another header", f"X-Other: 1\r\n\t{_FOR}: {{v4}}"),
    Forged("folded into the request line", f" {_FOR}: {{v4}}", "first"),
    Forged("a space before the colon", f"{_FOR} : {{v4}}"),
    Forged("underscores", "X_Forwarded_For: {v4}"),
    Forged("one underscore", "X-Forwarded_For: {v4}"),
    Forged("dots", "X.Forwarded.For: {v4}"),
    Forged("a dash that is none", "X\u2010Forwarded\u2010For: {v4}"),
    Forged("NUL behind it", f"{_FOR}: {{v4}}\0"),
    Forged("NUL in the name", "X-Forwarded\0-For: {v4}"),
    Forged("a line that ends in LF alone", f"X-Other: 1\n{_FOR}: {{v4}}"),
    Forged("a line that ends in CR alone", f"X-Other: 1\r{_FOR}: {{v4}}"),
    Forged("vertical tab and form feed", f"X-Other: 1\x0b{_FOR}: {{v4}}\x0c"),
    Forged("no colon", f"{_FOR} {{v4}}"),
    Forged("no name", f": {{v4}}\r\n{_FOR}: {{v4}}"),
    Forged("a list of a thousand", f"{_FOR}: " + ", ".join(["{v4}"] * 300 + ["10.8.0.10"] * 200)),
    Forged("a list that is longer than any", f"{_FOR}: " + "{v4}," * 4000 + "{v4}"),
    Forged("a hundred lines", _lines(_FOR, *["{v4}"] * 100)),
    Forged("garbage", f"{_FOR}: \x01\x02\x7f\u00e9\u20ac {{v4}}"),
    Forged("a template's words", f"{_FOR}: $remote_addr ${{{{jndi}}}} %[src] {{v4}}"),
    Forged("Connection names it, so that a proxy takes its own away", f"Connection: close, {_FOR}\r\n{_FOR}: {{v4}}"),
    Forged("Connection names them all", f"Connection: {_FOR}, X-Real-IP, Forwarded, CF-Connecting-IP, close"),
    Forged("Connection twice", f"Connection: {_FOR}\r\nConnection: x-real-ip\r\n{_FOR}: {{v4}}"),
    # X-Real-IP and CF-Connecting-IP
    *(
        Forged(f"{name}: {reason}", text.replace("NAME", name))
        for name in ("X-Real-IP", "CF-Connecting-IP")
        for reason, text in (
            ("as it is", "NAME: {v4}"),
            ("IPv6", "NAME: {v6}"),
            ("twice", "NAME: {v4}\r\nNAME: {v4}"),
            ("twice, once empty", "NAME: {v4}\r\nNAME:"),
            ("a list", "NAME: {v4}, 203.0.113.1"),
            ("a port", "NAME: {v4}:80"),
            ("mapped", "NAME: ::ffff:{v4}"),
            ("a space before the colon", "NAME : {v4}"),
        )
    ),
    Forged("X-Real-IP with underscores", "X_Real_IP: {v4}"),
    Forged("CF-Connecting-IP with underscores", "CF_Connecting_IP: {v4}"),
    # Forwarded
    Forged("Forwarded", "Forwarded: for={v4}"),
    Forged("Forwarded, IPv6", 'Forwarded: for="[{v6}]"'),
    Forged("Forwarded, a port", 'Forwarded: for="[{v6}]:443"'),
    Forged("Forwarded, IPv4 and a port", 'Forwarded: for="{v4}:443"'),
    Forged("Forwarded, capitals", "FORWARDED: FOR={v4}"),
    Forged("Forwarded, parameters", "Forwarded: proto=https;host=open.example.org;for={v4};by=10.8.0.10"),
    Forged("Forwarded, for twice in an element", "Forwarded: for=203.0.113.1;for={v4}"),
    Forged("Forwarded, several", "Forwarded: for=203.0.113.1, for={v4}"),
    Forged("Forwarded, several, a proxy last", "Forwarded: for={v4}, for=10.8.0.10"),
    Forged("Forwarded, several lines", _lines("Forwarded", "for={v4}", 'for="[fd00:8::10]"')),
    Forged("Forwarded, unknown last", "Forwarded: for={v4}, for=unknown"),
    Forged("Forwarded, obfuscated last", "Forwarded: for={v4}, for=_hidden"),
    Forged("Forwarded, an element without for", "Forwarded: for={v4}, proto=https"),
    Forged("Forwarded, a comma at the end", "Forwarded: for={v4},"),
    Forged("Forwarded, a quoted comma", 'Forwarded: host="a, for={v4}"'),
    Forged("Forwarded, a quotation that does not end", 'Forwarded: for={v4}, host="x'),
    Forged("Forwarded, a quotation that swallows what the proxy adds", 'Forwarded: for={v4};x="'),
    Forged("Forwarded, a backslash that swallows the end of it", 'Forwarded: for={v4};x="\\'),
    Forged("Forwarded, escaped", 'Forwarded: for="\\{v4}"'),
    Forged("Forwarded, spaces around =", "Forwarded: for = {v4}"),
    Forged("Forwarded, by alone", "Forwarded: by={v4}"),
    Forged("Forwarded, IPv6 without quotes", "Forwarded: for=[{v6}]"),
    Forged("Forwarded, IPv6 without brackets", 'Forwarded: for="{v6}"'),
    # every other name that a server somewhere believes
    *(Forged(f"{name}, which some believe", f"{name}: {{v4}}") for name in _NAMES),
    Forged("all of them at once", "\r\n".join(f"{name}: {{v4}}" for name in (_FOR, "X-Real-IP", "CF-Connecting-IP", *_NAMES[:12]))),
    # beside the headers
    Forged("a trailer of a body in pieces", f"Transfer-Encoding: chunked\r\nTrailer: {_FOR}\r\n\r\n0\r\n{_FOR}: {{v4}}\r\n\r\n", "body"),
    Forged("a second request behind one with two lengths", "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{post}", "body"),
    Forged("the same, spelled so that one does not see it", "Content-Length: 4\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n{post}", "body"),
    Forged("the same with a tab", "Content-Length: 4\r\nTransfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n{post}", "body"),
    Forged("a second request behind two lengths", "Content-Length: 0\r\nContent-Length: 5\r\n\r\n{post}", "body"),
    Forged("a second request, plainly", "\r\n{post}", "body"),
    Forged("a body that is a request", "Content-Length: 40\r\n\r\n{post}", "body"),
    # the PROXY protocol
    Forged("PROXY as a header's line", "PROXY TCP4 {v4} 10.8.0.1 1234 8444", "first"),
    Forged("PROXY before the request", "PROXY TCP4 {v4} 10.8.0.1 1234 8444\r\n", "before"),
    Forged("PROXY before the request, IPv6", "PROXY TCP6 {v6} fd00:8::1 1234 8444\r\n", "before"),
    Forged("PROXY before the request, unknown", "PROXY UNKNOWN\r\n", "before"),
    Forged("PROXY twice", "PROXY UNKNOWN\r\nPROXY TCP4 {v4} 10.8.0.1 1234 8444\r\n", "before"),
    Forged("PROXY v2 before the request", "{binary4}", "before"),
    Forged("PROXY v2 before the request, local", "{local}", "before"),
    Forged("PROXY before TLS", "PROXY TCP4 {v4} 10.8.0.1 1234 8444\r\n", "outside"),
    Forged("PROXY before TLS, IPv6", "PROXY TCP6 {v6} fd00:8::1 1234 8444\r\n", "outside"),
    Forged("PROXY before TLS, unknown", "PROXY UNKNOWN\r\n", "outside"),
    Forged("PROXY v2 before TLS", "{binary4}", "outside"),
    Forged("PROXY v2 before TLS, local", "{local}", "outside"),
)
