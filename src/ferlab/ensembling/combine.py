"""Combining members over their stored validation predictions."""

from collections.abc import Sequence

import numpy as np

from ferlab.emotions import require_same_classes
from ferlab.errors import UserError
from ferlab.predictions import Predictions

TINY = 1e-12


def aligned(members: Sequence[Predictions]) -> list[Predictions]:
    """The members' predictions in one common order of samples.

    Raises:
        UserError: fewer than two members, or they differ in classes, protocol, dataset or samples; both are named.

    """
    if len(members) < 2:
        message = f"an ensemble needs at least 2 runs, got {len(members)}."
        raise UserError(message)
    ordered = [member.ordered_by_id() for member in members]
    first = ordered[0]
    for other in ordered[1:]:
        require_same_classes(first.classes, other.classes, f"run {first.run_id}", f"run {other.run_id}")
        for key in ("taxonomy", "protocol", "dataset_digest", "split"):
            mine, theirs = getattr(first, key), getattr(other, key)
            if mine != theirs:
                message = (
                    f"run {first.run_id} has {key} {mine}, run {other.run_id} has {theirs}: they cannot be combined."
                )
                raise UserError(message)
        if first.ids != other.ids or not np.array_equal(first.labels, other.labels):
            pair = f"runs {first.run_id} and {other.run_id}"
            message = f"{pair} were scored on different samples or labels: they cannot be combined."
            raise UserError(message)
    return ordered


def member_weights(members: Sequence[Predictions], method: str) -> np.ndarray:
    """One weight per member, not negative, sum 1: equal for ``mean``, fitted for ``weighted``."""
    if method == "mean":
        return np.full(len(members), 1 / len(members))
    return fit_weights(np.stack([member.probabilities for member in members]), members[0].labels)


def fit_weights(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Weights on the simplex that minimise the mean negative log-likelihood of the mixture (SLSQP, from equal).

    ``probabilities`` (members, n, classes), ``labels`` (n,). The problem is convex, so the start does not matter.
    """
    from scipy.optimize import minimize

    members = len(probabilities)
    of_truth = probabilities[:, np.arange(len(labels)), labels]

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        mixture = np.maximum(weights @ of_truth, TINY)
        return -np.log(mixture).mean(), -(of_truth / mixture).mean(axis=1)

    found = minimize(
        loss,
        np.full(members, 1 / members),
        jac=True,
        method="SLSQP",
        bounds=[(0, 1)] * members,
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1, "jac": np.ones_like},
    )
    if not found.success:
        return np.full(members, 1 / members)
    weights = np.clip(found.x, 0, None)
    return weights / weights.sum()


def combine(members: Sequence[Predictions], weights: np.ndarray, run_id: str) -> Predictions:
    """The weighted mean of aligned members as predictions of run ``run_id``."""
    first = members[0]
    mixture = np.tensordot(weights, np.stack([member.probabilities for member in members]), axes=1)
    return Predictions(
        ids=first.ids,
        labels=first.labels,
        probabilities=mixture,
        classes=first.classes,
        split=first.split,
        taxonomy=first.taxonomy,
        protocol=first.protocol,
        dataset_digest=first.dataset_digest,
        run_id=run_id,
    )
