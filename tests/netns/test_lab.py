"""The lab leaves nothing behind, and its world is wired as its description says."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.gateway import ROOT, Gateway
from lab.net import RUN_NETNS, Namespace, sweep
from lab.process import LabError, ended, wait_for
from lab.visitor import Family

LEAVES = """
import sys, time
from pathlib import Path
from lab.net import Namespace
namespace = Namespace("left", sys.argv[1])
process = namespace.start("sleep", "300", log=Path(sys.argv[2]))
while Path(f"/proc/{process.pid}/comm").read_text().strip() != "sleep":  # until then nothing would end it with this one
    time.sleep(0.01)
print(namespace.name, process.pid, flush=True)
time.sleep(300)
"""


def test_a_thread_enters_and_comes_back(tmp_path: Path) -> None:
    here = Path("/proc/thread-self/ns/net")
    home = here.readlink()
    with Namespace("enter", "siplt") as namespace:
        assert namespace.call(here.readlink) != home
        assert namespace.call(socket.if_nameindex) == [(1, "lo")]
        with pytest.raises(ValueError, match="no number"):
            namespace.call(int, "no number")
        assert here.readlink() == home
        process = namespace.start("sleep", "300", log=tmp_path / "log")
        assert namespace.pids() == [process.pid]
    assert not namespace.path.exists()
    assert process.poll() == -signal.SIGTERM


def test_a_failed_program_is_an_error_with_its_message() -> None:
    with Namespace("fail", "siplt") as namespace:
        with pytest.raises(LabError, match=r"nft .*: exit 1: .*syntax error"):
            namespace.run("nft", "no such thing")
        assert namespace.run("false", check=False).returncode == 1


def test_what_a_killed_run_leaves_is_swept(tmp_path: Path) -> None:
    prefix = f"siplt{os.getpid()}x"
    with subprocess.Popen(
        [sys.executable, "-c", LEAVES, prefix, str(tmp_path / "log")], stdout=subprocess.PIPE, cwd=ROOT, text=True
    ) as maker:
        assert maker.stdout is not None
        name, pid = maker.stdout.readline().split()
        assert sweep(prefix) == []  # its maker lives
        maker.kill()
    wait_for("the end of the sleeper", lambda: ended(int(pid)))
    assert (RUN_NETNS / name).exists()
    assert sweep(prefix) == [name]
    assert not (RUN_NETNS / name).exists()


@pytest.fixture(scope="module")
def world() -> Iterator[Gateway]:
    with Gateway(start=False, prefix="siplt") as gateway:
        yield gateway


@pytest.mark.parametrize("family", [4, 6])
def test_services_see_the_visitors_own_address(world: Gateway, family: Family) -> None:
    for visitor in (world.visitor, world.second, world.stranger):
        address = visitor.ipv4 if family == 4 else visitor.ipv6
        assert f"cloud</h1><p>You come from {address}." in visitor.fetch("http://home.test/", family=family).text
        forwarded = visitor.fetch("http://home.test:8096/", family=family).text
        assert f"films</h1><p>You come from {address}." in forwarded


def test_a_drop_shuts_out_and_stops_a_download(world: Gateway) -> None:
    with world.visitor.download("http://home.test/endless") as download:
        wait_for("the first bytes", lambda: download.received > 100_000)
        world.nft(
            "add table inet shut; add chain inet shut in { type filter hook prerouting priority mangle; };"
            "add rule inet shut in ip saddr 192.0.2.10 drop"
        )
        assert not world.visitor.reaches("http://home.test/", timeout=0.2)
        wait_for("the end of what was on its way", lambda: time.monotonic() - download.last_at > 0.5)
    world.nft("delete table inet shut")
    assert world.visitor.reaches("http://home.test/")


def test_a_daemon_that_cannot_start_is_told_with_its_words(world: Gateway) -> None:
    world.configure(services={})
    with pytest.raises(LabError, match=r"the daemon ended with 78\n.*services"):
        world.start()


def test_everything_goes_with_the_gateway() -> None:
    with Gateway(start=False, prefix="siplt") as gateway:
        names = [path.name for path in RUN_NETNS.glob(f"siplt{os.getpid()}-*")]
        pids = gateway.host.pids()
        assert len(names) >= 6
        assert len(pids) == 1
    assert not gateway.directory.exists()
    assert not gateway.host.path.exists()
    assert ended(pids[0])
