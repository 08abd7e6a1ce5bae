"""HAProxy in a namespace."""

import contextlib
import socket
from pathlib import Path

from lab.listening import WITHIN_S, Listening
from lab.net import Namespace
from lab.process import LabError


class HAProxy(Listening):
    """HAProxy with the sections of `text`, listening when this returns. LabError, also where `haproxy -c` warns.

    `directory` holds every file of it. It ends with `stop`, with the `with` block, or with the namespace.
    """

    def __init__(self, namespace: Namespace, directory: Path, text: str) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        config, orders = directory / "haproxy.cfg", directory / "orders"
        orders.unlink(missing_ok=True)
        config.write_text(f"global\n    stats socket {orders}\n    log stderr format raw local0\n\n{text}\n", "utf-8")
        command = ["haproxy", "-dW", "-f", str(config)]
        tried = namespace.run(*command, "-c", check=False)
        if tried.returncode != 0:
            raise LabError(f"haproxy -c: {tried.stderr.strip()}")
        self.log = directory / "haproxy.log"
        self.process = namespace.start(*command, "-db", log=self.log)

        def listens() -> bool:
            """It answers once it listens everywhere."""
            with socket.socket(socket.AF_UNIX) as asked, contextlib.suppress(OSError):
                asked.settimeout(WITHIN_S)
                asked.connect(str(orders))
                asked.sendall(b"show version\n")
                return asked.recv(1) != b""
            return False

        self.wait_until(listens, "haproxy")
