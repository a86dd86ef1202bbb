"""Which members to take, and in which order: by their own accuracy, or by what they add."""

from collections.abc import Sequence

import numpy as np

from ferlab.ensembling.alignment import stacked
from ferlab.ensembling.diversity import diversity
from ferlab.predictions import Predictions


def by_accuracy(members: Sequence[Predictions]) -> list[int]:
    """Positions of aligned members, the most accurate first, the earlier one on ties."""
    right = np.array([int((member.predicted == member.labels).sum()) for member in members])
    return [int(position) for position in np.argsort(-right, kind="stable")]


def by_gain(members: Sequence[Predictions]) -> list[int]:
    """Positions of aligned members: the most accurate, then always the one that lifts the equal mean most.

    Ties go to the lowest mean correlation of errors with those taken (not defined counts as 0), then to the more
    accurate one.
    """
    probabilities, labels = stacked(members), members[0].labels
    correlation = np.nan_to_num(diversity(members).correlation)
    left = by_accuracy(members)
    taken = [left.pop(0)]
    total = probabilities[taken[0]].copy()
    while left:
        right = ((total + probabilities[left]).argmax(axis=2) == labels).sum(axis=1)
        alike = correlation[np.ix_(left, taken)].mean(axis=1)
        chosen = int(np.lexsort((np.arange(len(left)), alike, -right))[0])
        taken.append(left.pop(chosen))
        total += probabilities[taken[-1]]
    return taken


def growing_means(probabilities: np.ndarray, order: Sequence[int]) -> list[np.ndarray]:
    """Equal means (n, classes) of the first 1, 2, ... members of ``order``: ``probabilities`` (members, n, classes)."""
    sums = np.cumsum(probabilities[list(order)], axis=0)
    return [total / count for count, total in enumerate(sums, start=1)]
