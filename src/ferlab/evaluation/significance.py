"""Is the difference real: exact McNemar test, paired bootstrap, Holm's correction, spread over seeds."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ferlab.evaluation.metrics import HEADLINE, headline, interval


@dataclass(frozen=True)
class McNemar:
    """How many images only one of two models gets right, and the two-sided p-value of that imbalance."""

    only_first: int
    only_second: int
    p_value: float


@dataclass(frozen=True)
class PairedDifference:
    """Second minus first with its paired bootstrap interval at LEVEL, and the bootstrap's two-sided p-value."""

    value: float
    low: float
    high: float
    p_value: float


@dataclass(frozen=True)
class Spread:
    """Mean of n values and their sample standard deviation; None for one value."""

    mean: float
    std: float | None
    n: int


def mcnemar(first_right: np.ndarray, second_right: np.ndarray) -> McNemar:
    """Exact test on bool (n,): of the images on which the two differ, half should go to each (McNemar 1947).

    p is 1 where they never differ.

    Raises:
        ValueError: the two have other lengths.

    """
    from scipy.stats import binomtest

    _check(len(first_right), second_right)
    only_first = int((first_right & ~second_right).sum())
    only_second = int((~first_right & second_right).sum())
    differing = only_first + only_second
    p_value = float(binomtest(only_first, differing, 0.5).pvalue) if differing else 1.0
    return McNemar(only_first, only_second, p_value)


def paired_differences(
    labels: np.ndarray, first: np.ndarray, second: np.ndarray, n_classes: int, resamples: int, seed: int
) -> dict[str, PairedDifference]:
    """Every headline metric of ``second`` minus that of ``first``, class predictions (n,) of the same images.

    Drawing images with replacement is a multinomial draw of the table (true, first, second); both confusion matrices
    of a resample are sums over it, so what the two have in common cancels out. The p-value is twice the smaller share
    of resamples on one side of zero, at least 2 / (resamples + 1). Where a class has some 15 images, 95 % intervals of
    balanced accuracy hold the true difference in 92 of 100 cases; from 50 on they keep their level.

    Raises:
        ValueError: no images, or other lengths.

    """
    _check(len(labels), first, second)
    cells = np.ravel_multi_index((labels, first, second), (n_classes,) * 3)
    occupied, counts = np.unique(cells, return_counts=True)
    true, one, other = np.unravel_index(occupied, (n_classes,) * 3)
    drawn = np.random.default_rng(seed).multinomial(len(labels), counts / len(labels), size=resamples)
    draws = np.concatenate([counts[None], drawn]).astype(np.float64)
    before, after = (headline(_confusions(draws, true, answer, n_classes)) for answer in (one, other))
    found = {}
    for name in HEADLINE:
        differences = after[name] - before[name]
        drawn_differences = differences[1:]
        beyond = 1 + min(int((drawn_differences <= 0).sum()), int((drawn_differences >= 0).sum()))
        p_value = min(1.0, 2 * beyond / (resamples + 1))
        found[name] = PairedDifference(float(differences[0]), *interval(drawn_differences), p_value)
    return found


def _check(n: int, *answers: np.ndarray) -> None:
    if not n or any(one.shape != (n,) for one in answers):
        message = f"{n} images do not pair up with answers of shape {', '.join(str(one.shape) for one in answers)}"
        raise ValueError(message)


def _confusions(draws: np.ndarray, true: np.ndarray, predicted: np.ndarray, n_classes: int) -> np.ndarray:
    """Counts (m, cells) added up to confusion matrices (m, k, k)."""
    # not a product of matrices: threads that wait for busy cores make those ten times slower
    into = true * n_classes + predicted
    order = np.argsort(into, kind="stable")
    filled, starts = np.unique(into[order], return_index=True)
    table = np.zeros((len(draws), n_classes * n_classes))
    table[:, filled] = np.add.reduceat(draws[:, order], starts, axis=1)
    return table.reshape(-1, n_classes, n_classes)


def holm(p_values: Sequence[float]) -> np.ndarray:
    """p-values adjusted for their number (Holm 1979), in the order given; ValueError for NaN or values beyond 0..1."""
    values = np.asarray(p_values, np.float64)
    if not ((values >= 0) & (values <= 1)).all():
        message = f"p-values must lie in 0..1, got {values[~((values >= 0) & (values <= 1))]}"
        raise ValueError(message)
    order = np.argsort(values, kind="stable")
    stepped = np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1))
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(stepped, 1)
    return adjusted


def mean_and_spread(values: Sequence[float]) -> Spread:
    """Mean and sample standard deviation (n - 1) of at least one value; ValueError for none, or for NaN."""
    if not len(values) or not np.isfinite(values).all():
        message = f"a mean over seeds needs finite values, got {list(values)}"
        raise ValueError(message)
    found = np.asarray(values, np.float64)
    return Spread(float(found.mean()), float(found.std(ddof=1)) if len(found) > 1 else None, len(found))
