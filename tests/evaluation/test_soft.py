"""Scores against votes: a table worked by hand, scipy, and what is refused."""

from types import SimpleNamespace

import numpy as np
import pytest
from scipy.special import rel_entr

from ferlab.errors import UserError
from ferlab.evaluation.soft import vote_estimates, vote_scores


def soft_scores(probabilities: np.ndarray, votes: np.ndarray) -> SimpleNamespace:
    return SimpleNamespace(**{name: values.mean() for name, values in vote_scores(probabilities, votes).items()})


def test_two_samples_worked_by_hand() -> None:
    found = soft_scores(np.array([[0.5, 0.25, 0.25], [0.1, 0.2, 0.7]]), np.array([[5, 5, 0], [8, 0, 2]]))
    first, second = -(np.log(0.5) + np.log(0.25)) / 2, -(0.8 * np.log(0.1) + 0.2 * np.log(0.7))
    entropies = np.log(2), -(0.8 * np.log(0.8) + 0.2 * np.log(0.2))
    assert found.vote_cross_entropy == pytest.approx((first + second) / 2)
    assert found.vote_kl_divergence == pytest.approx((first + second - sum(entropies)) / 2)
    assert found.accepted_share == 0.5  # the second answer has 2 of 10 votes


def test_divergence_equals_scipy_on_random_votes() -> None:
    rng = np.random.default_rng(0)
    votes = rng.multinomial(10, rng.dirichlet(np.full(8, 0.4), 500).mean(axis=0), 500)
    probabilities = rng.dirichlet(np.full(8, 0.6), 500)
    shares = votes / 10
    found = soft_scores(probabilities, votes)
    assert found.vote_kl_divergence == pytest.approx(rel_entr(shares, probabilities).sum(axis=1).mean())
    accepted = [shares[row, probabilities[row].argmax()] >= 0.3 for row in range(500)]
    assert found.accepted_share == np.mean(accepted)


def test_predicting_the_votes_themselves_has_no_divergence() -> None:
    votes = np.array([[3, 7], [10, 0], [5, 4]])
    found = soft_scores(votes / votes.sum(axis=1, keepdims=True), votes)
    assert found.vote_kl_divergence == pytest.approx(0, abs=1e-12)


def test_three_votes_of_ten_are_accepted_and_two_of_nine_are_not() -> None:
    answers = np.array([[0.9, 0.1, 0.0], [0.9, 0.1, 0.0]])
    assert soft_scores(answers, np.array([[3, 7, 0], [2, 7, 0]])).accepted_share == 0.5


def test_intervals_are_those_of_a_mean_and_of_a_share() -> None:
    rng = np.random.default_rng(1)
    votes = rng.multinomial(10, np.full(4, 0.25), 800)
    probabilities = rng.dirichlet(np.ones(4), 800)
    found = vote_estimates(probabilities, votes, 3000, 0)
    for name, values in vote_scores(probabilities, votes).items():
        half = 1.96 * values.std() / np.sqrt(800)
        assert found[name].value == pytest.approx(values.mean())
        assert found[name].low == pytest.approx(values.mean() - half, abs=0.1 * half)
        assert found[name].high == pytest.approx(values.mean() + half, abs=0.1 * half)
    never = vote_estimates(np.eye(4)[[0] * 20], np.eye(4)[[1] * 20], 100, 0)["accepted_share"]
    assert (never.value, never.low) == (0, 0)
    assert never.high == pytest.approx(0.161, abs=0.001), "0 of 20 is not shown to be 0"


def test_a_probability_of_zero_is_costly_and_finite() -> None:
    found = soft_scores(np.array([[1.0, 0.0]]), np.array([[0, 10]]))
    assert found.vote_cross_entropy == pytest.approx(87.3, abs=0.1)


@pytest.mark.parametrize(
    ("votes", "said"),
    [
        (np.array([[5, 5], [0, 0]]), "1 samples have none"),
        (np.array([[5, 5], [-1, 4]]), "negative"),
        (np.array([[5, 5, 0], [1, 4, 0]]), "shape"),
        (np.array([[5, 5]]), "shape"),
    ],
)
def test_votes_that_say_nothing_are_refused(votes: np.ndarray, said: str) -> None:
    with pytest.raises(UserError, match=said):
        soft_scores(np.full((2, 2), 0.5), votes)
