"""What a sweep varies, read from overrides in Hydra's syntax: ``a=1,2``, ``choice``, ``range``, ``interval``."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from ferlab.errors import UserError

LOG = "log"
SIGNIFICANT = 12
"""Digits of a step in a range of fractions: 0.3, not 0.30000000000000004."""


@dataclass(frozen=True)
class Axis:
    """One setting that varies. ``key`` with the sign it was given with (``+a.b``), ``name`` without.

    ``choices``: its values as Hydra writes them, None for an interval. ``distribution``: what Optuna draws from.
    """

    key: str
    name: str
    choices: tuple[str, ...] | None
    distribution: BaseDistribution

    def override(self, value: Any) -> str:
        """The override that gives it a value that was drawn, or one of its choices."""
        return f"{self.key}={value}"


@dataclass(frozen=True)
class Space:
    """The overrides that all jobs share, and the axes in the order they were given."""

    fixed: tuple[str, ...]
    axes: tuple[Axis, ...]

    def grid(self) -> Iterator[tuple[str, ...]]:
        """The overrides of every combination, the last axis varying fastest.

        Raises:
            UserError: an interval has no end of values.

        """
        for axis in self.axes:
            if axis.choices is None:
                message = (
                    f"{axis.key}: an interval cannot be tried out value by value. Name values ({axis.key}=a,b or "
                    "range), or let Optuna choose: hydra/sweeper=ferlab_optuna."
                )
                raise UserError(message)
        every = [[axis.override(value) for value in axis.choices or ()] for axis in self.axes]
        return (self.fixed + combination for combination in itertools.product(*every))

    def samples(self) -> Iterator[tuple[str, ...]]:
        """Overrides in which every choice and end of an interval occurs: each axis in turn, the others at first."""
        values = {axis: axis.choices or _ends(axis.distribution) for axis in self.axes}
        first = {axis: each[0] for axis, each in values.items()}
        yield self.fixed + tuple(axis.override(value) for axis, value in first.items())
        for axis in self.axes:
            for value in values[axis][1:]:
                yield self.fixed + tuple(other.override(value if other is axis else first[other]) for other in first)


def space_of(overrides: Sequence[Override]) -> Space:
    """Sort overrides into fixed ones and axes; of a key that is given twice the last one counts."""
    given = {override.get_key_element(): override for override in overrides}
    fixed = [override.input_line or "" for override in given.values() if not override.is_sweep_override()]
    return Space(tuple(fixed), tuple(_axis(one) for one in given.values() if one.is_sweep_override()))


def _axis(override: Override) -> Axis:
    value, key = override.value(), override.get_key_element()
    if isinstance(value, IntervalSweep):
        return Axis(key, override.key_or_group, None, _interval(key, value))
    choices = tuple(dict.fromkeys(map(_tidy, override.sweep_string_iterator())))
    if not choices:
        message = f"{override.input_line}: there is no value in it to try."
        raise UserError(message)
    distribution = _range(key, value, choices) if isinstance(value, RangeSweep) else CategoricalDistribution(choices)
    return Axis(key, override.key_or_group, choices, distribution)


def _interval(key: str, value: IntervalSweep) -> BaseDistribution:
    low, high, log = value.start, value.end, LOG in value.tags
    if low is None or high is None or not low < high or (log and low <= 0):
        message = f"{key}: interval({low}, {high}) must have its smaller end first" + " and above 0" * log + "."
        raise UserError(message)
    if isinstance(low, int) and isinstance(high, int):
        return IntDistribution(low, high, log=log)
    return FloatDistribution(float(low), float(high), log=log)


def _range(key: str, value: RangeSweep, choices: tuple[str, ...]) -> BaseDistribution:
    numbers = [float(one) for one in choices]
    if LOG in value.tags:
        message = f"{key}: steps of equal size have no logarithm; use tag(log, interval(...)), or name the values."
        raise UserError(message)
    low, high, step = min(numbers), max(numbers), float(abs(value.step))
    if all(number.is_integer() for number in (*numbers, step)):
        return IntDistribution(int(low), int(high), step=int(step))
    return FloatDistribution(low, high, step=step)


def _tidy(text: str) -> str:
    try:
        return f"{float(text):.{SIGNIFICANT}g}" if "." in text else text
    except ValueError:
        return text


def _ends(distribution: BaseDistribution) -> tuple[Any, ...]:
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    return distribution.low, distribution.high
