"""Diversity and selection against tables worked by hand."""

from dataclasses import replace

import numpy as np
import pytest

from ferlab.ensembling.alignment import stacked
from ferlab.ensembling.diversity import as_csv, diversity
from ferlab.ensembling.selection import by_accuracy, by_gain, growing_means
from ferlab.predictions import Predictions

from .conftest import member, several


def answering(run_id: str, answers: list[int], sure: float = 0.9) -> Predictions:
    """A member with those answers; the truth is class 0 throughout."""
    rest = (1 - sure) / 6
    probabilities = np.full((len(answers), 7), rest)
    probabilities[np.arange(len(answers)), answers] = sure
    base = member(run_id, 1, 1.0, len(answers))
    return replace(base, labels=np.zeros(len(answers), np.int64), probabilities=probabilities)


def test_tables_by_hand() -> None:
    # right:            1  1  1  1  0  0  0  0          1  1  0  0  1  0  0  0
    first, second = answering("a", [0, 0, 0, 0, 1, 1, 1, 1]), answering("b", [0, 0, 2, 2, 0, 1, 1, 2])
    found = diversity([first, second])
    # both right 2, both wrong 3, only the first 2, only the second 1
    assert found.disagreement[0, 1] == pytest.approx(4 / 8)
    assert found.q[0, 1] == pytest.approx((2 * 3 - 2 * 1) / (2 * 3 + 2 * 1))
    assert found.correlation[0, 1] == pytest.approx((6 - 2) / np.sqrt(4 * 4 * 3 * 5))
    assert found.correlation[0, 1] == pytest.approx(np.corrcoef(*[m.predicted == 0 for m in (first, second)])[0, 1])
    for table in (found.disagreement, found.q, found.correlation):
        np.testing.assert_array_equal(table, table.T)
    np.testing.assert_array_equal(np.diag(found.disagreement), 0)
    np.testing.assert_allclose(np.diag(found.correlation), 1)


def test_what_is_not_defined_stays_empty() -> None:
    found = diversity([answering("a", [0, 0, 0]), answering("b", [0, 1, 0])])
    assert np.isnan(found.correlation[0, 1])
    assert as_csv(found, ["first", "second"]).splitlines()[1] == "first,second,a,b,0.333333,,"


def test_selection_by_accuracy_keeps_the_order_of_ties() -> None:
    members = [
        answering("a", [0, 1, 1]),
        answering("b", [0, 0, 1]),
        answering("c", [0, 0, 1]),
        answering("d", [0, 0, 0]),
    ]
    assert by_accuracy(members) == [3, 1, 2, 0]


def test_selection_by_gain_takes_who_adds_and_not_who_repeats() -> None:
    """The copy is the second most accurate and adds nothing; the other one is sure only where the best errs."""
    best = answering("best", [0, 0, 0, 0, 0, 1, 1], 0.6)
    copy = answering("copy", [0, 0, 0, 0, 1, 1, 1], 0.6)
    other = answering("other", [2, 2, 2, 2, 2, 0, 0], 0.9)
    unsure = answering("other", [2, 2, 2, 2, 2, 0, 0], 0.2)
    sure_where_right = np.where(other.predicted[:, None] == 0, other.probabilities, unsure.probabilities)
    members = [copy, replace(other, probabilities=sure_where_right), best]
    assert by_accuracy(members) == [2, 0, 1]
    assert by_gain(members) == [2, 1, 0]


def test_every_step_of_by_gain_is_the_best_there_is() -> None:
    members = several(1.0, 0.9, 0.8, 0.7, 0.2)
    probabilities, labels = stacked(members), members[0].labels
    order = by_gain(members)
    assert sorted(order) == [0, 1, 2, 3, 4]
    for count in range(1, 5):
        gains = {
            extra: (probabilities[[*order[:count], extra]].mean(axis=0).argmax(axis=1) == labels).mean()
            for extra in range(5)
            if extra not in order[:count]
        }
        assert gains[order[count]] == max(gains.values())


def test_ties_of_gain_go_to_the_lower_correlation_of_errors() -> None:
    best = answering("best", [0, 0, 0, 0, 0, 0, 1, 1], 0.9)
    alike = answering("alike", [0, 0, 0, 0, 2, 2, 2, 2], 0.2)
    unlike = answering("unlike", [2, 2, 2, 2, 0, 0, 0, 0], 0.2)
    assert by_gain([alike, best, unlike]) == [1, 2, 0]
    assert by_gain([unlike, best, alike]) == [1, 0, 2]


def test_growing_means_are_plain_means() -> None:
    probabilities = stacked(several(1.0, 0.9, 0.8))
    means = growing_means(probabilities, [2, 0, 1])
    np.testing.assert_array_equal(means[0], probabilities[2])
    np.testing.assert_allclose(means[1], (probabilities[2] + probabilities[0]) / 2, atol=1e-15)
    np.testing.assert_allclose(means[2], probabilities.mean(axis=0), atol=1e-15)
