"""Does what the test asks for over the second serial line: one JSON object a line, each with an answer.

{"id": 1, "run": "shell words", "timeout": 60} -> {"id": 1, "code": 0, "out": "both outputs"}
{"id": 2, "since": 12345, "life": "now"} -> {"id": 2, "now": 23456, "wire": 3456, "runs": {"203.0.113.66": [["0", 12345, 17], …], …}}
"""

import json
import subprocess
import time
import tty
from pathlib import Path
from typing import Any

from e2e.guest.watch import SOURCES


def run(command: str, timeout: float) -> dict[str, object]:
    """The exit code and both outputs; -1 where it took longer."""
    try:
        done = subprocess.run(
            ["/bin/sh", "-c", command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            timeout=timeout, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        return {"code": -1, "out": (error.stdout or b"").decode("utf-8", "replace")}
    return {"code": done.returncode, "out": done.stdout.decode("utf-8", "replace")}


def seen(since: int, life: str) -> dict[str, object]:
    """What became of each source's packets since a moment, in this life of the machine (`now`) or in its `last`.

    How they fared, from when on, and for how many packets in a row.
    """
    path, wire = Path("/var/lib/e2e", life, "ticks"), Path("/var/lib/e2e", life, "wire")
    lines = path.read_text("ascii").splitlines()[:-1] if path.exists() else []
    moments = [(int(at), marks) for at, _, marks in (line.partition(" ") for line in lines) if int(at) >= since]
    runs = {}
    for index, source in enumerate(SOURCES):
        found: list[list[Any]] = []
        for at, marks in moments:
            if not found or found[-1][0] != marks[index]:
                found.append([marks[index], at, 0])
            found[-1][2] += 1
        runs[source] = found
    up = round(float(wire.read_text("ascii")) * 1000) if wire.exists() else None
    return {"now": time.monotonic_ns() // 1_000_000, "wire": up, "runs": runs}


def main() -> None:
    with Path("/dev/ttyS1").open("r+b", buffering=0) as line:
        tty.setraw(line.fileno())
        held = b""
        while True:
            held += line.read(4096)
            *asked, held = held.split(b"\n")
            for text in asked:
                try:
                    request = json.loads(text)
                    if "since" in request:
                        answer = seen(request["since"], request["life"])
                    else:
                        answer = run(request["run"], request["timeout"])
                except (ValueError, KeyError):
                    continue  # what the line held before somebody listened
                line.write(b"\n" + json.dumps({"id": request["id"], **answer}).encode() + b"\n")


if __name__ == "__main__":
    main()
