"""What the gate tells of its configuration while the portal runs: services, networks that are never closed, warnings."""

from ipaddress import ip_network
from typing import Any

from access.services import Service, Services
from portal.client_address import ClientAddress
from portal.settings import Network


class Live:
    """Takes the gate's events "services", which come in parts; the last one changes everything at once."""

    def __init__(self, services: Services, clients: ClientAddress, warnings: list[str]) -> None:
        self._services = services
        self._clients = clients
        self._warnings = warnings
        self._coming: dict[str, Service] = {}
        self._trusted: list[Network] = []
        self._told: list[str] = []

    def take(self, event: dict[str, Any]) -> None:
        """Take one part. Raises ValueError, KeyError or TypeError for what is no such event."""
        for row in event["services"]:
            values: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in row.items()}
            service = Service(**values)
            self._coming[service.name] = service
        self._trusted += [ip_network(network) for network in event["trusted"]]
        self._told += event["warnings"]
        if not event["more"]:
            self._services.change(self._coming)
            self._clients.trusted = tuple(self._trusted)
            self._warnings[:] = self._told
            self._coming, self._trusted, self._told = {}, [], []
