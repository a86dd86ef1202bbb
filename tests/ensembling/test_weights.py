"""Weights against a dense grid, finite differences, greedy selection worked by plain loops, and adversarial members."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from ferlab.ensembling.weights import class_weights, greedy_weights, simplex_weights

from .conftest import SIZE, member, of, several


def loss_of(weights: np.ndarray, probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Negative log-likelihood of the mixture by ``weights`` (members,) or (members, classes), in plain steps."""
    table = weights if weights.ndim == 2 else np.repeat(weights[:, None], 7, axis=1)
    mixture = sum(w * p for w, p in zip(table, probabilities, strict=True))
    mixture = mixture / mixture.sum(axis=1, keepdims=True)
    return float(-np.log(mixture[np.arange(len(labels)), labels]).mean())


def simplex_grid(members: int, steps: int) -> np.ndarray:
    points = [p for p in product(range(steps + 1), repeat=members - 1) if sum(p) <= steps]
    return np.array([[*p, steps - sum(p)] for p in points]) / steps


@pytest.mark.parametrize("skills", [(1.5, 1.0), (2.0, 2.0), (1.5, 1.2, 1.0), (0.5, 2.5, 2.4)], ids=str)
def test_fitted_weights_are_the_best_of_a_dense_grid(skills: tuple[float, ...]) -> None:
    probabilities, labels = of(several(*skills))
    weights = simplex_weights(probabilities, labels)
    grid = simplex_grid(len(skills), 400 if len(skills) == 2 else 60)
    losses = np.array([loss_of(point, probabilities, labels) for point in grid])
    assert loss_of(weights, probabilities, labels) <= losses.min() + 1e-7
    np.testing.assert_allclose(weights, grid[losses.argmin()], atol=0.03)
    assert (weights >= 0).all()
    assert weights.sum() == pytest.approx(1)


def test_a_member_that_guesses_gets_no_weight() -> None:
    useless = replace(member("c", 3, 0), probabilities=np.roll(member("c", 3, 3.0).probabilities, 1, axis=1))
    weights = simplex_weights(*of([member("a", 1, 2.0), member("b", 2, 2.0), useless]))
    assert weights[2] < 0.01
    assert weights[:2].min() > 0.3


def test_permuting_members_permutes_weights() -> None:
    members = several(2.0, 1.5, 1.0)
    straight = simplex_weights(*of(members))
    for order in ([2, 0, 1], [1, 0, 2]):
        np.testing.assert_allclose(simplex_weights(*of([members[i] for i in order])), straight[order], atol=1e-3)


def test_a_member_that_is_certain_and_wrong_does_not_break_the_fit() -> None:
    good = member("a", 1, 2.0)
    wrong = replace(good, run_id="b", probabilities=np.eye(7)[(good.labels + 1) % 7])
    weights = simplex_weights(*of([wrong, good]))
    assert np.isfinite(weights).all()
    assert weights[1] > 0.99
    assert greedy_weights(*of([wrong, good])).tolist() == [0, 1]


def test_only_wrong_and_certain_members_still_give_weights() -> None:
    good = member("a", 1, 2.0)
    wrong = [replace(good, run_id=str(k), probabilities=np.eye(7)[(good.labels + k) % 7]) for k in (1, 2)]
    for weights in (simplex_weights(*of(wrong)), greedy_weights(*of(wrong)), class_weights(*of(wrong)).mean(axis=1)):
        assert np.isfinite(weights).all()
        assert weights.sum() == pytest.approx(1)


def blind_to_half() -> tuple[np.ndarray, np.ndarray]:
    """One member knows classes 0 to 3 and spreads the others, the second the reverse."""
    members = several(2.5, 2.5)
    labels = members[0].labels
    chance = np.full(7, 1 / 7)
    first, second = members[0].probabilities.copy(), members[1].probabilities.copy()
    first[labels > 3], second[labels <= 3] = chance, chance
    return np.stack([first, second]), labels


def test_weights_for_every_class_find_who_knows_it_and_are_not_worse() -> None:
    probabilities, labels = blind_to_half()
    weights = class_weights(probabilities, labels)
    assert weights.shape == (2, 7)
    np.testing.assert_allclose(weights.sum(axis=0), 1, atol=1e-9)
    shared = simplex_weights(probabilities, labels)
    assert loss_of(weights, probabilities, labels) < loss_of(shared, probabilities, labels) - 1e-4
    assert weights[0, :4].mean() > weights[0, 4:].mean()


def test_no_step_aside_betters_the_weights_for_every_class() -> None:
    """A local optimum: moving weight between two members in any one class costs likelihood."""
    probabilities, labels = of(several(1.5, 1.2, 1.0))
    weights = class_weights(probabilities, labels)
    here = loss_of(weights, probabilities, labels)
    for name in range(7):
        for give, take in ((0, 1), (1, 0), (2, 0), (0, 2)):
            moved = weights.copy()
            step = min(0.02, moved[give, name])
            moved[give, name] -= step
            moved[take, name] += step
            assert loss_of(moved, probabilities, labels) >= here - 1e-6


def test_greedy_selection_is_that_of_plain_loops() -> None:
    probabilities, labels = of(several(0.8, 1.0, 0.9, 0.2))

    def quality(bag: list[int]) -> tuple[float, float]:
        mean = sum(probabilities[i] for i in bag) / len(bag)
        return float((mean.argmax(axis=1) == labels).mean()), float(np.log(mean[np.arange(SIZE), labels]).mean())

    bag: list[int] = []
    found = []
    for _ in range(12):
        bag = max(([*bag, i] for i in range(4)), key=quality)
        found.append((quality(bag), bag))
    best_quality = max(quality for quality, _ in found)
    best = next(bag for quality, bag in found if quality == best_quality)
    expected = np.bincount(best, minlength=4) / len(best)
    np.testing.assert_allclose(greedy_weights(probabilities, labels, steps=12), expected, atol=1e-12)


def test_greedy_is_never_less_accurate_where_it_was_fitted_than_the_best_member() -> None:
    probabilities, labels = of(several(0.8, 1.0, 0.9, 0.2))
    mixture = np.tensordot(greedy_weights(probabilities, labels), probabilities, axes=1)
    assert (mixture.argmax(axis=1) == labels).mean() >= (probabilities.argmax(axis=2) == labels).mean(axis=1).max()
