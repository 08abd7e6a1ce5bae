"""What the configuration may say and what is seldom meant: sentences that say what to do."""

from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

from nft.render import is_private
from portal.settings import Network, Settings
from safeip import double_nat
from safeip.config import DEFAULT_CONFIG, DEFAULT_STATE_DIR, GATE_STATE, Config

OWN_UNIT = "/etc/systemd/system/safeip-closed.service"
"""The admin's, and beside it the directory of their additions (systemctl edit)."""

_CLOSES = ("ConditionPathExists", "ExecStart", "ExecReload")  # its lines that name closed.nft


def warnings(config: Config) -> list[str]:
    """What to tell of a configuration that is good, by `safeip check` and in the log at start and at each reload.

    Raises nothing. At a reload this is called in the gate's cell, beside the loop.
    """
    return [*_of_proxies(config.settings), *double_nat.warnings(config), *_of_scans(config), *_of_boot(config)]


def _of_proxies(settings: Settings) -> Iterator[str]:
    for network in settings.trusted_proxies:
        if not network.is_loopback and network.num_addresses > 1:
            yield (
                f"portal.trusted_proxies: {network} is wider than a host: whatever is in it may say where a visitor comes from; "
                "name the proxy's own address"
            )
        if not _near(network):
            yield (
                f"portal.trusted_proxies: {network} is in the Internet: whoever comes to hold that address, or is on the way from there, "
                "decides who gets in; let the proxy come through a tunnel (WireGuard, ssh), and name its address in that"
            )
    if settings.listen and not settings.trusted_proxies and all(ip_address(own.host).is_loopback for own in settings.listen):
        yield (
            "portal.listen: only this host reaches the portal, and portal.trusted_proxies is empty: behind a proxy or a tunnel everybody "
            "would be this host; name the proxy's address, 127.0.0.1 where it runs here"
        )
    asked = [name for name, service in settings.services.items() if not service.ports]
    if asked and not settings.trusted_proxies:
        yield (
            f'services.{asked[0]}: closed_by is "proxy", but portal.trusted_proxies is empty, so that no proxy gets an answer for anybody; '
            "name the proxy's address"
        )


def _of_scans(config: Config) -> Iterator[str]:
    wanted, policy = config.teller.abuseipdb, config.policy
    if wanted.key_file is None or not wanted.scans:
        return
    if policy.mode == "sets":
        yield 'abuseipdb.scans: with gate.mode = "sets" SafeIP does not see who is blocked, so that no scan is reported; leave it out'
        return
    ranges = [ports for rule in policy.services.values() for ports in rule.ports if ports.protocol == "tcp"]
    there = sum(ports.last + 1 - ports.first for ports in ranges)
    if there < wanted.ports:
        yield (
            f"abuseipdb.ports: a scan is reported from {wanted.ports} TCP ports on, and of those that are protected there are only {there}, "
            "so that none ever is; lower it, or leave out abuseipdb.scans"
        )


def _of_boot(config: Config) -> Iterator[str]:
    if config.path != DEFAULT_CONFIG or config.state_dir == DEFAULT_STATE_DIR or config.policy.mode == "sets":
        return
    closed = f"{config.gate_dir}/closed.nft"
    if not _loaded_at_boot(closed):
        yield (
            f"state_dir: safeip-closed.service loads {DEFAULT_STATE_DIR}/{GATE_STATE}/closed.nft at boot, and nobody writes that one, so that "
            f"a boot closes nothing until the daemon runs; have its lines {', '.join(_CLOSES[:-1])} and {_CLOSES[-1]} name {closed} "
            "(systemctl edit safeip-closed), each after an empty one of its kind, or leave state_dir out"
        )


def _loaded_at_boot(closed: str) -> bool:
    """Whether the admin's own lines say so; in the cell of a gate that began without any, whether there are some."""
    unit, additions = Path(OWN_UNIT), Path(f"{OWN_UNIT}.d")
    said = {key: [] if unit.exists() else ["the package's"] for key in _CLOSES}
    try:
        for file in [*([unit] * unit.exists()), *(sorted(additions.iterdir()) if additions.exists() else ())]:
            for line in file.read_text("utf-8", "replace").splitlines() if file.suffix in {".service", ".conf"} else ():
                key, _, value = (part.strip() for part in line.partition("="))
                if key in said:
                    said[key] = [*said[key], value] if value else []  # systemd.unit(5): an empty one begins anew
    except OSError:
        return True
    return all(len(values) == 1 and values[0].endswith(closed) for values in said.values())


def _near(network: Network) -> bool:
    """Whether a proxy can stand there without the Internet between it and the portal."""
    return network.is_loopback or is_private(network)
