"""The Debian package's story on Debian 12 and 13: built, installed by apt where systemd runs, lived with, purged."""

import argparse
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from e2e import package_begin, package_earlier, package_end, package_life, package_service, package_weather
from e2e.checkout import pack, working_directory
from e2e.debian import BOOKWORM, CACHE, TRIXIE, Release, SetupError
from e2e.package_scene import Report, Scene
from e2e.table import aligned
from lab import deb
from lab.process import LabError

RELEASES = {release.codename: release for release in (BOOKWORM, TRIXIE)}
Step = Callable[[Scene], None]
# the first four lead to a service that runs, and are done whichever of the others is asked for
FIRST: Mapping[str, Step] = {
    "boot": package_begin.boot,
    "install": package_begin.install,
    "setup": package_begin.setup,
    "link": package_begin.link,
}
THEN: Mapping[str, Step] = {
    "service": package_service.service,
    "reload": package_service.reload,
    "kill": package_service.kill,
    "upgrade": package_life.upgrade,
    "reboot": package_life.reboot,
    "certificate": package_life.certificate,
    "flush": package_weather.flush,
    "broken": package_weather.broken,
    "remove": package_end.remove,
    "journal": package_end.journal,
    "suites": package_end.suites,
}


def tell(release: Release, steps: Sequence[str], directory: Path, packages: Mapping[str, Path], checkout: Path) -> Report:
    """The story on one release; `packages` are `deb`, `newer` and `earlier`."""
    report = Report(release.name)
    print(f"\n{release.name}", flush=True)
    begin = time.monotonic()
    try:
        with Scene.set_up(release, report, directory, **packages, checkout=checkout) as scene:
            for name, step in {**FIRST, **THEN}.items():
                if name in FIRST or not steps or name in steps:
                    _take(report, name, step, scene)
                    if name in FIRST and report.failed:
                        break  # nothing that follows would tell anything
            _take(report, "watch", watch, scene)
    except (SetupError, LabError, OSError) as error:
        report.check("the container and its world", held=False, detail=error)
    report.seconds["all"] = time.monotonic() - begin
    return report


def watch(scene: Scene) -> None:
    """Whether the watch can be believed."""
    scene.flows.stop()
    unheard = scene.flows.unheard()
    scene.report.check("every packet that came was counted", unheard == 0, unheard)


def _take(report: Report, name: str, step: Step, scene: Scene) -> None:
    report.step = name
    print(f"{release_time()} {report.release}: {name}", flush=True)
    begin = time.monotonic()
    try:
        step(scene)
    except (LabError, OSError) as error:
        report.check("it went to its end", held=False, detail=error)
    report.seconds[name] = time.monotonic() - begin


def release_time() -> str:
    """The time of day."""
    return time.strftime("%H:%M:%S")


def main(arguments: Sequence[str]) -> int:
    """Tell it, print figures; 0 where everything held."""
    parser = argparse.ArgumentParser(prog="./dev e2e package", description="The Debian package, on real systemd.")
    parser.add_argument("--on", choices=sorted(RELEASES), action="append", help="the release; without it, both")
    parser.add_argument("steps", nargs="*", metavar="step", help=f"only these: {', '.join(THEN)}; {', '.join(FIRST)} come first always")
    given = parser.parse_args(arguments)
    if unknown := set(given.steps) - {*FIRST, *THEN}:
        parser.error(f"no step named {', '.join(sorted(unknown))}; there are: {', '.join((*FIRST, *THEN))}")
    CACHE.mkdir(parents=True, exist_ok=True)
    with working_directory() as directory:
        checkout = directory / "checkout.tar"
        pack(checkout)
        try:
            built = deb.build(directory / "deb")
            version = built.deb.name.split("_")[1]
            newer = deb.build(directory / "newer", f"{version}+next1")
            earlier = package_earlier.build(directory / "earlier", f"{version}~earlier1")
        except deb.BuildError as error:
            print(f"FAILED: {error}")
            return 1
        print(f"Built {built.deb.name} and {newer.deb.name} in {built.seconds + newer.seconds:.1f} s, and {earlier.name}", flush=True)
        packages = {"deb": built.deb, "newer": newer.deb, "earlier": earlier}
        reports = [tell(RELEASES[name], given.steps, directory, packages, checkout) for name in given.on or sorted(RELEASES)]
    print("\n" + table(reports))
    for report in reports:
        drawn = ", ".join(f"{name} {size / 1024:.1f}" for name, size in sorted(report.drawn.items(), key=lambda item: -item[1]))
        print(f"\nDrawn in on {report.release}, MB: {drawn}")
    for report in reports:
        for line in report.failed:
            print(f"FAILED on {report.release}: {line}")
    failed = sum(len(report.failed) for report in reports)
    print(f"{sum(report.held for report in reports)} held, {failed} failed")
    return 1 if failed else 0


def table(reports: Sequence[Report]) -> str:
    """Figures and seconds, a column for each release."""
    figures = list(dict.fromkeys(name for report in reports for name in report.figures))
    steps = list(dict.fromkeys(name for report in reports for name in report.seconds))
    rows = [("", *(report.release for report in reports))]
    rows += [(name, *(report.figures.get(name, "-") for report in reports)) for name in figures]
    rows += [(f"seconds: {name}", *(f"{report.seconds[name]:.1f}" if name in report.seconds else "-" for report in reports)) for name in steps]
    return aligned(rows)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
