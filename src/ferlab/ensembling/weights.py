"""Weights of members, fitted on labelled samples: on the simplex, for every class, or picked greedily."""

from collections.abc import Callable

import numpy as np

from ferlab.models.ensemble import FLOOR

Loss = Callable[[np.ndarray], tuple[float, np.ndarray]]
GREEDY_STEPS = 50


def simplex_weights(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Weights (members,) that minimise the mean negative log-likelihood of the mixture (SLSQP, from equal).

    ``probabilities`` (members, n, classes), ``labels`` (n,). The problem is convex, so the start does not matter.
    """
    members = len(probabilities)
    of_truth = probabilities[:, np.arange(len(labels)), labels]

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        mixture = np.maximum(weights @ of_truth, FLOOR)
        return -np.log(mixture).mean(), -(of_truth / mixture).mean(axis=1)

    return _minimise(loss, np.full((members, 1), 1 / members))[:, 0]


def class_weights(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Weights (members, classes), each column on the simplex, of the mixture that is then brought to sum 1.

    The normalisation makes the problem non-convex: SLSQP starts from the weights that all classes share, and what it
    finds is not worse than they are.
    """
    members, n, classes = probabilities.shape
    rows, samples = np.arange(n), probabilities.transpose(1, 0, 2)

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        mixture = np.maximum((samples * flat.reshape(members, classes)).sum(axis=1), FLOOR)
        total, of_truth = mixture.sum(axis=1), mixture[rows, labels]
        slope = np.repeat(1 / total[:, None], classes, axis=1)
        slope[rows, labels] -= 1 / of_truth
        return float(np.log(total / of_truth).mean()), np.einsum("nmk,nk->mk", samples, slope).ravel() / n

    shared = simplex_weights(probabilities, labels)
    return _minimise(loss, np.repeat(shared[:, None], classes, axis=1))


def greedy_weights(probabilities: np.ndarray, labels: np.ndarray, steps: int = GREEDY_STEPS) -> np.ndarray:
    """Weights (members,) by forward selection with replacement: how often each was picked.

    Every step adds the member that makes the mean of those picked most accurate, ties by the negative log-likelihood;
    the best of all steps is kept, the first on ties (Caruana et al. 2004).
    """
    members, n, _ = probabilities.shape
    rows, total, picked = np.arange(n), np.zeros(probabilities.shape[1:]), np.zeros(members)
    best, kept = (-1.0, -np.inf), picked
    for step in range(1, steps + 1):
        mixtures = (total + probabilities) / step
        right = (mixtures.argmax(axis=2) == labels).mean(axis=1)
        likelihood = np.log(np.maximum(mixtures[:, rows, labels], FLOOR)).mean(axis=1)
        chosen = int(np.lexsort((likelihood, right))[-1])
        total, picked = total + probabilities[chosen], picked + (np.arange(members) == chosen)
        if (right[chosen], likelihood[chosen]) > best:
            best, kept = (right[chosen], likelihood[chosen]), picked
    return kept / kept.sum()


def _minimise(loss: Loss, start: np.ndarray) -> np.ndarray:
    """The weights (members, columns), every column on the simplex, where SLSQP ends; ``start`` if that is no better."""
    from scipy.optimize import minimize

    members, columns = start.shape
    sums = np.tile(np.eye(columns), members)  # of each column of the flattened weights
    found = minimize(
        loss,
        start.ravel(),
        jac=True,
        method="SLSQP",
        bounds=[(0, 1)] * start.size,
        constraints={"type": "eq", "fun": lambda flat: sums @ flat - 1, "jac": lambda _: sums},
        options={"ftol": 1e-8},
    )
    weights = np.clip(found.x, 0, None).reshape(start.shape)
    usable = np.isfinite(weights).all() and (weights.sum(axis=0) > 0).all()
    if not usable:
        return start
    weights = weights / weights.sum(axis=0)
    return weights if loss(weights.ravel())[0] <= loss(start.ravel())[0] else start
