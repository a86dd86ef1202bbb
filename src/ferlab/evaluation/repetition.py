"""A training against its repetition: equal to the bit, or apart by no more than chance puts them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from ferlab.evaluation.metrics import HEADLINE, LEVEL
from ferlab.predictions import Predictions

FEWEST_SEEDS = 3
"""Runs whose seeds alone differ, from which their spread is taken; two say next to nothing of it."""
UNTIMED = ("seconds", "images_per_s")
"""Numbers of an epoch that are another every time."""
SEEDS, INTERVAL = "seeds", "interval"


@dataclass(frozen=True)
class Delta:
    """One measure ``then`` and ``now``, and the span in which chance alone puts ``now``.

    ``judged_by`` SEEDS: the spread of repetitions under other seeds; INTERVAL: the bootstrap interval of ``then``.
    """

    name: str
    then: float
    now: float
    low: float
    high: float
    judged_by: str

    @property
    def within(self) -> bool:
        """Whether ``now`` lies in the span, or is the very same."""
        return self.then == self.now or self.low <= self.now <= self.high

    def as_json(self) -> dict[str, Any]:
        """A value of ``metrics`` of ``--json``."""
        return {**vars(self), "delta": self.now - self.then, "within": self.within}


@dataclass(frozen=True)
class Agreement:
    """Two sets of probabilities of the same ``n`` samples: the largest difference, the share of equal answers."""

    n: int
    bit_equal: bool
    largest: float
    same_answer: float

    def as_json(self) -> dict[str, Any]:
        """``predictions`` of ``--json``."""
        return {"n": self.n, "bit_equal": self.bit_equal, "max_difference": self.largest, "agreement": self.same_answer}


@dataclass(frozen=True)
class Repetition:
    """How a repetition turned out; ``first_epoch``: the first whose numbers differ, None when none does."""

    deltas: tuple[Delta, ...]
    agreement: Agreement
    first_epoch: int | None

    @property
    def bit_equal(self) -> bool:
        """Whether metrics, curves and predictions are the same numbers."""
        same = all(delta.then == delta.now for delta in self.deltas)
        return same and self.agreement.bit_equal and self.first_epoch is None

    @property
    def within(self) -> bool:
        """Whether every measure lies where chance puts it."""
        return all(delta.within for delta in self.deltas)


def agreement(then: Predictions, now: Predictions) -> Agreement:
    """Of predictions on the same samples; ValueError when they are not the same."""
    first, second = then.ordered_by_id(), now.ordered_by_id()
    if first.ids != second.ids or first.classes != second.classes:
        message = f"other samples or classes: {len(first)} then, {len(second)} now"
        raise ValueError(message)
    difference = np.abs(first.probabilities - second.probabilities)
    return Agreement(
        n=len(first),
        bit_equal=bool(np.array_equal(first.probabilities, second.probabilities)),
        largest=float(difference.max()),
        same_answer=float(np.mean(first.predicted == second.predicted)),
    )


def deltas(
    then: Mapping[str, float], now: Mapping[str, float], repetitions: Sequence[Mapping[str, float]], prefix: str
) -> tuple[Delta, ...]:
    """Of every headline measure ``<prefix>_<name>`` that both have.

    ``repetitions``: the metrics of all runs that differ from ``then`` in their seed alone, ``then`` among them. From
    FEWEST_SEEDS on their spread decides, else the interval that was recorded with ``then``.
    """
    found = []
    for name in HEADLINE:
        key = f"{prefix}_{name}"
        if key not in then or key not in now:
            continue
        reach = seed_reach([run[key] for run in repetitions if key in run])
        if reach is None:
            low, high, judged_by = then.get(f"{key}_low", then[key]), then.get(f"{key}_high", then[key]), INTERVAL
        else:
            low, high, judged_by = then[key] - reach, then[key] + reach, SEEDS
        found.append(Delta(name, then[key], now[key], low, high, judged_by))
    return tuple(found)


def seed_reach(values: Sequence[float]) -> float | None:
    """How far apart two runs of one distribution lie at most, at LEVEL, after ``values`` of it; None for too few.

    The difference of two normal values has the standard deviation sqrt(2) s, and s is known from n - 1 degrees of
    freedom: t(n - 1) sqrt(2) s.
    """
    if len(values) < FEWEST_SEEDS:
        return None
    quantile = stats.t.ppf(0.5 + LEVEL / 2, len(values) - 1)
    return float(quantile * np.sqrt(2) * np.std(values, ddof=1))


def first_difference(then: Sequence[Mapping[str, Any]], now: Sequence[Mapping[str, Any]]) -> int | None:
    """The first epoch whose numbers differ between two histories, times and speeds aside; None when none does."""
    for epoch, (first, second) in enumerate(zip(then, now, strict=False), start=1):
        if _untimed(first) != _untimed(second):
            return epoch
    return None if len(then) == len(now) else min(len(then), len(now)) + 1


def _untimed(row: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key not in UNTIMED}
