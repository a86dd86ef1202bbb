"""Carving a validation split out of training data: stratified, and never through a group of twins."""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from ferlab.samples import hash_fraction


def carve_validation(
    ids: Sequence[str], labels: Sequence[int], groups: Sequence[object], fraction: float, seed: int
) -> np.ndarray:
    """Which samples (n,) go to validation: ``round(fraction * count)`` of each class.

    Samples of one group (pixel twins, faces of one photo) stay together; a group whose labels disagree stays in
    training. Order is by a hash of id and seed, so the result does not depend on the order of the input. When
    groups are so large that a class cannot be filled exactly, it gets less, never more.
    """
    members: dict[object, list[int]] = defaultdict(list)
    for position, group in enumerate(groups):
        members[group].append(position)
    by_class: dict[int, list[list[int]]] = defaultdict(list)
    for positions in members.values():
        if len({labels[i] for i in positions}) == 1:
            by_class[labels[positions[0]]].append(positions)
    counts = np.bincount(np.asarray(labels, dtype=np.int64))
    chosen = np.zeros(len(ids), dtype=bool)
    for label, candidates in by_class.items():
        room = round(fraction * int(counts[label]))
        for positions in sorted(candidates, key=lambda p: min(hash_fraction(ids[i], seed, "carve") for i in p)):
            if len(positions) <= room:
                chosen[positions] = True
                room -= len(positions)
    return chosen
