"""The Debian package, built from a clean export of the checkout: `./dev deb`."""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from email.utils import formatdate
from pathlib import Path

from lab import checkout

OUT = checkout.ROOT / "build" / "deb"
_PACKAGING = "packaging/debian/"
# nothing of whoever builds, so that the same files become the same bytes; Debian's own programs only
_ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "TZ": "UTC"}
_PASSED_ON = ("DEB_BUILD_OPTIONS", "DEB_BUILD_PROFILES", "TMPDIR")


class BuildError(Exception):
    """The package could not be built; the message says where it stopped."""


@dataclass(frozen=True)
class Built:
    """What a build left in its directory."""

    deb: Path
    changes: Path
    seconds: float


def export(to: Path, version: str | None = None) -> None:
    """Write a Debian source tree into a directory that is empty or not there; `version` instead of the changelog's.

    Files have the modes that git knows and the time of the changelog, whatever the checkout's are. BuildError.
    """
    names = checkout.files()
    if _PACKAGING + "changelog" not in names:
        raise BuildError(f"there is no {_PACKAGING}changelog in {checkout.ROOT}")
    for name in names:
        path = to / _place(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        source = checkout.ROOT / name
        shutil.copyfile(source, path, follow_symlinks=False)
        if not path.is_symlink():
            path.chmod(0o755 if source.stat().st_mode & 0o100 else 0o644)
    moment = int(_changelog(to, "Timestamp"))
    if version is not None:
        moment = _change_version(to, version, moment)
    for path in (to, *to.rglob("*")):
        if path.is_dir():
            path.chmod(0o755)
        os.utime(path, (moment, moment), follow_symlinks=False)


def build(out: Path = OUT, version: str | None = None) -> Built:
    """Build the .deb, with its .buildinfo, .changes and the log, into `out`. BuildError."""
    began = time.monotonic()
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="safeip-deb-") as directory:
        tree = Path(directory, "safeip")
        tree.mkdir()
        export(tree, version)
        environment = _environment(tree)
        # without a compiler, which Debian expects where packages are built: here nothing is compiled
        _said(["dpkg-checkbuilddeps", "-I", str(tree / "debian" / "control")])
        log = out / "build.log"
        with log.open("wb") as output:
            done = subprocess.run(
                ["dpkg-buildpackage", "--build=binary", "--no-check-builddeps", "--no-sign"],
                cwd=tree, env=environment, umask=0o022,
                stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, check=False,
            )  # fmt: skip
        if done.returncode != 0:
            last = log.read_text(errors="replace").splitlines()[-15:]
            raise BuildError("\n".join([f"dpkg-buildpackage ended with {done.returncode}; all of it is in {log}:", *last]))
        stem = f"safeip_{_changelog(tree, 'Version').split(':')[-1]}"
        for made in sorted(Path(directory).glob("safeip_*")):
            shutil.move(made, out / made.name)
    return Built(out / f"{stem}_all.deb", out / f"{stem}_{_architecture()}.changes", time.monotonic() - began)


def _place(name: str) -> str:
    return "debian/" + name.removeprefix(_PACKAGING) if name.startswith(_PACKAGING) else name


def _change_version(tree: Path, version: str, moment: int) -> int:
    """Put an entry for `version` above the changelog's; its time."""
    _said(["dpkg", "--validate-version", version])
    path = tree / "debian" / "changelog"
    maintainer = _changelog(tree, "Maintainer")
    entry = f"safeip ({version}) unstable; urgency=medium\n\n  * Built for a trial.\n\n -- {maintainer}  {formatdate(moment + 1)}\n\n"
    path.write_text(entry + path.read_text("utf-8"), "utf-8")
    return moment + 1


def _changelog(tree: Path, field: str) -> str:
    return _said(["dpkg-parsechangelog", "--file", str(tree / "debian" / "changelog"), "--show-field", field])


def _architecture() -> str:
    return _said(["dpkg", "--print-architecture"])


def _said(command: list[str]) -> str:
    try:
        done = subprocess.run(command, env=_ENVIRONMENT, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise BuildError(f"{error.filename} is not installed; ./dev deb installs it") from None
    if done.returncode != 0:
        raise BuildError(done.stderr.strip() or f"{' '.join(command)} ended with {done.returncode}")
    return done.stdout.strip()


def _environment(tree: Path) -> dict[str, str]:
    passed_on = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    return {**_ENVIRONMENT, **passed_on, "SOURCE_DATE_EPOCH": _changelog(tree, "Timestamp")}


def _main() -> int:
    parser = argparse.ArgumentParser(prog="./dev deb", description="Builds the Debian package from the checkout as it is now.")
    parser.add_argument("--version", metavar="VERSION", help="instead of the version of packaging/debian/changelog")
    parser.add_argument("--out", metavar="DIRECTORY", type=Path, default=OUT, help="where it goes (build/deb)")
    options = parser.parse_args()
    try:
        built = build(options.out.resolve(), options.version)
    except BuildError as error:
        print(f"./dev deb: {error}", file=sys.stderr)
        return 1
    print(f"{built.deb} ({built.deb.stat().st_size:,} bytes, {built.seconds:.1f} s)")
    return 0


if __name__ == "__main__":
    sys.exit(_main())
