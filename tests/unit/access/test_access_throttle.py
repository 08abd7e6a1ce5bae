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
