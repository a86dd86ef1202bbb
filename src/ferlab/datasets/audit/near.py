"""Near duplicates across parts: the same photo shifted, mirrored, re-encoded or with other contrast.

Candidates come from locality-sensitive hashing of ``features`` (16 tables of random bits; the smaller part asks with
its pictures shifted and mirrored), so time grows with the number of pictures and not with its square. Each candidate is
confirmed by the normalised correlation of the pictures at their best shift.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

import cv2
import numpy as np

from ferlab.datasets.audit.features import BITS, MARGIN_PX, THUMBNAIL_PX, describe, distances
from ferlab.datasets.audit.scan import Scan

TABLES = 16
FEWEST_BITS = 12
LARGEST_BUCKET = 64
LARGEST_DISTANCE = 40
CANDIDATES = 4
QUERIES = 2048
CONFIRMED = 0.95
"""Correlation from which pairs on FER-2013 were, looked at one by one, the same photo."""
FLAT = 4.0
"""Pictures with a smaller standard deviation look all alike and are left to the exact search."""
TEMPLATE_PX = 24
NEARLY, FINER = 0.85, 3
"""Correlation at whole pixels from which fractions of one are tried, and the parts that a pixel is split into."""


@dataclass(frozen=True)
class NearPairs:
    """The best pair of each picture that has one, row against row: ``correlation`` in CONFIRMED..1."""

    first: np.ndarray
    second: np.ndarray
    correlation: np.ndarray
    mirrored: np.ndarray

    def shared(self, parts: np.ndarray) -> dict[tuple[str, str], int]:
        """How many pictures of the smaller part (first) have a near duplicate in the other."""
        pairs = zip(parts[self.first].tolist(), parts[self.second].tolist(), strict=True)
        counts: dict[tuple[str, str], int] = {}
        for pair in pairs:
            counts[pair] = counts.get(pair, 0) + 1
        return counts


def find_near(scan: Scan, parts: np.ndarray, groups: np.ndarray) -> NearPairs:
    """Near duplicates between parts that are not pixel-identical (same number in ``groups``)."""
    lively = scan.usable & (scan.contrasts >= FLAT)
    by_size = sorted(set(parts.tolist()), key=lambda name: (int((parts == name).sum()), name))
    rows = {name: np.flatnonzero(lively & (parts == name)) for name in by_size}
    found: list[tuple[int, int, float, bool]] = []
    for name, other in combinations(by_size, 2):
        if len(rows[name]) and len(rows[other]):
            found += _between(scan.thumbnails, rows[name], rows[other], groups)
    columns = list(zip(*found, strict=True)) or [(), (), (), ()]
    return NearPairs(
        np.array(columns[0], np.int64),
        np.array(columns[1], np.int64),
        np.array(columns[2], np.float64),
        np.array(columns[3], bool),
    )


def _between(
    thumbnails: np.ndarray, asking: np.ndarray, asked: np.ndarray, groups: np.ndarray
) -> Iterator[tuple[int, int, float, bool]]:
    """The best confirmed pair of each asking row."""
    # of pixel-identical pictures one stands for all
    asked = asked[np.unique(groups[asked], return_index=True)[1]]
    features = describe(thumbnails[asked])
    medians = np.median(features, axis=0)
    index = _Index(features > medians)
    for start in range(0, len(asking), QUERIES):
        rows = asking[start : start + QUERIES]
        query, target = _candidates(index, thumbnails[rows], medians)
        best: dict[int, tuple[int, float, bool]] = {}
        for one, other in zip(rows[query].tolist(), asked[target].tolist(), strict=True):
            if groups[one] == groups[other]:
                continue
            value, mirrored = correlation(thumbnails[one], thumbnails[other])
            if value >= CONFIRMED and value > best.get(one, (0, 0.0, False))[1]:
                best[one] = (other, value, mirrored)
        yield from ((one, *pair) for one, pair in sorted(best.items()))


class _Index:
    """Bits (n, BITS) of the asked pictures, sorted by TABLES random choices of them."""

    def __init__(self, bits: np.ndarray) -> None:
        width = max(FEWEST_BITS, int(np.ceil(np.log2(max(len(bits), 2)))) + 1)
        rng = np.random.default_rng(0)
        self.packed = np.packbits(bits, axis=1)
        self.powers = 1 << np.arange(width)
        self.tables = []
        for _ in range(TABLES):
            chosen = rng.choice(BITS, width, replace=False)
            keys = bits[:, chosen] @ self.powers
            order = np.argsort(keys, kind="stable")
            self.tables.append((chosen, keys[order], order))

    def ask(self, bits: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Query number, asked number and distance of all pairs that share a bucket and differ in few bits."""
        packed = np.packbits(bits, axis=1)
        found = []
        for chosen, keys, order in self.tables:
            wanted = bits[:, chosen] @ self.powers
            first = np.searchsorted(keys, wanted, "left")
            size = np.minimum(np.searchsorted(keys, wanted, "right") - first, LARGEST_BUCKET)
            query = np.repeat(np.arange(len(bits)), size)
            within = np.arange(size.sum()) - np.repeat(np.cumsum(size) - size, size)
            target = order[np.repeat(first, size) + within]
            apart = distances(packed[query], self.packed[target])
            close = apart <= LARGEST_DISTANCE
            found.append((query[close], target[close], apart[close]))
        query, target, apart = (np.concatenate(column) for column in zip(*found, strict=True))
        return query, target, apart


def _candidates(index: _Index, thumbnails: np.ndarray, medians: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Query and asked numbers of the CANDIDATES closest pairs of each query over all shifts, mirrored or not."""
    shifts = range(-MARGIN_PX, MARGIN_PX + 1)
    probes = [(down, right, mirrored) for mirrored in (False, True) for down in shifts for right in shifts]
    columns = [index.ask(describe(thumbnails, *probe) > medians) for probe in probes]
    query, target, apart = (np.concatenate(column) for column in zip(*columns, strict=True))
    order = np.lexsort((apart, target, query))
    query, target, apart = query[order], target[order], apart[order]
    new = np.ones(len(query), dtype=bool)
    new[1:] = (query[1:] != query[:-1]) | (target[1:] != target[:-1])
    query, target, apart = query[new], target[new], apart[new]
    order = np.lexsort((apart, query))
    query, target = query[order], target[order]
    place = np.arange(len(query)) - np.searchsorted(query, query, "left")
    return query[place < CANDIDATES], target[place < CANDIDATES]


def correlation(one: np.ndarray, other: np.ndarray) -> tuple[float, bool]:
    """Best normalised correlation of two thumbnails over shifts of up to 5 px, and whether mirrored is better.

    A pair that nearly agrees at whole pixels is tried at thirds of one: a shift by 1 of 48 px is 2/3 px of a thumbnail.
    """
    pictures = (one, np.ascontiguousarray(one[:, ::-1]))
    values = [_best(picture, other, 1) for picture in pictures]
    mirrored = values[1] > values[0]
    value = max(values)
    return max(value, _best(pictures[mirrored], other, FINER)) if NEARLY <= value < CONFIRMED else value, mirrored


def _best(picture: np.ndarray, other: np.ndarray, finer: int) -> float:
    edge = finer * (THUMBNAIL_PX - TEMPLATE_PX) // 2
    place = cv2.copyMakeBorder(other, 1, 1, 1, 1, cv2.BORDER_REPLICATE)
    if finer > 1:
        picture = cv2.resize(picture, None, fx=finer, fy=finer, interpolation=cv2.INTER_CUBIC)
        place = cv2.resize(place, None, fx=finer, fy=finer, interpolation=cv2.INTER_CUBIC)
    template = np.ascontiguousarray(picture[edge:-edge, edge:-edge])
    return float(cv2.matchTemplate(place, template, cv2.TM_CCOEFF_NORMED).max())
