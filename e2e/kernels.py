"""The gate's tests on each supported kernel: this machine's own, and Debian's in emulated machines."""

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from e2e.checkout import pack, unpack, working_directory
from e2e.debian import BOOKWORM, CACHE, TRIXIE, Release, SetupError
from e2e.image import image
from e2e.machine import Machine, MachineError
from e2e.table import aligned
from e2e.tests import gate_tests

LOGS = CACHE / "logs"
PATIENCE = 10  # emulation is 10 to 30 times slower than the machine that it runs on
TIMEOUT_S = 180 * 60
SILENCE_S = 15 * 60  # one test is quicker than that, even in emulation


@dataclass(frozen=True)
class Versions:
    """What the tests ran on."""

    kernel: str
    nft: str = ""
    python: str = ""


@dataclass(frozen=True)
class Result:
    """How the tests went on one kernel; `problem` says why there is less to tell."""

    versions: Versions
    passed: int
    failed: int
    skipped: int
    minutes: float
    failures: Sequence[str] = ()
    problem: str | None = None

    @property
    def good(self) -> bool:
        """Whether there were tests, and none failed."""
        return self.problem is None and self.failed == 0 and self.passed > 0


def here(tests: Sequence[str], directory: Path) -> Result:
    """The tests on this machine's own kernel, on a copy of the checkout."""
    begin = time.monotonic()
    log = LOGS / "kernels-own.log"
    report = directory / "results.xml"
    command = [sys.executable, "-m", "pytest", "-vv", "-p", "no:cacheprovider", f"--junitxml={report}", *tests]
    with log.open("w") as output, tempfile.TemporaryDirectory(prefix="safeip-e2e-") as copy:
        problem = None
        Path(copy).chmod(0o755)  # accounts without rights find the checkout there
        unpack(directory / "checkout.tar", Path(copy))
        try:
            subprocess.run(
                command, cwd=copy, stdin=subprocess.DEVNULL, stdout=output, stderr=output, timeout=TIMEOUT_S,
                check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            problem = f"the tests still ran after {TIMEOUT_S} s"
    nft = subprocess.run(["nft", "--version"], capture_output=True, text=True, check=True).stdout
    versions = Versions(platform.release(), nft.split()[1].removeprefix("v"), platform.python_version())
    results = report.read_text("utf-8") if report.exists() else ""
    return _result(versions, results, begin, problem, log)


def emulated(release: Release, tests: Sequence[str] | None, directory: Path) -> Result:
    """The tests in a machine with a release's kernel; all of the gate's without `tests`."""
    begin = time.monotonic()
    log, line = LOGS / f"kernels-{release.codename}.log", directory / f"{release.codename}.line"
    log.unlink(missing_ok=True)
    words = f"e2e=tests patience={PATIENCE}" + (f" tests={','.join(tests)}" if tests else "")
    problem = None
    try:
        machine = Machine(image(release), log, line, archive=directory / "checkout.tar", words=words)
        begin = time.monotonic()
        machine.wait(TIMEOUT_S, SILENCE_S)
    except (SetupError, MachineError) as error:
        problem = str(error)
    text = line.read_text("utf-8", "replace") if line.exists() else ""
    found, mark, results = text.partition("<?xml")
    return _result(Versions(*found.split("\n")[:3]), mark + results, begin, problem, log)


def main(arguments: Sequence[str]) -> int:
    """Run the tests on the kernels that were asked for; 0 where all passed on all."""
    runs: dict[str, Callable[[list[str], Path], Result]] = {
        "own": lambda tests, directory: here(tests or gate_tests(), directory),
        "6.1": lambda tests, directory: emulated(BOOKWORM, tests, directory),
        "6.12": lambda tests, directory: emulated(TRIXIE, tests, directory),
    }
    parser = argparse.ArgumentParser(prog="./dev e2e kernels", description="The gate's tests on each kernel.")
    parser.add_argument("--on", action="append", choices=sorted(runs), help="only on this kernel; may be repeated")
    parser.add_argument("tests", nargs="*", help="only these files or tests")
    given = parser.parse_args(arguments)
    LOGS.mkdir(parents=True, exist_ok=True)
    with working_directory() as directory:
        pack(directory / "checkout.tar")
        chosen = [run for key, run in runs.items() if not given.on or key in given.on]
        results = []
        if chosen[0] is runs["own"]:
            # before the others: its tests have a newcomer's patience, emulated machines take every processor
            results.append(chosen.pop(0)(given.tests, directory))
        with ThreadPoolExecutor(len(runs)) as pool:
            results += pool.map(lambda run: run(given.tests, directory), chosen)
    for result in results:
        for failure in result.failures:
            print(f"FAILED on {result.versions.kernel}: {failure}")
        if result.problem:
            print(f"FAILED on {result.versions.kernel}: {result.problem}")
    print(_table(results))
    return 0 if all(result.good for result in results) else 1


def _result(versions: Versions, results: str, begin: float, problem: str | None, log: Path) -> Result:
    """Read pytest's report (JUnit's XML); a log is kept where something failed."""
    passed, skipped, failures = 0, 0, []
    try:
        # a machine's last words may be followed by what its serial line still held
        suites = ET.fromstring(results[: results.rindex(">") + 1])
    except (ValueError, ET.ParseError):
        problem = problem or "there is no report of the tests"
    else:
        for case in suites.iter("testcase"):
            name = f"{case.get('classname')}::{case.get('name')}"
            if case.find("failure") is not None or case.find("error") is not None:
                failures.append(name)
            elif case.find("skipped") is not None:
                skipped += 1
            else:
                passed += 1
    minutes = (time.monotonic() - begin) / 60
    result = Result(versions, passed, len(failures), skipped, minutes, failures, problem)
    if result.good:
        log.unlink(missing_ok=True)
    else:
        print(f"The log of Linux {versions.kernel} is {log}", flush=True)
    return result


def _table(results: Sequence[Result]) -> str:
    rows: list[tuple[str, ...]] = [("kernel", "nft", "Python", "passed", "failed", "skipped", "minutes")]
    rows += [
        (
            one.versions.kernel, one.versions.nft, one.versions.python,
            str(one.passed), str(one.failed), str(one.skipped), f"{one.minutes:.1f}",
        )
        for one in results
    ]
    return aligned(rows)


if __name__ == "__main__":
    os.environ.pop("LAB_PATIENCE", None)
    sys.exit(main(sys.argv[1:]))
