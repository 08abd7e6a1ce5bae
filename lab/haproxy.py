"""HAProxy in a namespace."""

import socket
from pathlib import Path
from typing import Self

from lab.net import Namespace
from lab.process import LabError, wait_for

WITHIN_S = 30.0


class HAProxy:
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

        def ready() -> bool:
            if self.process.poll() is not None:
                raise LabError(f"haproxy ended: {self.process.tail()}")
            with socket.socket(socket.AF_UNIX) as asked:
                return asked.connect_ex(str(orders)) == 0

        try:
            wait_for("haproxy", ready, WITHIN_S)
        except BaseException:
            self.stop()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End it. A second call does nothing."""
        self.process.stop()
