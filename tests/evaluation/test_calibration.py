"""Calibration on predictions that are too sure by a known temperature."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.metrics import log_loss

from ferlab.errors import UserError
from ferlab.evaluation.calibration import calibrate
from ferlab.predictions import Predictions
from ferlab.scoring.temperature import COLDEST

from .conftest import CLASSES

TRUE_TEMPERATURE = 2.0


def too_sure(split: str, seed: int, size: int = 6000) -> Predictions:
    """Labels are drawn from the softmax of logits / TRUE_TEMPERATURE, the probabilities are that of the logits."""
    rng = np.random.default_rng(seed)
    logits = 3 * rng.normal(size=(size, 7))
    draws = rng.random((size, 1)) > softmax(logits / TRUE_TEMPERATURE, axis=1).cumsum(axis=1)
    ids = tuple(f"{split}{place}" for place in range(size))
    probabilities = softmax(logits, axis=1)
    labels = np.minimum(draws.sum(axis=1), 6)
    return Predictions(
        ids, labels, probabilities, CLASSES, split, "fer2013", "fer2013/official", "d" * 64, "r" * 32
    )  # fmt: skip


def test_the_temperature_of_validation_mends_the_test_split() -> None:
    validation, test = too_sure("validation", 0), too_sure("test", 1)
    found = calibrate(validation, test)
    assert found.temperature == pytest.approx(TRUE_TEMPERATURE, rel=0.06)
    assert found.before.ece > 0.1
    assert found.after.ece < 0.03
    assert found.after.brier < found.before.brier
    rescaled = softmax(np.log(test.probabilities) / found.temperature, axis=1)
    assert found.before.nll == pytest.approx(log_loss(test.labels, test.probabilities))
    assert found.after.nll == pytest.approx(log_loss(test.labels, rescaled))
    assert found.after.nll < found.before.nll


def test_answers_stay_what_they_were() -> None:
    test = too_sure("test", 1)
    found = calibrate(too_sure("validation", 0), test)
    np.testing.assert_array_equal(found.predictions.predicted, test.predicted)
    np.testing.assert_array_equal(found.predictions.labels, test.labels)
    assert found.predictions.ids == test.ids


def test_labels_of_the_test_split_do_not_move_the_temperature() -> None:
    validation, test = too_sure("validation", 0), too_sure("test", 1)
    other = replace(test, labels=(test.labels + 1) % 7)
    assert calibrate(validation, test).temperature == calibrate(validation, other).temperature


def test_a_validation_without_mistakes_gives_the_lower_bound_and_finite_scores() -> None:
    validation = too_sure("validation", 0)
    perfect = replace(validation, labels=validation.predicted)
    found = calibrate(perfect, too_sure("test", 1))
    assert found.temperature == COLDEST
    assert np.isfinite([value for value in found.after.values().values() if value is not None]).all()


def test_the_split_itself_and_other_classes_are_refused() -> None:
    validation, test = too_sure("validation", 0, 20), too_sure("test", 1, 20)
    with pytest.raises(UserError, match="another split"):
        calibrate(test, test)
    with pytest.raises(UserError, match="same classes"):
        calibrate(replace(validation, classes=(*CLASSES[1:], CLASSES[0])), test)
