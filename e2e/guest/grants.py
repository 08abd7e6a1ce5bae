"""Asks the daemon for many grants at once, through the command line's door.

usage: grants.py SECONDS ADDRESS...      A daemon's command line takes seconds to start in an emulated machine.
"""

import http.client
import json
import socket
import sys
import urllib.parse


class Door(http.client.HTTPConnection):
    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect("/run/safeip/control.sock")


def main() -> None:
    seconds, *addresses = sys.argv[1:]
    for address in addresses:
        door = Door("localhost", timeout=60)
        where = f"/api/v1/grants/cloud/{urllib.parse.quote(address, safe='')}"
        door.request("PUT", where, json.dumps({"for": f"{seconds}s"}), {"Content-Type": "application/json"})
        answer = door.getresponse()
        text = answer.read().decode()
        if answer.status >= 300:
            sys.exit(f"{address}: {answer.status} {text}")
        door.close()


if __name__ == "__main__":
    main()
