"""A million hostile requests at the gate's wire, and ten thousand hostile configurations.

usage: hostile.py [--requests N] [--configurations N] [--reloads N] [--seed N]

What holds all along is told where it is checked: hostile_gate.py and hostile_ruleset.py in tests/fuzz, which try a part of it
in every run of the tests. A failure is told with the seed that finds it again.
"""

import argparse
import contextlib
import faulthandler
import json
import os
import random
import resource
import signal
import sys
import tempfile
import time
import tomllib
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tests" / "fuzz")]

from hostile_config import EXAMPLE, Configurations  # noqa: E402 (what it tries is the tests')
from hostile_gate import Siege, end_by  # noqa: E402
from hostile_requests import POLICIES  # noqa: E402
from hostile_ruleset import compare, judge  # noqa: E402

from e2e.table import aligned  # noqa: E402
from lab.gateway import Gateway  # noqa: E402
from lab.net import Namespace  # noqa: E402
from lab.process import wait_for  # noqa: E402

EVERY = 20_000  # requests between two looks at the kernel
GROWTH_KIB = 16 << 10  # by which a gate may grow under attack, once it has seen the first of it: a mebibyte of answers, some times over
CONFIG_KIB = 256 << 10  # that reading and trying configurations may take at most
HANG_S = 120


def requests(number: int, seed: int) -> list[tuple[str, ...]]:
    """A gate of each policy under siege; a row each."""
    rows: list[tuple[str, ...]] = []
    for turn, name in enumerate(POLICIES):
        began = time.monotonic()
        with tempfile.TemporaryDirectory() as directory, contextlib.closing(Siege(name, Path(directory), seed + turn)) as siege:
            while siege.figures.asked < number // len(POLICIES):
                siege.attack(min(EVERY, number // len(POLICIES)))
            figures = siege.figures
        grown = figures.most_kib - figures.first_kib
        if grown > GROWTH_KIB:
            raise AssertionError(f"the gate grew by {grown} KiB")
        allowed = sum(count for said, count in figures.said.items() if said.endswith(" ok"))
        rows.append(
            (name, f"{figures.asked:,}", f"{allowed:,}", f"{figures.asked - allowed:,}", str(figures.most_grants), str(figures.most_bans),
             str(figures.checks), f"{figures.first_kib / 1024:.1f} MiB", f"+{grown / 1024:.1f} MiB", f"{time.monotonic() - began:.0f} s")
        )  # fmt: skip
    return rows


def broken_lines(number: int, seed: int) -> None:
    """Lines that break the wire's rules, each to a server of its own."""
    with Namespace("hostile", "siph") as network, network.entered():
        for turn, policy in enumerate(POLICIES.values()):
            if policy.mode == "table":
                end_by(policy, number // 2, random.Random(seed + turn))


def configurations(number: int, seed: int) -> Counter[str]:
    """Each refused with reasons, or loaded and compared with what it says."""
    made, said = Configurations(random.Random(seed)), Counter[str]()
    slowest = 0.0
    with tempfile.TemporaryDirectory() as directory, Namespace("hostile", "siph") as network, network.entered():
        path = Path(directory, "safeip.toml")
        for _ in range(number):
            faulthandler.dump_traceback_later(HANG_S, exit=True)
            began = time.process_time()
            try:
                said["taken" if judge(made.one(), path) else "refused"] += 1
            except Exception:
                kept = Path("build", "hostile.toml")
                kept.parent.mkdir(exist_ok=True)
                kept.write_bytes(path.read_bytes())
                print(f"{kept} is the one", file=sys.stderr)
                raise
            slowest = max(slowest, time.process_time() - began)
    faulthandler.cancel_dump_traceback_later()
    said["slowest, ms"] = round(slowest * 1000)
    said["memory, KiB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if said["memory, KiB"] > CONFIG_KIB:
        raise AssertionError(f"{said['memory, KiB']} KiB")
    return said


def reloads(number: int, seed: int) -> Counter[str]:
    """Hostile configurations by SIGHUP at a running daemon: taken whole, or nothing has changed."""
    said = Counter[str]()
    with Gateway(prefix="siph") as gateway:
        base = {name: dict(keys) for name, keys in EXAMPLE.items()}
        base[""] = {"state_dir": f'"{gateway.state_dir}"', "runtime_dir": f'"{gateway.runtime}"'}
        good = "\n".join(f"[{name}]\n" * bool(name) + "".join(f"{key} = {value}\n" for key, value in keys.items()) for name, keys in base.items())
        gateway.stop()
        gateway.config.write_text(good, "utf-8")
        gateway.start()
        daemon = gateway.daemon
        made = Configurations(random.Random(seed), base, live=True)
        with Namespace("judge", "siph") as network, tempfile.TemporaryDirectory() as directory:
            for _ in range(number):
                data, before = made.one(), _rules(gateway)
                with network.entered():
                    config = judge(data, Path(directory, "safeip.toml"))
                gateway.config.write_bytes(data)
                done, after = _reload(gateway), _rules(gateway)
                if done and config is None:
                    raise AssertionError(f"taken, though it should be refused: {data!r}")
                if done and config is not None:
                    listed = json.loads(gateway.host.run("nft", "-j", "list", "table", "inet", "safeip").stdout)["nftables"]
                    compare(config, tomllib.loads(data.decode("utf-8-sig")), listed)
                if not done and after != before:
                    raise AssertionError(f"refused, and the ruleset changed from\n{before}\nto\n{after}")
                if daemon is None or daemon.poll() is not None or not gateway.healthy():
                    raise AssertionError(f"the daemon has gone: {gateway.log.read_text('utf-8')[-2000:]}")
                said["reloaded" if done else "refused"] += 1
    return said


def _reload(gateway: Gateway) -> bool:
    """SIGHUP; whether the daemon took the file."""
    begin = len(gateway.log.read_text("utf-8"))

    def said() -> str:
        return gateway.log.read_text("utf-8")[begin:]

    os.kill(gateway.gate_pid(), signal.SIGHUP)
    wait_for("the reload", lambda: "reloaded" in said(), 30)
    return "safeip: reloaded" in said()


def _rules(gateway: Gateway) -> str:
    """The daemon's table, without its elements and counts."""
    listed = ("-t list table inet safeip", "list map inet safeip ports")
    return "".join(gateway.host.run("nft", "-s", *words.split()).stdout for words in listed)


def main() -> None:
    parser = argparse.ArgumentParser(prog="hostile.py")
    parser.add_argument("--requests", type=int, default=1_000_000)
    parser.add_argument("--configurations", type=int, default=10_000)
    parser.add_argument("--reloads", type=int, default=100)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    given = parser.parse_args()
    print(f"seed {given.seed}", flush=True)
    if given.requests:
        head = ("policy", "requests", "allowed", "refused", "grants at most", "bans at most", "looks", "resident", "grown", "took")
        print(aligned([head, *requests(given.requests, given.seed)]), flush=True)
        broken_lines(given.requests // 100, given.seed)
        print(f"{given.requests // 100:,} lines that break the wire's rules: each ended its server", flush=True)
    if given.configurations:
        print(f"configurations: {dict(configurations(given.configurations, given.seed))}", flush=True)
    if given.reloads:
        print(f"reloads: {dict(reloads(given.reloads, given.seed))}", flush=True)


if __name__ == "__main__":
    main()
