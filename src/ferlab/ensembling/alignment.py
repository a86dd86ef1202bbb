"""Members that belong together, in one common order of samples."""

from collections.abc import Sequence

import numpy as np

from ferlab.emotions import require_same_classes
from ferlab.errors import UserError
from ferlab.predictions import Predictions


def aligned(members: Sequence[Predictions]) -> list[Predictions]:
    """The members' predictions in one common order of samples.

    Raises:
        UserError: fewer than two members, one without probabilities, or they differ in classes, protocol, dataset or
            samples; both are named.

    """
    if len(members) < 2:
        message = f"an ensemble needs at least 2 runs, got {len(members)}."
        raise UserError(message)
    ordered = [member.ordered_by_id() for member in members]
    first = ordered[0]
    for other in ordered[1:]:
        _require_comparable(first, other)
    for member in ordered:
        if member.hard:
            message = f"run {member.run_id}: only its classes are known, no probabilities: it cannot be combined."
            raise UserError(message)
    return ordered


def _require_comparable(first: Predictions, other: Predictions) -> None:
    require_same_classes(first.classes, other.classes, f"run {first.run_id}", f"run {other.run_id}")
    for key in ("taxonomy", "protocol", "dataset_digest", "split"):
        mine, theirs = getattr(first, key), getattr(other, key)
        if mine != theirs:
            message = f"run {first.run_id} has {key} {mine}, run {other.run_id} has {theirs}: they cannot be combined."
            raise UserError(message)
    if first.ids != other.ids or not np.array_equal(first.labels, other.labels):
        pair = f"runs {first.run_id} and {other.run_id}"
        message = f"{pair} were scored on different samples or labels: they cannot be combined."
        raise UserError(message)


def stacked(members: Sequence[Predictions]) -> np.ndarray:
    """Probabilities of aligned members (members, n, classes)."""
    return np.stack([member.probabilities for member in members])
