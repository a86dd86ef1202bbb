"""What a protocol decides arrives in the prepared data: twins, dropped duplicates, odd sizes, folds."""

import csv
from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from ferlab.errors import UserError
from ferlab.manifest import REJECTED_NAME
from ferlab.preparation.prepare import Prepared
from ferlab.preparation.request import Request
from ferlab.records.load import StoredSample, read_samples
from ferlab.sealed import Opening

USAGES = {"Training": "train", "PublicTest": "validation", "PrivateTest": "test"}
LEAK = "training image whose pixels stand in validation or test"
CONFLICT = "image with the same pixels under another label"
SECOND = "second row of the same pixels"
SHRUNK = (40, 41)


@dataclass(frozen=True)
class Row:
    """One line of the CSV."""

    label: int
    pixels: str
    usage: str


@pytest.fixture(scope="module")
def rows(synthetic_csv: Path) -> list[Row]:
    """150 Training, 30 PublicTest and 30 PrivateTest rows with every kind of duplicate that FER-2013 has."""
    with (synthetic_csv / "fer2013.csv").open(newline="") as file:
        read = [Row(int(row["emotion"]), row["pixels"], row["Usage"]) for row in csv.DictReader(file)]
    taken = {usage: [row for row in read if row.usage == usage] for usage in USAGES}
    made = [*taken["Training"][:150], *taken["PublicTest"][:30], *taken["PrivateTest"][:30]]

    def copy(source: int, target: int, label: int | None = None) -> None:
        chosen = made[source].label if label is None else label
        made[target] = replace(made[target], pixels=made[source].pixels, label=chosen)

    copy(0, 150)  # validation, of the same label
    copy(1, 151, (made[1].label + 1) % 7)  # validation, in conflict
    copy(1, 152, made[1].label)
    copy(2, 180)  # test
    copy(3, 181, (made[3].label + 3) % 7)  # test, in conflict
    copy(0, 182)  # test, and validation above
    copy(160, 190)  # test and validation only
    copy(10, 11)  # twice in training
    copy(10, 12)
    copy(20, 21, (made[20].label + 2) % 7)  # twice in training, in conflict
    for place in SHRUNK:
        values = made[place].pixels.split()
        made[place] = replace(made[place], pixels=" ".join(values[: 28 * 28]))
    return made


@pytest.fixture(scope="module")
def copy_of_fer2013(rows: list[Row], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("duplicates") / "fer2013"
    folder.mkdir()
    with (folder / "fer2013.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("emotion", "pixels", "Usage"))
        writer.writerows((row.label, row.pixels, row.usage) for row in rows)
    return folder


@pytest.fixture(scope="module")
def request_for(copy_of_fer2013: Path, make_request: Any) -> Any:
    return lambda **changes: make_request(copy_of_fer2013, **({"protocol": "official"} | changes))


@pytest.fixture(scope="module")
def kept(request_for: Any, run_prepare: Any, copy_of_fer2013: Path) -> Prepared:
    return run_prepare(request_for(), copy_of_fer2013.parent / "out", max_rejected=0.02)


@pytest.fixture(scope="module")
def cleaned(request_for: Any, run_prepare: Any, copy_of_fer2013: Path) -> Prepared:
    return run_prepare(request_for(duplicates="drop_all"), copy_of_fer2013.parent / "out", max_rejected=0.02)


def stored(prepared: Prepared) -> dict[int, tuple[str, StoredSample]]:
    """Row number to its split and sample."""
    return {
        int(sample.id): (split, sample)
        for split in USAGES.values()
        for sample in read_samples(prepared.folder, prepared.manifest, split, Opening("run", 1))
    }


def listed(request: Request) -> dict[int, dict[str, Any]]:
    """Row number to its row, without preparing anything."""
    return {int(row["id"]): row for row in request.listing(cores=1).table.to_pylist()}


def trained_on(rows: list[Row]) -> set[str]:
    return {row.pixels for row in rows if row.usage == "Training"}


# --- twins


def test_the_manifest_counts_the_twins_of_both_evaluation_splits(kept, rows):
    known = trained_on(rows)
    expected = Counter(USAGES[row.usage] for row in rows if row.usage != "Training" and row.pixels in known)
    assert kept.manifest.twins == dict(expected) == {"validation": 3, "test": 3}


def test_every_record_says_whether_it_is_a_twin(kept, rows):
    known = trained_on(rows)
    for number, (split, sample) in stored(kept).items():
        assert split == USAGES[rows[number].usage]
        assert sample.twin == (split != "train" and rows[number].pixels in known)


def test_a_test_image_that_is_only_selected_on_is_no_twin(kept, rows):
    assert rows[190].pixels == rows[160].pixels
    assert not stored(kept)[190][1].twin


def test_validation_carved_out_of_training_counts_as_trained_on(request_for, rows):
    found = listed(request_for(protocol="carved", val_fraction=0.3))
    known = trained_on(rows)
    for number, row in found.items():
        assert row["twin"] == (row["split"] == "test" and rows[number].pixels in known)
    assert sum(row["twin"] for row in found.values()) == 3
    splits = defaultdict(set)
    for number, row in found.items():
        splits[rows[number].pixels].add(row["split"])
    assert not [pixels for pixels, found_in in splits.items() if found_in >= {"train", "validation"}]


def test_where_pixels_are_not_compared_nobody_knows(affectnet_folder, make_request):
    table = make_request(affectnet_folder, "affectnet-2021").listing(cores=1).table
    assert table["twin"].null_count == table.num_rows


# --- dropped duplicates


def dropped(rows: list[Row], policy: str) -> dict[int, str]:
    """Row number to reason under protocol official, worked out picture by picture."""
    pictures = defaultdict(list)
    for number, row in enumerate(rows):
        pictures[row.pixels].append(number)
    reasons = {}
    for members in pictures.values():
        training = [number for number in members if rows[number].usage == "Training"]
        held_out = [number for number in members if rows[number].usage != "Training"]
        if held_out:
            reasons |= dict.fromkeys(training, LEAK)
        rest = held_out or training
        if policy == "drop_all" and len({rows[number].label for number in members}) > 1:
            reasons |= dict.fromkeys(rest, CONFLICT)
        elif policy == "drop_all":
            first_test = [number for number in rest if rows[number].usage == "PrivateTest"][:1] or rest[:1]
            reasons |= dict.fromkeys([number for number in rest if number not in first_test], SECOND)
    return reasons


@pytest.mark.parametrize("policy", ["drop_train_twins", "drop_all"])
def test_what_is_dropped_is_listed_no_more_and_counted_by_reason(request_for, rows, policy):
    expected = dropped(rows, policy)
    listing = request_for(duplicates=policy).listing(cores=1)
    ids = {int(row_id) for row_id in listing.table["id"].to_pylist()}
    assert set(range(len(rows))) - ids == set(expected)
    assert listing.excluded == Counter(expected.values())


def test_the_manifest_keeps_the_reasons(cleaned, rows):
    # 0, 1, 2 and 3 leak; 151, 152, 181, 20 and 21 disagree; 150 and 160 stand in test too, 11 and 12 stand twice
    assert cleaned.manifest.excluded == {LEAK: 4, CONFLICT: 5, SECOND: 4}
    assert cleaned.manifest.excluded == Counter(dropped(rows, "drop_all").values())
    assert cleaned.manifest.protocol == "synthetic/official-drop_all"
    assert cleaned.manifest.total == len(rows) - 13 - len(SHRUNK)


def test_what_is_dropped_makes_another_dataset(kept, cleaned):
    assert kept.manifest.digest != cleaned.manifest.digest


def test_afterwards_every_picture_stands_there_once(cleaned):
    pictures = Counter(sample.pixels.tobytes() for _, sample in stored(cleaned).values())
    assert set(pictures.values()) == {1}
    assert cleaned.manifest.twins == {"validation": 0, "test": 0}


def test_by_default_everything_stays(kept, rows):
    assert kept.manifest.excluded == {}
    assert kept.manifest.protocol == "synthetic/official"
    assert set(stored(kept)) == set(range(len(rows))) - set(SHRUNK)


# --- images of another size


def test_shrunk_images_are_set_aside_with_the_reason(kept):
    reason = "28x28 px, the release has 48x48 px"
    assert kept.manifest.rejected == {reason: len(SHRUNK)}
    named = pq.read_table(kept.folder / REJECTED_NAME)
    assert named.to_pylist() == [{"id": str(number), "reason": reason} for number in SHRUNK]


# --- folds


@pytest.mark.parametrize("folds", [2, 5])
def test_the_validation_splits_of_all_folds_partition_training(request_for, rows, folds):
    training = {number for number, row in enumerate(rows) if row.usage == "Training"}
    public_test = {number for number, row in enumerate(rows) if row.usage == "PublicTest"}
    validated: list[int] = []
    for fold in range(folds):
        request = request_for(protocol="carved")
        found = listed(replace(request, split=replace(request.split, folds=folds, fold=fold)))
        by_split = defaultdict(set)
        for number, row in found.items():
            by_split[row["split"]].add(number)
        assert by_split["test"] == public_test
        assert by_split["train"] == training - by_split["validation"]
        assert abs(len(by_split["validation"]) - len(training) / folds) < 10
        validated += by_split["validation"]
    assert sorted(validated) == sorted(training)


def test_every_fold_is_a_dataset_of_its_own(request_for):
    request = request_for(protocol="carved")
    requests = [replace(request, split=replace(request.split, folds=5, fold=fold)) for fold in range(5)]
    assert [item.protocol_id for item in requests] == [f"synthetic/carved-fold{fold}of5" for fold in range(5)]
    assert len({item.key for item in [request, *requests]}) == 6


# --- copies that are not what their release is


def test_another_dataset_under_the_name_of_fer2013_is_refused(copy_of_fer2013, make_request, run_prepare, tmp_path):
    with pytest.raises(UserError, match=r"not what it should be \(unknown: .*accept_alarms=true"):
        run_prepare(make_request(copy_of_fer2013, dataset="fer2013"), tmp_path, max_rejected=0.02)
    assert not [folder for folder in tmp_path.iterdir() if folder.name.startswith("fer2013")]


def test_accepted_alarms_stand_in_the_name_of_the_protocol(copy_of_fer2013, make_request, run_prepare, tmp_path):
    request = make_request(copy_of_fer2013, dataset="fer2013", accept_alarms=True)
    manifest = run_prepare(request, tmp_path, max_rejected=0.02).manifest
    assert manifest.protocol == "fer2013/carved-alarms"
    assert manifest.verdict == "unknown"
    assert any("it is another dataset" in line for line in manifest.alarms)


def test_drawn_faces_are_compared_with_no_release(kept):
    assert (kept.manifest.verdict, kept.manifest.alarms) == ("not compared", ())
