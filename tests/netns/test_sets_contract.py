"""The contract of nft.sets.Sets, kept by netlink and by libnftables alike, on a real kernel."""

import contextlib
import errno
import threading
from ipaddress import ip_address

import pytest

from nft.bindings import BindingsSets
from nft.elements import element
from nft.netlink import Message
from nft.netlink_sets import NetlinkSets
from nft.sets import Add, Element, Flush, KernelError, New, Remove, Replace, whole

MINUTE = 60_000  # how long a test may take; libnftables tells times to the second only
HOUR = 3_600_000
TABLE = """
table inet t {
    set a4 { type ipv4_addr; flags timeout; counter; }
    set a6 { type ipv6_addr; flags timeout; counter; }
}
"""


@pytest.fixture(params=[NetlinkSets, BindingsSets], ids=["netlink", "libnftables"])
def sets(request, nft):
    nft(TABLE)
    with contextlib.closing(request.param("inet", "t")) as opened:
        yield opened


def key(text: str) -> bytes:
    return ip_address(text).packed


def given(text: str = "203.0.113.7", timeout: int = 2 * HOUR, left: int | None = None, comment: str = "") -> Element:
    address = key(text)
    return Element("a4" if len(address) == 4 else "a6", address, timeout, left or timeout, comment)


def held(sets, name: str = "a4") -> dict[bytes, Element]:
    found = [element for part in whole(sets, name) for element in part]
    by_key = {element.key: element for element in found}
    assert len(by_key) == len(found)  # each is told once
    return by_key


def about(found: int | None, wanted: int) -> bool:
    return found is not None and wanted - MINUTE <= found <= wanted


@pytest.mark.parametrize("address", ["203.0.113.7", "2001:db8:1::"])
@pytest.mark.parametrize("kind", [Add, Replace, New])
def test_puts_an_element_with_its_end_and_comment(sets, kind, address):
    sets.commit([kind(given(address, comment="link:k3v9aa Mamie é"))])
    [found] = sets.read([(given(address).set, key(address))])
    assert about(found.left_ms, 2 * HOUR)
    assert found.timeout_ms == 2 * HOUR
    assert found.comment == "link:k3v9aa Mamie é"
    assert (found.packets, found.bytes) == (0, 0)


def test_an_element_can_be_put_with_less_left_than_it_was_given(sets):
    sets.commit([Add(given(timeout=12 * HOUR, left=HOUR))])
    found = held(sets)[key("203.0.113.7")]
    assert found.timeout_ms == 12 * HOUR
    assert about(found.left_ms, HOUR)


@pytest.mark.parametrize(
    ("first", "second"),
    [(HOUR, 2 * HOUR), (2 * HOUR, HOUR), (HOUR, HOUR)],
    ids=["longer", "shorter", "the same timeout again"],
)
@pytest.mark.parametrize("kind", [Replace, New])
def test_replace_renews_on_every_kernel(sets, kind, first, second):
    sets.commit([Add(given(timeout=first, left=first // 2, comment="old"))])
    sets.commit([kind(given(timeout=second, comment="new"))])
    [(_, found)] = held(sets).items()
    assert found.timeout_ms == second
    assert about(found.left_ms, second)
    assert found.comment == "new"


def test_one_that_was_not_new_after_all_does_not_hold_up_the_others(sets, nft):
    """An element that somebody put by hand, without an end even, gets the end that it is given."""
    nft("add element inet t a4 { 203.0.113.2 }")
    sets.commit([New(given("203.0.113.1")), New(given("203.0.113.2")), Remove("a4", key("203.0.113.3")), New(given("2001:db8:1::"))])
    assert held(sets).keys() == {key("203.0.113.1"), key("203.0.113.2")}
    assert all(about(found.left_ms, 2 * HOUR) for found in held(sets).values())
    assert len(held(sets, "a6")) == 1


def test_remove_takes_out_and_does_not_mind_an_absent_element(sets):
    sets.commit([Add(given())])
    sets.commit([Remove("a4", key("203.0.113.7")), Remove("a4", key("203.0.113.8"))])
    assert held(sets) == {}


def test_flush_empties_one_set(sets):
    sets.commit([Add(given()), Add(given("2001:db8:1::"))])
    sets.commit([Flush("a4")])
    assert held(sets) == {}
    assert len(held(sets, "a6")) == 1


def test_changes_of_every_kind_share_a_transaction(sets):
    sets.commit([Add(given("203.0.113.1")), Add(given("203.0.113.2", timeout=HOUR)), Add(given("2001:db8:1::"))])
    sets.commit(
        [
            Remove("a4", key("203.0.113.1")),
            Replace(given("203.0.113.2", timeout=3 * HOUR)),
            Replace(given("2001:db8:2::")),
            Add(given("203.0.113.3")),
            Remove("a6", key("2001:db8:1::")),
        ]
    )
    assert held(sets).keys() == {key("203.0.113.2"), key("203.0.113.3")}
    assert held(sets)[key("203.0.113.2")].timeout_ms == 3 * HOUR
    assert held(sets, "a6").keys() == {key("2001:db8:2::")}


def test_a_transaction_that_fails_has_done_nothing(sets):
    sets.commit([Add(given("203.0.113.1", timeout=HOUR))])
    lost = Element("gone4", key("203.0.113.9"), HOUR, HOUR)
    with pytest.raises(KernelError) as failed:
        sets.commit([Replace(given("203.0.113.1")), Add(given("203.0.113.2")), Add(lost)])
    assert failed.value.errno == errno.ENOENT
    [(only, found)] = held(sets).items()
    assert only == key("203.0.113.1")
    assert found.timeout_ms == HOUR
    sets.commit([Add(given("203.0.113.2"))])  # and the next one works
    assert len(held(sets)) == 2


@pytest.mark.parametrize("change", [Add, Replace, New])
@pytest.mark.parametrize(
    ("timeout", "left"), [(0, 0), (None, None), (HOUR, 0), (HOUR, -1), (HOUR, HOUR + 1), (0, HOUR)]
)
def test_an_element_without_an_end_is_never_put(sets, change, timeout, left):
    with pytest.raises(ValueError, match="needs an end"):
        sets.commit([change(Element("a4", key("203.0.113.7"), timeout, left))])
    assert held(sets) == {}


def test_nothing_to_change_is_no_error(sets):
    sets.commit([])
    assert held(sets) == {}


def test_reads_what_is_there_and_none_for_the_rest(sets):
    sets.commit([Add(given("203.0.113.1")), Add(given("2001:db8:1::"))])
    places = [("a6", key("2001:db8:1::")), ("a4", key("203.0.113.2")), ("a4", key("203.0.113.1"))]
    found = sets.read(places)
    assert [element and element.key for element in found] == [places[0][1], None, places[2][1]]


def test_a_dump_leaves_out_what_is_known(sets):
    addresses = ["203.0.113.1", "203.0.113.2", "203.0.113.3"]
    sets.commit([Add(given(address)) for address in addresses] + [Add(given("2001:db8:1::")), Add(given("2001:db8:2::"))])
    told = [element.key for part in sets.dump("a4", {key("203.0.113.2"), key("203.0.113.9")}) for element in part]
    assert sorted(told) == [key("203.0.113.1"), key("203.0.113.3")]
    assert [e.key for part in sets.dump("a6", {key("2001:db8:1::")}) for e in part] == [key("2001:db8:2::")]


def test_dumping_a_set_that_is_not_there_says_so(sets):
    with pytest.raises(KernelError) as failed:
        list(sets.dump("gone4"))
    assert failed.value.errno == errno.ENOENT


def test_sees_what_an_admin_put_by_hand(sets, nft):
    nft('add element inet t a4 { 203.0.113.1, 203.0.113.2 timeout 1h comment "by hand" }')
    found = held(sets)
    assert found[key("203.0.113.1")].left_ms is None
    assert found[key("203.0.113.1")].timeout_ms is None
    assert about(found[key("203.0.113.2")].left_ms, HOUR)
    assert found[key("203.0.113.2")].comment == "by hand"


def test_many_elements_at_once(sets):
    many = [given(str(ip_address(0xCB007100 + number)), comment="x" * 100) for number in range(2000)]
    sets.commit([Replace(element) for element in many])
    assert held(sets).keys() == {element.key for element in many}  # while the kernel makes the set's table larger
    assert all(sets.read([("a4", element.key) for element in many[:500]]))
    sets.commit([Remove("a4", element.key) for element in many])
    assert held(sets) == {}


@pytest.mark.parametrize("kind", [Replace, New])
def test_an_expired_element_can_be_replaced_and_removed(sets, kind):
    """The kernel keeps the copy of an expired element until its collector comes by."""
    for _ in range(30):
        sets.commit([Replace(given(timeout=5)), Replace(given("203.0.113.8", timeout=5))])
        while held(sets):
            pass
        sets.commit([kind(given()), Remove("a4", key("203.0.113.8"))])
        assert held(sets).keys() == {key("203.0.113.7")}
        sets.commit([Flush("a4")])


def test_two_writers_do_not_disturb_each_other(sets, network):
    """Transactions of two programs meet in the kernel; each takes effect whole."""
    failures = []

    def write(writer, base: int) -> None:
        try:
            with network.entered():
                for number in range(200):
                    writer.commit([Replace(given(str(ip_address(base + number % 7)), timeout=HOUR + number))])
        except KernelError as error:
            failures.append(error)

    with contextlib.closing(type(sets)("inet", "t")) as other:
        pairs = ((sets, 0xCB007100), (other, 0xC0000200))
        threads = [threading.Thread(target=write, args=pair) for pair in pairs]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not failures
    assert len(held(sets)) == 14


def test_a_set_that_goes_while_it_is_read_is_told(network, nft):
    nft(TABLE)
    with contextlib.closing(NetlinkSets("inet", "t")) as sets:
        sets.commit([Add(given(str(ip_address(0xCB007100 + number)))) for number in range(3000)])
        reading = sets.dump("a4")
        assert next(reading)
        nft("flush ruleset")
        with pytest.raises(KernelError):
            list(reading)
        nft(TABLE)
        sets.commit([Add(given())])  # and nothing of it is left over for the next reader
        assert list(held(sets)) == [key("203.0.113.7")]


def test_what_a_read_that_failed_left_unread_is_nobody_elses_answer(network, nft):
    """The answers for the absent elements come after the one that says that a key is of the wrong length."""
    nft(TABLE)
    wanted = [("a4", key("2001:db8:1::")), *(("a4", key(f"203.0.113.{number}")) for number in range(1, 9))]
    with contextlib.closing(NetlinkSets("inet", "t")) as sets:
        generation = sets.generation()
        with pytest.raises(KernelError) as refused:
            sets.read(wanted)
        assert refused.value.errno == errno.EINVAL
        sets.commit([Add(given())])
        assert sets.generation() == generation + 1
        assert list(held(sets)) == [key("203.0.113.7")]


def test_answers_to_an_earlier_request_are_nobody_elses(network, nft):
    nft(TABLE)
    with contextlib.closing(NetlinkSets("inet", "t")) as sets:

        def leave_unread() -> None:
            for name in ("a4", "none"):
                requests = [sets._element_message(Message.GETSETELEM, 0, name, [element(key("203.0.113.8"))]) for _ in range(3)]
                sets._socket.socket.send(b"".join(requests))

        sets.commit([Add(given("203.0.113.8"))])
        generation = sets.generation()
        leave_unread()
        sets.commit([Add(given())])
        leave_unread()
        assert sets.generation() == generation + 1
        leave_unread()
        assert sets.read([("a4", key("203.0.113.7")), ("a4", key("203.0.113.9"))])[0] is not None
        leave_unread()
        assert sets.counters(["c"]) == {}
        leave_unread()
        assert set(sets.handles()) == {"a4", "a6"}
        leave_unread()
        with pytest.raises(KernelError) as refused:
            sets._sequence = 0xFFFF_FFFE  # as after many changes
            sets.commit([Add(given("203.0.113.9")), Add(given()._replace(set="none"))])
        assert refused.value.errno == errno.ENOENT
        sets.commit([Add(given("203.0.113.10"))])
        assert len(held(sets)) == 3
        assert sets._transact([Add(given("203.0.113.11"))], generation) == errno.ERESTART
