"""Metrics of classification, with bootstrap intervals; all of them functions of the confusion matrix."""

from dataclasses import dataclass

import numpy as np

from ferlab.predictions import Predictions

HEADLINE = ("accuracy", "balanced_accuracy", "macro_f1", "weighted_f1")
LEVEL = 0.95


@dataclass(frozen=True)
class Estimate:
    """A value with its bootstrap interval at ``LEVEL``."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class ClassRow:
    """One row of the per-class table; precision, recall and F1 are 0 where they are undefined."""

    name: str
    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True)
class Scores:
    """What an evaluation found: headline estimates by name, the per-class table, counts[true, predicted]."""

    estimates: dict[str, Estimate]
    per_class: tuple[ClassRow, ...]
    confusion: np.ndarray
    n: int

    def as_json(self) -> dict[str, dict[str, float]]:
        """The headline estimates with the documented keys of ``--json``."""
        return {
            name: {"value": item.value, "low": item.low, "high": item.high} for name, item in self.estimates.items()
        }

    def flat(self, prefix: str) -> dict[str, float]:
        """Numbers as MLflow metrics: ``<prefix>_accuracy``, ``<prefix>_accuracy_low`` and so on."""
        values: dict[str, float] = {}
        for name, item in self.estimates.items():
            values |= {
                f"{prefix}_{name}": item.value,
                f"{prefix}_{name}_low": item.low,
                f"{prefix}_{name}_high": item.high,
            }
        for row in self.per_class:
            values[f"{prefix}_f1_{row.name}"] = row.f1
        return values


def score(predictions: Predictions, resamples: int, seed: int) -> Scores:
    """All metrics of one set of predictions."""
    from sklearn.metrics import confusion_matrix

    classes = predictions.classes
    confusion = confusion_matrix(predictions.labels, predictions.predicted, labels=np.arange(len(classes)))
    values = headline(confusion[None].astype(float))
    low, high = bootstrap_interval(confusion, resamples, seed)
    estimates = {name: Estimate(float(values[name][0]), float(low[name]), float(high[name])) for name in HEADLINE}
    return Scores(estimates, _per_class(confusion, classes), confusion, int(confusion.sum()))


def headline(confusions: np.ndarray) -> dict[str, np.ndarray]:
    """Headline metrics of many confusion matrices (m, k, k), rows true: arrays (m,).

    Balanced accuracy is the mean recall over the classes that occur (as scikit-learn's). Macro F1 is the mean over
    the classes that occur or are predicted, weighted F1 weights by support; an undefined F1 counts as 0.
    """
    correct = np.einsum("mkk->mk", confusions)
    support, predicted = confusions.sum(axis=2), confusions.sum(axis=1)
    recall = np.divide(correct, support, out=np.zeros_like(correct), where=support > 0)
    f1 = np.divide(2 * correct, support + predicted, out=np.zeros_like(correct), where=support + predicted > 0)
    total = confusions.sum(axis=(1, 2))
    return {
        "accuracy": correct.sum(axis=1) / total,
        "balanced_accuracy": recall.sum(axis=1) / (support > 0).sum(axis=1),
        "macro_f1": f1.sum(axis=1) / (support + predicted > 0).sum(axis=1),
        "weighted_f1": (f1 * support).sum(axis=1) / total,
    }


def bootstrap_interval(confusion: np.ndarray, resamples: int, seed: int) -> tuple[dict[str, float], dict[str, float]]:
    """Percentile bootstrap over samples: lower and upper ends by metric.

    Drawing n samples with replacement and counting them is a multinomial draw of the confusion matrix's cells, so
    no sample is touched (Efron & Tibshirani 1993, chapter 13).
    """
    total = int(confusion.sum())
    drawn = np.random.default_rng(seed).multinomial(total, confusion.ravel() / total, size=resamples)
    values = headline(drawn.reshape(resamples, *confusion.shape).astype(float))
    tail = (1 - LEVEL) / 2
    low = {name: float(np.quantile(values[name], tail)) for name in HEADLINE}
    high = {name: float(np.quantile(values[name], 1 - tail)) for name in HEADLINE}
    return low, high


def _per_class(confusion: np.ndarray, classes: tuple[str, ...]) -> tuple[ClassRow, ...]:
    rows = []
    for position, name in enumerate(classes):
        correct = confusion[position, position]
        support, predicted = confusion[position].sum(), confusion[:, position].sum()
        rows.append(
            ClassRow(
                name=name,
                precision=float(correct / predicted) if predicted else 0.0,
                recall=float(correct / support) if support else 0.0,
                f1=float(2 * correct / (support + predicted)) if support + predicted else 0.0,
                support=int(support),
            )
        )
    return tuple(rows)
