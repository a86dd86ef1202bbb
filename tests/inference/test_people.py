"""A person keeps the number while in view, through fast moves, gaps and crossings."""

import pytest

from ferlab.inference.people import Followed


def box(x, y, side=100):
    return (float(x), float(y), float(side), float(side))


def test_two_who_move_keep_their_numbers_in_whatever_order_they_are_found():
    followed = Followed()
    assert followed.numbers([box(0, 0), box(400, 200)], 0.0) == [1, 2]
    for step in range(1, 20):
        one, two = box(10 * step, 0), box(400 - 5 * step, 200)
        assert followed.numbers([two, one], step / 10) == [2, 1]
    assert followed.numbers([box(200, 0), box(600, 50), box(300, 200)], 2.0) == [1, 3, 2]


def test_two_who_cross_keep_their_numbers():
    followed = Followed()
    for step in range(21):
        left, right = box(20 * step, 0), box(400 - 20 * step, 60)
        assert followed.numbers([left, right], step / 25) == [1, 2]


@pytest.mark.parametrize(("away_s", "number"), [(0.9, 1), (1.1, 2)])
def test_a_short_gap_is_bridged_and_a_long_one_is_not(away_s, number):
    followed = Followed(gap_s=1.0)
    followed.numbers([box(0, 0)], 0.0)
    assert followed.numbers([], 0.5) == []
    assert followed.numbers([box(5, 0)], away_s) == [number]


def test_another_size_or_another_place_is_another_person():
    followed = Followed()
    followed.numbers([box(0, 0)], 0.0)
    assert followed.numbers([box(0, 0, 300)], 0.04) == [2]
    assert followed.numbers([box(500, 0)], 0.08) == [3]


def test_numbers_are_never_given_twice_to_one_frame():
    followed = Followed()
    followed.numbers([box(0, 0)], 0.0)
    assert sorted(followed.numbers([box(0, 0), box(5, 5), box(10, 0)], 0.04)) == [1, 2, 3]
