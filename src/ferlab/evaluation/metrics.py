"""Metrics of classification, with bootstrap intervals; all of them functions of the confusion matrix."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ferlab.predictions import Predictions

TITLES = {
    "accuracy": "Accuracy",
    "balanced_accuracy": "Balanced accuracy",
    "macro_f1": "Macro F1",
    "weighted_f1": "Weighted F1",
    "mcc": "MCC",
}
HEADLINE = tuple(TITLES)
INTERVALS = "smoothed percentile bootstrap over images (half a sample more for every class that occurs), 95 %"
"""What intervals are, in words."""
LEVEL = 0.95
SMOOTHING = 0.5
"""Samples that every class which occurs has more when resampled, half of them right: see ``resampled``."""

Interval = tuple[float, float]


@dataclass(frozen=True)
class Estimate:
    """A value with its bootstrap interval at ``LEVEL``."""

    value: float
    low: float
    high: float


def as_json(estimates: Mapping[str, Estimate]) -> dict[str, dict[str, float]]:
    """Estimates with the documented keys of ``--json``."""
    return {name: {"value": item.value, "low": item.low, "high": item.high} for name, item in estimates.items()}


@dataclass(frozen=True)
class ClassRow:
    """One row of the per-class table; precision, recall and F1 are 0 where they are undefined.

    Intervals are at ``LEVEL``, None for a class without samples, that of precision also for one never predicted.
    """

    name: str
    precision: float
    recall: float
    f1: float
    support: int
    recall_interval: Interval | None = None
    f1_interval: Interval | None = None
    precision_interval: Interval | None = None


@dataclass(frozen=True)
class Scores:
    """What an evaluation found: headline estimates by name, the per-class table, counts[true, predicted]."""

    estimates: dict[str, Estimate]
    per_class: tuple[ClassRow, ...]
    confusion: np.ndarray
    n: int

    @property
    def weighted_precision(self) -> float:
        """Mean precision of the classes, weighted by support; recall so weighted is the accuracy."""
        return sum(row.precision * row.support for row in self.per_class) / self.n

    def as_json(self) -> dict[str, dict[str, float]]:
        """The headline estimates with the documented keys of ``--json``."""
        return as_json(self.estimates)

    def flat(self, prefix: str) -> dict[str, float]:
        """Numbers as MLflow metrics: ``<prefix>_accuracy``, ``<prefix>_accuracy_low`` and so on."""
        values: dict[str, float] = {}
        for name, item in self.estimates.items():
            values |= {
                f"{prefix}_{name}": item.value,
                f"{prefix}_{name}_low": item.low,
                f"{prefix}_{name}_high": item.high,
            }
        values[f"{prefix}_weighted_precision"] = self.weighted_precision
        for row in self.per_class:
            values[f"{prefix}_f1_{row.name}"] = row.f1
        return values


@dataclass(frozen=True)
class Rates:
    """Rates of the k classes in m confusion matrices: (m, k) each, 0 where undefined; ``support`` counts samples.

    ``predicted`` counts answers, ``present``: the class occurs or is predicted.
    """

    precision: np.ndarray
    recall: np.ndarray
    f1: np.ndarray
    support: np.ndarray
    predicted: np.ndarray
    present: np.ndarray


def score(predictions: Predictions, resamples: int, seed: int) -> Scores:
    """All metrics of one set of predictions."""
    from sklearn.metrics import confusion_matrix

    classes = predictions.classes
    confusion = confusion_matrix(predictions.labels, predictions.predicted, labels=np.arange(len(classes)))
    found, drawn = confusion[None].astype(float), resampled(confusion, resamples, seed)
    values, ends = headline(found), {name: interval(draws) for name, draws in headline(drawn).items()}
    estimates = {name: Estimate(float(values[name][0]), *ends[name]) for name in HEADLINE}
    return Scores(estimates, _per_class(class_rates(found), class_rates(drawn), classes), confusion, len(predictions))


def headline(confusions: np.ndarray) -> dict[str, np.ndarray]:
    """Headline metrics of many confusion matrices (m, k, k), rows true: arrays (m,).

    ``averages`` says what they are means of. MCC is the correlation coefficient of Gorodkin 2004, 0 where it is
    undefined (one class alone occurs, or one alone is predicted).
    """
    correct = np.einsum("mkk->m", confusions)
    support, predicted = confusions.sum(axis=2), confusions.sum(axis=1)
    total = confusions.sum(axis=(1, 2))
    covariance = correct * total - (support * predicted).sum(axis=1)
    squares = [total**2 - (margin**2).sum(axis=1) for margin in (support, predicted)]
    norm = np.sqrt(squares[0] * squares[1])
    means = averages(class_rates(confusions))
    return {
        "accuracy": correct / total,
        "balanced_accuracy": means["balanced_accuracy"],
        "macro_f1": means["macro_f1"],
        "weighted_f1": means["weighted_f1"],
        "mcc": np.divide(covariance, norm, out=np.zeros_like(norm), where=norm > 0),
    }


def class_rates(confusions: np.ndarray) -> Rates:
    """Precision, recall, F1 and support of every class in confusion matrices (m, k, k), rows true."""
    correct = np.einsum("mkk->mk", confusions)
    support, predicted = confusions.sum(axis=2), confusions.sum(axis=1)

    def share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
        return np.divide(part, whole, out=np.zeros_like(correct), where=whole > 0)

    both = support + predicted
    return Rates(
        share(correct, predicted), share(correct, support), share(2 * correct, both), support, predicted, both > 0
    )


def averages(rates: Rates) -> dict[str, np.ndarray]:
    """Means of the classes' rates, (m,) each.

    Balanced accuracy is the mean recall over the classes that occur, macro F1 the mean over those that occur or are
    predicted; weighted means weight by support. All as scikit-learn has them, undefined rates counted as 0.
    """
    total = rates.support.sum(axis=1)
    weighted = {
        f"weighted_{name}": (getattr(rates, name) * rates.support).sum(axis=1) / total
        for name in ("precision", "recall", "f1")
    }
    return weighted | {
        "balanced_accuracy": rates.recall.sum(axis=1) / (rates.support > 0).sum(axis=1),
        "macro_f1": rates.f1.sum(axis=1) / rates.present.sum(axis=1),
    }


def resampled(confusion: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """Confusion matrices (resamples, k, k) of samples drawn anew with replacement, float.

    Drawing n samples and counting them is a multinomial draw of the matrix's cells, so no sample is touched (Efron &
    Tibshirani 1993, chapter 13). The draw is from a matrix in which every class that occurs has SMOOTHING samples
    more, half of them right, the other half spread over the wrong answers. Without them a class of which all few
    samples are right would never err in any resample: on 200 images like FER-2013's, of which three show disgust, the
    plain interval of the balanced accuracy holds the truth in 91 of 100 cases, this one in 97; on 50 images of which
    a good model gets 98 % right, that of the accuracy in 61 and 89. On thousands of images the two are the same.
    """
    classes, total = len(confusion), int(confusion.sum())
    wrong = 1 / max(classes - 1, 1)
    spread = np.where(np.eye(classes, dtype=bool), 1.0, wrong) * (confusion.sum(axis=1, keepdims=True) > 0)
    smoothed = confusion + SMOOTHING / 2 * spread
    drawn = np.random.default_rng(seed).multinomial(total, smoothed.ravel() / smoothed.sum(), size=resamples)
    return drawn.reshape(resamples, classes, classes).astype(float)


def interval(draws: np.ndarray) -> Interval:
    """What leaves out the same share at both ends, ``1 - LEVEL`` in all (percentile interval)."""
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(draws, [tail, 1 - tail])
    return float(low), float(high)


def _per_class(found: Rates, drawn: Rates, classes: tuple[str, ...]) -> tuple[ClassRow, ...]:
    rows = []
    for place, name in enumerate(classes):
        support, occurs = int(found.support[0, place]), drawn.support[:, place] > 0
        answered = drawn.predicted[:, place] > 0
        known = support > 0 and occurs.any()
        rows.append(
            ClassRow(
                name=name,
                precision=float(found.precision[0, place]),
                recall=float(found.recall[0, place]),
                f1=float(found.f1[0, place]),
                support=support,
                recall_interval=interval(drawn.recall[occurs, place]) if known else None,
                f1_interval=interval(drawn.f1[occurs, place]) if known else None,
                precision_interval=interval(drawn.precision[answered, place])
                if known and found.predicted[0, place] and answered.any()
                else None,
            )
        )
    return tuple(rows)
