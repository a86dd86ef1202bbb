"""Carving and folds: exact shares of each class, groups on one side, and nothing but ids and seed decides."""

import hashlib
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest

from ferlab.datasets import carving
from ferlab.datasets.carving import carve_validation, fold_numbers
from ferlab.samples import hash_fraction

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


def test_what_is_barred_stays_in_training_with_its_whole_group():
    ids, labels = population()
    groups = [f"group {i // 3}" if i < 300 else sample for i, sample in enumerate(ids)]
    barred = np.zeros(len(ids), dtype=bool)
    barred[:90:3] = True
    for seed in range(10):
        chosen = carve_validation(ids, labels, groups, 0.5, seed, barred)
        assert not chosen[:90].any()
        assert chosen[90:].any()


# --- folds


def twins_of(ids: list[str], labels: list[int]) -> list[object]:
    """Every tenth sample in a group with the two after it, whatever their classes."""
    groups = alone(ids)
    for i in range(0, len(ids) - 2, 10):
        groups[i : i + 3] = [f"twins {i}"] * 3
    return groups


@pytest.mark.parametrize("folds", [2, 5, 10])
@pytest.mark.parametrize("seed", [0, 1])
def test_each_fold_has_its_share_of_each_class(folds, seed):
    ids, labels = population()
    numbers = fold_numbers(ids, labels, alone(ids), folds, seed)
    assert set(numbers.tolist()) == set(range(folds))
    for label, count in COUNTS.items():
        taken = np.bincount(numbers[np.array(labels) == label], minlength=folds)
        assert taken.sum() == count
        assert taken.max() - taken.min() <= 1


@pytest.mark.parametrize("seed", range(5))
def test_groups_stay_whole_in_folds_and_shares_stay_close(seed):
    ids, labels = population(seed)
    groups = twins_of(ids, labels)
    numbers = fold_numbers(ids, labels, groups, 5, seed)
    folds_of: dict[object, set[int]] = {}
    for group, fold in zip(groups, numbers.tolist(), strict=True):
        folds_of.setdefault(group, set()).add(fold)
    assert all(len(found) == 1 for found in folds_of.values())
    for label, count in COUNTS.items():
        taken = np.bincount(numbers[np.array(labels) == label], minlength=5)
        assert taken.max() - taken.min() <= max(3, 0.05 * count)


def test_folds_do_not_depend_on_the_order_of_the_input():
    ids, labels = population()
    groups = twins_of(ids, labels)
    first = dict(zip(ids, fold_numbers(ids, labels, groups, 5, 3).tolist(), strict=True))
    for seed in range(3):
        order = np.random.default_rng(seed).permutation(len(ids)).tolist()
        again = fold_numbers([ids[i] for i in order], [labels[i] for i in order], [groups[i] for i in order], 5, 3)
        assert dict(zip([ids[i] for i in order], again.tolist(), strict=True)) == first


def test_another_seed_deals_other_folds():
    ids, labels = population()
    first, second = (fold_numbers(ids, labels, alone(ids), 5, seed) for seed in (0, 1))
    assert 0.1 < (first == second).mean() < 0.3


# --- against the words of the docstrings, group by group

FEW, MANY = 5, 1 << 16


def in_hash_order(ids: list[str], groups: list[int], seed: int) -> list[list[int]]:
    members: dict[int, list[int]] = {}
    for i, group in enumerate(groups):
        members.setdefault(group, []).append(i)
    return sorted(members.values(), key=lambda rows: min(hash_fraction(ids[i], seed, "carve") for i in rows))


@pytest.fixture(params=range(6))
def grouped(request) -> tuple[list[str], np.ndarray, list[int], np.ndarray]:
    """900 samples of 5 classes, some rare; from all alone to groups of dozens, many across classes; some barred."""
    rng = np.random.default_rng(request.param)
    labels = rng.choice(5, 900, p=[0.6, 0.25, 0.1, 0.04, 0.01])
    groups = rng.integers(0, (10_000, 900, 300, 90, 30, 3)[request.param], 900)
    return [f"face {i}" for i in rng.permutation(900)], labels, groups.tolist(), rng.random(900) < 0.03


@pytest.mark.parametrize("at_once", [1, FEW, MANY])
@pytest.mark.parametrize("fraction", [0.0, 0.1, 0.4, 1.0])
def test_carving_takes_each_group_in_turn_that_overfills_no_class(grouped, monkeypatch, at_once, fraction):
    ids, labels, groups, barred = grouped
    room = [round(fraction * int(count)) for count in np.bincount(labels)]
    expected = np.zeros(len(ids), dtype=bool)
    for rows in in_hash_order(ids, groups, 3):
        needed = Counter(labels[rows].tolist())
        if all(count <= room[label] for label, count in needed.items()) and not barred[rows].any():
            expected[rows] = True
            for label, count in needed.items():
                room[label] -= count
    monkeypatch.setattr(carving, "GROUPS_AT_ONCE", at_once)
    assert (carve_validation(ids, labels, groups, fraction, 3, barred) == expected).all()


@pytest.mark.parametrize("folds", [2, 7])
def test_folds_are_dealt_group_by_group_to_the_emptiest(grouped, folds):
    ids, labels, groups, _ = grouped
    filled = np.zeros((folds, 5), dtype=int)
    expected = np.zeros(len(ids), dtype=int)
    for rows in sorted(in_hash_order(ids, groups, 3), key=len, reverse=True):
        fold = min(range(folds), key=lambda fold: filled[fold, labels[rows]].sum())
        expected[rows] = fold
        for label in labels[rows].tolist():
            filled[fold, label] += 1
    assert (fold_numbers(ids, labels, groups, folds, 3) == expected).all()


@pytest.mark.parametrize(
    ("joined", "seed", "chosen", "folds"),
    [
        (False, 0, "94c3e5569020ae27", "a2508ff14b637b64"),
        (False, 7, "c4894185c06b81f2", "70ac64fc7eb00153"),
        (True, 0, "55ac2fed8696ddba", "6f41ace642a1128c"),
        (True, 7, "6c1e072f39f8d160", "36cdda69fbb7cb69"),
    ],
)
def test_what_was_held_out_once_is_held_out_for_ever(joined, seed, chosen, folds):
    # figures that were published depend on it: these digests never change
    labels = [i * i % 7 for i in range(1000)]
    ids = [f"train/{label}/{i:05d}.jpg" for i, label in enumerate(labels)]
    groups = [i // 3 if i % 5 and joined else i + 1000 for i in range(1000)]
    held_out = carve_validation(ids, labels, groups, 0.1, seed)
    numbers = fold_numbers(ids, labels, groups, 5, seed)
    assert held_out.sum() == 100
    assert digest_of([ids[i] for i in np.flatnonzero(held_out)]) == chosen
    assert digest_of([str(number) for number in numbers.tolist()]) == folds


def digest_of(lines: list[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def test_ids_may_be_a_column_in_pieces():
    ids, labels = population()
    pieces = pa.chunked_array([ids[:7], [], ids[7:]])
    expected = carve_validation(ids, labels, alone(ids), 0.1, 0)
    assert (carve_validation(pieces, labels, alone(ids), 0.1, 0) == expected).all()


def test_no_samples_have_no_folds():
    assert fold_numbers([], [], [], 5, 0).shape == (0,)
