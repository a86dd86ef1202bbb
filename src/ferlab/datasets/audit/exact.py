"""Exact duplicates: rows whose decoded pixels are the same, inside and across the parts of a copy."""

from dataclasses import dataclass
from itertools import combinations

import numpy as np

from ferlab.datasets.audit.scan import Scan


@dataclass(frozen=True)
class Duplicates:
    """Groups of pixel-identical rows.

    ``group`` int64 (n,): number of each row's group, -1 where unusable; ``sizes`` (groups,): rows in it. Numbers cover
    usable rows: ``unique`` distinct pictures, ``surplus`` copies beyond the first, ``shared`` maps (part, larger
    part) to how many rows of the part have a pixel-identical row in the other; ``conflicts`` are the numbers of the
    groups whose labels differ.
    """

    group: np.ndarray
    sizes: np.ndarray
    unique: int
    surplus: int
    surplus_inside: dict[str, int]
    shared: dict[tuple[str, str], int]
    conflicts: np.ndarray

    @property
    def groups(self) -> int:
        """Number of groups of two or more."""
        return int((self.sizes > 1).sum())


def find_duplicates(scan: Scan, parts: np.ndarray, labels: np.ndarray) -> Duplicates:
    """Group rows by the digest of their pixels; ``parts`` (n,) names, ``labels`` (n,) positions, -1 = none."""
    usable = np.flatnonzero(scan.usable)
    group = np.full(len(parts), -1, np.int64)
    _, inverse, sizes = np.unique(scan.digests[usable], axis=0, return_inverse=True, return_counts=True)
    group[usable] = inverse.reshape(-1)
    names = sorted(dict.fromkeys(parts.tolist()), key=lambda name: (int((parts == name).sum()), name))
    present = {name: np.bincount(group[usable][parts[usable] == name], minlength=len(sizes)) for name in names}
    shared = {(one, other): int(present[one][present[other] > 0].sum()) for one, other in combinations(names, 2)}
    return Duplicates(
        group=group,
        sizes=sizes,
        unique=len(sizes),
        surplus=int((sizes - 1).sum()),
        surplus_inside={name: int(np.maximum(counts - 1, 0).sum()) for name, counts in present.items()},
        shared={pair: count for pair, count in shared.items() if count},
        conflicts=_conflicts(group[usable], labels[usable], len(sizes)),
    )


def _conflicts(groups: np.ndarray, labels: np.ndarray, count: int) -> np.ndarray:
    """Groups that hold more than one label."""
    known = labels >= 0
    lowest, highest = np.full(count, np.iinfo(np.int64).max), np.full(count, -1)
    np.minimum.at(lowest, groups[known], labels[known])
    np.maximum.at(highest, groups[known], labels[known])
    return np.flatnonzero((highest >= 0) & (lowest != highest))
