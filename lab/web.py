"""A small real web service to protect: `python3 -m lab.web NAME PORT [CERTIFICATE KEY]`. Says `ready` once it listens.

`/` answers its name and the address that asks, `/endless` sends until the reader goes (3 MB/s), `/away` leads to
another host. Both families, on every address of the host; https where it has a certificate.
"""

import socket
import ssl
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

CHUNK = b"SafeIP lab\n" * 1489  # 16 KiB
PAUSE_S = 0.005


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    name = "service"

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        if self.path == "/endless":
            self._endless()
            return
        if self.path == "/away":
            self.send_response(302)
            self.send_header("Location", "https://elsewhere.test/")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        address = str(self.client_address[0]).removeprefix("::ffff:")
        page = f"<!doctype html><title>{self.name}</title><h1>{self.name}</h1><p>You come from {address}.</p>\n"
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(page.encode())

    def _endless(self) -> None:
        self.close_connection = True
        self.send_response(200)
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        try:
            while True:
                self.wfile.write(CHUNK)
                time.sleep(PAUSE_S)
        except OSError:
            return  # the reader went, which is how this ends

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the base class's name)
        """Nothing: who asks is not of interest."""


class Server(ThreadingHTTPServer):
    address_family = socket.AF_INET6
    daemon_threads = True
    request_queue_size = 128

    def server_bind(self) -> None:
        self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()


def main() -> None:
    """Serve until killed."""
    Handler.name = sys.argv[1]
    with Server(("::", int(sys.argv[2])), Handler) as server:
        if sys.argv[3:]:
            tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            tls.load_cert_chain(*sys.argv[3:])
            # the handshake with the first read, in the connection's thread: it must not hold up the others
            server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        print("ready", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()
