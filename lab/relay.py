"""A TCP relay from this host's loopback into a namespace, for a browser that runs on the host."""

import contextlib
import selectors
import socket
import socketserver
import threading

from lab.net import Namespace

CONNECT_TIMEOUT_S = 20.0


class Relay:
    """Listens on a free port of 127.0.0.1 and connects on from inside `namespace`, as if its browser asked.

    While the other end does not answer, a client waits, and is let go after 20 seconds.
    """

    def __init__(self, namespace: Namespace, host: str, port: int) -> None:
        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                with contextlib.suppress(OSError), namespace.connect(host, port, CONNECT_TIMEOUT_S) as onward:
                    onward.settimeout(None)
                    for end in (self.request, onward):
                        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    _pass_on(self.request, onward)

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True
            allow_reuse_address = True

        self._server = Server(("127.0.0.1", 0), Handler)
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), name="relay", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening. Connections end with the namespace."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def _pass_on(near: socket.socket, far: socket.socket) -> None:
    """Pass bytes both ways until both sides have said their last."""
    other = {near: far, far: near}
    with selectors.DefaultSelector() as selector:
        for end in (near, far):
            selector.register(end, selectors.EVENT_READ)
        while selector.get_map():
            for key, _ in selector.select():
                end = near if key.fileobj is near else far
                data = end.recv(65536)
                if data:
                    other[end].sendall(data)
                else:
                    selector.unregister(end)
                    other[end].shutdown(socket.SHUT_WR)
