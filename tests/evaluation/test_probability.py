"""Scores of probabilities against scikit-learn, plain loops and tables worked by hand."""

import itertools

import numpy as np
import pytest
from sklearn.metrics import log_loss, roc_auc_score

from ferlab.errors import UserError
from ferlab.evaluation.probability import (
    BINS,
    auc_ovr,
    precision_recall_curves,
    probability_scores,
    reliability_bins,
    risk_coverage,
    roc_curves,
)
from ferlab.predictions import Predictions


def predictions(labels: list[int] | np.ndarray, probabilities: list[list[float]] | np.ndarray) -> Predictions:
    table = np.asarray(probabilities, np.float64)
    ids = tuple(str(place) for place in range(len(table)))
    classes = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral", "contempt")[: table.shape[1]]
    return Predictions(
        ids, np.asarray(labels), table, classes, "test", "fer2013", "fer2013/official", "d" * 64, "r" * 32
    )  # fmt: skip


def random_case(seed: int, size: int, classes: int = 7, absent: int | None = None) -> Predictions:
    rng = np.random.default_rng(seed)
    probabilities = rng.dirichlet(np.full(classes, 0.5), size)
    labels = (rng.random((size, 1)) > probabilities.cumsum(axis=1)).sum(axis=1).clip(0, classes - 1)
    if absent is not None:
        labels[labels == absent] = (absent + 1) % classes
    return predictions(labels, probabilities)


CASES = {
    "many samples": random_case(0, 2000),
    "an absent class": random_case(1, 300, absent=2),
    "two samples": predictions([0, 1], [[0.6, 0.3, 0.1], [0.2, 0.5, 0.3]]),
    "one sample, right": predictions([1], [[0.2, 0.5, 0.3]]),
    "one sample, certain and wrong": predictions([1], [[1.0, 0.0, 0.0]]),
    "all of one class": predictions([2, 2, 2], [[0.1, 0.2, 0.7], [0.5, 0.3, 0.2], [0.0, 0.0, 1.0]]),
    "ties": predictions([0, 1, 2, 0], np.full((4, 3), 1 / 3)),
    "zeros and ones": predictions([0, 1, 1], [[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]]),
    "on the edges of bins": predictions([0, 0, 1, 1], [[0.6, 0.4], [0.8, 0.2], [0.6, 0.4], [0.2, 0.8]]),
}


@pytest.fixture(params=CASES.values(), ids=CASES.keys())
def case(request: pytest.FixtureRequest) -> Predictions:
    return request.param


def test_likelihood_and_brier_equal_plain_loops(case: Predictions) -> None:
    nll = brier = 0.0
    for label, row in zip(case.labels, case.probabilities, strict=True):
        nll -= np.log(max(row[label], 1.17549435e-38)) / len(case)
        brier += sum((p - (place == label)) ** 2 for place, p in enumerate(row)) / len(case)
    found = probability_scores(case)
    assert found.nll == pytest.approx(nll)
    assert found.brier == pytest.approx(brier)


def test_likelihood_equals_scikit_learn() -> None:
    case = CASES["many samples"]
    assert probability_scores(case).nll == pytest.approx(log_loss(case.labels, case.probabilities, labels=range(7)))


def pairs_in_order(labels: np.ndarray, scores: np.ndarray) -> float | None:
    """AUC as the share of (in, out) pairs that stand in the right order, ties half (Mann & Whitney 1947)."""
    inside, outside = scores[labels], scores[~labels]
    if not len(inside) or not len(outside):
        return None
    steps = np.sign(inside[:, None] - outside[None])
    return float((steps + 1).mean() / 2)


def test_auc_is_the_mean_share_of_pairs_in_order(case: Predictions) -> None:
    each = [pairs_in_order(case.labels == place, case.probabilities[:, place]) for place in range(len(case.classes))]
    known = [area for area in each if area is not None]
    assert probability_scores(case).auc_ovr == (pytest.approx(np.mean(known)) if known else None)


def test_auc_equals_scikit_learn_where_every_class_occurs() -> None:
    case = CASES["many samples"]
    expected = roc_auc_score(case.labels, case.probabilities, multi_class="ovr", average="macro")
    assert auc_ovr(case.labels, case.probabilities) == pytest.approx(expected, abs=1e-12)


def test_calibration_error_equals_a_plain_loop(case: Predictions) -> None:
    edges, expected = np.linspace(0, 1, BINS + 1), 0.0
    top, right = case.probabilities.max(axis=1), case.predicted == case.labels
    for low, high in itertools.pairwise(edges):
        inside = (top > low) & (top <= high)
        if inside.any():
            expected += inside.mean() * abs(right[inside].mean() - top[inside].mean())
    assert probability_scores(case).ece == pytest.approx(expected, abs=1e-12)
    bins = reliability_bins(case)
    assert bins.count.sum() == len(case)
    assert (bins.count > 0).all()


def test_calibration_error_worked_by_hand() -> None:
    # two sure answers (.9, .95) of which one is right, two unsure ones (.5) that are both right
    case = predictions([0, 1, 0, 1], [[0.9, 0.1], [0.95, 0.05], [0.5, 0.5], [0.5, 0.5]])
    # .9 and .95 stand in bins of their own (.867..  .933..  1): |1 - .9| / 4 + |0 - .95| / 4 + |.5 - .5| / 2
    assert probability_scores(case).ece == pytest.approx(0.1 / 4 + 0.95 / 4 + 0)


def test_risk_coverage_equals_the_mean_over_all_orders_of_ties(case: Predictions) -> None:
    top, wrong = case.probabilities.max(axis=1), case.predicted != case.labels
    rng, total = np.random.default_rng(0), np.zeros(len(case))
    orders = 400 if len(np.unique(top)) < len(top) else 1
    for _ in range(orders):
        order = np.lexsort((rng.random(len(case)), -top))
        total += wrong[order].cumsum() / np.arange(1, len(case) + 1)
    found = risk_coverage(case)
    np.testing.assert_allclose(found.risk, total / orders, atol=0.06 if orders > 1 else 1e-12)
    assert found.coverage[-1] == 1
    assert found.risk[-1] == pytest.approx(wrong.mean())


def test_area_under_risk_coverage_worked_by_hand() -> None:
    # the surest first: right, wrong, right
    case = predictions([0, 1, 0], [[0.9, 0.1], [0.8, 0.2], [0.7, 0.3]])
    assert probability_scores(case).aurc == pytest.approx((0 + 1 / 2 + 1 / 3) / 3)


def test_roc_has_the_area_of_its_class(case: Predictions) -> None:
    found = {curve.name: curve for curve in roc_curves(case)}
    for place, name in enumerate(case.classes):
        area = pairs_in_order(case.labels == place, case.probabilities[:, place])
        assert (name in found) == (area is not None)
        if area is not None:
            assert found[name].area == pytest.approx(area)
            assert (found[name].x[0], found[name].y[0]) == (0, 0)
            assert (found[name].x[-1], found[name].y[-1]) == (1, 1)


def test_precision_recall_is_counted_at_every_threshold() -> None:
    case = random_case(3, 60, classes=3)
    for place, curve in enumerate(precision_recall_curves(case)):
        probability, right = case.probabilities[:, place], case.labels == place
        area, before, points = 0.0, 0.0, set()
        for threshold in sorted(set(probability), reverse=True):
            taken = probability >= threshold
            recall, precision = (taken & right).sum() / right.sum(), (taken & right).sum() / taken.sum()
            points.add((round(recall, 9), round(precision, 9)))
            area, before = area + (recall - before) * precision, recall
        assert points <= {(round(x, 9), round(y, 9)) for x, y in zip(curve.x, curve.y, strict=True)}
        assert curve.area == pytest.approx(area)


def test_perfect_and_useless_probabilities() -> None:
    perfect = probability_scores(predictions([0, 1, 2], np.eye(3)))
    assert (perfect.auc_ovr, perfect.nll, perfect.brier, perfect.ece, perfect.aurc) == (1, 0, 0, 0, 0)
    useless = probability_scores(predictions([0, 1, 2], np.full((3, 3), 1 / 3)))
    assert useless.auc_ovr == 0.5
    assert useless.nll == pytest.approx(np.log(3))
    assert useless.brier == pytest.approx(2 / 3)
    assert useless.ece == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(
    "row", [[0.5, 0.6, 0.1], [0.2, 0.2, 0.2], [1.2, -0.2, 0.0], [np.nan, 0.5, 0.5]],
    ids=["above 1", "below 1", "negative", "NaN"],
)  # fmt: skip
def test_what_is_no_probability_is_refused(row: list[float]) -> None:
    with pytest.raises(UserError, match="probabilities"):
        predictions([0, 1], [[0.2, 0.3, 0.5], row])
