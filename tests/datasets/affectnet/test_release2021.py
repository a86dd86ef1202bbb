"""AffectNet's 2021 release: annotations in all their forms, and nothing lost between images and rows."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from ferlab.datasets.affectnet import release2021
from ferlab.datasets.affectnet.reader import locate, read
from ferlab.datasets.listing import ROW_SCHEMA, Reading, Rows
from ferlab.datasets.synthetic.layouts import write_synthetic
from ferlab.emotions import AFFECTNET7, AFFECTNET8, Taxonomy
from ferlab.errors import UserError

# ids of the data sheet
NAMES = {0: "neutral", 1: "happy", 2: "sad", 3: "surprise", 4: "fear", 5: "disgust", 6: "angry"}


def rows_of(root: Path, taxonomy: Taxonomy = AFFECTNET7) -> Rows:
    return read(locate(root), Reading(taxonomy))


def row_of(root: Path, sample_id: str) -> dict:
    return next(row for row in rows_of(root).table.to_pylist() if row["id"] == sample_id)


def add_face(root: Path, part: str, stem: str, suffix: str = ".jpg", **notes: object) -> None:
    for kind in ("images", "annotations"):
        (root / part / kind).mkdir(parents=True, exist_ok=True)
    (root / part / "images" / f"{stem}{suffix}").write_bytes(b"pixels are not looked at")
    for kind, value in notes.items():
        np.save(root / part / "annotations" / f"{stem}_{kind}.npy", value)


@pytest.fixture
def root(tmp_path) -> Path:
    """Ten faces a class in train_set and two a class in val_set, labels as 0-d strings; no landmarks."""
    for part, count in (("train_set", 70), ("val_set", 14)):
        for i in range(count):
            add_face(tmp_path, part, str(i), exp=np.array(str(i % 7)), val=np.array("0.5"), aro=np.array("-0.25"))
    return tmp_path


@pytest.fixture(scope="module")
def drawn(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("drawn") / "affectnet"
    write_synthetic("affectnet-2021", folder, 70, seed=3)
    return folder


def test_a_synthetic_copy_is_read_with_the_annotations_it_was_written_with(drawn):
    found = rows_of(drawn)
    assert found.table.schema == ROW_SCHEMA
    rows = found.table.to_pylist()
    assert len(rows) == 70
    for row in rows:
        path = drawn / row["id"]
        notes = {
            kind: np.load(f"{path.parent.parent}/annotations/{path.stem}_{kind}.npy")
            for kind in ("exp", "val", "aro", "lnd")
        }
        assert AFFECTNET7.classes[row["label"]] == NAMES[int(notes["exp"])]
        assert row["path"] == str(path)
        assert path.is_file()
        assert row["part"] == {"train_set": "train", "val_set": "val"}[path.parent.parent.name]
        assert (row["valence"], row["arousal"]) == pytest.approx((float(notes["val"]), float(notes["aro"])))
        np.testing.assert_allclose(row["landmarks"], notes["lnd"], rtol=1e-6)
        assert [row[name] for name in ("pixels", "box", "group", "votes")] == [None] * 4


def test_ids_are_unique_although_both_sets_number_from_zero(root):
    ids = rows_of(root).table["id"].to_pylist()
    assert len(set(ids)) == len(ids) == 84


def test_the_order_of_the_rows_does_not_depend_on_the_disk(root, tmp_path_factory):
    other = tmp_path_factory.mktemp("other") / "copy"
    (other / "train_set/images").mkdir(parents=True)
    for file in sorted((root / "train_set/images").iterdir(), reverse=True):
        shutil.copy(file, other / "train_set/images")
    for name in ("train_set/annotations", "val_set"):
        shutil.copytree(root / name, other / name)
    assert rows_of(other).table.drop(["path"]).equals(rows_of(root).table.drop(["path"]))


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
        np.array(["3"]),
        np.array([[3]]),
    ],
    ids=repr,
)
def test_labels_are_read_as_text_or_number(root, value):
    add_face(root, "train_set", "extra", exp=value)
    row = row_of(root, "train_set/images/extra.jpg")
    assert AFFECTNET7.classes[row["label"]] == "surprise"
    assert row["valence"] is None


def test_minus_two_means_not_annotated(root):
    add_face(root, "train_set", "extra", exp=np.array("1"), val=np.array("-2"), aro=np.array(-2.0))
    row = row_of(root, "train_set/images/extra.jpg")
    assert (row["valence"], row["arousal"]) == (None, None)


def test_contempt_is_a_class_of_eight_and_left_out_of_seven(root):
    for stem, expression in (("a", 7), ("b", 7), ("c", 8), ("d", 9), ("e", 10)):
        add_face(root, "train_set", stem, exp=np.array(str(expression)), lnd=np.zeros(3))
    for stem in ("a", "b"):
        np.save(root / "train_set/annotations" / f"{stem}_lnd.npy", np.ones(136))
    seven, eight = rows_of(root), rows_of(root, AFFECTNET8)
    no_category = {"None": 1, "Uncertain": 1, "No-Face": 1}
    assert seven.table.num_rows == 84
    assert seven.excluded == {"contempt, not one of the 7 classes": 2} | no_category
    assert "cannot predict it" in seven.policy["contempt"]
    assert eight.table.num_rows == 86
    assert eight.excluded == no_category
    assert eight.policy["contempt"] == "its own class"
    labels = {row["id"]: row["label"] for row in eight.table.to_pylist()}
    assert AFFECTNET8.classes[labels["train_set/images/a.jpg"]] == "contempt"
    assert seven.rejected == eight.rejected == ()


@pytest.mark.parametrize("expression", [11, -1, 3.5, float("nan"), float("inf")])
def test_an_expression_that_does_not_exist_is_set_aside(root, expression):
    add_face(root, "train_set", "extra", exp=np.array(expression))
    (rejection,) = rows_of(root).rejected
    assert rejection.reason == f"expression is {expression:g}, must be 0..10"


def test_a_face_without_its_annotation_is_set_aside_with_the_reason(root):
    add_face(root, "train_set", "lost", val=np.array("0.1"))
    (rejection,) = rows_of(root).rejected
    assert rejection.id == "train_set/images/lost.jpg"
    assert rejection.reason == "annotation lost_exp.npy is missing"


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY", b"no array", b"3\n"])
def test_a_damaged_annotation_is_set_aside_with_the_reason(root, content):
    add_face(root, "train_set", "bad")
    (root / "train_set/annotations/bad_exp.npy").write_bytes(content)
    (rejection,) = rows_of(root).rejected
    assert rejection.reason == "annotation bad_exp.npy is not a number"


@pytest.mark.parametrize(
    "value",
    [
        np.array("happy"),
        np.array([1, 2]),
        np.array({"exp": 1}, dtype=object),
        np.array([]),
        np.array(1 + 2j),
        np.array("2020-01-01", "M8[D]"),
        np.array([(1, 2)], dtype=[("a", int), ("b", int)]),
    ],
    ids=repr,
)
def test_an_annotation_that_is_no_number_is_set_aside_and_never_unpickled(root, value):
    add_face(root, "train_set", "bad", exp=value)
    assert [item.id for item in rows_of(root).rejected] == ["train_set/images/bad.jpg"]


# --- landmarks

POINTS = np.arange(136) * 1.5


@pytest.mark.parametrize(
    "value",
    [
        POINTS,
        POINTS.astype(np.float32),
        POINTS.reshape(136, 1),
        POINTS.reshape(68, 2),
        POINTS.astype(">f8"),
        np.asfortranarray(POINTS.reshape(68, 2)),
        np.array([f"{point:.1f}" for point in POINTS]),
    ],
)
def test_landmarks_are_read_from_any_type_and_shape(root, value):
    add_face(root, "train_set", "extra", exp=np.array("1"), lnd=value)
    assert row_of(root, "train_set/images/extra.jpg")["landmarks"] == POINTS.tolist()


def test_missing_landmarks_are_null_and_shift_nobody_elses(root):
    for number in range(0, 70, 3):
        np.save(root / f"train_set/annotations/{number}_lnd.npy", POINTS + number)
    for row in rows_of(root).table.to_pylist():
        number = int(Path(row["id"]).stem)
        present = row["part"] == "train" and number % 3 == 0
        assert row["landmarks"] == ((POINTS + number).tolist() if present else None)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (np.ones(12), "landmarks: 12 numbers, expected 136"),
        (np.ones((68, 3)), "landmarks: 204 numbers, expected 136"),
        (np.array([]), "landmarks: 0 numbers, expected 136"),
        (np.where(POINTS == 30, np.nan, POINTS), "landmarks: not all are numbers"),
        (np.array(["x"] * 136), "annotation extra_lnd.npy is not readable as numbers"),
        (np.array([None] * 136), "annotation extra_lnd.npy is not readable as numbers"),
    ],
)
def test_broken_landmarks_are_set_aside_with_the_reason(root, value, reason):
    add_face(root, "train_set", "extra", exp=np.array("1"), lnd=value)
    found = rows_of(root)
    assert [(item.id, item.reason) for item in found.rejected] == [("train_set/images/extra.jpg", reason)]
    assert found.table.num_rows == 84


def test_landmarks_cut_short_are_set_aside(root):
    add_face(root, "train_set", "extra", exp=np.array("1"), lnd=POINTS)
    file = root / "train_set/annotations/extra_lnd.npy"
    file.write_bytes(file.read_bytes()[:-1])
    assert [item.id for item in rows_of(root).rejected] == ["train_set/images/extra.jpg"]


# --- files and folders


@pytest.mark.parametrize("suffix", [".JPG", ".jpeg", ".png", ".bmp", ".BMP", ".tif", ".TIF", ".tiff"])
def test_upper_case_and_other_image_endings_are_read(root, suffix):
    add_face(root, "train_set", "a.b", suffix, exp=np.array("1"))
    assert row_of(root, f"train_set/images/a.b{suffix}")["label"] == 1


def test_what_is_no_image_is_set_aside_but_system_files_are_overlooked(root):
    images = root / "train_set/images"
    for name in (".DS_Store", "Thumbs.db", "._1.jpg", "desktop.ini"):
        (images / name).write_bytes(b"")
    for name in ("notes.txt", "clip.mp4", "jpg"):
        (images / name).write_bytes(b"")
    (images / "folder.jpg").mkdir()
    found = rows_of(root)
    assert [(item.id, item.reason) for item in found.rejected] == [
        (f"train_set/images/{name}", "not an image file") for name in ("clip.mp4", "folder.jpg", "jpg", "notes.txt")
    ]
    assert found.table.num_rows == 84


def test_no_image_is_lost(root):
    rng = np.random.default_rng(1)
    for number in range(400):
        notes = {"exp": np.array(str(rng.integers(0, 13)))} if number % 9 else {}
        marks = {"lnd": np.ones(136 if number % 7 else 5)} if number % 4 else {}
        add_face(root, ("train_set", "val_set")[number % 2], f"x{number}", **notes, **marks)
    for taxonomy in (AFFECTNET7, AFFECTNET8):
        found = rows_of(root, taxonomy)
        assert min(found.table.num_rows, len(found.rejected), sum(found.excluded.values())) > 50
        assert found.table.num_rows + len(found.rejected) + sum(found.excluded.values()) == 484
        assert list(found.rejected) == sorted(found.rejected, key=lambda item: item.id)


def test_more_images_than_one_turn_keep_their_annotations(tmp_path):
    for number in range(1200):
        add_face(tmp_path, "train_set", f"{number:05d}", exp=np.array(number % 7), val=np.array(number / 1200))
    for number, row in enumerate(rows_of(tmp_path).table.to_pylist()):
        assert (row["id"], row["label"]) == (f"train_set/images/{number:05d}.jpg", number % 7)
        assert row["valence"] == pytest.approx(number / 1200)


def test_many_more_turns_than_are_read_ahead_give_the_same_rows(root, monkeypatch):
    for stem, value in (("bad", "eleven"), ("contempt", "7")):
        add_face(root, "train_set", stem, exp=np.array(value))
    expected = rows_of(root)
    monkeypatch.setattr(release2021, "FACES_A_TURN", 1)
    found = rows_of(root)
    assert found.table.equals(expected.table)
    assert (found.excluded, found.rejected) == (expected.excluded, expected.rejected)
    assert (found.table.num_rows, len(found.rejected), sum(found.excluded.values())) == (84, 1, 1)


def test_without_val_set_there_is_no_part_val(root):
    shutil.rmtree(root / "val_set")
    assert set(rows_of(root).table["part"].to_pylist()) == {"train"}


@pytest.mark.parametrize("part", ["train_set/images", "train_set/annotations", "val_set/annotations", "val_set/images"])
def test_a_missing_folder_is_named(root, part):
    shutil.rmtree(root / part)
    with pytest.raises(UserError, match=rf"dataset\.root=.*: no {part} there\. Point dataset\.root at"):
        locate(root)


def test_val_set_alone_is_not_the_release(root):
    shutil.rmtree(root / "train_set")
    with pytest.raises(UserError, match="no train_set/images, train_set/annotations there"):
        locate(root)


def test_a_copy_without_any_image_is_a_user_error(root):
    for part in ("train_set", "val_set"):
        shutil.rmtree(root / part / "images")
        (root / part / "images").mkdir()
    with pytest.raises(UserError, match="no usable image of the 7 classes"):
        rows_of(root)


@pytest.mark.parametrize("changed", ["train_set/images/0.jpg", "val_set/annotations/3_exp.npy"])
def test_every_file_of_the_release_belongs_to_its_signature(root, changed):
    before = locate(root).signature()
    (root / changed).write_bytes(b"something else")
    assert locate(root).signature() != before
