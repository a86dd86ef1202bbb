"""How sure a model must be to be given an answer: set on validation, so that the answers given are mostly right."""

import numpy as np

from ferlab.errors import UserError
from ferlab.predictions import PREDICTIONS, Predictions
from ferlab.tracking.records import RunRecord

WANTED_ACCURACY = 0.8
FEWEST = 30
"""Answers from which an accuracy is read."""
NEVER = 1.0
"""Where no confidence makes the answers so right: nothing but certainty is answered."""


def confidence_needed(probabilities: np.ndarray, labels: np.ndarray, accuracy: float = WANTED_ACCURACY) -> float:
    """The least confidence in 0..1 from which on the answers are right in a share of at least ``accuracy``.

    ``probabilities`` (n, k) and ``labels`` (n,) are validation's. 0 when all answers are so right, ``NEVER`` when not
    even ``FEWEST`` of them are.
    """
    confidence = probabilities.max(axis=1)
    order = np.argsort(-confidence, kind="stable")
    right = np.cumsum(probabilities.argmax(axis=1)[order] == labels[order])
    kept = np.arange(1, len(order) + 1)
    # equal confidences are kept or left together
    is_end = np.append(np.diff(confidence[order]) < 0, True)
    (good,) = np.nonzero((right / kept >= accuracy) & (kept >= FEWEST) & is_end)
    if not len(good):
        return NEVER
    last = int(good[-1])
    return 0.0 if last == len(order) - 1 else float(confidence[order][last])


def confidence_of(record: RunRecord) -> float | None:
    """What validation asks of the answers of a recorded run's model; None for a run without predictions on it."""
    try:
        found = Predictions.load(record.artifact(PREDICTIONS))
    except UserError:
        return None
    return confidence_needed(found.probabilities, found.labels)
