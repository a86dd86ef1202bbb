"""Metrics against scikit-learn, intervals against a bootstrap that resamples the samples one by one."""

import warnings

import numpy as np
import pytest
from sklearn import metrics as reference

from ferlab.evaluation.metrics import HEADLINE, Scores, bootstrap_interval, headline, score
from ferlab.predictions import Predictions

CLASSES = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
RESAMPLES = 400


def predictions(labels: np.ndarray, probabilities: np.ndarray, classes: tuple[str, ...] = CLASSES) -> Predictions:
    return Predictions(
        ids=tuple(str(i) for i in range(len(labels))),
        labels=np.asarray(labels, np.int64),
        probabilities=np.asarray(probabilities, np.float64),
        classes=classes,
        split="test",
        taxonomy="fer2013",
        protocol="fer2013/official",
        dataset_digest="d" * 64,
        run_id="r" * 32,
    )


def decided(labels: np.ndarray, predicted: np.ndarray) -> Predictions:
    """Predictions that are certain of ``predicted``."""
    return predictions(labels, np.eye(len(CLASSES))[np.asarray(predicted)])


def random_case(seed: int, size: int) -> Predictions:
    rng = np.random.default_rng(seed)
    labels = rng.choice(len(CLASSES), size, p=rng.dirichlet(np.full(len(CLASSES), 0.5)))
    probabilities = rng.dirichlet(np.full(len(CLASSES), 0.3), size)
    right = rng.random(size) < 0.5
    probabilities[right] = 0.3 * probabilities[right] + 0.7 * np.eye(len(CLASSES))[labels[right]]
    return predictions(labels, probabilities)


CASES = {
    "seven classes, 1000 samples": random_case(0, 1000),
    "seven classes, 50 samples": random_case(1, 50),
    "three samples": random_case(2, 3),
    "one sample, right": decided([3], [3]),
    "one sample, wrong": decided([3], [0]),
    "all of one class, all right": decided([4] * 9, [4] * 9),
    "all of one class, predictions spread": decided([4] * 7, [0, 1, 2, 3, 4, 5, 6]),
    "everything predicted as one class": decided([0, 1, 2, 3, 4, 5, 6, 6], [6] * 8),
    "a class that neither occurs nor is predicted": decided([0, 0, 2, 3, 4, 5, 6], [0, 2, 2, 3, 4, 6, 5]),
    "a class that is predicted but does not occur": decided([0, 0, 2, 3], [1, 0, 1, 3]),
    "nothing right": decided([0, 1, 2, 3, 4, 5, 6], [1, 2, 3, 4, 5, 6, 0]),
    "ties": predictions(np.arange(7), np.full((7, 7), 1 / 7)),
}


@pytest.fixture(params=CASES.values(), ids=CASES.keys())
def case(request: pytest.FixtureRequest) -> Predictions:
    return request.param


def test_headline_equals_scikit_learn(case: Predictions) -> None:
    scores = score(case, RESAMPLES, 0)
    truth, guess = case.labels, case.probabilities.argmax(axis=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn warns of absent classes
        expected = {
            "accuracy": reference.accuracy_score(truth, guess),
            "balanced_accuracy": reference.balanced_accuracy_score(truth, guess),
            "macro_f1": reference.f1_score(truth, guess, average="macro", zero_division=0),
            "weighted_f1": reference.f1_score(truth, guess, average="weighted", zero_division=0),
        }
    assert {name: item.value for name, item in scores.estimates.items()} == pytest.approx(expected, abs=1e-12)
    assert scores.n == len(truth)


def test_per_class_rows_equal_scikit_learn(case: Predictions) -> None:
    scores = score(case, RESAMPLES, 0)
    table = reference.precision_recall_fscore_support(
        case.labels, case.predicted, labels=range(len(CLASSES)), zero_division=0
    )
    rows = scores.per_class
    assert [row.name for row in rows] == list(CLASSES)
    found = np.array([[row.precision, row.recall, row.f1, row.support] for row in rows]).T
    np.testing.assert_allclose(found, np.array(table, dtype=float), atol=1e-12)


def test_confusion_counts_true_by_predicted(case: Predictions) -> None:
    expected = np.zeros((7, 7), int)
    for truth, guess in zip(case.labels, case.predicted, strict=True):
        expected[truth, guess] += 1
    np.testing.assert_array_equal(score(case, RESAMPLES, 0).confusion, expected)


def test_interval_is_ordered_and_inside_zero_to_one(case: Predictions) -> None:
    for item in score(case, RESAMPLES, 0).estimates.values():
        assert 0 <= item.low <= item.high <= 1


def test_ties_go_to_the_first_class() -> None:
    tied = predictions([0, 1], [[0.5, 0.5, 0, 0, 0, 0, 0], [0, 0.4, 0.4, 0.2, 0, 0, 0]])
    assert tied.predicted.tolist() == [0, 1]
    assert score(tied, RESAMPLES, 0).estimates["accuracy"].value == 1


def sample_bootstrap(case: Predictions, resamples: int, seed: int) -> dict[str, tuple[float, float]]:
    """Plain: draw n samples with replacement, count again, take the quantiles."""
    rng = np.random.default_rng(seed)
    guess, drawn = case.predicted, {name: [] for name in HEADLINE}
    for _ in range(resamples):
        rows = rng.integers(0, len(case), len(case))
        truth, answer = case.labels[rows], guess[rows]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            drawn["accuracy"].append((truth == answer).mean())
            drawn["balanced_accuracy"].append(reference.balanced_accuracy_score(truth, answer))
            drawn["macro_f1"].append(reference.f1_score(truth, answer, average="macro", zero_division=0))
            drawn["weighted_f1"].append(reference.f1_score(truth, answer, average="weighted", zero_division=0))
    return {name: tuple(np.quantile(values, [0.025, 0.975])) for name, values in drawn.items()}


def test_interval_equals_a_bootstrap_over_samples() -> None:
    case = random_case(5, 400)
    plain = sample_bootstrap(case, 500, 1)
    fast = score(case, 4000, 0).estimates
    for name in HEADLINE:
        width = plain[name][1] - plain[name][0]
        # quantiles of 500 resamples scatter by about a twentieth of the width
        assert fast[name].low == pytest.approx(plain[name][0], abs=0.15 * width), name
        assert fast[name].high == pytest.approx(plain[name][1], abs=0.15 * width), name


def test_interval_covers_the_true_accuracy_in_95_of_100_sets() -> None:
    rng = np.random.default_rng(11)
    confusion = rng.dirichlet(np.full(49, 0.5)).reshape(7, 7)
    confusion = 0.5 * confusion + 0.5 * np.diag(rng.dirichlet(np.full(7, 3.0)))
    truth = np.trace(confusion)
    covered = 0
    for seed in range(300):
        drawn = rng.multinomial(500, confusion.ravel()).reshape(7, 7)
        low, high = bootstrap_interval(drawn, 1000, seed)
        covered += low["accuracy"] <= truth <= high["accuracy"]
    # a binomial count of 300 at .95 leaves 273..296 in fewer than 1 of 500 cases
    assert 273 <= covered <= 296


def test_interval_depends_on_the_seed_alone() -> None:
    case = random_case(6, 200)
    assert score(case, 500, 1).estimates == score(case, 500, 1).estimates
    assert score(case, 500, 1).estimates != score(case, 500, 2).estimates


def test_interval_narrows_with_the_root_of_n() -> None:
    def width(size: int) -> float:
        estimate = score(random_case(7, size), 2000, 0).estimates["accuracy"]
        return estimate.high - estimate.low

    assert width(400) / width(6400) == pytest.approx(4, rel=0.2)


def test_headline_of_many_matrices_equals_one_by_one() -> None:
    rng = np.random.default_rng(8)
    many = rng.integers(0, 20, (30, 7, 7)).astype(float)
    together = headline(many)
    for position, single in enumerate(many):
        alone = headline(single[None])
        for name in HEADLINE:
            assert together[name][position] == alone[name][0]


def test_json_and_mlflow_names_carry_the_same_numbers() -> None:
    scores = score(random_case(9, 100), RESAMPLES, 0)
    flat, nested = scores.flat("val"), scores.as_json()
    assert set(nested) == {"accuracy", "balanced_accuracy", "macro_f1", "weighted_f1"}
    for name, item in nested.items():
        assert item["low"] <= item["value"] <= item["high"]
        assert (flat[f"val_{name}"], flat[f"val_{name}_low"], flat[f"val_{name}_high"]) == (
            item["value"],
            item["low"],
            item["high"],
        )
    assert {f"val_f1_{name}" for name in CLASSES} <= set(flat)
    assert isinstance(scores, Scores)
