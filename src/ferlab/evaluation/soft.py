"""Scores against the annotators' votes instead of one label (Barsoum et al. 2016)."""

from dataclasses import dataclass

import numpy as np

from ferlab.errors import UserError
from ferlab.scoring.views import SMALLEST_PROBABILITY

ACCEPTED = 0.3


@dataclass(frozen=True)
class SoftScores:
    """``vote_cross_entropy`` and ``vote_kl_divergence`` (nats) of the votes' distribution by the predicted one.

    ``accepted_share``: share of samples whose predicted class has at least ACCEPTED of the votes.
    """

    vote_cross_entropy: float
    vote_kl_divergence: float
    accepted_share: float


def soft_scores(probabilities: np.ndarray, votes: np.ndarray) -> SoftScores:
    """``probabilities`` (n, k) and ``votes`` (n, k), counts of the same classes; a probability of 0 costs 87 nats.

    Raises:
        UserError: the shapes differ, a vote is negative, or a sample has none.

    """
    from scipy.stats import entropy

    problem = _problem(probabilities, votes)
    if problem:
        message = f"votes: {problem}."
        raise UserError(message)
    shares = votes / votes.sum(axis=1, keepdims=True)
    logarithms = np.log(np.maximum(probabilities, SMALLEST_PROBABILITY))
    cross_entropy = float(-(shares * logarithms).sum(axis=1).mean())
    chosen = shares[np.arange(len(shares)), probabilities.argmax(axis=1)]
    return SoftScores(
        cross_entropy, cross_entropy - float(entropy(shares, axis=1).mean()), float((chosen >= ACCEPTED).mean())
    )


def _problem(probabilities: np.ndarray, votes: np.ndarray) -> str:
    """What is wrong with the votes, or an empty string."""
    if votes.shape != probabilities.shape or not len(votes):
        return f"shape {votes.shape} where the probabilities have {probabilities.shape}"
    if (votes < 0).any():
        return "some are negative"
    without = int((votes.sum(axis=1) == 0).sum())
    return f"{without} samples have none for any of the classes; leave them out" if without else ""
