"""What was open when the record was last true: `grants.jsonl` read with suspicion, held against the policy of today."""

import errno
import os
import stat
from pathlib import Path

from nft import checks, stamps
from nft.book import BANS, Entry
from nft.policy import Policy
from nft.stamps import Clock, Stamp

LARGEST = 256 * 1024 * 1024
"""Bytes of a record. 100,000 grants take 20 MB, and it is rewritten at twice what it must hold."""


_Written = tuple[str, str, int, int]  # holder, note, end_ms, timeout_ms


class RecordError(Exception):
    """A record that cannot be taken: the file, the `place` in it ("line 7", or ""), and what is wrong."""

    def __init__(self, file: Path, place: str, message: str) -> None:
        super().__init__(": ".join(part for part in (str(file), place, message) if part))
        self.file = file
        self.place = place
        self.message = message


def read(path: Path, policy: Policy, clock: Clock) -> list[Entry]:
    """What is to be open now, in the order in which it was put; [] where there is no file. Raises RecordError.

    `end_ms` is on the monotonic clock of `clock`. What has ended is left out, and what the policy does not
    allow; what lasts too long is cut. A torn last line, as a power cut leaves it, counts for nothing.
    Takes a second or two for 100,000.
    """
    data = _load(path)
    if data is None:
        return []
    lines = data[: data.rfind(b"\n") + 1].split(b"\n")
    stamp = _stamp(path, lines[0])
    written: dict[tuple[str, bytes], _Written] = {}
    for number, line in enumerate(lines[1:-1], 2):
        try:
            _apply(written, line, policy)
        except ValueError as error:
            raise RecordError(path, f"line {number}", str(error)) from None
    room = {True: policy.max_grants, False: policy.max_grants}  # bans, grants
    entries = []
    for (set_name, key), (holder, note, end_ms, timeout_ms) in written.items():
        ban = set_name in BANS
        if not room[ban] or not _allowed(policy, set_name, key, holder, note):
            continue
        longest_s = checks.BAN_MAX_S if ban else policy.services[set_name[:-1]].max_duration_s
        whole_ms = min(timeout_ms, longest_s * 1000)
        left_ms = min(stamp.end_ms(end_ms, clock) - clock.monotonic_ms, whole_ms)
        if left_ms > 0:
            entries.append(Entry(set_name, key, holder, note, clock.monotonic_ms + left_ms, whole_ms))
            room[ban] -= 1
    return entries


def of_another_boot(path: Path, clock: Clock) -> bool:
    """Whether the record was last true before the machine's last boot; no record was not. Raises RecordError."""
    data = _load(path)
    return data is not None and _stamp(path, data.partition(b"\n")[0]).at.boot != clock.boot


def _stamp(path: Path, line: bytes) -> Stamp:
    try:
        return stamps.parse(line)
    except ValueError as error:
        raise RecordError(path, "line 1", str(error)) from None


def _apply(written: dict[tuple[str, bytes], _Written], line: bytes, policy: Policy) -> None:
    """One line on top of those before. Raises ValueError where it is none."""
    fields = stamps.fields_of(line)
    put = "put" in fields
    set_name, address = stamps.text(fields, "put" if put else "taken"), stamps.text(fields, "address")
    entry = None
    if put:
        holder, note = stamps.text(fields, "holder"), stamps.text(fields, "note")
        entry = holder, note, stamps.number(fields, "end_ms"), stamps.number(fields, "timeout_ms")
    try:
        key = checks.key(policy, address)
    except checks.Refusal:
        return  # written when another prefix was configured
    written.pop((set_name, key), None)  # what is put again is the newest
    if entry is not None:
        written[set_name, key] = entry


def _allowed(policy: Policy, set_name: str, key: bytes, holder: str, note: str) -> bool:
    try:
        if set_name not in BANS:
            checks.service(policy, set_name[:-1])
        elif policy.mode != "table":
            return False
        checks.open_to(policy, key)
        checks.holder(holder)
        checks.note(note)
    except (checks.Refusal, UnicodeEncodeError):  # half a surrogate pair, which JSON can spell
        return False
    return set_name[-1] == ("4" if len(key) == 4 else "6")


def _load(path: Path) -> bytes | None:
    """The whole file; None where there is none. Raises RecordError."""
    try:
        # O_NONBLOCK: a planted fifo must not hang the start.
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        why = "is a symbolic link" if error.errno == errno.ELOOP else f"cannot be opened ({error.strerror})"
        raise RecordError(path, "", why) from None
    try:
        _check(path, os.fstat(fd))
        with os.fdopen(fd, "rb", closefd=False) as file:
            return file.read()
    except OSError as error:
        raise RecordError(path, "", f"cannot be read ({error.strerror})") from None
    finally:
        os.close(fd)


def _check(path: Path, found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise RecordError(path, "", "is not a regular file")
    if found.st_uid not in {0, os.geteuid()}:
        raise RecordError(
            path, "", f"belongs to user {found.st_uid}; it must be user {os.geteuid()}'s or root's"
        )
    if found.st_size > LARGEST:
        raise RecordError(path, "", f"is larger than {LARGEST} bytes")
