"""Whether a repetition is the same, against hand-worked numbers and simulated seeds."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from ferlab.evaluation.repetition import (
    INTERVAL,
    SEEDS,
    Repetition,
    agreement,
    deltas,
    first_difference,
    seed_reach,
)
from ferlab.predictions import Predictions

CLASSES = ("happy", "sad")


def predictions(first: list[float], ids: tuple[str, ...] = ("a", "b", "c", "d")) -> Predictions:
    probabilities = np.column_stack([first, 1 - np.array(first)])
    return Predictions(ids, np.array([0, 0, 1, 1]), probabilities, CLASSES, "validation", "t", "p", "d", "r")


THEN = predictions([0.9, 0.6, 0.2, 0.4])


def test_the_same_samples_in_another_order_are_bit_equal() -> None:
    found = agreement(THEN, predictions([0.4, 0.2, 0.6, 0.9], ("d", "c", "b", "a")))
    assert found.bit_equal
    assert (found.n, found.largest, found.same_answer) == (4, 0.0, 1.0)


def test_the_smallest_difference_is_seen() -> None:
    nudged = replace(THEN, probabilities=np.nextafter(THEN.probabilities, 1))
    found = agreement(THEN, nudged)
    assert not found.bit_equal
    assert 0 < found.largest < 1e-15
    assert found.same_answer == 1


def test_the_largest_difference_and_the_share_of_equal_answers() -> None:
    found = agreement(THEN, predictions([0.9, 0.3, 0.2, 0.4]))
    assert found.largest == pytest.approx(0.3)
    assert found.same_answer == 0.75


def test_other_samples_are_no_repetition() -> None:
    with pytest.raises(ValueError, match="other samples"):
        agreement(THEN, predictions([0.9, 0.6, 0.2, 0.4], ("a", "b", "c", "x")))


def test_histories_are_compared_without_times() -> None:
    then = [{"epoch": 1, "loss": 0.5, "seconds": 1.0}, {"epoch": 2, "loss": 0.4, "seconds": 1.0}]
    assert first_difference(then, [{**row, "seconds": 9.0} for row in then]) is None
    assert first_difference(then, [then[0], {**then[1], "loss": 0.4000001}]) == 2
    assert first_difference(then, then[:1]) == 2
    assert first_difference([], then) == 1


METRICS = {"val_accuracy": 0.60, "val_accuracy_low": 0.58, "val_accuracy_high": 0.62}


@pytest.mark.parametrize(("now", "within"), [(0.60, True), (0.581, True), (0.579, False), (0.625, False)])
def test_without_repetitions_the_interval_decides(now: float, within: bool) -> None:
    (found,) = deltas(METRICS, {"val_accuracy": now}, [METRICS], "val")
    assert (found.judged_by, found.within) == (INTERVAL, within)
    assert found.as_json()["delta"] == pytest.approx(now - 0.60)


def test_from_three_seeds_on_their_spread_decides() -> None:
    seeds = [METRICS, {"val_accuracy": 0.61}, {"val_accuracy": 0.62}]
    reach = stats.t.ppf(0.975, 2) * np.sqrt(2) * 0.01
    (near,) = deltas(METRICS, {"val_accuracy": 0.60 + 0.99 * reach}, seeds, "val")
    (far,) = deltas(METRICS, {"val_accuracy": 0.60 + 1.01 * reach}, seeds, "val")
    assert near.judged_by == SEEDS
    assert (near.within, far.within) == (True, False)
    assert deltas(METRICS, METRICS, seeds[:2], "val")[0].judged_by == INTERVAL


def test_the_reach_holds_the_next_run_as_often_as_it_says() -> None:
    """A run drawn from the same distribution as five seeds, one of which it is compared with."""
    rng = np.random.default_rng(0)
    drawn = rng.normal(size=(20_000, 6))
    # compared with a run that is not among those of the spread, where the bound is exact
    reach = [seed_reach(row[:4].tolist()) for row in drawn]
    share = np.mean(np.abs(drawn[:, 5] - drawn[:, 4]) <= np.array(reach))
    assert share == pytest.approx(0.95, abs=0.01)


def test_a_measure_that_one_of_them_lacks_is_left_out() -> None:
    assert deltas(METRICS, {"val_macro_f1": 0.5}, [], "val") == ()


def test_bit_equal_asks_for_metrics_curves_and_predictions() -> None:
    same = deltas(METRICS, METRICS, [], "val")
    other = deltas(METRICS, {"val_accuracy": 0.61}, [], "val")
    exact, rough = agreement(THEN, THEN), agreement(THEN, predictions([0.9, 0.3, 0.2, 0.4]))
    assert Repetition(same, exact, None).bit_equal
    assert not Repetition(other, exact, None).bit_equal
    assert not Repetition(same, rough, None).bit_equal
    assert not Repetition(same, exact, 3).bit_equal
    assert Repetition(other, rough, 3).within
