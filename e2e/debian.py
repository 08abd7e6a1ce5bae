"""Trees of Debian releases with their kernels, made once and kept in ~/.cache/safeip."""

import fcntl
import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "safeip" / "e2e"

# what SafeIP runs on, its tests, and what turns a tree into a machine; `modprobe` is the kernel's way to nftables
PACKAGES = (
    "python3", "python3-aiohttp", "python3-argon2", "python3-cracklib", "python3-jinja2", "python3-nftables",
    "python3-pyotp", "python3-sdnotify", "python3-seccomp", "python3-segno", "cracklib-runtime",
    "ca-certificates", "iproute2", "netbase", "nftables", "openssl", "procps",
    "python3-pytest", "python3-hypothesis",
    "kmod", "systemd", "systemd-sysv",
)  # fmt: skip
KERNEL = "linux-image-cloud-amd64"
UNUSED = ("/usr/share/man/*", "/usr/share/locale/*", "/usr/share/doc/*")

# a kernel package is unpacked, not installed: it would make an initrd that nobody boots
_KERNEL_HOOK = f"""
set -eu
export APT_CONFIG="$MMDEBSTRAP_APT_CONFIG"
package=$(apt-cache depends {KERNEL} | sed -n 's/ *Depends: \\(linux-image-\\)/\\1/p' | head -n 1)
cd "$1/var/tmp"
apt-get -qq download "$package"
dpkg-deb --fsys-tarfile linux-image-*.deb | tar -x --keep-directory-symlink -C "$1"
rm linux-image-*.deb
depmod -b "$1" "$(ls "$1/lib/modules")"
"""
TIDY_HOOK = 'rm -f "$1/etc/hostname" "$1/etc/resolv.conf"'


class SetupError(Exception):
    """Something that emulation needs could not be made; the message says what."""


@dataclass(frozen=True)
class Release:
    """A release of Debian, and the qemu that runs its kernel."""

    codename: str
    name: str
    qemu_from: str | None = None  # another release, where this machine's own qemu may be too old for the kernel


BOOKWORM = Release("bookworm", "Debian 12")
# qemu 7.2 of Debian 12 does not emulate all that Linux 6.12 uses: some boots hang
TRIXIE = Release("trixie", "Debian 13", qemu_from="trixie")


def tree(release: Release) -> Path:
    """The release with PACKAGES and its kernel, unpacked. SetupError."""
    return made_tree(release.codename, PACKAGES, (_KERNEL_HOOK, TIDY_HOOK))


def qemu_tree(codename: str) -> Path:
    """A tree with nothing but qemu in it. SetupError."""
    return made_tree(codename, ("qemu-system-x86", "qemu-system-data", "seabios"), (TIDY_HOOK,), label="qemu")


@contextmanager
def made_once(path: Path, siblings: str) -> Iterator[Path | None]:
    """A path beside `path` to make it at, which becomes `path` at the block's end; None where it is there already.

    Two runs at once make it once. What older lists of packages made, `siblings` (a glob pattern), is removed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with (path.parent / f"{siblings.rstrip('*-')}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if path.exists():
            yield None
            return
        for old in path.parent.glob(siblings):
            _remove(old)
        new = path.with_name(path.name + ".new")
        try:
            yield new
        except BaseException:
            _remove(new)
            raise
        new.rename(path)


def digest(*parts: object) -> str:
    """A short name for what something is made of."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:12]


def made_tree(
    codename: str, packages: Sequence[str], hooks: Sequence[str], label: str = "tree", *, unused: Sequence[str] = UNUSED,
    options: Sequence[str] = (),
) -> Path:  # fmt: skip
    """Debian's smallest tree and some packages, without files that are `unused`; `options` are mmdebstrap's. SetupError."""
    path = CACHE / f"{label}-{codename}-{digest(packages, hooks, unused, *options)}"
    with made_once(path, f"{label}-{codename}-*") as new:
        if new is None:
            return path
        print(f"Making a tree of Debian {codename} ({label})", flush=True)
        command = [
            "mmdebstrap", "--quiet", "--variant=minbase", f"--include={','.join(packages)}",
            *(f"--dpkgopt=path-exclude={pattern}" for pattern in unused),
            *(f"--customize-hook={hook}" for hook in hooks),
            *options, codename, str(new), _mirror(),
        ]  # fmt: skip
        log = path.with_suffix(".log")
        with log.open("w") as output:
            done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, check=False)
        if done.returncode != 0:
            raise SetupError(f"mmdebstrap could not make a tree of {codename}: see {log}")
        log.unlink()
    return path


def _mirror() -> str:
    """Where this machine's own packages come from."""
    command = ["apt-get", "indextargets", "--format", "$(CODENAME) $(REPO_URI)", "Created-By: Packages"]
    for line in subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines():
        codename, _, uri = line.partition(" ")
        if "-" not in codename:  # not bookworm-updates, nor bookworm-security
            return uri
    raise SetupError("apt knows no Debian mirror here (apt-get indextargets)")


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
