"""Which training samples are held out: shares of each class and folds, decided by hashes of ids, groups kept whole."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import pyarrow as pa

from ferlab.samples import hash_fractions

GROUPS_AT_ONCE = 1 << 16
"""Groups whose classes are counted at a time: 8 bytes a class and group."""

Ids: TypeAlias = Sequence[str] | pa.Array | pa.ChunkedArray


def carve_validation(
    ids: Ids,
    labels: Sequence[int] | np.ndarray,
    groups: Sequence[object] | np.ndarray,
    fraction: float,
    seed: int,
    barred: np.ndarray | None = None,
) -> np.ndarray:
    """Which samples (n,) go to validation: ``round(fraction * count)`` of each class.

    Samples of one group (pixel twins, faces of one photo) stay together, and those that are ``barred`` in training. A
    class is filled with groups in the order of a hash of ids and seed, so the result does not depend on the order of
    the input; a group that would overfill any of its classes is passed over, so a class gets less, never more.
    """
    labels = np.asarray(labels, dtype=np.int64)
    room = np.rint(fraction * np.bincount(labels)).astype(np.int64)
    queue = _queue(ids, groups, seed)
    taken = np.zeros(queue.length, dtype=bool)
    free = np.ones(queue.length, dtype=bool)
    if barred is not None:
        free[queue.place[barred]] = False
    for start in range(0, queue.length, GROUPS_AT_ONCE):
        stop = min(start + GROUPS_AT_ONCE, queue.length)
        needed = queue.classes(labels, len(room), start, stop)
        candidates = np.flatnonzero(free[start:stop])
        fitting = candidates[_fitting(needed[candidates], room)]
        taken[start + fitting] = True
        room = room - needed[fitting].sum(axis=0)
        if not room.any():
            break
    return taken[queue.place]


def fold_numbers(
    ids: Ids,
    labels: Sequence[int] | np.ndarray,
    groups: Sequence[object] | np.ndarray,
    folds: int,
    seed: int,
) -> np.ndarray:
    """Fold 0..folds-1 of each sample (n,): stratified, groups kept whole, decided by hashes of ids and seed.

    Largest groups first, each goes to the fold that has the fewest samples of its classes.
    """
    labels = np.asarray(labels, dtype=np.int64)
    queue = _queue(ids, groups, seed)
    sizes = np.diff(queue.bounds)
    filled = np.zeros((folds, labels.max(initial=-1) + 1), dtype=np.int64)
    numbers = np.zeros(len(labels), dtype=np.int64)
    large = np.flatnonzero(sizes > 1)
    for group in large[np.argsort(-sizes[large], kind="stable")]:
        members = queue.members[queue.bounds[group] : queue.bounds[group + 1]]
        classes = np.bincount(labels[members], minlength=filled.shape[1])
        fold = int((filled @ classes).argmin())
        numbers[members] = fold
        filled[fold] += classes
    single = queue.members[queue.bounds[:-1][sizes == 1]]
    for label, before in enumerate(filled.T):
        own = single[labels[single] == label]
        numbers[own] = _dealt(before, len(own))
    return numbers


@dataclass(frozen=True)
class _Queue:
    """Groups in the order of their smallest hash.

    ``place`` (n,) is that of each sample's group, ``members`` (n,) the samples in this order, ``bounds`` where each
    group begins among them, and where the last one ends.
    """

    place: np.ndarray
    members: np.ndarray
    bounds: np.ndarray

    @property
    def length(self) -> int:
        return len(self.bounds) - 1

    def classes(self, labels: np.ndarray, count: int, start: int, stop: int) -> np.ndarray:
        """Samples of each class in the groups from ``start`` to ``stop``: int64 (stop - start, count)."""
        rows = self.members[self.bounds[start] : self.bounds[stop]]
        cells = (self.place[rows] - start) * count + labels[rows]
        return np.bincount(cells, minlength=(stop - start) * count).reshape(-1, count)


def _queue(ids: Ids, groups: Sequence[object] | np.ndarray, seed: int) -> _Queue:
    column = ids if isinstance(ids, pa.Array | pa.ChunkedArray) else pa.array(ids, pa.string())
    hashes = hash_fractions(column, seed, "carve")
    _, first, codes = np.unique(np.asarray(groups), return_index=True, return_inverse=True)
    lowest = np.ones(len(first))
    np.minimum.at(lowest, codes, hashes)
    place = np.empty(len(first), dtype=np.int64)
    place[np.lexsort((first, lowest))] = np.arange(len(first))
    place = place[codes]
    bounds = np.concatenate([[0], np.cumsum(np.bincount(place, minlength=len(first)))]).astype(np.int64)
    return _Queue(place, np.argsort(place, kind="stable"), bounds)


def _fitting(needed: np.ndarray, room: np.ndarray) -> np.ndarray:
    """Which groups are taken when each in turn is, unless it needs more of a class than is left: bool (groups,).

    ``needed`` is (groups, classes), ``room`` (classes,). Up to the first group that overfills a class, all are taken
    at once. After it no group fits that needs as much of that class, so there are few turns.
    """
    taken = np.zeros(len(needed), dtype=bool)
    left = np.flatnonzero((needed <= room).all(axis=1))
    while len(left):
        over = (np.cumsum(needed[left], axis=0) > room).any(axis=1)
        count = int(over.argmax()) if over.any() else len(left)
        taken[left[:count]] = True
        room = room - needed[left[:count]].sum(axis=0)
        left = left[count + 1 :]
        left = left[(needed[left] <= room).all(axis=1)]
    return taken


def _dealt(filled: np.ndarray, count: int) -> np.ndarray:
    """The fold (count,) of samples that each go to the fold that has the fewest by then, the first of several."""
    top = filled.max() + -(-count // len(filled))
    level = np.concatenate([np.arange(low, top) for low in filled])
    fold = np.repeat(np.arange(len(filled)), top - filled)
    return fold[np.lexsort((fold, level))[:count]]
