from access_gate import Clock

from access.throttle import Throttle


def throttle(**others: int) -> tuple[Throttle, Clock]:
    clock = Clock(10.0)
    return Throttle(3, 60, 100, clock=clock, **others), clock


def test_locks_after_the_limit_for_its_time() -> None:
    tries, clock = throttle()
    assert [tries.count("a") for _ in range(5)] == [True, True, True, False, False]
    assert tries.locked_s("a") == 100
    assert tries.locked_s("b") == 0
    clock.now += 99
    assert tries.locked_s("a") == 1
    assert not tries.count("a")
    clock.now += 1
    assert tries.locked_s("a") == 0
    assert [tries.count("a") for _ in range(4)] == [True, True, True, False]


def test_counts_within_the_window_only() -> None:
    tries, clock = throttle()
    for _ in range(10):
        assert tries.count("a")
        clock.now += 30
    assert tries.locked_s("a") == 0
    tries.count("a")
    tries.count("a")
    assert tries.locked_s("a") == 100


def test_starts_anew_after_a_lock_shorter_than_the_window() -> None:
    clock = Clock()
    tries = Throttle(3, 1000, 10, clock=clock)
    for _ in range(3):
        tries.count("a")
    clock.now += 10
    assert [tries.count("a") for _ in range(4)] == [True, True, True, False]


def test_forgiving_takes_one_back() -> None:
    tries, _ = throttle()
    for _ in range(3):
        tries.count("a")
    tries.forgive("a")
    assert tries.locked_s("a") == 0
    assert [tries.count("a") for _ in range(2)] == [True, False]
    tries.forgive("b")
    tries.forget("a")
    assert [tries.count("a") for _ in range(4)] == [True, True, True, False]


def test_memory_is_bounded() -> None:
    tries, _ = throttle(capacity=10)
    for n in range(1000):
        tries.count(n)
    assert len(tries._keys) == 10
    for _ in range(3):
        tries.count(999)
    for n in range(9):
        tries.count(n)
    assert tries.locked_s(999) == 100
    for _ in range(1000):
        tries.count(999)
    assert len(tries._keys[999].at) == 3


def test_tries_of_one_tag_are_taken_back_alone() -> None:
    tries, _ = throttle()
    tries.count("a", "x")
    tries.count("a", "y")
    tries.count("a", "x")
    assert tries.locked_s("a") == 100
    tries.forget("a", "z")
    assert tries.locked_s("a") == 100
    tries.forget("a", "x")
    assert tries.locked_s("a") == 0
    assert [tries.count("a", "y") for _ in range(3)] == [True, True, False]


def test_without_starting_anew_each_further_try_locks_again() -> None:
    clock = Clock()
    tries = Throttle(3, 1000, 10, afresh=False, clock=clock)
    for _ in range(3):
        tries.count("a")
    for _ in range(50):
        clock.now += 10
        assert tries.count("a")
        assert tries.locked_s("a") == 10
    clock.now += 1000
    assert [tries.count("a") for _ in range(4)] == [True, True, True, False]


def test_locked_by_hand_no_success_unlocks() -> None:
    tries, clock = throttle()
    tries.count("a")
    tries.lock("a", 5)
    tries.forgive("a")
    tries.forget("a", "")
    assert not tries.count("a")
    clock.now += 5
    assert tries.count("a")


def test_dumped_and_loaded_under_another_clock() -> None:
    tries, clock = throttle()
    for _ in range(3):
        tries.count("locked")
    tries.count("some", "x")
    tries.count("old")
    clock.now += 59.5
    tries.count("some", "y")
    clock.now += 1
    again, other = throttle()
    other.now = 5.0
    again.load("file", "place", tries.dump())
    assert again.locked_s("locked") == 40
    assert again.locked_s("some") == 0
    assert set(tries.dump()) == {"locked", "some"}
    assert [again.count("some") for _ in range(3)] == [True, True, False]
    other.now += 40
    assert again.count("locked")
