"""How good the probabilities are, not only the answers: AUC, likelihood, Brier score, calibration, risk-coverage."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass

import numpy as np

from ferlab.predictions import Predictions
from ferlab.scoring.views import SMALLEST_PROBABILITY

BINS = 15


@dataclass(frozen=True)
class ProbabilityScores:
    """Scores of probabilities; all but ``auc_ovr`` are better when smaller.

    ``auc_ovr``: area under the ROC of each class against the rest, mean over the classes with samples of both kinds,
    None where there is none. ``nll``: mean negative log-likelihood (nats). ``brier``: mean squared error summed over
    the classes (0..2). ``ece``: expected calibration error of the predicted class, BINS bins of equal width (Guo et
    al. 2017). ``aurc``: area under the risk-coverage curve (Geifman & El-Yaniv 2017).
    """

    auc_ovr: float | None
    nll: float
    brier: float
    ece: float
    aurc: float

    def values(self) -> dict[str, float | None]:
        """By name."""
        return asdict(self)


@dataclass(frozen=True)
class Curve:
    """A curve of one class against the rest, points (m,) from left to right or back, and the area under it."""

    name: str
    x: np.ndarray
    y: np.ndarray
    area: float


@dataclass(frozen=True)
class ReliabilityBins:
    """Bins of the predicted class's probability that hold samples: mean probability, share that is right, count."""

    confidence: np.ndarray
    accuracy: np.ndarray
    count: np.ndarray


@dataclass(frozen=True)
class RiskCoverage:
    """Share of samples answered (the surest first), and the share of errors among them; (n,) each."""

    coverage: np.ndarray
    risk: np.ndarray


def probability_scores(predictions: Predictions) -> ProbabilityScores:
    """All of them for one set of predictions."""
    bins, losses = reliability_bins(predictions), sample_losses(predictions)
    return ProbabilityScores(
        auc_ovr(predictions.labels, predictions.probabilities),
        float(losses["nll"].mean()),
        float(losses["brier"].mean()),
        float((bins.count * np.abs(bins.accuracy - bins.confidence)).sum() / len(predictions)),
        float(risk_coverage(predictions).risk.mean()),
    )


def sample_losses(predictions: Predictions) -> dict[str, np.ndarray]:
    """``nll`` and ``brier`` of each sample (n,).

    A true class of probability 0 counts as SMALLEST_PROBABILITY, so that one certain mistake is not infinitely bad but
    costs 87 nats.
    """
    labels, probabilities = predictions.labels, predictions.probabilities
    of_truth = np.maximum(probabilities[np.arange(len(labels)), labels], SMALLEST_PROBABILITY)
    squares = (probabilities - np.eye(probabilities.shape[1])[labels]) ** 2
    return {"nll": -np.log(of_truth), "brier": squares.sum(axis=1)}


def auc_ovr(labels: np.ndarray, probabilities: np.ndarray) -> float | None:
    """Mean AUC one against rest over the classes that occur and are not all there is; None without such a class."""
    from sklearn.metrics import roc_auc_score

    areas = [roc_auc_score(right, probabilities[:, place]) for place, right in against_rest(labels, probabilities)]
    return float(np.mean(areas)) if areas else None


def roc_curves(predictions: Predictions) -> tuple[Curve, ...]:
    """Share of the class that is found (y) over share of the rest that is taken for it (x); area: AUC.

    Classes without samples, or without others, have no curve.
    """
    from sklearn.metrics import auc, roc_curve

    found = []
    for place, right in against_rest(predictions.labels, predictions.probabilities):
        x, y, _ = roc_curve(right, predictions.probabilities[:, place])
        found.append(Curve(predictions.classes[place], x, y, float(auc(x, y))))
    return tuple(found)


def precision_recall_curves(predictions: Predictions) -> tuple[Curve, ...]:
    """Precision (y) over recall (x), of the classes that have a ROC; area: average precision."""
    from sklearn.metrics import average_precision_score, precision_recall_curve

    found = []
    for place, right in against_rest(predictions.labels, predictions.probabilities):
        probability = predictions.probabilities[:, place]
        precision, recall, _ = precision_recall_curve(right, probability)
        area = float(average_precision_score(right, probability))
        found.append(Curve(predictions.classes[place], recall, precision, area))
    return tuple(found)


def reliability_bins(predictions: Predictions) -> ReliabilityBins:
    """Samples by the probability of their predicted class, in BINS bins of equal width, each open to the left."""
    confidence = predictions.probabilities.max(axis=1)
    right = predictions.predicted == predictions.labels
    place = bin_places(confidence)
    count = np.bincount(place, minlength=BINS)
    kept = count > 0
    return ReliabilityBins(
        np.bincount(place, confidence, BINS)[kept] / count[kept],
        np.bincount(place, right, BINS)[kept] / count[kept],
        count[kept],
    )


def bin_places(confidence: np.ndarray) -> np.ndarray:
    """The bin (n,) of each probability (n,), 0..BINS - 1."""
    places: np.ndarray = np.clip(np.ceil(confidence * BINS).astype(int) - 1, 0, BINS - 1)
    return places


def risk_coverage(predictions: Predictions) -> RiskCoverage:
    """Errors among the surest answers, for every number of them; equally sure ones share the mean of their errors."""
    wrong, group = errors_by_sureness(predictions)
    shared = np.bincount(group, wrong) / np.bincount(group)
    answered = np.arange(1, len(wrong) + 1)
    return RiskCoverage(answered / len(wrong), shared[np.sort(group)].cumsum() / answered)


def errors_by_sureness(predictions: Predictions) -> tuple[np.ndarray, np.ndarray]:
    """Whether each sample is wrong (n,), 0. or 1., and its group of equally sure ones (n,), the surest first."""
    wrong = (predictions.predicted != predictions.labels).astype(np.float64)
    _, group = np.unique(-predictions.probabilities.max(axis=1), return_inverse=True)
    return wrong, group


def against_rest(labels: np.ndarray, probabilities: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Place of each class with samples of both kinds, and whether each sample is of it (n,)."""
    for place in range(probabilities.shape[1]):
        right = labels == place
        if right.any() and not right.all():
            yield place, right
