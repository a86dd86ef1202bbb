"""Combination of members: weights against a dense grid, permutations, and what is refused."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from ferlab.ensembling.combine import aligned, combine, fit_weights, member_weights
from ferlab.errors import UserError
from ferlab.predictions import Predictions

CLASSES = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
SIZE = 400


def member(run_id: str, seed: int, skill: float, size: int = SIZE) -> Predictions:
    """A member whose probabilities lean to the truth by ``skill``; labels and ids are the same for all."""
    labels = np.random.default_rng(0).integers(0, 7, size)
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(size, 7)) + skill * np.eye(7)[labels]
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return Predictions(
        ids=tuple(f"id{i}" for i in range(size)),
        labels=labels,
        probabilities=probabilities,
        classes=CLASSES,
        split="validation",
        taxonomy="fer2013",
        protocol="fer2013/carved",
        dataset_digest="d" * 64,
        run_id=run_id,
    )


def negative_log_likelihood(weights: np.ndarray, members: list[Predictions]) -> float:
    mixture = sum(w * m.probabilities for w, m in zip(weights, members, strict=True))
    return float(-np.log(mixture[np.arange(SIZE), members[0].labels]).mean())


def simplex_grid(members: int, steps: int) -> np.ndarray:
    points = [p for p in product(range(steps + 1), repeat=members - 1) if sum(p) <= steps]
    return np.array([[*p, steps - sum(p)] for p in points]) / steps


@pytest.mark.parametrize("skills", [(1.5, 1.0), (2.0, 2.0), (1.5, 1.2, 1.0), (0.5, 2.5, 2.4)], ids=str)
def test_fitted_weights_are_the_best_of_a_dense_grid(skills: tuple[float, ...]) -> None:
    members = [member(f"run{i}", i + 1, skill) for i, skill in enumerate(skills)]
    weights = fit_weights(np.stack([m.probabilities for m in members]), members[0].labels)
    grid = simplex_grid(len(members), 400 if len(members) == 2 else 60)
    losses = np.array([negative_log_likelihood(point, members) for point in grid])
    assert negative_log_likelihood(weights, members) <= losses.min() + 1e-7
    np.testing.assert_allclose(weights, grid[losses.argmin()], atol=0.03)


def test_weights_lie_on_the_simplex() -> None:
    members = [member(f"run{i}", i, 1.0 + 0.3 * i) for i in range(6)]
    for method in ("mean", "weighted"):
        weights = member_weights(members, method)
        assert weights.shape == (6,)
        assert (weights >= 0).all()
        assert weights.sum() == pytest.approx(1)


def test_mean_weighs_all_alike() -> None:
    assert member_weights([member("a", 1, 0.1), member("b", 2, 3.0)], "mean").tolist() == [0.5, 0.5]


def test_a_member_that_guesses_gets_no_weight() -> None:
    useless = replace(member("c", 3, 0), probabilities=np.roll(member("c", 3, 3.0).probabilities, 1, axis=1))
    weights = member_weights([member("a", 1, 2.0), member("b", 2, 2.0), useless], "weighted")
    assert weights[2] < 0.01
    assert weights[:2].min() > 0.3


def test_permuting_members_permutes_weights() -> None:
    members = [member("a", 1, 2.0), member("b", 2, 1.5), member("c", 3, 1.0)]
    straight = member_weights(members, "weighted")
    for order in ([2, 0, 1], [1, 0, 2]):
        np.testing.assert_allclose(member_weights([members[i] for i in order], "weighted"), straight[order], atol=1e-4)


def test_identical_members_share_and_change_nothing() -> None:
    one = member("a", 1, 1.5)
    weights = member_weights([one, replace(one, run_id="b")], "weighted")
    assert weights.sum() == pytest.approx(1)
    np.testing.assert_allclose(combine([one, one], weights, "e").probabilities, one.probabilities, atol=1e-12)


def test_a_member_that_is_certain_and_wrong_does_not_break_the_fit() -> None:
    good = member("a", 1, 2.0)
    wrong = replace(good, run_id="b", probabilities=np.eye(7)[(good.labels + 1) % 7])
    weights = member_weights([wrong, good], "weighted")
    assert np.isfinite(weights).all()
    assert weights[1] > 0.99


def test_only_wrong_and_certain_members_still_give_weights() -> None:
    good = member("a", 1, 2.0)
    wrong = [replace(good, run_id=str(k), probabilities=np.eye(7)[(good.labels + k) % 7]) for k in (1, 2)]
    weights = member_weights(wrong, "weighted")
    assert np.isfinite(weights).all()
    assert weights.sum() == pytest.approx(1)


def test_combination_is_the_weighted_mean_by_sample_id() -> None:
    first, second = member("a", 1, 2.0), member("b", 2, 1.0)
    shuffled = np.random.default_rng(5).permutation(SIZE)
    second = replace(
        second,
        ids=tuple(second.ids[i] for i in shuffled),
        labels=second.labels[shuffled],
        probabilities=second.probabilities[shuffled],
    )
    done = combine(aligned([first, second]), np.array([0.3, 0.7]), "ensemble")
    plain = {name: 0.3 * p for name, p in zip(first.ids, first.probabilities, strict=True)}
    for name, p in zip(second.ids, second.probabilities, strict=True):
        plain[name] = plain[name] + 0.7 * p
    for name, label, row in zip(done.ids, done.labels, done.probabilities, strict=True):
        np.testing.assert_allclose(row, plain[name], atol=1e-12)
        assert label == first.labels[first.ids.index(name)]
    assert done.run_id == "ensemble"
    assert (done.protocol, done.dataset_digest, done.split) == ("fer2013/carved", "d" * 64, "validation")


def test_fitted_ensemble_beats_each_member_on_its_own_likelihood() -> None:
    members = [member("a", 1, 1.5), member("b", 2, 1.5)]
    weights = member_weights(members, "weighted")
    alone = [negative_log_likelihood(np.eye(2)[i], members) for i in range(2)]
    assert negative_log_likelihood(weights, members) < min(alone)


REORDERED = (*CLASSES[1:], CLASSES[0])
DIFFERENT = {
    "class order": lambda p: replace(p, classes=REORDERED),
    "taxonomy": lambda p: replace(p, taxonomy="affectnet7"),
    "protocol": lambda p: replace(p, protocol="fer2013/official"),
    "dataset digest": lambda p: replace(p, dataset_digest="e" * 64),
    "split": lambda p: replace(p, split="test"),
    "sample ids": lambda p: replace(p, ids=("other", *p.ids[1:])),
    "fewer samples": lambda p: replace(p, ids=p.ids[1:], labels=p.labels[1:], probabilities=p.probabilities[1:]),
}


@pytest.mark.parametrize("change", DIFFERENT.values(), ids=DIFFERENT.keys())
def test_members_that_do_not_belong_together_are_refused_by_name(change) -> None:
    first, other = member("run-one", 1, 1.0), change(member("run-two", 2, 1.0))
    with pytest.raises(UserError) as refusal:
        aligned([first, member("run-fine", 3, 1.0), other])
    assert "run-one" in str(refusal.value)
    assert "run-two" in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_members_that_disagree_about_the_truth_are_refused() -> None:
    first, other = member("run-one", 1, 1.0), member("run-two", 2, 1.0)
    other = replace(other, labels=(other.labels + 1) % 7)
    with pytest.raises(UserError, match="run-two"):
        aligned([first, other])


@pytest.mark.parametrize("count", [0, 1])
def test_fewer_than_two_members_are_refused(count: int) -> None:
    with pytest.raises(UserError, match=f"at least 2 runs, got {count}"):
        aligned([member("a", 1, 1.0)] * count)
