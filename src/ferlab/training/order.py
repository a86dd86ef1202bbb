"""Which samples an epoch shows, in which order: a function of the seed and the epoch alone."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import TypeVar

import numpy as np

Item = TypeVar("Item")

GROUPS = range(8, 21)
"""Steps that one call of the backend may execute where a step is quick: enough to hide the call."""
CALL_WORK = 5e10
"""Multiplications of a call: two cores take some two seconds, and as long does an answer to Ctrl-C."""

CHUNK = 256
"""Items drawn at a time from what is shuffled."""


def grouped_steps(steps: int) -> tuple[int, int]:
    """How many of ``steps`` batches one call executes, and how many an epoch then has.

    Keras runs whole groups only, so an epoch must be a multiple of the group. The group in GROUPS that leaves out the
    fewest batches is taken; those left out differ from epoch to epoch.
    """
    fitting = [group for group in GROUPS if group <= steps] or [steps]
    group = max(fitting, key=lambda size: (steps // size * size, size))
    return group, steps // group * group


def answerable(group: int, work: float) -> int:
    """How many steps of a ``group`` one call executes when each costs ``work`` multiplications: a divisor of it.

    The largest whose work stays within CALL_WORK, else 1. It follows from the config alone, as the group does.
    """
    return max(size for size in range(1, group + 1) if group % size == 0 and (size == 1 or size * work <= CALL_WORK))


def wanted_shows(counts: Sequence[int] | np.ndarray) -> np.ndarray:
    """How often a sample of each class is shown in an epoch so that all classes are equally frequent: N / (K n_c)."""
    filled = np.asarray(counts, np.float64)
    return filled.sum() / (np.count_nonzero(filled) * np.maximum(filled, 1))


def repeated(labels: np.ndarray, shows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """How often each sample with ``labels`` (n,) is shown, int (n,): ``shows`` of its class on average."""
    return np.floor(shows[labels] + rng.random(len(labels))).astype(np.int64)


def interleaved(sources: Iterable[Iterator[Item]], width: int, block: int) -> Iterator[Item]:
    """Items of all ``sources``, ``width`` of them open at a time, ``block`` items from one before the next's turn."""
    rest = iter(sources)
    opened = list(islice(rest, width))
    while opened:
        still_open = []
        for source in opened:
            taken = list(islice(source, block))
            yield from taken
            if len(taken) == block:
                still_open.append(source)
            else:
                still_open.extend(islice(rest, 1))
        opened = still_open


def shuffled(items: Iterable[Item], size: int, rng: np.random.Generator) -> Iterator[Item]:
    """Items in random order through a buffer of ``size`` of them."""
    source = iter(items)
    buffer = list(islice(source, size))
    while chunk := list(islice(source, CHUNK)):
        for item, place in zip(chunk, rng.integers(0, len(buffer), len(chunk)).tolist(), strict=True):
            yield buffer[place]
            buffer[place] = item
    for place in rng.permutation(len(buffer)).tolist():
        yield buffer[place]


def grouped(items: Iterable[Item], size: int, rest: bool = False) -> Iterator[list[Item]]:
    """Lists of ``size`` items; a shorter rest is left out unless asked for."""
    source = iter(items)
    while group := list(islice(source, size)):
        if len(group) == size or rest:
            yield group
