"""Exact duplicates, conflicts and counts across parts, against a few lines of NumPy."""

from collections import Counter
from itertools import combinations

import numpy as np
import pytest

from ferlab.datasets.audit.exact import find_duplicates
from ferlab.datasets.audit.scan import scan
from ferlab.datasets.listing import row_table

PARTS = ("Training", "PublicTest", "PrivateTest")


@pytest.fixture(params=range(4))
def crowd(request, copy_of):
    """1,500 rows with 1,000 different pictures at most, unequal parts, some labels in conflict, some missing."""
    rng = np.random.default_rng(request.param)
    pictures = rng.integers(0, 256, (1000, 20, 20), dtype=np.uint8)
    chosen = rng.integers(0, 1000, 1500)
    parts = rng.choice(PARTS, 1500, p=[0.7, 0.2, 0.1]).astype(object)
    labels = np.where(rng.random(1500) < 0.9, chosen % 7, rng.integers(0, 7, 1500))
    labels[rng.random(1500) < 0.05] = -1
    return copy_of(pictures[chosen], parts, labels), pictures[chosen], parts, labels


def test_all_counts_are_those_of_an_independent_count(crowd):
    copy, images, parts, labels = crowd
    keys = np.array([picture.tobytes().hex() for picture in images], dtype=object)
    times = Counter(keys.tolist())
    found = copy.duplicates
    assert found.unique == len(times)
    assert found.surplus == len(keys) - len(times)
    assert found.groups == sum(count > 1 for count in times.values())
    assert found.sizes.max() == max(times.values())
    inside = {part: (parts == part).sum() - len(set(keys[parts == part])) for part in PARTS}
    assert found.surplus_inside == inside
    order = sorted(PARTS, key=lambda part: (parts == part).sum())
    across = {(a, b): sum(key in set(keys[parts == b]) for key in keys[parts == a]) for a, b in combinations(order, 2)}
    assert found.shared == across
    assert all(across.values())
    conflicts = {key for key in times if len({label for label in labels[keys == key] if label >= 0}) > 1}
    assert {keys[np.flatnonzero(found.group == group)[0]] for group in found.conflicts} == conflicts
    assert len(conflicts) > 20


def test_rows_of_a_group_have_equal_pixels_and_all_of_them(crowd):
    copy, images, _, _ = crowd
    for group in np.flatnonzero(copy.duplicates.sizes > 1)[:50]:
        rows = np.flatnonzero(copy.duplicates.group == group)
        assert len(rows) == copy.duplicates.sizes[group]
        assert len({images[row].tobytes() for row in rows}) == 1
        assert sum(np.array_equal(images[rows[0]], picture) for picture in images) == len(rows)


def test_a_picture_without_label_is_in_no_conflict(copy_of):
    picture = np.arange(64, dtype=np.uint8).reshape(8, 8)
    copy = copy_of([picture] * 3, ["Training"] * 3, [2, -1, 2])
    assert (copy.duplicates.surplus, copy.duplicates.conflicts.tolist()) == (2, [])


def test_rows_that_cannot_be_decoded_are_in_no_group(tmp_path):
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(b"")
    table = row_table(["a", "b"], ["train", "val"], [0, 1], path=[str(tmp_path / "a.png"), str(tmp_path / "b.png")])
    looked = scan(table, 1, lambda done, total: None)
    found = find_duplicates(looked, np.array(["train", "val"], dtype=object), np.array([0, 1]))
    assert found.group.tolist() == [-1, -1]
    assert (found.unique, found.surplus, found.groups, found.shared, len(found.conflicts)) == (0, 0, 0, {}, 0)


def test_pictures_of_the_same_bytes_in_another_shape_differ(tmp_path, copy_of):
    flat = copy_of([np.zeros((4, 4), np.uint8), np.zeros((8, 8), np.uint8)], ["Training"] * 2, [0, 0])
    assert flat.duplicates.unique == 2
