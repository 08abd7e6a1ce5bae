"""The units as installed: systemd takes every line, the pages they name are there, and they are shut in."""

import re

from deb_throwaway import Throwaway

from lab import checkout

UNITS = sorted(path.name for path in (checkout.ROOT / "packaging" / "systemd").glob("*.service"))
MOST_EXPOSED = 2.0  # what systemd-analyze calls "OK"; 0 is best, 10 worst


def test_systemd_takes_the_units_and_finds_them_shut_in(throwaway: Throwaway) -> None:
    said = throwaway.run(
        f"""
        dpkg -i safeip.deb >/dev/null
        echo verify:
        systemd-analyze --man=yes verify {" ".join(UNITS)} nftables.service 2>&1
        echo security:
        for unit in {" ".join(UNITS)}; do
            systemd-analyze --offline=true --no-pager security /usr/lib/systemd/system/$unit | tail -n 1
        done
        echo accounts:
        getent passwd safeip safeip-portal safeip-teller"""
    )
    verified, rest = said.partition("verify:\n")[2].split("security:\n")
    assert [line for line in verified.splitlines() if "safeip" in line or "nftables" in line] == []
    scores, accounts = rest.split("accounts:\n")
    found = {unit: float(score) for unit, score in re.findall(r"level for (\S+): ([\d.]+)", scores)}
    assert sorted(found) == UNITS
    assert max(found.values()) <= MOST_EXPOSED, found
    for line in accounts.splitlines():
        assert line.split(":")[6] == "/usr/sbin/nologin"
    assert len(accounts.splitlines()) == 3


def test_every_setting_that_shuts_in_has_a_reason() -> None:
    """Above it, or above the first line of its paragraph."""
    for unit in UNITS:
        text = (checkout.ROOT / "packaging" / "systemd" / unit).read_text("utf-8")
        service = text.partition("[Service]\n")[2].partition("[Install]")[0]
        for paragraph in filter(None, service.split("\n\n")[1:]):
            assert paragraph.startswith("#"), f"{unit}: {paragraph.splitlines()[0]}"
