"""A part of `./dev e2e hostile`: the same configurations each time, each refused with reasons or closing what it says."""

import random
import time

import pytest
from fuzz_target import corpus
from hostile_config import Configurations
from hostile_ruleset import Wrong, judge

from lab.net import Namespace

SMALLEST = '[portal]\nurl = "https://a.example"\n[services.a]\nports = ["tcp/1"]\n'
HUGE = {
    "a key of a hundred thousand parts": lambda n: ".".join(["a"] * n) + " = 1\n",
    "a table of a hundred thousand parts": lambda n: f"[{'.'.join(['a'] * n)}]\n",
    "the same, spaced and quoted": lambda n: " . ".join(['"a"'] * (n // 3)) + " = 1\n",
    "one long word": lambda n: "a" * 9 * n,
    "one long key": lambda n: "a" * 9 * n + " = 1\n",
    "tables in tables": lambda n: "[gate]\ntable = " + "{a=" * n + "1" + "}" * n + "\n",
    "lists in lists": lambda n: "[gate]\ntable = " + "[" * 4 * n + "]" * 4 * n + "\n",
    "services without ports": lambda n: "".join(f"[services.s{i}]\n" for i in range(n // 10)),
    "unknown keys": lambda n: "[gate]\n" + "".join(f"trusted_netw{i}=1\n" for i in range(n // 10)),
    "one port over and over": lambda n: "[services.b]\nports = [" + '"tcp/7",' * (n // 5) + "]\n",
    "networks": lambda n: "[gate]\ntrusted_networks=[" + ",".join(f'"10.{i >> 8 & 255}.{i & 255}.1"' for i in range(n // 5)) + "]\n",
}


def test_hostile_configurations_are_refused_or_widen_nothing(tmp_path):
    configurations, taken = Configurations(random.Random(20261121)), 0
    with Namespace("test", "sipt") as network, network.entered():
        for _ in range(250):
            taken += judge(configurations.one(), tmp_path / "safeip.toml") is not None
    assert 40 < taken < 200  # it tries both


@pytest.mark.parametrize("name", corpus("config"))
def test_configurations_that_were_hostile_once(tmp_path, name):
    with Namespace("test", "sipt") as network, network.entered():
        taken = judge(corpus("config")[name], tmp_path / "safeip.toml") is not None
    assert taken == name.startswith("good-")


@pytest.mark.parametrize("name", HUGE)
def test_a_file_of_a_mebibyte_is_read_or_refused_in_seconds(tmp_path, name):
    text = SMALLEST + HUGE[name](100_000)
    assert len(text) < 1 << 20
    begin = time.process_time()
    judge(text.encode(), tmp_path / "safeip.toml", load=False)
    assert time.process_time() - begin < 20


def test_very_many_addresses_to_listen_on_are_read_in_seconds(tmp_path):
    listen = ",".join(f'"1.{i >> 8}.{i & 255}.0:80"' for i in range(30_000))
    begin = time.process_time()
    assert judge(SMALLEST.replace("[services", f"listen = [{listen}]\n[services").encode(), tmp_path / "safeip.toml", load=False)
    assert time.process_time() - begin < 20


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        ("add rule inet safeip trusted ip saddr 203.0.113.0/24 accept", "trusted"),
        ("add rule inet safeip custom accept", "custom"),
        ("delete element inet safeip ports { tcp . 1 }", "ports"),
        ("insert rule inet safeip service-a accept", "service a"),
        ("add chain inet safeip more", "chains"),
        ("add table inet more", "another table"),
    ],
)
def test_what_would_have_widened_something_is_noticed(tmp_path, monkeypatch, harm, told):
    """The check above can fail."""
    real = judge.__globals__["render"].script
    monkeypatch.setattr("hostile_ruleset.render.script", lambda *given: real(*given) + harm + "\n")
    with Namespace("test", "sipt") as network, network.entered(), pytest.raises(Wrong, match=told):
        judge(SMALLEST.encode(), tmp_path / "safeip.toml")
