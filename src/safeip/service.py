"""The installed service as systemd knows it: whether it runs, why it does not, and how it is started."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

from safeip.config import CONTROL_SOCKET, DEFAULT_RUNTIME_DIR

UNIT, CLOSED_UNIT = "safeip.service", "safeip-closed.service"

_SYSTEMD = "/run/systemd/system"  # sd_booted(3)
_ASKED = ("LoadState", "ActiveState", "SubState", "UnitFileState")
_ANSWER_WITHIN_S = 10.0
_START_WITHIN_S = 120.0  # beyond systemd's own 90 s
_OURS = "safeip: "
_SAID = 8  # lines of the log


@dataclass(frozen=True, slots=True)
class Service:
    """What systemd says of the unit, in its own words."""

    active: str
    sub: str
    enabled: str

    @property
    def runs(self) -> bool:
        """Whether it has told that it is ready, and has not ended since."""
        return self.active in {"active", "reloading"}

    @property
    def command(self) -> str:
        """What starts it, or starts it anew, and at each boot."""
        return "systemctl enable --now safeip" if self.enabled == "disabled" else "systemctl restart safeip"

    @property
    def silence(self) -> str:
        """Why nobody answers, and what to do about it."""
        if self.runs:
            return "SafeIP runs and does not answer: systemctl status safeip"
        if self.enabled.startswith("masked"):
            return "SafeIP does not run, and its unit is masked: systemctl unmask safeip"
        if self.sub == "auto-restart":
            return "SafeIP does not run: it fails and is tried again, systemctl status safeip says why"
        if self.active == "activating":
            return "SafeIP is starting: try again in a moment"
        if self.active == "failed":
            return "SafeIP does not run: its last start failed, systemctl status safeip says why; then systemctl start safeip"
        return "SafeIP does not run: systemctl start safeip"


def found() -> Service | None:
    """The unit; None where it is not installed or systemd does not run this host."""
    if not Path(_SYSTEMD).is_dir():
        return None
    done = _run(_ANSWER_WITHIN_S, "systemctl", "show", UNIT, "--property", ",".join(_ASKED))
    return None if done is None else parse(done.stdout)


def parse(shown: str) -> Service | None:
    """What `systemctl show` prints; None for a unit that is not there."""
    fields = dict(line.split("=", 1) for line in shown.splitlines() if "=" in line)
    if fields.get("LoadState", "not-found") == "not-found":
        return None
    return Service(*(fields.get(name, "") for name in _ASKED[1:]))


def silence(socket: str) -> str:
    """Why nobody listens at the command line's socket, and what to do about it, in one line."""
    if socket != f"{DEFAULT_RUNTIME_DIR}/{CONTROL_SOCKET}":
        return f"no daemon listens at {socket}: start it with 'safeip --config FILE run'"
    service = found()
    return f"no daemon listens at {socket}: start it with 'safeip run'" if service is None else service.silence


def start() -> bool:
    """Have systemd start the unit, or start it anew, now and at each boot, and wait for it. Whether it runs then."""
    service = found()
    if service is None:
        return False
    if service.enabled == "disabled":
        _run(_ANSWER_WITHIN_S, "systemctl", "enable", "--quiet", UNIT, CLOSED_UNIT)
    _run(_START_WITHIN_S, "systemctl", "restart", UNIT)
    service = found()
    return service is not None and service.runs


def inactive(*units: str) -> bool:
    """Whether systemd runs this host and none of these units is active."""
    done = _run(_ANSWER_WITHIN_S, "systemctl", "is-active", "--quiet", *units) if Path(_SYSTEMD).is_dir() else None
    return done is not None and done.returncode != 0


def said(since: float) -> list[str]:
    """What the daemon has told the journal since that time of day, without its name, the newest last, each thing once."""
    _run(_ANSWER_WITHIN_S, "journalctl", "--sync")
    done = _run(_ANSWER_WITHIN_S, "journalctl", "--unit", UNIT, "--since", f"@{since:.6f}", "--output", "cat", "--quiet")
    lines = [line.removeprefix(_OURS) for line in (done.stdout if done else "").splitlines() if line.startswith(_OURS)]
    return list(dict.fromkeys(lines))[-_SAID:]


def _run(within_s: float, *command: str) -> subprocess.CompletedProcess[str] | None:
    """None where the program is not there, or takes longer."""
    try:
        return subprocess.run(command, capture_output=True, text=True, errors="replace", check=False, timeout=within_s, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired):
        return None
