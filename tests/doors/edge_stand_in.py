"""In place of Cloudflare's edge and cloudflared, for tests, as far as Cloudflare documents them.

`edge_stand_in.py edge SOCKET CERTIFICATE KEY` ends TLS at port 443 and hands each request on through a Unix socket, which
stands for the tunnel; `edge_stand_in.py tunnel CONFIG SOCKET` reads cloudflared's config.yml at the other end.
"""

import re
import shutil
import socket
import socketserver
import ssl
import sys
from http.client import parse_headers
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml


class Edge(BaseHTTPRequestHandler):
    """One request a connection. What the visitor says of addresses goes on, but for the headers that are Cloudflare's own."""

    protocol_version = "HTTP/1.1"
    tunnel = ""

    def handle_one_request(self) -> None:
        self.raw_requestline = self.rfile.readline(65537)
        if not self.raw_requestline or not self.parse_request():
            return
        self.close_connection = True
        seen = str(self.client_address[0]).removeprefix("::ffff:")
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        own = ("cf-connecting-ip", "cf-ray", "cf-visitor", "cf-ipcountry", "cdn-loop", "x-forwarded-proto", "connection", "accept-encoding")
        lines = [f"{name}: {value}" for name, value in self.headers.items() if name.lower() not in {*own, "x-forwarded-for"}]
        claimed = self.headers.get_all("X-Forwarded-For", [])
        lines += [
            # what came stays to the left
            f"X-Forwarded-For: {','.join([*claimed, seen])}", f"Cf-Connecting-Ip: {seen}", "Accept-Encoding: gzip, br",
            "Cdn-Loop: cloudflare; loops=1", "Cf-Ipcountry: XX", "Cf-Ray: 9d754acd5f8bd71b-XXX", 'Cf-Visitor: {"scheme":"https"}',
            "Cf-Warp-Tag-Id: 00000000-0000-0000-0000-000000000000", "X-Forwarded-Proto: https", "Connection: close",
        ]  # fmt: skip
        with socket.socket(socket.AF_UNIX) as tunnel:
            tunnel.connect(self.tunnel)
            tunnel.sendall("\r\n".join([self.requestline, *lines, "", ""]).encode("latin-1") + body)
            tunnel.shutdown(socket.SHUT_WR)
            shutil.copyfileobj(tunnel.makefile("rb"), self.wfile)


class Tunnel(socketserver.StreamRequestHandler):
    """Finds the rule for a request, and passes it on from loopback by HTTP/1.1."""

    ingress: list[dict[str, Any]]

    def handle(self) -> None:
        first = self.rfile.readline()
        headers = parse_headers(self.rfile)
        path, host = urlsplit(first.split()[1].decode()).path, (headers["Host"] or "").partition(":")[0].lower()
        service = next(
            rule["service"] for rule in self.ingress
            if rule.get("hostname") in {None, host} and re.search(rule.get("path", ""), path)
        )  # fmt: skip
        if service.startswith("http_status:"):
            self.wfile.write(f"HTTP/1.1 {service.partition(':')[2]} x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
            return
        place = urlsplit(service)
        with self._connect(place.scheme, str(place.hostname), place.port or 80) as origin:
            origin.sendall(first + str(headers).replace("\n", "\r\n").encode("latin-1") + self.rfile.read())
            shutil.copyfileobj(origin.makefile("rb"), self.wfile)


    def _connect(self, scheme: str, host: str, port: int) -> socket.socket:
        origin = socket.create_connection((host, port))
        # cloudflared would look at the name (originServerName)
        return ssl._create_unverified_context().wrap_socket(origin) if scheme == "https" else origin


class _Edges(ThreadingHTTPServer):
    address_family = socket.AF_INET6
    request_queue_size = 128

    def server_bind(self) -> None:
        self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()


class _Tunnels(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    request_queue_size = 128


def main() -> None:
    """Serve until killed; says `ready`."""
    server: socketserver.BaseServer
    if sys.argv[1] == "edge":
        Edge.tunnel = sys.argv[2]
        server = _Edges(("::", 443), Edge)
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(*sys.argv[3:])
        server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    else:
        Tunnel.ingress = yaml.safe_load(Path(sys.argv[2]).read_text("utf-8"))["ingress"]
        server = _Tunnels(sys.argv[3], Tunnel)
    print("ready", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
