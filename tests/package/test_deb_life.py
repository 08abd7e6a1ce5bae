"""Installed, upgraded, removed and purged by the real dpkg, in good order and not: where no systemd runs.

Where it runs is `./dev e2e package`.
"""

import re
import subprocess
from pathlib import Path

import pytest
from deb_throwaway import Throwaway

from lab import deb

FIRST_STEP = "Begin with: safeip setup"
CONFIG = """
[portal]
url = "https://localhost:8443"
listen = ["127.0.0.1:8443"]
[gate]
mode = "MODE"
[services.cloud]
ports = ["tcp/443"]
"""
INSTALL = """
dpkg -i safeip.deb
"""
# what closes: a daemon with the user and the capabilities that its unit gives it
CLOSE = """
cp safeip.toml /etc/safeip/safeip.toml
install -d -o safeip /run/safeip
may=+net_admin,+setuid,+setgid,+setpcap,+net_bind_service
setpriv --reuid=safeip --regid=safeip --clear-groups --inh-caps=$may --ambient-caps=$may safeip run &
daemon=$!
until safeip status >/dev/null 2>&1; do
    kill -0 $daemon  # else it has said why
    sleep 0.1
done
safeip grant cloud 203.0.113.7 --for 1h
"""
END = """
kill $daemon
wait $daemon
"""
STANDS = "nft list set inet safeip cloud4 | grep -F 203.0.113.7\n"
ENDED = f"if {STANDS.strip()}; then exit 1; fi\n"
GONE = "if nft list table inet safeip 2>/dev/null; then exit 1; fi\n"
# files that are new or changed, but for dpkg's own, the accounts and caches
LEFT = r"""
find /changed ! -type d ! -type c | sed s,^/changed,, |
    grep -Ev '^/var/(lib/dpkg|log|cache)/|^/etc/((passwd|group|shadow|gshadow)-?|\.pwd\.lock)$' || true
"""


@pytest.fixture(autouse=True)
def config(throwaway: Throwaway) -> None:
    throwaway.put("safeip.toml", CONFIG.replace("MODE", "table"))


def after(said: str, mark: str) -> list[str]:
    return said.partition(f"{mark}\n")[2].splitlines()


def test_installed_removed_and_purged_without_a_trace(throwaway: Throwaway) -> None:
    said = throwaway.run(
        f"""
        {INSTALL}
        echo tables:; nft list tables; echo links:
        find /changed/etc/systemd -type l | sort
        stat -c '%n %U:%G %a' /etc/safeip /var/lib/safeip /var/lib/safeip/*
        find /usr/share/safeip -name '*.pyc' | grep -q portal/__pycache__/app
        grep -q usr/share/safeip/src/portal/app.py /var/lib/dpkg/info/safeip.md5sums
        test -z "$(dpkg --verify safeip)"
        echo code:; safeip check || echo $?
        dpkg -r safeip
        dpkg -P safeip
        echo left:
        {LEFT}"""
    )
    assert said.count(FIRST_STEP) == 1
    assert after(said, "tables:")[0] == "links:"
    assert [line.removeprefix("/changed/etc/systemd/system/") for line in after(said, "links:")[:9]] == [
        "multi-user.target.wants/safeip.service",
        "nftables.service.wants/safeip-closed.service",
        "safeip.service.wants/safeip-teller.service",
        "sysinit.target.wants/safeip-closed.service",
        "/etc/safeip root:root 755",
        "/var/lib/safeip root:root 755",
        "/var/lib/safeip/gate safeip:safeip 700",
        "/var/lib/safeip/portal safeip-portal:safeip-portal 700",
        "/var/lib/safeip/teller safeip-teller:safeip-teller 700",
    ]
    assert "safeip setup" in after(said, "code:")[0]
    assert after(said, "left:") == []
    assert "safeip: " not in "".join(after(said, "code:")[2:]), "a warning where nothing was ever closed"


def test_removal_takes_down_what_is_closed_and_keeps_what_is_known(throwaway: Throwaway) -> None:
    said = throwaway.run(
        f"""
        {INSTALL}{CLOSE}{END}{STANDS}
        test -e /var/lib/safeip/gate/closed.nft
        dpkg -r safeip
        {GONE}
        test ! -e /var/lib/safeip/gate/closed.nft
        cmp safeip.toml /etc/safeip/safeip.toml
        test -s /var/lib/safeip/portal/secret.key
        test ! -e /usr/share/safeip
        echo again:
        {INSTALL}
        cmp safeip.toml /etc/safeip/safeip.toml
        dpkg -P safeip
        echo left:
        {LEFT}"""
    )
    assert FIRST_STEP not in "".join(after(said, "again:"))
    assert after(said, "left:") == []


@pytest.mark.parametrize("spoil", ["rm /etc/safeip/safeip.toml", "echo nonsense >/etc/safeip/safeip.toml"])
def test_removal_without_a_good_configuration_takes_the_table_down_all_the_same(throwaway: Throwaway, spoil: str) -> None:
    throwaway.run(f"{INSTALL}{CLOSE}{END}{STANDS}{spoil}\ndpkg -r safeip\n{GONE}test ! -e /var/lib/safeip/gate/closed.nft\n")


@pytest.mark.parametrize(("spoil", "held"), [("true", ENDED), ("rm /etc/safeip/safeip.toml", STANDS)])
def test_removal_leaves_a_table_that_is_the_admins(throwaway: Throwaway, spoil: str, held: str) -> None:
    """Without the grants in it, where the configuration says which they are."""
    throwaway.put("safeip.toml", CONFIG.replace('"MODE"', '"sets"\ntable = "inet safeip"'))
    throwaway.put(
        "own.nft",
        "table inet safeip {\n"
        " set cloud4 { type ipv4_addr; flags timeout; counter; }\n"
        " set cloud6 { type ipv6_addr; flags timeout; counter; }\n"
        " chain unasked { type filter hook input priority 0; }\n}\n",
    )
    throwaway.run(f"nft -f own.nft\n{INSTALL}{CLOSE}{END}{STANDS}{spoil}\ndpkg -r safeip\nnft list chain inet safeip unasked\n{held}")


def test_removal_without_the_right_to_touch_the_kernel_says_what_stays(throwaway: Throwaway) -> None:
    throwaway.put("closed.nft", "table inet safeip {\n}\n")
    said = throwaway.run(
        f"""
        {INSTALL}
        cp safeip.toml /etc/safeip/
        cp closed.nft /var/lib/safeip/gate/
        dpkg -r safeip
        test ! -e /var/lib/safeip/gate/closed.nft""",
        without="net_admin",
    )
    assert "stays until the next boot" in said


def test_a_chroot_leaves_the_kernel_of_its_host_alone(throwaway: Throwaway) -> None:
    throwaway.put("closed.nft", "table inet safeip {\n set cloud4 { type ipv4_addr; elements = { 203.0.113.7 } }\n chain leaving { }\n}\n")
    said = throwaway.run(
        f"""
        {INSTALL}
        nft -f closed.nft
        cp safeip.toml /etc/safeip/
        cp closed.nft /var/lib/safeip/gate/
        dpkg -P safeip
        {STANDS}""",
        as_chroot=True,
    )
    assert "chroot" in said


def test_removal_beside_a_daemon_that_was_not_stopped_says_so(throwaway: Throwaway) -> None:
    said = throwaway.run(f"{INSTALL}{CLOSE}dpkg -r safeip\n{STANDS}{END}nft delete table inet safeip\n")
    assert "a daemon still runs" in said


def test_an_upgrade_keeps_everything_and_greets_nobody(throwaway: Throwaway, built: deb.Built, tmp_path: Path) -> None:
    tree, newer = tmp_path / "newer", tmp_path / "newer.deb"
    subprocess.run(["dpkg-deb", "--raw-extract", str(built.deb), str(tree)], check=True)
    control = tree / "DEBIAN" / "control"
    control.write_text(re.sub(r"(?m)^Version: .*", r"\g<0>+newer", control.read_text()))
    (tree / "usr/share/safeip/src/access/moment.py").unlink()
    subprocess.run(["dpkg-deb", "--root-owner-group", "-Znone", "--build", str(tree), str(newer)], check=True, capture_output=True)
    throwaway.put("newer.deb", newer.read_bytes())
    said = throwaway.run(
        f"""
        {INSTALL}{CLOSE}
        kept="/etc/safeip/safeip.toml /var/lib/safeip/portal/secret.key /var/lib/safeip/gate/closed.nft"
        before=$(sha256sum $kept)
        echo upgrade:
        dpkg -i newer.deb
        kill -0 $daemon
        {STANDS}
        [ "$before" = "$(sha256sum $kept)" ]
        echo code:
        find /usr/share/safeip/src/access -name 'moment*'
        {END}"""
    )
    assert FIRST_STEP not in "".join(after(said, "upgrade:"))
    assert after(said, "code:") == [], "byte code of a file that is no longer there"


def test_scripts_as_dpkg_calls_them_when_something_failed(throwaway: Throwaway) -> None:
    throwaway.run(
        r"""
        dpkg --unpack safeip.deb
        dpkg -P safeip                          # never configured
        dpkg -i safeip.deb
        cd /var/lib/dpkg/info
        for call in "postinst abort-upgrade 0.2" "postinst abort-remove" "postinst abort-deconfigure in-favour other 1 removing it 2" \
            "postinst configure 0.0.1" "prerm upgrade 0.2" "prerm failed-upgrade 0.0.1 0.1" "prerm deconfigure in-favour other 1" \
            "postrm upgrade 0.2" "postrm failed-upgrade 0.0.1 0.1" "postrm abort-install" "postrm abort-upgrade 0.0.1 0.1" \
            "postrm disappear other 1"; do
            echo "$call"
            DPKG_MAINTSCRIPT_PACKAGE=safeip DPKG_MAINTSCRIPT_NAME=${call%% *} ./safeip.$call
            test -d /var/lib/safeip/gate
        done
        chmod 000 /var/lib/safeip/gate
        dpkg -i /tmp/safeip.deb                 # again over itself
        [ "$(stat -c %a /var/lib/safeip/gate)" = 700 ]
        ln -s /nowhere /etc/safeip/tls
        dpkg -P safeip
        test ! -e /etc/safeip"""
    )
