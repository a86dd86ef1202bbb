"""95 % intervals of the scores of probabilities, each by the way that fits what it is."""

from collections.abc import Mapping

import numpy as np

from ferlab.evaluation.metrics import LEVEL, Estimate, interval
from ferlab.evaluation.probability import (
    BINS,
    against_rest,
    bin_places,
    errors_by_sureness,
    probability_scores,
    risk_coverage,
    sample_losses,
)
from ferlab.predictions import Predictions

HOW = (
    "NLL and Brier: percentile bootstrap over images; AUC and AURC: from the influence of each image; calibration "
    "error: bootstrap of its bins, less what chance adds, which in simulations holds the truth in 90 to 98 of 100 sets "
    "and not in 95 of them always"
)


def probability_estimates(predictions: Predictions, resamples: int, seed: int) -> dict[str, Estimate]:
    """``nll``, ``brier``, ``ece``, ``aurc`` and ``auc_ovr`` with their intervals.

    Left out is what has none: an AUC without a class to rank, and one of exactly 0 or 1, whose interval no sample
    tells.
    """
    values = probability_scores(predictions)
    found = mean_estimates(sample_losses(predictions), resamples, seed)
    found["ece"] = Estimate(values.ece, *calibration_interval(predictions, resamples, seed))
    influence = aurc_influence(predictions)
    half = _half_width(influence)
    found["aurc"] = Estimate(values.aurc, max(values.aurc - half, 0.0), min(values.aurc + half, 1.0))
    if values.auc_ovr is not None and 0 < values.auc_ovr < 1:
        found["auc_ovr"] = Estimate(
            values.auc_ovr, *_on_logits(values.auc_ovr, _half_width(auc_influence(predictions)))
        )
    return found


def mean_estimates(columns: Mapping[str, np.ndarray], resamples: int, seed: int) -> dict[str, Estimate]:
    """The mean of each column (n,), a number of each image, with its interval by the percentile bootstrap.

    Images are drawn one by one, unlike counts (`make bench-evaluation` says how long that takes), for all columns once.
    """
    table = np.column_stack(list(columns.values()))
    generator, n = np.random.default_rng(seed), len(table)
    draws = (np.bincount(generator.integers(0, n, n, dtype=np.int32), minlength=n) for _ in range(resamples))
    means = np.array([times @ table for times in draws]) / n
    return {
        name: Estimate(float(values.mean()), *interval(means[:, place]))
        for place, (name, values) in enumerate(columns.items())
    }


def calibration_interval(predictions: Predictions, resamples: int, seed: int) -> tuple[float, float]:
    """The interval of the expected calibration error.

    The error is a sum of absolute values, so chance alone adds to it, and to a resample once more: plain percentiles
    miss the truth of a well calibrated model always. The gaps of the bins are drawn about the measured ones
    (normal, their covariance); what that adds on average is taken off the upper end once, and off the lower end twice.
    The lower end is 0 unless the error is larger than a calibrated model's in 97.5 of 100 draws. In simulations it
    holds the truth in 90 to 98 of 100 sets of 300 and 3,589 images, from perfect calibration to an error of 0.2.
    """
    confidence = predictions.probabilities.max(axis=1)
    gaps, places = (predictions.predicted == predictions.labels) - confidence, bin_places(confidence)
    n, generator = len(gaps), np.random.default_rng(seed)
    means, squares = (np.bincount(places, values, BINS) / n for values in (gaps, gaps**2))
    measured = np.abs(means).sum()
    drawn = _absolute_sums(generator, means, (np.diag(squares) - np.outer(means, means)) / n, resamples)
    chance = _absolute_sums(generator, np.zeros(BINS), np.diag(squares) / n, resamples)
    low, high = interval(drawn)
    added = drawn.mean() - measured
    is_off = measured > interval(chance)[1]
    return max(low - 2 * added, 0.0) if is_off else 0.0, float(max(high - added, measured))


def _absolute_sums(
    generator: np.random.Generator, means: np.ndarray, covariance: np.ndarray, resamples: int
) -> np.ndarray:
    return np.abs(generator.multivariate_normal(means, covariance, size=resamples, method="eigh")).sum(axis=1)


def auc_influence(predictions: Predictions) -> np.ndarray:
    """How each sample (n,) moves the mean AUC one against rest; their variance is DeLong's (1988) of each class."""
    parts = []
    for place, right in against_rest(predictions.labels, predictions.probabilities):
        found, rest = predictions.probabilities[right, place], predictions.probabilities[~right, place]
        placed = np.empty(len(right))
        placed[right] = (_share_below(found, rest) - _mean_rank(found, rest)) / right.mean()
        placed[~right] = (1 - _share_below(rest, found) - _mean_rank(found, rest)) / (~right).mean()
        parts.append(placed)
    return np.mean(parts, axis=0)


def _share_below(values: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Of each value the share of ``others`` below it, ties counted half."""
    ordered = np.sort(others)
    below, up_to = np.searchsorted(ordered, values, "left"), np.searchsorted(ordered, values, "right")
    shares: np.ndarray = (below + up_to) / (2 * len(others))
    return shares


def _mean_rank(found: np.ndarray, rest: np.ndarray) -> float:
    return float(_share_below(found, rest).mean())


def aurc_influence(predictions: Predictions) -> np.ndarray:
    """How each sample (n,) moves the area under the risk-coverage curve: by its place, and by its error behind it."""
    risk = risk_coverage(predictions).risk
    wrong, group = errors_by_sureness(predictions)
    answered = np.arange(1, len(risk) + 1)
    # the risk at every coverage that includes a sample is moved by its error: a sum over all places from its own on
    moved, expected = (np.cumsum(values[::-1])[::-1] for values in (1 / answered, risk / answered))
    # equally sure ones stand at all places of their group alike
    size, places = np.bincount(group), np.sort(group)
    by_place, by_error = (np.bincount(places, values) / size for values in (risk - expected, moved))
    influence: np.ndarray = by_place[group] + wrong * by_error[group] - risk.mean()
    return influence


def _half_width(influence: np.ndarray) -> float:
    return float(_normal_quantile() * influence.std() / np.sqrt(len(influence)))


def _on_logits(value: float, half: float) -> tuple[float, float]:
    """An interval that stays between 0 and 1: symmetric in the logit, where a rate near an end is nearer to normal."""
    middle, width = np.log(value / (1 - value)), half / (value * (1 - value))
    low, high = 1 / (1 + np.exp(-(middle + np.array([-width, width]))))
    return float(low), float(high)


def _normal_quantile() -> float:
    from scipy.stats import norm

    return float(norm.ppf((1 + LEVEL) / 2))
