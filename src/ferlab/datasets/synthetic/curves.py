"""Smooth curves through a few points, as cached matrices so that a curve costs one small product."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

Points = np.ndarray
"""Float array (n, 2) of x (right) and y (down)."""


def smooth(points: Sequence[Sequence[float]] | Points, per_segment: int = 4, closed: bool = False) -> Points:
    """Catmull-Rom curve through the points: (m, 2), ``per_segment`` samples from each point to the next."""
    knots = np.asarray(points, dtype=np.float64)
    return np.asarray(_catmull_rom(len(knots), per_segment, closed) @ knots)


@lru_cache(maxsize=64)
def _catmull_rom(count: int, per_segment: int, closed: bool) -> np.ndarray:
    segments = count if closed else count - 1
    rows = [_weights(count, s, t / per_segment, closed) for s in range(segments) for t in range(per_segment)]
    if not closed:
        rows.append(_weights(count, count - 2, 1.0, closed))
    return np.stack(rows)


def _weights(count: int, segment: int, t: float, closed: bool) -> np.ndarray:
    """How much of each point the curve holds at ``t`` in 0..1 of a segment (ends are doubled if open)."""
    factors = (
        0.5 * (-(t**3) + 2 * t**2 - t),
        0.5 * (3 * t**3 - 5 * t**2 + 2),
        0.5 * (-3 * t**3 + 4 * t**2 + t),
        0.5 * (t**3 - t**2),
    )
    row = np.zeros(count)
    for offset, factor in zip((-1, 0, 1, 2), factors, strict=True):
        place = segment + offset
        row[place % count if closed else min(max(place, 0), count - 1)] += factor
    return row


@lru_cache(maxsize=64)
def unit_circle(count: int) -> Points:
    """``count`` points of a circle of radius 1 around the origin: (count, 2). Do not write into it."""
    angles = np.linspace(0.0, 2.0 * np.pi, count, endpoint=False)
    return np.array((np.cos(angles), np.sin(angles))).T


def ellipse(x: float, y: float, radius_x: float, radius_y: float, count: int = 20) -> Points:
    """Outline of an upright ellipse: (count, 2)."""
    return np.asarray(unit_circle(count) * (radius_x, radius_y) + (x, y))


def mirrored(right_half: Sequence[Sequence[float]] | Points) -> Points:
    """Close the outline whose right half is given from top to bottom: (2n, 2)."""
    right = np.asarray(right_half, dtype=np.float64)
    return np.concatenate([right, right[::-1] * (-1.0, 1.0)])


def clip_between(points: Points, upper: Points, lower: Points) -> Points:
    """Move the points vertically into the opening between two curves (x of each ascending)."""
    x = np.clip(points[:, 0], upper[0, 0], upper[-1, 0])
    top = np.interp(x, upper[:, 0], upper[:, 1])
    bottom = np.interp(x, lower[:, 0], lower[:, 1])
    return np.array((x, np.clip(points[:, 1], top, np.maximum(bottom, top)))).T
