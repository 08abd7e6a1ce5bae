"""What setup asks about the configuration."""

import re
import socket
from collections.abc import Collection, Iterable, Sequence
from ipaddress import IPv4Network, IPv6Network, ip_network
from urllib.parse import urlsplit

from access.address import parse_address
from nft.policy import PortRange
from portal.settings import Network
from safeip import output, terminal, values
from safeip.config import DEFAULT_TRUSTED
from safeip.config_services import service_name
from safeip.setup_file import Answers, NewService
from safeip.setup_found import Found, Socket, listening, read_sockets
from safeip.setup_networks import attached
from safeip.setup_ssh import Ssh, own_connections

_PORT = 8443
_LOOPBACK = (ip_network("127.0.0.0/8"), ip_network("::1/128"))
_WEB = {"tcp/443": "https", "tcp/80": "http"}
_NOWHERE = "none"
_RUNNERS = ("", "docker-proxy", "java", "node", "perl", "php", "python", "rootlessport", "ruby", "systemd")


def ask_configuration(answers: Answers, own: Collection[int]) -> None:
    """Fill in the answers. `own`: TCP ports of a portal that may run already."""
    sockets = [one for one in read_sockets() if not (one.listens and one.protocol == "tcp" and one.port in own)]
    _ask_portal(answers, sockets)
    ssh = own_connections(sockets)
    _ask_services(answers, listening(sockets), {one.port for one in ssh})
    _ask_trusted(answers)
    _keep_ssh(answers, ssh)


def _ask_portal(answers: Answers, sockets: Iterable[Socket]) -> None:
    terminal.say()
    terminal.say("The portal is the web page where people sign in and open links. The Internet has to reach it.")
    origin = terminal.ask("Name or address of this host, as seen from the Internet", _origin, default=_own_name())
    taken = {one.port for one in sockets if one.listens and one.protocol == "tcp"}

    def free_port(text: str) -> int:
        if not (text.isascii() and text.isdigit() and 1 <= int(text[:6]) <= 65535):
            raise ValueError("Write a port from 1 to 65535.")
        if int(text) in taken:
            raise ValueError("Another program listens there; write another port.")
        return int(text)

    port = urlsplit(origin).port
    answers.port = terminal.ask("Port on which the portal listens", free_port, default=str(port or _PORT))
    answers.url = origin if port or answers.port == 443 else f"{origin}:{answers.port}"


def _origin(text: str) -> str:
    if text.lower().startswith("http:"):
        raise ValueError("The portal speaks https; write a name, or a URL that begins with https://")
    host = f"[{text}]" if text.count(":") > 1 and "/" not in text and "[" not in text else text
    return values.origin(host if "://" in text else f"https://{host}")


def _own_name() -> str:
    """The host's name where it is a full one, else the address from which it speaks to the Internet."""
    name = socket.gethostname().lower()
    if "." in name.strip("."):
        return name
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing: the kernel chooses the way
        except OSError:
            return "localhost"
        return str(probe.getsockname()[0])


def _ask_services(answers: Answers, found: Sequence[Found], ssh: set[int]) -> None:
    terminal.say()
    terminal.say("SafeIP closes services to everybody but those whom you let in. On this host listen:")
    terminal.say()
    notes = ["your own connection" if one.port in ssh and "tcp" in one.protocols else one.why_not for one in found]
    rows = [
        (number, ", ".join(one.ports), one.program or "(not known)", note)
        for number, (one, note) in enumerate(zip(found, notes, strict=True), 1)
    ]
    output.print_table(("", "PORTS", "PROGRAM", ""), rows, empty="Nothing that other hosts can reach.")
    terminal.say()
    usual = " ".join(str(number) for number, note in enumerate(notes, 1) if not note) or _NOWHERE
    chosen: list[Found] = []
    more: list[str] = []
    while not (chosen or more):
        if found:
            chosen = terminal.ask("Numbers of those to close, or none", lambda text: _choice(text, found), default=usual)
        more = _ask_more(answers, chosen)
        if not (chosen or more):
            terminal.say("  Then there would be nothing to do. Choose at least one.")
    for ports, program in [(one.ports, one.program) for one in chosen] + [((port,), "") for port in more]:
        _ask_service(answers, ports, program)


def _ask_more(answers: Answers, chosen: Sequence[Found]) -> list[str]:
    known = [values.port_range(port) for one in chosen for port in one.ports]
    known.append(PortRange("tcp", answers.port, answers.port))
    terminal.say("Ports that this host forwards to others, or that containers publish, may not be listed above.")
    return terminal.ask(
        "Other ports to close, such as tcp/8096 udp/30000-30010", lambda text: _ports(text, known), default=_NOWHERE
    )


def _choice(text: str, found: Sequence[Found]) -> list[Found]:
    if text.lower() == _NOWHERE:
        return []
    words = text.replace(",", " ").split()
    if text.lower() == "all":
        return list(found)
    if not all(word.isascii() and word.isdigit() and 1 <= int(word[:6]) <= len(found) for word in words):
        raise ValueError(f"Write numbers from 1 to {len(found)} with spaces between them, all, or none.")
    return [found[number - 1] for number in sorted({int(word) for word in words})]


def _ports(text: str, known: Sequence[PortRange]) -> list[str]:
    """Ports that are not among the known ones, which are the portal's own and those chosen before."""
    taken = list(known)
    for word in [] if text.lower() == _NOWHERE else text.replace(",", " ").split():
        port = values.port_range(word)
        if any(port.protocol == other.protocol and port.first <= other.last and other.first <= port.last for other in taken):
            raise ValueError(f"{port} is the portal's own, or chosen already; leave it out.")
        taken.append(port)
    return [str(port) for port in taken[len(known) :]]


def _ask_service(answers: Answers, ports: Sequence[str], program: str) -> None:
    terminal.say()
    terminal.say(f"{', '.join(ports)}{f' ({output.clean(program)})' if program else ''}")
    name = terminal.ask(
        "  Name of the service; one that you gave before takes these ports too", _service_name, default=_suggestion(ports, program)
    )
    if name in answers.services:
        answers.services[name].ports += ports
        return
    title = terminal.ask("  Title, which people read", values.title, default=name.replace("-", " ").capitalize())
    host = urlsplit(answers.url).hostname or ""
    scheme = next((_WEB[port] for port in ports if port in _WEB), "")
    web = f"{scheme}://{f'[{host}]' if ':' in host else host}/" if scheme else _NOWHERE
    url = terminal.ask("  URL to which people go once they are in, or none", _url, default=web)
    answers.services[name] = NewService(name, title, url, list(ports))


def _suggestion(ports: Sequence[str], program: str) -> str:
    """The program's name as a service's, or one of the port where the program may run anything."""
    name = re.sub("[^a-z0-9-]+", "-", program.lower()).strip("-0123456789")[:24]
    return f"port-{ports[0].split('/')[1].split('-')[0]}" if name in _RUNNERS else name


def _service_name(text: str) -> str:
    return service_name(text.lower())


def _url(text: str) -> str:
    return "" if text.lower() == _NOWHERE else values.url(text)


def _ask_trusted(answers: Answers) -> None:
    terminal.say()
    terminal.say("Some networks are never closed: those at home, where everybody may use everything.")
    usual = list(DEFAULT_TRUSTED)
    for one in attached():
        if any(_within(one.network, other) for other in usual):
            continue
        if one.outward:
            terminal.say(f"{one.network} of {one.interface} is left out: it leads to the Internet, and strangers may be in it.")
        else:
            usual.append(one.network)
    answers.trusted = terminal.ask("Networks that are never closed", _networks, default=" ".join(map(str, usual)))


def _networks(text: str) -> list[Network]:
    found = [values.network(word) for word in text.replace(",", " ").split()]
    return [*(own for own in _LOOPBACK if not any(_within(own, other) for other in found)), *found]


def _within(inner: Network, outer: Network) -> bool:
    if isinstance(inner, IPv4Network):
        return isinstance(outer, IPv4Network) and inner.subnet_of(outer)
    return isinstance(outer, IPv6Network) and inner.subnet_of(outer)


def _keep_ssh(answers: Answers, connections: Iterable[Ssh]) -> None:
    """Nobody is locked out of the connection through which they answer."""
    for one in sorted(connections, key=str):
        client = _host(one)
        if any(_within(client, network) for network in answers.trusted):
            continue
        for service in answers.services.values():
            if not any(_holds(port, one.port) for port in service.ports):
                continue
            terminal.say()
            terminal.say(f"You are connected by SSH from {one.client}, and {service.name} closes tcp/{one.port}.")
            if terminal.yes(f"May {client} become a network that is never closed, so that you are not locked out?", default=True):
                answers.trusted.append(client)
            else:
                service.existing = "keep"
                terminal.say(f"  Then connections to {service.name} that stand go on until they end, this one too.")
                terminal.say("  A NEW connection from there is refused, until you let it in: by a link, at the portal, or from")
                terminal.say(f"  a connection that stands: safeip grant {service.name} {one.client}")
            break


def _host(one: Ssh) -> Network:
    """The client's address as SafeIP has it: an IPv4 host, or an IPv6 /64."""
    return ip_network(str(parse_address(str(one.client), 64)))


def _holds(port: str, number: int) -> bool:
    found = values.port_range(port)
    return found.protocol == "tcp" and found.first <= number <= found.last
