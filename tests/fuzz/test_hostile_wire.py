"""A part of `./dev e2e hostile`: the same requests each time, to a gate of its own process with a real kernel."""

import contextlib
import random

import pytest
from hostile_gate import Broken, Siege, end_by
from hostile_requests import POLICIES

from lab.net import Namespace


@pytest.mark.parametrize("name", POLICIES)
def test_hostile_requests_widen_nothing(tmp_path, name):
    """What is answered, and what the kernel then holds, is what the policy allows; all else stays as it was."""
    with contextlib.closing(Siege(name, tmp_path, seed=20261121)) as siege:
        siege.attack(2000)
    said = siege.figures.said
    assert sum(said.values()) == siege.figures.asked
    assert said["grant ok"] > 200  # the good are carried out
    assert len(said) > 15  # and each refusal was tried


@pytest.mark.parametrize(
    "harm",
    [
        "add element inet safeip cloud4 { 10.0.0.1 timeout 1h }",
        "add element inet safeip cloud4 { 203.0.113.7 timeout 13h }",
        "add element inet other cloud4 { 203.0.113.8 }",
        "add rule inet safeip gate accept",
        "add table inet more",
    ],
)
def test_what_would_have_widened_something_is_noticed(tmp_path, harm):
    """The check above can fail. The gate is stopped, so that it does not put right what an admin breaks."""
    with contextlib.closing(Siege("table", tmp_path, seed=1)) as siege:
        siege.look()
        with siege.stopped(), pytest.raises(Broken):
            siege.network.run("nft", harm)
            siege.look_at_kernel()


def test_whatever_breaks_the_wires_rules_ends_the_server():
    with Namespace("test", "sipt") as network, network.entered():
        end_by(POLICIES["table"], 500, random.Random(20261121))
