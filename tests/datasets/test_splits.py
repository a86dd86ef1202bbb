"""Protocols: every row is used, dropped for a reason or counted; what is dropped or marked is what brute force says."""

import tracemalloc
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from ferlab.datasets.catalog import AFFECTNET_PROTOCOLS, FER2013_PROTOCOLS, protocol_id
from ferlab.datasets.listing import Listing, Rows, row_table
from ferlab.datasets.splits import DUPLICATES, Split, apply_split
from ferlab.emotions import FER2013
from ferlab.errors import UserError
from ferlab.manifest import Rejection
from ferlab.samples import SAMPLE_SCHEMA

USAGES = ("Training", "PublicTest", "PrivateTest")
Digests = list[bytes | None]


def rows_of(parts: Sequence[str], labels: Sequence[int] | np.ndarray, **more: Any) -> Rows:
    ids = more.pop("ids", [f"row {i}" for i in range(len(parts))])
    groups = more.pop("groups", None)
    table = row_table(ids, parts, labels, group=groups, pixels=[b"x"] * len(parts))
    return Rows(table, FER2013, **more)


def split_of(found: Listing) -> dict[str, str]:
    return dict(zip(found.table["id"].to_pylist(), found.table["split"].to_pylist(), strict=True))


def listed(rows: Rows, digests: Digests | None = None, **settings: Any) -> Listing:
    split = Split(**({"protocol": "carved", "val_fraction": 0.2, "seed": 0} | settings))
    return apply_split(rows, split, FER2013_PROTOCOLS, digests)


@pytest.fixture(params=range(3))
def crowd(request) -> tuple[Rows, Digests]:
    """600 rows in three parts with 250 pictures among them, some labels in conflict, some missing, some unreadable."""
    rng = np.random.default_rng(request.param)
    parts = rng.choice(USAGES, 600, p=[0.7, 0.15, 0.15]).tolist()
    pictures = rng.integers(0, 250, 600)
    labels = np.where(rng.random(600) < 0.9, pictures % 7, rng.integers(0, 7, 600))
    labels[rng.random(600) < 0.05] = -1
    digests: Digests = [None if rng.random() < 0.05 else bytes([i // 256, i % 256]) for i in pictures.tolist()]
    rejected = (Rejection("a", "broken"), Rejection("b", "broken"))
    return rows_of(parts, labels, rejected=rejected, excluded={"contempt": 4}), digests


# --- what a protocol does with the parts


@pytest.mark.parametrize(
    ("protocol", "roles"),
    [
        ("official", {"Training": {"train"}, "PublicTest": {"validation"}, "PrivateTest": {"test"}}),
        ("carved", {"Training": {"train", "validation"}, "PublicTest": {"test"}}),
        ("fraction20", {"Training": {"train", "validation"}, "PublicTest": {"test"}}),
        ("mixed", {"Training": {"train", "validation"}, "test": {"test"}}),
    ],
)
def test_each_part_is_used_as_the_protocol_says(protocol, roles):
    parts = [part for part in (*USAGES, "test") for _ in range(70)]
    found = split_of(listed(rows_of(parts, [i % 7 for i in range(280)]), protocol=protocol))
    used: dict[str, set[str]] = {}
    for row, split in found.items():
        used.setdefault(parts[int(row.split()[1])], set()).add(split)
    assert used == roles


@pytest.mark.parametrize("protocol", ["carved", "official"])
@pytest.mark.parametrize("duplicates", DUPLICATES)
def test_rows_in_are_samples_rejected_and_excluded(crowd, protocol, duplicates):
    rows, digests = crowd
    found = listed(rows, digests, protocol=protocol, duplicates=duplicates)
    assert found.table.schema == SAMPLE_SCHEMA
    assert found.rejected == rows.rejected
    total = found.table.num_rows + len(found.rejected) + sum(found.excluded.values())
    assert total == rows.table.num_rows + len(rows.rejected) + sum(rows.excluded.values())
    assert found.excluded["contempt"] == 4
    assert len(set(split_of(found))) == found.table.num_rows


def test_rows_without_a_label_are_counted_by_part(crowd):
    rows, digests = crowd
    found = listed(rows, digests, protocol="official")
    labels, parts = rows.table["label"].to_numpy(), rows.table["part"].to_pylist()
    expected = Counter(f"{part}, without a label" for part, label in zip(parts, labels, strict=True) if label < 0)
    assert {reason: count for reason, count in found.excluded.items() if "label" in reason} == expected
    assert sum(expected.values()) > 10
    assert min(found.table["label"].to_pylist()) == 0


def test_a_part_without_any_label_is_missing():
    rows = rows_of(["Training"] * 70 + ["test"] * 30, [0] * 70 + [-1] * 30)
    with pytest.raises(UserError, match="no test images there; protocol mixed needs them"):
        listed(rows, protocol="mixed")


@pytest.mark.parametrize(
    ("present", "protocol", "message"),
    [
        (
            ("Training", "PublicTest"),
            "official",
            r"no PrivateTest images .*fits dataset\.protocol=carved\|fraction20\.",
        ),
        (("Training", "test"), "carved", r"no PublicTest images .*fits dataset\.protocol=mixed\."),
        (("Training", "test"), "official", r"no PublicTest and no PrivateTest images .*=mixed\."),
        (USAGES, "mixed", r"no test images .*fits dataset\.protocol=official\|carved\|fraction20\."),
        (("PublicTest", "PrivateTest"), "carved", r"no Training images .*There are: PrivateTest, PublicTest\."),
    ],
)
def test_missing_parts_are_named_with_the_protocols_that_fit(present, protocol, message):
    parts = [part for part in present for _ in range(14)]
    with pytest.raises(UserError, match=message):
        listed(rows_of(parts, [0] * len(parts)), protocol=protocol)


def test_affectnet_without_its_validation_is_named():
    with pytest.raises(UserError, match="no val images there; protocol carved"):
        apply_split(rows_of(["train"] * 10, [0] * 10), Split("carved", 0.1, 0), AFFECTNET_PROTOCOLS, None)


def test_a_copy_with_a_problem_is_refused_with_it(crowd):
    rows, digests = crowd
    with pytest.raises(UserError, match="this copy was split anew"):
        listed(replace(rows, problems=("this copy was split anew", "and worse")), digests)


def test_folds_need_a_protocol_that_carves(crowd):
    with pytest.raises(UserError, match=r"dataset\.folds=5: .*selects on PublicTest"):
        listed(*crowd, protocol="official", folds=5)


# --- carving


def test_carving_takes_the_share_of_each_class_within_training():
    parts = ["Training"] * 700 + ["PublicTest"] * 70
    labels = [i % 7 for i in range(770)]
    found = listed(rows_of(parts, labels), val_fraction=0.15)
    taken = Counter(zip(found.table["split"].to_pylist(), found.table["label"].to_pylist(), strict=True))
    assert taken == {(s, i): n for s, n in (("train", 85), ("validation", 15), ("test", 10)) for i in range(7)}


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("folds", [0, 4])
def test_photos_and_pixel_twins_joined_by_any_chain_stay_on_one_side(seed, folds):
    rng = np.random.default_rng(seed)
    count = 420
    photos = [None if rng.random() < 0.5 else f"photo {rng.integers(150)}" for _ in range(count)]
    pictures = rng.integers(0, 300, count).tolist()
    labels = [picture % 7 for picture in pictures]
    rows = rows_of(["Training"] * count + ["PublicTest"] * 7, [*labels, *range(7)], groups=[*photos, *[None] * 7])
    digests = [*(bytes([i // 256, i % 256]) for i in pictures), *(bytes([9, 9, i]) for i in range(7))]
    found = split_of(listed(rows, digests, seed=seed, folds=folds, fold=min(folds, 1), val_fraction=0.3))
    for keys in (photos, pictures):
        sides: dict[object, set[str]] = {}
        for i, key in enumerate(keys):
            if key is not None:
                sides.setdefault(key, set()).add(found[f"row {i}"])
        assert all(len(side) == 1 for side in sides.values())
    counts = Counter(found[f"row {i}"] for i in range(count))
    assert counts["validation"] > 40


def test_pictures_with_conflicting_labels_stay_in_training(crowd):
    rows, digests = crowd
    labels = rows.table["label"].to_pylist()
    training = [i for i, part in enumerate(rows.table["part"].to_pylist()) if part == "Training" and labels[i] >= 0]
    labels_of: dict[bytes, set[int]] = {}
    for i in training:
        labels_of.setdefault(digests[i] or bytes([7, i // 256, i % 256]), set()).add(labels[i])
    disputed = {i for i in training if len(labels_of.get(digests[i] or b"", ())) > 1}
    assert len(disputed) > 20
    for seed in range(5):
        found = split_of(listed(rows, digests, seed=seed, val_fraction=0.5))
        assert {found[f"row {i}"] for i in disputed} == {"train"}


def test_folds_are_disjoint_and_cover_training(crowd):
    rows, digests = crowd
    parts = rows.table["part"].to_pylist()
    labelled = [label >= 0 for label in rows.table["label"].to_pylist()]
    training = {f"row {i}" for i, part in enumerate(parts) if part == "Training" and labelled[i]}
    seen: Counter[str] = Counter()
    for fold in range(4):
        found = split_of(listed(rows, digests, folds=4, fold=fold))
        held = {row for row, split in found.items() if split == "validation"}
        assert held | {row for row, split in found.items() if split == "train"} == training
        seen.update(held)
    assert set(seen) == training
    assert set(seen.values()) == {1}


@pytest.mark.parametrize("settings", [{}, {"folds": 3, "fold": 2}, {"duplicates": "drop_train_twins"}])
def test_the_order_of_the_rows_does_not_matter(crowd, settings):
    rows, digests = crowd
    first = listed(rows, digests, **settings)
    for seed in range(2):
        order = np.random.default_rng(seed).permutation(600).tolist()
        shuffled = listed(replace(rows, table=rows.table.take(order)), [digests[i] for i in order], **settings)
        assert split_of(shuffled) == split_of(first)
        assert shuffled.excluded == first.excluded


def test_without_digests_photos_alone_hold_together_and_twins_are_not_known(crowd):
    rows, _ = crowd
    found = listed(rows)
    assert found.table["twin"].null_count == found.table.num_rows
    with pytest.raises(ValueError, match="digests"):
        listed(rows, duplicates="drop_all")


# --- duplicates, against brute force


def kept_by_brute_force(rows: Rows, digests: Digests, before: dict[str, str], policy: str) -> Counter:
    """(split, digest) of every row that stays, row by row."""
    labels = rows.table["label"].to_pylist()
    used = [i for i in range(600) if f"row {i}" in before]
    of = {i: before[f"row {i}"] for i in used}
    kept: Counter = Counter()
    done: set[bytes] = set()
    for i in used:
        same = [j for j in used if digests[i] is not None and digests[j] == digests[i]]
        if of[i] == "train" and any(of[j] != "train" for j in same):
            continue
        if policy == "drop_all" and same:
            if len({labels[j] for j in same}) > 1 or digests[i] in done:
                continue
            done.add(digests[i])
            kept[next(s for s in ("test", "validation", "train") if s in {of[j] for j in same}), digests[i]] += 1
        else:
            kept[of[i], digests[i]] += 1
    return kept


@pytest.mark.parametrize("protocol", ["official", "carved"])
@pytest.mark.parametrize("policy", ["drop_train_twins", "drop_all"])
def test_what_stays_is_what_brute_force_keeps(crowd, protocol, policy):
    rows, digests = crowd
    before = split_of(listed(rows, digests, protocol=protocol))
    after = split_of(listed(rows, digests, protocol=protocol, duplicates=policy))
    number = {f"row {i}": i for i in range(600)}
    stayed = Counter((split, digests[number[row]]) for row, split in after.items())
    assert stayed == kept_by_brute_force(rows, digests, before, policy)
    assert all(before[row] == split for row, split in after.items()), "dropping moves no row"
    assert len(after) < len(before) - 40
    if policy == "drop_all":
        assert max(Counter(digests[number[row]] for row in after if digests[number[row]] is not None).values()) == 1


def test_dropped_rows_are_counted_by_reason():
    parts = ["Training"] * 5 + ["PublicTest"] * 3 + ["PrivateTest"] * 2
    labels = [0, 0, 1, 2, 3, 0, 1, 4, 4, 5]
    digests: Digests = [b"a", b"b", b"c", b"c", b"d", b"a", b"e", b"f", b"f", b"g"]
    #                   twin  own   conflict     own   held  own   second test  own
    rows = rows_of(parts, labels)
    some = listed(rows, digests, protocol="official", duplicates="drop_train_twins")
    assert some.excluded == {"training image whose pixels stand in validation or test": 1}
    everything = listed(rows, digests, protocol="official", duplicates="drop_all")
    assert everything.excluded == {
        "training image whose pixels stand in validation or test": 1,
        "image with the same pixels under another label": 2,
        "second row of the same pixels": 1,
    }
    assert split_of(everything) == {
        "row 1": "train", "row 4": "train", "row 5": "validation", "row 6": "validation", "row 8": "test",
        "row 9": "test",
    }  # fmt: skip


@pytest.mark.parametrize("protocol", ["official", "carved"])
@pytest.mark.parametrize("policy", DUPLICATES)
def test_twins_are_evaluation_rows_whose_pixels_were_used_before(crowd, protocol, policy):
    rows, digests = crowd
    found = listed(rows, digests, protocol=protocol, duplicates=policy)
    number = [int(row.split()[1]) for row in found.table["id"].to_pylist()]
    digest_of = {i: digest.hex() if digest is not None else f"none {i}" for i, digest in enumerate(digests)}
    own = np.array([digest_of[i] for i in number])
    split = np.array(found.table["split"].to_pylist())
    trained, selected = (np.isin(own, own[split == name]) for name in ("train", "validation"))
    before = trained | (selected & (split == "test") & (protocol == "carved"))
    expected = before & (split != "train")
    assert found.table["twin"].to_pylist() == expected.tolist()
    assert (trained & (split != "train")).any() == (policy == "keep")


# --- columns


@pytest.mark.parametrize("policy", DUPLICATES)
def test_columns_in_pieces_and_digests_as_a_column_change_nothing(crowd, policy):
    rows, digests = crowd
    pieces = pa.concat_tables([rows.table.slice(0, 100), rows.table.slice(100, 0), rows.table.slice(100)])
    column = pa.chunked_array([digests[:250], digests[250:]], pa.binary())
    expected = listed(rows, digests, duplicates=policy)
    found = listed(replace(rows, table=pieces), column, duplicates=policy)
    assert found.table.equals(expected.table)
    assert found.excluded == expected.excluded


def test_splitting_takes_no_python_object_a_row():
    count = 200_000
    rows = rows_of(["Training"] * (count - 7) + ["PublicTest"] * 7, np.arange(count) % 7)
    tracemalloc.start()
    try:
        found = listed(rows)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found.table.num_rows == count
    # one text alone takes 60 bytes, and a place in a list 8
    assert peak < 200 * count


# --- names


@pytest.mark.parametrize(
    ("dataset", "split", "targets", "name"),
    [
        ("fer2013", Split("carved", 0.1, 0), "majority", "fer2013/carved"),
        ("fer2013", Split("carved", 0.1, 0, 5, 2), "majority", "fer2013/carved-fold2of5"),
        ("fer2013", Split("official", 0.1, 0, duplicates="drop_all"), "majority", "fer2013/official-drop_all"),
        ("ferplus", Split("official", 0.1, 0), "majority", "ferplus/majority"),
        ("ferplus", Split("official", 0.1, 0), "cross_entropy", "ferplus/soft"),
        ("ferplus", Split("carved", 0.1, 0), "majority", "ferplus/majority-carved"),
    ],
)
def test_the_protocol_is_recorded_with_folds_and_dropped_duplicates(dataset, split, targets, name):
    assert protocol_id(dataset, split, targets) == name
