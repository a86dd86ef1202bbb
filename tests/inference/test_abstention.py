"""The confidence from which on answers are right often enough, against a search over all thresholds."""

import numpy as np
import pytest

from ferlab.inference.abstention import FEWEST, NEVER, confidence_needed


def answers(confidence, right):
    """Two-class probabilities with those confidences, and labels that make them right or not."""
    confidence = np.asarray(confidence)
    return np.stack([confidence, 1 - confidence], axis=1), np.where(right, 0, 1)


def test_it_is_the_least_threshold_that_keeps_the_wanted_share():
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.5, 1, 2000)
    probabilities, labels = answers(confidence, rng.uniform(size=2000) < confidence)
    found = confidence_needed(probabilities, labels, 0.85)
    kept = confidence >= found
    assert np.mean(labels[kept] == 0) >= 0.85
    for lower in np.sort(confidence[~kept])[-50:]:
        assert np.mean(labels[confidence >= lower] == 0) < 0.85


def test_equal_confidences_are_kept_or_left_together():
    probabilities, labels = answers([0.9] * 40 + [0.6] * 40, [True] * 40 + [True] * 20 + [False] * 20)
    assert confidence_needed(probabilities, labels, 0.8) == pytest.approx(0.9)


def test_a_model_that_is_right_everywhere_always_answers_and_one_that_never_is_never_does():
    probabilities, labels = answers(np.linspace(0.5, 0.99, 100), np.ones(100, bool))
    assert confidence_needed(probabilities, labels) == 0.0
    assert confidence_needed(probabilities, 1 - labels) == NEVER


def test_a_few_lucky_answers_do_not_set_it():
    right = np.arange(1000) < FEWEST - 1
    probabilities, labels = answers(np.linspace(0.99, 0.5, 1000), right)
    assert confidence_needed(probabilities, labels, 1.0) == NEVER
