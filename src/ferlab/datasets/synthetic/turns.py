"""What a face is besides its category: sequences over the index in which even rare kinds come early and evenly."""

from collections.abc import Mapping
from functools import lru_cache

import numpy as np

STEPS = (2**0.5 - 1, 3**0.5 - 1, 7**0.5 - 2, 13**0.5 - 3)
"""Irrational and unrelated, also to the golden ratio that the categories follow."""


def turn(shares: Mapping[str, float], sequence: int, seed: int, index: int) -> str:
    """The kind of the face ``index``, each kind at its share (they sum to 1) of any stretch of indices.

    Sequences of different numbers, 0 to 3, are independent of each other.
    """
    place = (_start(sequence, seed) + index * STEPS[sequence]) % 1.0
    for kind, share in shares.items():
        place -= share
        if place < 0:
            return kind
    return tuple(shares)[-1]  # the shares may sum to a hair below 1


@lru_cache(maxsize=64)
def _start(sequence: int, seed: int) -> float:
    return float(np.random.default_rng([seed, sequence, 1]).random())
