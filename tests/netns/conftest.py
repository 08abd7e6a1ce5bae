import subprocess
from collections.abc import Iterator

import pytest

from lab.net import Namespace


@pytest.fixture
def network() -> Iterator[Namespace]:
    """A fresh network namespace with this thread in it."""
    with Namespace("test", "sipt") as namespace, namespace.entered():
        yield namespace


@pytest.fixture
def nft(network: Namespace):
    """Runs a script of nft's language as a program of the admin's, and gives back what it prints."""

    def run(script: str) -> str:
        done = subprocess.run(["nft", "-f", "-"], input=script, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run
