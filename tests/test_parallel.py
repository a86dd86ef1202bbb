"""Work in threads: results in order, a bounded number under way, errors in their turn."""

import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest

from ferlab.parallel import in_order, taken_ahead


def test_results_come_in_the_order_of_their_items_however_long_each_takes() -> None:
    delays = np.random.default_rng(0).uniform(0, 0.01, 40).tolist()

    def work(number: int, delay: float) -> int:
        time.sleep(delay)
        return number

    assert list(in_order(work, enumerate(delays), threads=4, ahead=6)) == list(range(40))


@pytest.mark.parametrize("ahead", [0, 1, 5, 100])
def test_no_more_items_than_allowed_are_taken_ahead_of_their_use(ahead: int) -> None:
    begun: list[int] = []

    def items():
        for number in range(30):
            begun.append(number)
            yield (number,)

    for used, _ in enumerate(in_order(lambda number: number, items(), threads=3, ahead=ahead), start=1):
        assert len(begun) - used <= ahead
    assert len(begun) == 30


def test_work_runs_in_as_many_threads_as_asked_for_and_not_in_the_caller() -> None:
    together = threading.Barrier(3, timeout=20)

    def work(number: int) -> int:
        together.wait()  # passes only when three of them run at once
        return threading.get_ident()

    found = list(in_order(work, ((number,) for number in range(9)), threads=3, ahead=6))
    assert len(set(found)) == 3
    assert threading.get_ident() not in found


def test_the_first_error_is_raised_in_its_turn_and_what_has_not_begun_is_left() -> None:
    done: list[int] = []

    def work(number: int) -> int:
        if number == 5:
            message = "five"
            raise ValueError(message)
        done.append(number)
        return number

    results = in_order(work, ((number,) for number in range(1000)), threads=2, ahead=8)
    assert [next(results) for _ in range(5)] == [0, 1, 2, 3, 4]
    with pytest.raises(ValueError, match="five"):
        next(results)
    assert max(done) <= 5 + 8
    assert next(results, None) is None


def test_an_error_of_the_items_is_raised_too() -> None:
    def items():
        yield (1,)
        message = "no more"
        raise OSError(message)

    with pytest.raises(OSError, match="no more"):
        list(in_order(lambda number: number, items(), threads=2, ahead=4))


def test_who_stops_early_leaves_no_thread_and_no_work_behind() -> None:
    before, done = threading.active_count(), []

    def work(number: int) -> int:
        done.append(number)
        time.sleep(0.01)
        return number

    results = in_order(work, ((number,) for number in range(1000)), threads=2, ahead=10)
    assert next(results) == 0
    results.close()
    assert threading.active_count() == before
    settled = len(done)
    assert settled <= 12
    time.sleep(0.05)
    assert len(done) == settled


def test_nothing_to_do_gives_nothing() -> None:
    assert list(in_order(lambda: 1, [], threads=2, ahead=2)) == []


def counted(number: int, taken: list[int]) -> Iterator[int]:
    for item in range(number):
        taken.append(threading.get_ident())
        yield item


@pytest.mark.parametrize("number", [0, 1, 20])
def test_items_are_taken_in_order_by_a_thread_of_their_own(number: int) -> None:
    taken: list[int] = []
    assert list(taken_ahead(counted(number, taken), 2)) == list(range(number))
    assert len(taken) == number
    assert threading.get_ident() not in taken


def test_items_are_taken_ahead_of_their_use_and_no_more_than_allowed() -> None:
    taken: list[int] = []
    items = taken_ahead(counted(100, taken), 3)
    assert next(items) == 0
    for _ in range(200):
        if len(taken) == 4:
            break
        time.sleep(0.01)
    time.sleep(0.05)
    assert len(taken) == 4
    before = threading.active_count()
    items.close()
    assert threading.active_count() == before - 1


def test_an_error_of_what_is_taken_ahead_is_raised_in_its_turn() -> None:
    def items() -> Iterator[int]:
        yield from range(3)
        message = "no more"
        raise OSError(message)

    found = taken_ahead(items(), 10)
    assert [next(found) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(OSError, match="no more"):
        next(found)
