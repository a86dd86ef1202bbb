"""Every method against numbers worked by hand, and what a stored combination keeps."""

import json
from dataclasses import replace

import numpy as np
import pytest

from ferlab.ensembling.combination import METHODS, Combination
from ferlab.ensembling.fitting import Plan, fit

from .conftest import CLASSES, of, several

# two members, three samples, three classes
FIRST = np.array([[0.7, 0.2, 0.1], [0.1, 0.6, 0.3], [0.5, 0.4, 0.1]])
SECOND = np.array([[0.1, 0.8, 0.1], [0.2, 0.5, 0.3], [0.1, 0.3, 0.6]])
BOTH = np.stack([FIRST, SECOND])


def made(method: str, weights: list[list[float]], temperatures: tuple[float, ...] = (1, 1)) -> Combination:
    return Combination(method, ("a", "b", "c"), ("x", "y"), np.array(weights), np.array(temperatures, float))


def test_a_weighted_mean_by_hand() -> None:
    answer = made("weighted", [[0.25] * 3, [0.75] * 3]).apply(BOTH)
    np.testing.assert_allclose(answer[0], [0.25, 0.65, 0.1], atol=1e-12)
    np.testing.assert_allclose(answer[2], [0.2, 0.325, 0.475], atol=1e-12)


def test_weights_for_every_class_are_brought_to_sum_1() -> None:
    answer = made("weighted", [[1, 0, 0.5], [0, 1, 0.5]]).apply(BOTH)
    np.testing.assert_allclose(answer[0], np.array([0.7, 0.8, 0.1]) / 1.6, atol=1e-9)


def test_a_geometric_mean_by_hand() -> None:
    answer = made("geometric", [[0.5] * 3, [0.5] * 3]).apply(BOTH)
    roots = np.sqrt([0.07, 0.16, 0.01])
    np.testing.assert_allclose(answer[0], roots / roots.sum(), atol=1e-12)


def test_a_temperature_of_a_member_comes_first() -> None:
    answer = made("mean", [[0.5] * 3, [0.5] * 3], (0.5, 1)).apply(BOTH)
    squares = FIRST[0] ** 2 / (FIRST[0] ** 2).sum()
    np.testing.assert_allclose(answer[0], (squares + SECOND[0]) / 2, atol=1e-9)


def test_votes_count_and_the_mean_decides_ties() -> None:
    three = np.stack([FIRST, SECOND, SECOND])
    vote = Combination("vote", ("a", "b", "c"), ("x", "y", "z"), np.full((3, 3), 1 / 3), np.ones(3))
    answer = vote.apply(three)
    assert answer.argmax(axis=1).tolist() == [1, 1, 2]
    np.testing.assert_allclose(answer[0], [1 / 3, 2 / 3, 0], atol=2e-3)
    tied = made("vote", [[0.5] * 3, [0.5] * 3]).apply(BOTH)
    assert tied.argmax(axis=1).tolist() == [1, 1, 2], "0.5 against 0.4, 0.3 against 0.35"


def test_no_mean_probability_overturns_a_vote() -> None:
    """Fifty hardly sure members of a hundred and one, against fifty-one by a hair."""
    hair, sure = np.array([0.34, 0.33, 0.33]), np.array([0.0, 1.0, 0.0])
    crowd = np.stack([hair] * 51 + [sure] * 50)[:, None]
    vote = Combination("vote", ("a", "b", "c"), tuple(map(str, range(101))), np.full((101, 3), 1 / 101), np.ones(101))
    assert vote.apply(crowd).argmax() == 0


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("temperature", [False, True])
def test_every_method_gives_probabilities_also_of_certain_members(method: str, temperature: bool) -> None:
    members = several(2.0, 1.0)
    wrong = replace(members[0], run_id="w", probabilities=np.eye(7)[(members[0].labels + 1) % 7])
    probabilities, labels = of([*members, wrong])
    fitted = fit(Plan(method, temperature=temperature), ["a", "b", "w"], CLASSES, probabilities, labels)
    answer = fitted.apply(probabilities)
    assert np.isfinite(answer).all()
    assert (answer >= 0).all()
    np.testing.assert_allclose(answer.sum(axis=1), 1, atol=1e-9)
    assert sum(fitted.member_weights().values()) == pytest.approx(1)
    back = Combination.from_json(json.loads(json.dumps(fitted.as_json())))
    np.testing.assert_array_equal(back.apply(probabilities), answer)
    assert (back.members, back.classes, back.method) == (("a", "b", "w"), CLASSES, method)


@pytest.mark.parametrize(
    ("method", "weights"),
    [("median", [[0.5] * 3] * 2), ("mean", [[0.5] * 2] * 2), ("mean", [[0.6] * 3] * 2),
     ("mean", [[-1.0] * 3, [2.0] * 3]), ("stacking", [[0.5] * 3] * 2)],
)  # fmt: skip
def test_a_combination_that_cannot_be_is_refused(method: str, weights: list[list[float]]) -> None:
    with pytest.raises(ValueError, match=r"method|weights|stacking"):
        made(method, weights)
