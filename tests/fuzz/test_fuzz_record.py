"""The record of what was open, as a tampering hand or a failing disk leaves it, read at any time on any clock."""

import tempfile
from ipaddress import ip_network
from pathlib import Path

from fuzz_target import fuzzed, json_objects, spoilt
from hypothesis import example, given
from hypothesis import strategies as st

from nft import checks
from nft.book import Entry
from nft.policy import Policy, PortRange, ServiceRule
from nft.recall import RecordError, read
from nft.stamps import Clock, Stamp

DAY = 86_400_000
POLICY = Policy(
    services={"cloud": ServiceRule("cloud", (PortRange("tcp", 443, 443),), 86_400)},
    trusted=(ip_network("192.168.0.0/16"),),
    max_grants=5,
)
THEN = Clock(monotonic_ms=5 * DAY, wall_ms=1_795_000_000_000, boot="then")
STAMP = Stamp(THEN, 60_000).line()
PUT = (
    b'{"put": "cloud4", "address": "203.0.113.7", "holder": "link:k3v9", "note": "Mamie", '
    b'"until": "", "end_ms": 435600000, "timeout_ms": 43200000}\n'
)
SEEDS = [
    STAMP + PUT + PUT.replace(b"cloud4", b"banned4"),
    STAMP + PUT.replace(b"cloud4", b"cloud6").replace(b"203.0.113.7", b"2001:db8:1::/64") + PUT,
    STAMP + PUT + b'{"taken": "cloud4", "address": "203.0.113.7"}\n',
]
WORDS = [
    b'"',
    b"\n",
    b"\\ud800",
    b"\\u0007",
    b"0",
    b"9999999999",
    b"192.168.1.1",
    b"::/0",
    b"/48",
    b"banned4",
    b"trusted4",
]
LINES = json_objects(
    put=st.sampled_from(["cloud4", "cloud6", "banned4", "banned6", "trusted4"]),
    address=st.sampled_from(["203.0.113.7", "10.0.0.1", "192.168.0.1", "2001:db8::/64", "2001:db8::/48"]),
    holder=st.sampled_from(["cli", "link:x"]),
    note=st.text(max_size=70),
    end_ms=st.integers(5 * DAY, 40 * DAY),
    timeout_ms=st.integers(0, 40 * DAY),
)


def allowed(entry: Entry) -> bool:
    """Whether the gate would grant it now, if it were asked."""
    checks.open_to(POLICY, entry.key)
    checks.holder(entry.holder)
    checks.note(entry.note)
    longest_ms = DAY if entry.set in ("cloud4", "cloud6") else checks.BAN_MAX_S * 1000
    assert entry.set in ("cloud4", "cloud6", "banned4", "banned6")
    assert entry.set.endswith("4") == (len(entry.key) == 4)
    assert checks.key_of_network(POLICY, entry.key) == entry.key
    return 0 < entry.end_ms - THEN.monotonic_ms <= entry.timeout_ms <= longest_ms


@fuzzed(
    "record",
    st.one_of(
        spoilt(SEEDS, WORDS),
        st.lists(LINES, max_size=6).map(lambda lines: STAMP + b"".join(line + b"\n" for line in lines)),
        st.binary(max_size=300),
    ),
)
def test_a_record_opens_nothing_that_the_policy_forbids(data: bytes) -> None:
    """A grants.jsonl is refused with a sentence that names file and line, or all that it opens is within the policy."""
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory, "grants.jsonl")
        file.write_bytes(data)
        try:
            found = read(file, POLICY, THEN)
        except RecordError as error:
            refused = str(error)
        else:
            refused = f"{file}: line "
            assert all(allowed(entry) for entry in found)
            assert len({(entry.set, entry.key) for entry in found}) == len(found)
        assert refused.startswith(f"{file}: line ")
        assert len(refused) < 1000


MOMENTS = st.integers(0, 20 * DAY)


@given(
    MOMENTS,
    st.integers(0, 4_000_000_000_000),
    st.booleans(),
    MOMENTS,
    st.integers(1, DAY),
    st.integers(0, 60_000),
)
@example(0, 0, False, 0, DAY, 0)
@example(0, THEN.wall_ms, True, 1, DAY, 60_000)
def test_no_clock_makes_a_grant_longer(
    now_ms: int, wall_ms: int, same_boot: bool, then_ms: int, left_ms: int, next_ms: int
) -> None:
    """What was left at the stamp may have shrunk; on another boot by what is known to have passed, at least."""
    stamp = Stamp(Clock(then_ms, THEN.wall_ms, "then"), next_ms)
    now = Clock(now_ms, wall_ms, "then" if same_boot else "now")
    put = PUT.replace(b"435600000", b"%d" % (then_ms + left_ms)).replace(b"43200000", b"%d" % DAY)
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory, "grants.jsonl")
        file.write_bytes(stamp.line() + put)
        found = read(file, POLICY, now)
    for entry in found:
        assert entry.end_ms - now_ms <= left_ms
        if same_boot and now_ms >= then_ms:
            assert entry.end_ms == then_ms + left_ms
        else:
            assert entry.end_ms - now_ms <= left_ms - max(next_ms, wall_ms - THEN.wall_ms)
