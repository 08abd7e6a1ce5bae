"""The demo holds, leaves a link that works from this host, and goes without a trace."""

import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from lab.gateway import ROOT
from lab.net import RUN_NETNS
from lab.visitor import Visitor


@pytest.fixture
def demo() -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "lab.demo"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, bufsize=1) as process:
        yield process
        process.send_signal(signal.SIGTERM)


def read_until(demo: subprocess.Popen[str], pattern: str) -> tuple[str, re.Match[str]]:
    """What it prints up to the line that has the pattern."""
    assert demo.stdout is not None
    said = ""
    for line in demo.stdout:
        said += line
        if found := re.search(pattern, line):
            return said, found
    pytest.fail(f"the demo ended without {pattern}:\n{said}")


def test_the_demo_holds_and_its_link_works_from_this_host(demo: subprocess.Popen[str]) -> None:
    said, held = read_until(demo, r"(\d+) of (\d+) steps held")
    assert held[1] == held[2], said
    assert said.count("✓") == int(held[1]) >= 14
    _, service = read_until(demo, r"closed until you open the link: +(http://127\.0\.0\.1:\d+/)")
    _, link = read_until(demo, r"your link: +(\S+)")
    here = SimpleNamespace(connect=lambda host, port, timeout: socket.create_connection((host, port), timeout))
    browser = Visitor(here, "127.0.0.1", "::1", {})  # type: ignore[arg-type]  # a host is a namespace too
    assert not browser.reaches(service[1], timeout=1.0)
    answer = browser.open_link(link[1])
    assert answer.status == 200
    assert answer.next_url == service[1]
    assert "You come from 192.0.2.10." in browser.fetch(answer.next_url).text
    read_until(demo, "the service is open for you")
    demo.send_signal(signal.SIGINT)
    assert demo.wait(20) == 0
    assert list(RUN_NETNS.glob(f"sipl{demo.pid}-*")) == []


def test_a_signal_in_the_middle_leaves_nothing(demo: subprocess.Popen[str]) -> None:
    read_until(demo, "SafeIP starts")
    demo.terminate()
    assert demo.wait(20) == 128 + signal.SIGTERM
    assert list(RUN_NETNS.glob(f"sipl{demo.pid}-*")) == []
