"""What the command line asks of the daemon, where a test is about something else: a program for each question takes longer."""

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from lab.gateway import Gateway
from safeip.control import Control


def ask(gateway: Gateway, method: str, path: str, query: dict[str, str] | None = None, **body: object) -> Any:
    """One request of root's; the answer's JSON. ControlError."""
    return Control(str(gateway.runtime / "control.sock")).ask(method, path, query=query, body=body or None)


def grants(gateway: Gateway) -> list[dict[str, Any]]:
    """All that is open."""
    found: list[dict[str, Any]] = ask(gateway, "GET", "/grants")
    return found


def let_in(gateway: Gateway, service: str, *addresses: str) -> None:
    """`safeip grant`, for each address."""
    for address in addresses:
        ask(gateway, "PUT", f"/grants/{service}/{quote(address, safe='')}")


def close(gateway: Gateway, service: str, address: str) -> None:
    """`safeip revoke`."""
    ask(gateway, "DELETE", "/grants", {"service": service, "address": address})


def close_all(gateway: Gateway) -> None:
    """`safeip revoke --all`."""
    ask(gateway, "DELETE", "/grants", {"all": "true"})


def add_link(gateway: Gateway, services: Sequence[str] = ("cloud",), **more: object) -> str:
    """`safeip link add`; the URL."""
    return str(ask(gateway, "POST", "/links", label="Mamie", services=services, **more)["url"])


def forget_tokens_and_bans(gateway: Gateway) -> None:
    """`safeip token remove` and `safeip unban`, for each there is."""
    for token in ask(gateway, "GET", "/tokens"):
        ask(gateway, "DELETE", f"/tokens/{token['id']}")
    for ban in ask(gateway, "GET", "/banned"):
        ask(gateway, "DELETE", "/bans", {"address": ban["address"]})
