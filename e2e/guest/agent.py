"""Does what the test asks for over the second serial line: one JSON object a line, each with an answer.

{"id": 1, "run": "shell words", "timeout": 60} -> {"id": 1, "code": 0, "out": "both outputs"}
{"id": 2, "since": 12345, "life": "now"} -> {"id": 2, "now": 23456, "network": true, "runs": {"203.0.113.66": [["0", 12345, 17], …], …}}
"""

import json
import os
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
    now = time.monotonic_ns() // 1_000_000
    path, wire = Path("/var/lib/e2e", life, "ticks"), Path("/var/lib/e2e", life, "wire")
    lines = _lines(path, max(now - since, 0) if life == "now" else None) if path.exists() else []
    moments = [(int(at), marks) for at, _, marks in (line.partition(" ") for line in lines) if int(at) >= since]
    up = round(float(wire.read_text("ascii")) * 1000) if wire.exists() else 1 << 62
    # before the wire is plugged in packets are lost without anybody's fault
    moments = [(at, marks if at >= up else marks.replace("0", "-")) for at, marks in moments]
    runs = {}
    for index, source in enumerate(SOURCES):
        found: list[list[Any]] = []
        for at, marks in moments:
            if not found or found[-1][0] != marks[index]:
                found.append([marks[index], at, 0])
            found[-1][2] += 1
        runs[source] = found
    return {"now": now, "network": wire.exists(), "runs": runs}


def _lines(path: Path, last: int | None) -> list[str]:
    """The watch's lines, or those of the `last` milliseconds and some before; to read all takes seconds after a while."""
    with path.open("rb") as ticks:
        size = ticks.seek(0, os.SEEK_END)
        longest = size if last is None else last // 20 * 16 + 4096  # a line of 16 bytes each 20 ms
        ticks.seek(max(size - longest, 0))
        lines = ticks.read().decode("ascii").splitlines()
    return lines[1:-1]  # the first and the last may be torn


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
