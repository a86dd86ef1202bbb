"""Members are lined up by sample id, and refused by name where they do not belong together."""

from dataclasses import replace

import numpy as np
import pytest

from ferlab.ensembling.alignment import aligned, stacked
from ferlab.errors import UserError

from .conftest import CLASSES, SIZE, member

REORDERED = (*CLASSES[1:], CLASSES[0])
DIFFERENT = {
    "class order": lambda p: replace(p, classes=REORDERED),
    "taxonomy": lambda p: replace(p, taxonomy="affectnet7"),
    "protocol": lambda p: replace(p, protocol="fer2013/official"),
    "dataset digest": lambda p: replace(p, dataset_digest="e" * 64),
    "split": lambda p: replace(p, split="test"),
    "sample ids": lambda p: replace(p, ids=("other", *p.ids[1:])),
    "labels": lambda p: replace(p, labels=(p.labels + 1) % 7),
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


def test_samples_line_up_by_id() -> None:
    first, second = member("a", 1, 2.0), member("b", 2, 1.0)
    shuffled = np.random.default_rng(5).permutation(SIZE)
    mixed = replace(
        second,
        ids=tuple(second.ids[i] for i in shuffled),
        labels=second.labels[shuffled],
        probabilities=second.probabilities[shuffled],
    )
    lined = aligned([first, mixed])
    assert lined[0].ids == lined[1].ids == tuple(sorted(first.ids))
    place = [second.ids.index(name) for name in lined[1].ids]
    np.testing.assert_array_equal(stacked(lined)[1], second.probabilities[place])
    np.testing.assert_array_equal(lined[1].labels, first.labels[place])


def test_a_member_without_probabilities_is_refused() -> None:
    with pytest.raises(UserError, match="run b: only its classes are known"):
        aligned([member("a", 1, 1.0), replace(member("b", 2, 1.0), hard=True)])


@pytest.mark.parametrize("count", [0, 1])
def test_fewer_than_two_members_are_refused(count: int) -> None:
    with pytest.raises(UserError, match=f"at least 2 runs, got {count}"):
        aligned([member("a", 1, 1.0)] * count)
