"""The order of samples against plain expectations."""

from collections.abc import Iterator
from itertools import chain

import numpy as np
import pytest

from ferlab.training.order import (
    CALL_WORK,
    GROUPS,
    answerable,
    grouped,
    grouped_steps,
    interleaved,
    repeated,
    shuffled,
    wanted_shows,
)


def drawn(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        (1, (1, 1)),
        (7, (7, 7)),
        (8, (8, 8)),
        (20, (20, 20)),
        (21, (20, 20)),
        (22, (11, 22)),
        (23, (11, 22)),
        (40, (20, 40)),
        (41, (20, 40)),
        (202, (20, 200)),
        (224, (16, 224)),
    ],
)
def test_steps_are_grouped_so_that_few_are_left_out(steps: int, expected: tuple[int, int]) -> None:
    assert grouped_steps(steps) == expected


def test_no_other_group_would_leave_out_fewer_steps() -> None:
    for steps in range(1, 500):
        group, kept = grouped_steps(steps)
        assert kept % group == 0
        assert group == steps if steps < min(GROUPS) else group in GROUPS
        assert steps - kept == min(steps % other for other in (GROUPS if steps >= min(GROUPS) else [steps]))


@pytest.mark.parametrize(
    ("group", "steps_of_work", "expected"),
    [(20, 100, 20), (20, 20, 20), (20, 19.9, 10), (20, 9, 5), (16, 3, 2), (16, 0.1, 1), (11, 10, 1), (1, 5, 1)],
)
def test_costly_steps_are_executed_few_at_a_time(group: int, steps_of_work: float, expected: int) -> None:
    assert answerable(group, CALL_WORK / steps_of_work) == expected


def test_shows_make_all_classes_that_occur_equally_frequent() -> None:
    counts = [1200, 240, 0, 60]
    shows = wanted_shows(counts)
    np.testing.assert_allclose(shows[[0, 1, 3]] * [1200, 240, 60], 500)


def test_a_whole_number_of_shows_is_kept_exactly_and_a_fraction_on_average() -> None:
    labels = np.repeat([0, 1, 2, 3], 4000)
    times = repeated(labels, np.array([1.0, 3.0, 0.25, 2.5]), drawn()).reshape(4, 4000)
    assert set(times[0]) == {1}
    assert set(times[1]) == {3}
    assert set(times[2]) == {0, 1}
    assert set(times[3]) == {2, 3}
    # four standard errors of 4000 draws
    assert times[2].mean() == pytest.approx(0.25, abs=4 * np.sqrt(0.25 * 0.75 / 4000))
    assert times[3].mean() == pytest.approx(2.5, abs=4 * np.sqrt(0.25 / 4000))


@pytest.mark.parametrize(
    ("width", "block", "expected"),
    [
        (2, 2, "aabbaaacccc"),
        (3, 1, "abcabcacaca"),
        (1, 3, "aaaaabbcccc"),
        (9, 2, "aabbccaacca"),
        (2, 9, "aaaaabbcccc"),
    ],
)
def test_blocks_of_the_open_sources_take_turns(width: int, block: int, expected: str) -> None:
    assert "".join(interleaved(map(iter, ("aaaaa", "bb", "cccc")), width, block)) == expected


def test_interleaving_opens_no_more_sources_than_its_width() -> None:
    opened, most = set(), 0

    def source(number: int) -> Iterator[int]:
        opened.add(number)
        yield from [number] * (3 + number % 4)
        opened.remove(number)

    for _ in interleaved(map(source, range(20)), 3, 2):
        most = max(most, len(opened))
    assert most == 3
    assert not opened


def test_sources_without_items_are_passed_over() -> None:
    assert "".join(interleaved(map(iter, ("", "ab", "", "", "c")), 2, 1)) == "abc"
    assert list(interleaved([], 2, 1)) == []


@pytest.mark.parametrize("size", [1, 7, 64, 99, 100, 5000])
def test_a_shuffle_gives_every_item_once_and_none_earlier_than_its_buffer_allows(size: int) -> None:
    order = list(shuffled(range(100), size, drawn()))
    assert sorted(order) == list(range(100))
    assert max(item - place for place, item in enumerate(order)) < size


def test_a_buffer_of_one_leaves_the_order() -> None:
    assert list(shuffled(range(10), 1, drawn())) == list(range(10))


def test_the_generator_decides_the_shuffle() -> None:
    assert list(shuffled(range(100), 30, drawn(1))) == list(shuffled(range(100), 30, drawn(1)))
    assert list(shuffled(range(100), 30, drawn(1))) != list(shuffled(range(100), 30, drawn(2)))


@pytest.mark.parametrize("size", [3, 4, 5])
def test_with_room_for_all_every_place_is_equally_likely(size: int) -> None:
    """Within five standard errors over 3000 shuffles of three items."""
    rng, counts = drawn(), np.zeros((3, 3))
    for _ in range(3000):
        for place, item in enumerate(shuffled(range(3), size, rng)):
            counts[item, place] += 1
    np.testing.assert_allclose(counts, 1000, atol=5 * np.sqrt(3000 * 2 / 9))


def test_groups_are_full_and_a_rest_is_left_out() -> None:
    assert list(grouped("abcdefgh", 3)) == [["a", "b", "c"], ["d", "e", "f"]]
    assert list(grouped("abcdef", 3)) == [["a", "b", "c"], ["d", "e", "f"]]
    assert list(grouped("ab", 3)) == []
    assert list(grouped("abcd", 3, rest=True)) == [["a", "b", "c"], ["d"]]
    assert list(grouped("abc", 3, rest=True)) == [["a", "b", "c"]]
    assert list(chain(*grouped(range(7), 1))) == list(range(7))
