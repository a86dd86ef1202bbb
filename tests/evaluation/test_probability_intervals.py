"""Intervals of the scores of probabilities: against resampling done by hand, and by how often they hold the truth."""

import numpy as np
import pytest

from ferlab.evaluation.probability import probability_scores, sample_losses
from ferlab.evaluation.probability_intervals import (
    HOW,
    auc_influence,
    aurc_influence,
    calibration_interval,
    mean_estimates,
    probability_estimates,
)
from ferlab.predictions import Predictions

CLASSES = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")


def predictions(labels: np.ndarray, probabilities: np.ndarray) -> Predictions:
    ids = tuple(str(place) for place in range(len(labels)))
    classes = CLASSES[: probabilities.shape[1]]
    return Predictions(ids, labels, probabilities, classes, "test", "fer2013", "fer2013/official", "d" * 64, "r" * 32)


def drawn(rng: np.random.Generator, size: int, sharpness: float = 1.0, classes: int = 7) -> Predictions:
    """Predictions of a model that is calibrated at ``sharpness`` 1, too sure above, not sure enough below."""
    truth = np.exp(1.5 * rng.normal(size=(size, classes)))
    truth /= truth.sum(axis=1, keepdims=True)
    labels = (truth.cumsum(axis=1) > rng.random((size, 1))).argmax(axis=1)
    said = truth**sharpness
    return predictions(labels, said / said.sum(axis=1, keepdims=True))


def resample(case: Predictions, rng: np.random.Generator) -> Predictions:
    chosen = rng.integers(0, len(case), len(case))
    return predictions(case.labels[chosen], case.probabilities[chosen])


def test_a_loss_has_the_interval_of_a_mean() -> None:
    case = drawn(np.random.default_rng(5), 1500)
    found = probability_estimates(case, 3000, 0)
    losses = -np.log(case.probabilities[np.arange(1500), case.labels])
    half = 1.96 * losses.std() / np.sqrt(1500)
    assert found["nll"].value == pytest.approx(probability_scores(case).nll)
    assert found["nll"].low == pytest.approx(losses.mean() - half, abs=0.1 * half)
    assert found["nll"].high == pytest.approx(losses.mean() + half, abs=0.1 * half)
    assert probability_estimates(case, 50, 1) == probability_estimates(case, 50, 1)


@pytest.mark.parametrize("digits", [12, 1], ids=["few ties", "many ties"])
def test_influences_give_the_spread_of_resamples(digits: int) -> None:
    rng = np.random.default_rng(3)
    plain = drawn(rng, 800, 1.3, classes=3)
    rounded = np.round(plain.probabilities, digits) + 1e-12
    case = predictions(plain.labels, rounded / rounded.sum(axis=1, keepdims=True))
    again = [probability_scores(resample(case, rng)) for _ in range(600)]
    for name, influence in (("auc_ovr", auc_influence(case)), ("aurc", aurc_influence(case))):
        expected = np.std([getattr(one, name) for one in again])
        assert influence.std() / np.sqrt(len(case)) == pytest.approx(expected, rel=0.1), name
        assert influence.mean() == pytest.approx(0, abs=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("size", [300, 3000])
def test_auc_and_aurc_hold_the_truth(size: int) -> None:
    rng = np.random.default_rng(size)
    large = probability_scores(drawn(rng, 400_000))
    held = {"auc_ovr": 0, "aurc": 0}
    for _ in range(300):
        found = probability_estimates(drawn(rng, size), 2, 0)
        for name in held:
            held[name] += found[name].low <= getattr(large, name) <= found[name].high
    assert all(0.91 <= count / 300 <= 0.98 for count in held.values()), held


@pytest.mark.slow
@pytest.mark.parametrize("size", [300, 3000])
def test_losses_hold_the_truth_in_95_of_100_sets(size: int) -> None:
    truth = probability_scores(drawn(np.random.default_rng(99), 1_000_000, 1.3))
    rng, sets = np.random.default_rng(size), 500
    held = {"nll": 0, "brier": 0}
    for trial in range(sets):
        found = mean_estimates(sample_losses(drawn(rng, size, 1.3)), 400, trial)
        for name in held:
            held[name] += found[name].low <= getattr(truth, name) <= found[name].high
    assert all(0.92 <= count / sets <= 0.98 for count in held.values()), held


@pytest.mark.slow
@pytest.mark.parametrize("size", [300, 3589])
@pytest.mark.parametrize("sharpness", [0.8, 1.0, 1.05, 1.1, 1.3])
def test_the_calibration_error_is_held_from_perfect_calibration_on(size: int, sharpness: float) -> None:
    rng = np.random.default_rng(7)
    truth = probability_scores(drawn(rng, 1_000_000, sharpness)).ece
    held = 0
    for trial in range(300):
        low, high = calibration_interval(drawn(rng, size, sharpness), 500, trial)
        held += low <= truth <= high
    assert 0.88 <= held / 300 <= 1.0, held
    assert "90 to 98 of 100" in HOW, "what a report says of this interval"


def test_what_has_no_interval_is_left_out() -> None:
    perfect = predictions(np.array([0, 1, 0]), np.array([[0.9, 0.1], [0.2, 0.8], [0.7, 0.3]]))
    assert "auc_ovr" not in probability_estimates(perfect, 100, 0)
    alone = predictions(np.array([1]), np.array([[0.4, 0.6]]))
    found = probability_estimates(alone, 100, 0)
    assert set(found) == {"nll", "brier", "ece", "aurc"}
    assert all(one.low <= one.value <= one.high for one in found.values())
