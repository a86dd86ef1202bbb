"""Scores against the annotators' votes instead of one label (Barsoum et al. 2016)."""

import numpy as np

from ferlab.errors import UserError
from ferlab.evaluation.metrics import LEVEL, Estimate
from ferlab.evaluation.probability_intervals import mean_estimates
from ferlab.scoring.views import SMALLEST_PROBABILITY

ACCEPTED = 0.3


def vote_estimates(probabilities: np.ndarray, votes: np.ndarray, resamples: int, seed: int) -> dict[str, Estimate]:
    """Means of ``vote_scores`` with their intervals: percentile bootstrap over images, of the share Wilson's (1927)."""
    from scipy.stats import binomtest

    found = vote_scores(probabilities, votes)
    accepted = found.pop("accepted_share")
    share = binomtest(int(accepted.sum()), len(accepted)).proportion_ci(LEVEL, "wilson")
    return mean_estimates(found, resamples, seed) | {
        "accepted_share": Estimate(float(accepted.mean()), float(share.low), float(share.high))
    }


def vote_scores(probabilities: np.ndarray, votes: np.ndarray) -> dict[str, np.ndarray]:
    """Scores of each sample (n,), whose means are those of all, by name.

    ``vote_cross_entropy`` and ``vote_kl_divergence`` (nats) of the votes' distribution by the predicted one; a
    probability of 0 costs 87 nats. ``accepted_share``: 1 where the predicted class has at least ACCEPTED of the votes.
    ``probabilities`` (n, k), ``votes`` (n, k), counts of the same classes.

    Raises:
        UserError: the shapes differ, a vote is negative, or a sample has none.

    """
    from scipy.stats import entropy

    problem = _problem(probabilities, votes)
    if problem:
        message = f"votes: {problem}."
        raise UserError(message)
    shares = votes / votes.sum(axis=1, keepdims=True)
    cross_entropy = -(shares * np.log(np.maximum(probabilities, SMALLEST_PROBABILITY))).sum(axis=1)
    chosen = shares[np.arange(len(shares)), probabilities.argmax(axis=1)]
    return {
        "vote_cross_entropy": cross_entropy,
        "vote_kl_divergence": cross_entropy - entropy(shares, axis=1),
        "accepted_share": (chosen >= ACCEPTED).astype(np.float64),
    }


def _problem(probabilities: np.ndarray, votes: np.ndarray) -> str:
    """What is wrong with the votes, or an empty string."""
    if votes.shape != probabilities.shape or not len(votes):
        return f"shape {votes.shape} where the probabilities have {probabilities.shape}"
    if (votes < 0).any():
        return "some are negative"
    without = int((votes.sum(axis=1) == 0).sum())
    return f"{without} samples have none for any of the classes; leave them out" if without else ""
