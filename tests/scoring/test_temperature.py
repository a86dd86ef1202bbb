"""Temperature scaling against a search of its own over a fine grid, and at the edges."""

import numpy as np
import pytest
from scipy.special import log_softmax, softmax

from ferlab.scoring.temperature import COLDEST, HOTTEST, fit_temperature, tempered

CLASSES = 7


def overconfident(true_temperature: float, size: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits, and labels drawn from their softmax at another temperature: the one that is to be found."""
    rng = np.random.default_rng(seed)
    logits = 3 * rng.normal(size=(size, CLASSES))
    draws = rng.random((size, 1)) > softmax(logits / true_temperature, axis=1).cumsum(axis=1)
    return logits, np.minimum(draws.sum(axis=1), CLASSES - 1)


@pytest.mark.parametrize("true_temperature", [0.4, 1.0, 2.5, 8.0])
def test_the_temperature_that_labels_were_drawn_at_is_found(true_temperature: float) -> None:
    logits, labels = overconfident(true_temperature, 20_000)
    assert fit_temperature(softmax(logits, axis=1), labels) == pytest.approx(true_temperature, rel=0.06)


def test_it_is_the_best_of_a_fine_grid() -> None:
    logits, labels = overconfident(1.7, 300, seed=4)
    grid = np.geomspace(0.1, 10, 4001)
    losses = [-log_softmax(logits / one, axis=1)[np.arange(300), labels].mean() for one in grid]
    assert fit_temperature(softmax(logits, axis=1), labels) == pytest.approx(grid[np.argmin(losses)], rel=0.002)


def test_tempered_is_the_softmax_of_divided_logits() -> None:
    logits, _ = overconfident(1.0, 50)
    for temperature in (0.3, 1.0, 4.0):
        found = tempered(softmax(logits, axis=1), temperature)
        np.testing.assert_allclose(found, softmax(logits / temperature, axis=1), atol=1e-12)


def test_answers_stay_and_rows_sum_to_one() -> None:
    logits, _ = overconfident(1.0, 500)
    probabilities = softmax(logits, axis=1).astype(np.float32)
    for temperature in (COLDEST, 0.5, 3.0, HOTTEST):
        found = tempered(probabilities, temperature)
        np.testing.assert_array_equal(found.argmax(axis=1), probabilities.argmax(axis=1))
        np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-12)


def test_probabilities_of_zero_and_one_stay_finite() -> None:
    certain = np.eye(CLASSES)[[0, 1, 2, 3]]
    for temperature in (COLDEST, 1.0, HOTTEST):
        found = tempered(certain, temperature)
        assert np.isfinite(found).all()
        np.testing.assert_array_equal(found.argmax(axis=1), [0, 1, 2, 3])
    assert COLDEST < fit_temperature(certain, np.array([0, 1, 2, 4])) <= HOTTEST


def test_all_right_ends_on_the_lower_bound() -> None:
    assert fit_temperature(np.eye(CLASSES)[[0, 5, 5]], np.array([0, 5, 5])) == COLDEST
    assert fit_temperature(np.array([[0.6, 0.4], [0.3, 0.7]]), np.array([0, 1])) == COLDEST


def test_all_wrong_ends_on_the_upper_bound() -> None:
    assert fit_temperature(np.array([[0.6, 0.4], [0.3, 0.7]]), np.array([1, 0])) == HOTTEST


def test_equal_probabilities_have_no_temperature() -> None:
    assert fit_temperature(np.full((5, CLASSES), 1 / CLASSES), np.arange(5)) == 1


def test_one_sample_is_enough() -> None:
    assert fit_temperature(np.array([[0.2, 0.5, 0.3]]), np.array([1])) == COLDEST


@pytest.mark.parametrize(
    ("probabilities", "labels"),
    [
        (np.empty((0, 3)), np.empty(0, int)),
        (np.full((4, 3), 1 / 3), np.zeros(3, int)),
        (np.full(4, 0.25), np.zeros(4, int)),
    ],
    ids=["no samples", "a label too few", "one axis"],
)
def test_what_makes_no_samples_is_refused(probabilities: np.ndarray, labels: np.ndarray) -> None:
    with pytest.raises(ValueError, match="do not make samples"):
        fit_temperature(probabilities, labels)
