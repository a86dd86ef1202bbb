"""Carving: exact shares of each class, twins on one side, and nothing but ids and seed decides."""

from collections import Counter

import numpy as np
import pytest

from ferlab.datasets.splits import carve_validation

COUNTS = {0: 400, 1: 37, 2: 3, 3: 715}


def population(seed: int = 0) -> tuple[list[str], list[int]]:
    labels = [label for label, count in COUNTS.items() for _ in range(count)]
    np.random.default_rng(seed).shuffle(labels)
    return [f"face {i}" for i in range(len(labels))], labels


def alone(ids: list[str]) -> list[object]:
    return list(ids)


@pytest.mark.parametrize("fraction", [0.01, 0.1, 0.2, 1 / 3, 0.5])
@pytest.mark.parametrize("seed", [0, 1])
def test_each_class_gives_exactly_its_rounded_share(fraction, seed):
    ids, labels = population()
    chosen = carve_validation(ids, labels, alone(ids), fraction, seed)
    taken = Counter(np.array(labels)[chosen].tolist())
    assert {label: taken[label] for label in COUNTS} == {label: round(fraction * n) for label, n in COUNTS.items()}


def test_twins_never_cross_the_cut_and_classes_get_at_most_their_share():
    ids, labels = population()
    rng = np.random.default_rng(1)
    groups: list[object] = alone(ids)
    for label in COUNTS:
        members = np.flatnonzero(np.array(labels) == label)
        for group in range(len(members) // 6):
            for i in rng.choice(members, 3, replace=False):
                groups[i] = f"twins {label} {group}"
    chosen = carve_validation(ids, labels, groups, 0.2, 0)
    sides: dict[object, set[bool]] = {}
    for group, side in zip(groups, chosen, strict=True):
        sides.setdefault(group, set()).add(bool(side))
    assert all(len(side) == 1 for side in sides.values())
    taken = Counter(np.array(labels)[chosen].tolist())
    for label, count in COUNTS.items():
        # single samples fill what groups leave open
        assert taken[label] == round(0.2 * count)


def test_a_group_larger_than_the_room_stays_in_training():
    ids = [f"{i}" for i in range(20)]
    groups = ["large"] * 19 + ["small"]
    chosen = carve_validation(ids, [0] * 20, groups, 0.2, 0)
    assert chosen.tolist() == [False] * 19 + [True]


def test_twins_with_conflicting_labels_stay_in_training():
    ids, labels = population()
    groups = alone(ids)
    first = {label: labels.index(label) for label in COUNTS}
    pairs = [(first[0], first[1]), (first[2], first[3])]
    for number, pair in enumerate(pairs):
        for i in pair:
            groups[i] = f"conflict {number}"
    for seed in range(20):
        chosen = carve_validation(ids, labels, groups, 0.5, seed)
        assert not chosen[[i for pair in pairs for i in pair]].any()


def test_the_order_of_the_input_does_not_matter():
    ids, labels = population()
    groups: list[object] = [f"photo {i // 2}" if labels[i] == labels[i - 1] else sample for i, sample in enumerate(ids)]
    chosen = {ids[i] for i in np.flatnonzero(carve_validation(ids, labels, groups, 0.1, 3))}
    for seed in range(3):
        order = np.random.default_rng(seed).permutation(len(ids))
        shuffled = [ids[i] for i in order]
        again = carve_validation(shuffled, [labels[i] for i in order], [groups[i] for i in order], 0.1, 3)
        assert {shuffled[i] for i in np.flatnonzero(again)} == chosen


def test_another_seed_takes_other_samples():
    ids, labels = population()
    first, second = (carve_validation(ids, labels, alone(ids), 0.1, seed) for seed in (0, 1))
    assert 0 < (first & second).sum() < 0.4 * first.sum()


def test_a_sample_that_is_added_moves_few_others():
    # what is in validation stays there: hashes decide, not positions
    ids, labels = population()
    before = carve_validation(ids, labels, alone(ids), 0.1, 0)
    after = carve_validation([*ids, "new"], [*labels, 0], alone([*ids, "new"]), 0.1, 0)
    assert (before != after[:-1]).sum() <= 2


def test_nothing_to_carve_gives_nothing():
    assert carve_validation([], [], [], 0.1, 0).shape == (0,)
