#!/usr/bin/python3
"""Opens a service for an address, or for where this runs: way.py SERVICE [ADDRESS [DURATION]]."""

import json
import os
import sys
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import quote

PORTAL = os.environ.get("SAFEIP_PORTAL", "https://open.example.org:8443")
TOKEN_FILE = Path(os.environ.get("SAFEIP_TOKEN_FILE", Path.home() / ".config/safeip-token"))


class Refused(Exception):
    """The portal said no, and why."""


def ask(method: str, path: str, **body: object) -> dict:
    """Ask the portal's API. Raises Refused, and OSError where the portal cannot be reached."""
    request = urllib.request.Request(f"{PORTAL}/api/v1{path}", json.dumps(body).encode(), method=method)
    request.add_header("Authorization", f"Bearer {TOKEN_FILE.read_text().strip()}")
    request.add_header("Content-Type", "application/json")
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            raise Refused(json.load(error)["detail"]) from None


def open_way(service: str, address: str = "self", **body: str) -> dict:
    """Let an address in; the grant. Another address than one's own needs the scope grant:any. `body`: for, note."""
    return ask("PUT", f"/grants/{quote(service, safe='')}/{quote(address, safe=':')}", **body)


if __name__ == "__main__":
    try:
        grant = open_way(*sys.argv[1:3], **dict(zip(["for"], sys.argv[3:4])))
    except (Refused, OSError) as problem:
        sys.exit(f"way.py: {problem}")
    print(f"{grant['service']} is open for {grant['address']} until {grant['expires_at']}")
