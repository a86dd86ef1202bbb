"""AffectNet's 2021 release: annotations in all their forms, seven classes, photos on one side of the cut."""

import shutil
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest

from ferlab.datasets.affectnet import locate, read
from ferlab.datasets.catalog import LAYOUTS
from ferlab.datasets.listing import Listing
from ferlab.emotions import AFFECTNET7
from ferlab.errors import UserError

# ids of the data sheet
NAMES = {0: "neutral", 1: "happy", 2: "sad", 3: "surprise", 4: "fear", 5: "disgust", 6: "angry"}


def listing(root: Path, fraction: float = 0.1, seed: int = 0) -> Listing:
    return read(locate(root), "carved", fraction, seed)


def add_face(root: Path, part: str, stem: str, suffix: str = ".jpg", **notes: object) -> None:
    for kind in ("images", "annotations"):
        (root / part / kind).mkdir(parents=True, exist_ok=True)
    (root / part / "images" / f"{stem}{suffix}").write_bytes(
        cv2.imencode(".jpg", np.full((8, 8), 100, np.uint8))[1].tobytes()
    )
    for kind, value in notes.items():
        np.save(root / part / "annotations" / f"{stem}_{kind}.npy", value)


@pytest.fixture
def root(tmp_path) -> Path:
    """Ten faces a class in train_set and two a class in val_set, labels as 0-d strings."""
    for part, count in (("train_set", 70), ("val_set", 14)):
        for i in range(count):
            add_face(tmp_path, part, str(i), exp=np.array(str(i % 7)), val=np.array("0.5"), aro=np.array("-0.25"))
    return tmp_path


def test_a_synthetic_copy_is_read_with_the_labels_it_was_written_with(affectnet_folder):
    rows = listing(affectnet_folder).table.to_pylist()
    assert len(rows) == 120
    for row in rows:
        path = affectnet_folder / row["id"]
        expression = int(np.load(path.parent.parent / "annotations" / f"{path.stem}_exp.npy"))
        assert AFFECTNET7.classes[row["label"]] == NAMES[expression]
        assert row["path"] == str(path)
        assert path.is_file()
        assert row["valence"] == pytest.approx(
            float(np.load(str(path.parent.parent / f"annotations/{path.stem}_val.npy")))
        )
        assert row["pixels"] is None


def test_validation_is_carved_from_train_and_the_official_validation_is_reported(root):
    table = listing(root).table
    splits = dict(zip(table["id"].to_pylist(), table["split"].to_pylist(), strict=True))
    assert {split for name, split in splits.items() if name.startswith("val_set")} == {"test"}
    assert {split for name, split in splits.items() if name.startswith("train_set")} == {"train", "validation"}
    per_class = Counter(zip(table["split"].to_pylist(), table["label"].to_pylist(), strict=True))
    for label in range(7):
        assert [per_class[split, label] for split in ("train", "validation", "test")] == [9, 1, 2]


def test_ids_are_unique_although_both_sets_number_from_zero(root):
    ids = listing(root).table["id"].to_pylist()
    assert len(set(ids)) == len(ids) == 84


@pytest.mark.parametrize(
    "value",
    [
        np.array("3"),
        np.array(3),
        np.array(3, np.uint8),
        np.array(3.0),
        np.array(b"3"),
        np.int64(3),
        np.array(" 3 "),
    ],
    ids=repr,
)
def test_labels_are_read_as_text_or_number(root, value):
    add_face(root, "train_set", "extra", exp=value)
    rows = {row["id"]: row for row in listing(root).table.to_pylist()}
    assert AFFECTNET7.classes[rows["train_set/images/extra.jpg"]["label"]] == "surprise"
    assert rows["train_set/images/extra.jpg"]["valence"] is None


def test_minus_two_means_not_annotated(root):
    add_face(root, "train_set", "extra", exp=np.array("1"), val=np.array("-2"), aro=np.array(-2.0))
    row = {row["id"]: row for row in listing(root).table.to_pylist()}["train_set/images/extra.jpg"]
    assert (row["valence"], row["arousal"]) == (None, None)


def test_contempt_and_what_is_no_category_are_left_out_and_counted(root):
    for stem, expression in (("a", 7), ("b", 7), ("c", 8), ("d", 9), ("e", 10)):
        add_face(root, "train_set", stem, exp=np.array(str(expression)))
    found = listing(root)
    assert found.table.num_rows == 84
    assert found.excluded == {
        "contempt, not one of the seven classes": 2,
        "no category, not one of the seven classes": 3,
    }
    assert found.rejected == ()


@pytest.mark.parametrize("expression", [11, -1, 3.5, float("nan")])
def test_an_expression_that_does_not_exist_stops_with_the_file_named(root, expression):
    add_face(root, "train_set", "extra", exp=np.array(expression))
    with pytest.raises(UserError, match=r"extra_exp\.npy"):
        listing(root)


def test_a_face_without_its_annotation_is_set_aside_with_the_reason(root):
    add_face(root, "train_set", "lost", val=np.array("0.1"))
    (rejection,) = listing(root).rejected
    assert rejection.id == "train_set/images/lost.jpg"
    assert "lost_exp.npy is missing" in rejection.reason


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY", b"no array", b"3\n"])
def test_a_damaged_annotation_is_set_aside_with_the_reason(root, content):
    add_face(root, "train_set", "bad")
    (root / "train_set/annotations/bad_exp.npy").write_bytes(content)
    (rejection,) = listing(root).rejected
    assert "bad_exp.npy" in rejection.reason


@pytest.mark.parametrize(
    "value", [np.array("happy"), np.array([1, 2]), np.array({"exp": 1}, dtype=object), np.array([])], ids=repr
)
def test_an_annotation_that_is_no_number_is_set_aside_and_never_unpickled(root, value):
    add_face(root, "train_set", "bad", exp=value)
    assert [item.id for item in listing(root).rejected] == ["train_set/images/bad.jpg"]


def test_upper_case_and_other_image_endings_are_read(root):
    for suffix in (".JPG", ".png", ".bmp", ".TIF"):
        add_face(root, "train_set", f"extra{suffix[1:]}", suffix, exp=np.array("1"))
    ids = listing(root).table["id"].to_pylist()
    assert {"train_set/images/extraJPG.JPG", "train_set/images/extraTIF.TIF"} <= set(ids)


@pytest.mark.parametrize("part", ["train_set/images", "val_set/annotations", "val_set"])
def test_a_missing_folder_is_named(root, part):
    shutil.rmtree(root / part)
    with pytest.raises(UserError, match=part):
        locate(root)


def test_a_missing_root_is_a_user_error(tmp_path):
    with pytest.raises(UserError, match=r"dataset\.root="):
        locate(tmp_path / "absent")


@pytest.mark.parametrize("part", ["train_set", "val_set"])
def test_a_set_without_images_is_a_user_error(root, part):
    shutil.rmtree(root / part / "images")
    (root / part / "images").mkdir()
    with pytest.raises(UserError, match="no annotated images"):
        listing(root)


def test_the_official_protocol_is_refused_because_there_is_no_public_test_set(root):
    with pytest.raises(UserError, match="carved"):
        LAYOUTS["affectnet-2021"].read(locate(root), "official", 0.1, 0)
