"""AffectNet's releases and repacks as written with drawn faces, read back without any reader of ours."""

import csv
import itertools
from collections import Counter, defaultdict
from pathlib import Path

import cv2
import numpy as np
import pytest

from ferlab.datasets.synthetic.drawing import draw_face
from ferlab.datasets.synthetic.layouts import write_synthetic
from ferlab.datasets.synthetic.population import sample_face
from ferlab.datasets.synthetic.projection import landmarks
from ferlab.emotions import AFFECTNET7, AFFECTNET8

SEED = 3
COLUMNS = "subDirectory_filePath,face_x,face_y,face_width,face_height,facial_landmarks,expression,valence,arousal"
CONTEMPT, NONE, UNCERTAIN, NO_FACE = 7, 8, 9, 10
FIRST_BYTES = {"jpg": b"\xff\xd8\xff", "jpeg": b"\xff\xd8\xff", "png": b"\x89PNG", "bmp": b"BM", "tif": b"II*\0"}
CLASS_FOLDERS = {"Neutral", "Happy", "Sad", "Surprise", "Fear", "Disgust", "Anger", "Contempt"}

Row = dict[str, str]


# --- 2021 and class folders


def test_affectnet_2021_images_and_annotations_match(tmp_path):
    root = tmp_path / "faces"
    write_synthetic("affectnet-2021", root, 120, SEED)
    counts = {split: len(list((root / split / "images").iterdir())) for split in ("train_set", "val_set")}
    assert counts == {"train_set": 108, "val_set": 12}
    for split, number in (("train_set", 0), ("train_set", 77), ("val_set", 119)):
        face = sample_face(SEED, number)
        notes = {k: np.load(root / split / "annotations" / f"{number}_{k}.npy") for k in ("exp", "val", "aro", "lnd")}
        image = cv2.imread(str(root / split / "images" / f"{number}.jpg"))
        assert image.shape == (224, 224, 3)
        assert np.abs(image[..., ::-1].astype(int) - draw_face(face, 224, "rgb")).mean() < 8
        assert notes["exp"].shape == ()
        assert notes["exp"].dtype.kind == "U"
        assert AFFECTNET7.classes[int(notes["exp"])] == face.category
        assert float(notes["val"]) == pytest.approx(face.valence, abs=1e-6)
        assert float(notes["aro"]) == pytest.approx(face.arousal, abs=1e-6)
        assert notes["lnd"].shape == (136,)
        np.testing.assert_allclose(notes["lnd"].reshape(68, 2), landmarks(face, 224))


def test_affectnet_2021_at_another_size_moves_the_landmarks_with_the_face(tmp_path):
    root = tmp_path / "faces"
    write_synthetic("affectnet-2021", root, 70, SEED, size_px=64)
    assert cv2.imread(str(root / "train_set" / "images" / "5.jpg")).shape == (64, 64, 3)
    marks = np.load(root / "train_set" / "annotations" / "5_lnd.npy").reshape(68, 2)
    np.testing.assert_allclose(marks, landmarks(sample_face(SEED, 5), 64))


def test_class_folders_hold_eight_classes_by_name(tmp_path):
    root = tmp_path / "faces"
    counts = write_synthetic("affectnet-folder", root, 300, SEED, size_px=48)
    files = sorted(root.rglob("*.jpg"))
    assert Counter(file.parents[1].name for file in files) == {"train": 270, "val": 30}
    for part in ("train", "val"):
        assert {path.name for path in (root / part).iterdir()} == CLASS_FOLDERS
        here = {path.name: len(list(path.iterdir())) for path in (root / part).iterdir()}
        assert here["Anger"] == counts[part]["angry"]
        assert here["Contempt"] == counts[part]["contempt"]
    for file in files[::20]:
        image = cv2.imread(str(file))
        assert image.shape == (48, 48, 3)
        index = int(file.stem.removeprefix("image"))
        if file.parent.name != "Contempt":
            face = sample_face(SEED, index)
            assert AFFECTNET8.index_of(file.parent.name) == AFFECTNET8.index_of(face.category)
            assert np.abs(image[..., ::-1].astype(int) - draw_face(face, 48, "rgb")).mean() < 12
    contempt = [int(file.stem.removeprefix("image")) for file in files if file.parent.name == "Contempt"]
    assert 8 <= len(contempt) <= 24
    assert len({sample_face(SEED, index).category for index in contempt}) > 2, "contempt replaces any category"


# --- the original release


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> tuple[Path, dict[str, dict[str, int]]]:
    """A thousand faces drawn at 40 px, and how many of each were said to be there."""
    folder = tmp_path_factory.mktemp("affectnet") / "manual"
    return folder, write_synthetic("affectnet-manual", folder, 1000, SEED, size_px=40, cores=2)


@pytest.fixture(scope="module")
def release(written) -> Path:
    return written[0]


@pytest.fixture(scope="module")
def rows(release) -> dict[str, list[Row]]:
    return {name: rows_of(release / f"{name}.csv") for name in ("training", "validation")}


def rows_of(file: Path) -> list[Row]:
    with file.open(newline="", encoding="ascii") as lines:
        return list(csv.DictReader(lines))


def box_of(row: Row) -> tuple[int, int, int, int]:
    x, y, width, height = (int(row[f"face_{name}"]) for name in ("x", "y", "width", "height"))
    return x, y, width, height


def marks_of(row: Row) -> np.ndarray:
    return np.array(row["facial_landmarks"].split(";"), dtype=float).reshape(68, 2)


def photo_of(release: Path, row: Row) -> np.ndarray:
    picture = cv2.imread(str(release / "Manually_Annotated_Images" / row["subDirectory_filePath"]))
    assert picture is not None, row["subDirectory_filePath"]
    return picture


def test_tables_have_the_columns_of_the_release_and_rows_that_add_up(release, rows):
    for name, count in (("training", 900), ("validation", 100)):
        assert (release / f"{name}.csv").read_text().splitlines()[0] == COLUMNS
        assert len(rows[name]) == count
    assert {path.name for path in release.iterdir()} == {"Manually_Annotated_Images", "training.csv", "validation.csv"}


@pytest.mark.parametrize("name", ["training", "validation"])
def test_all_eleven_expressions_appear_and_agree_with_the_count(written, rows, name):
    found = Counter(int(row["expression"]) for row in rows[name])
    assert set(found) == set(range(11))
    assert [found[number] for number in range(11)] == list(written[1][name].values())
    left_out = sum(found[number] for number in (NONE, UNCERTAIN, NO_FACE)) / len(rows[name])
    assert 0.15 < left_out < 0.25


def test_a_category_is_the_one_that_is_drawn_unless_it_was_replaced(rows):
    for index, row in enumerate([*rows["training"], *rows["validation"]]):
        if int(row["expression"]) < CONTEMPT:
            face = sample_face(SEED, index)
            assert AFFECTNET8.classes[int(row["expression"])] == face.category
            assert float(row["valence"]) == pytest.approx(face.valence, abs=1e-6)
            assert float(row["arousal"]) == pytest.approx(face.arousal, abs=1e-6)


def test_what_was_not_annotated_is_minus_two_and_the_rest_in_range(rows):
    for row in [*rows["training"], *rows["validation"]]:
        affect = (float(row["valence"]), float(row["arousal"]))
        if int(row["expression"]) in (UNCERTAIN, NO_FACE):
            assert affect == (-2, -2)
        else:
            assert max(map(abs, affect)) <= 1


def test_no_face_and_a_few_faces_have_no_box(rows):
    everything = [*rows["training"], *rows["validation"]]
    without = [row for row in everything if box_of(row)[2] < 0]
    assert {box_of(row) for row in without} == {(-1, -1, -1, -1)}
    assert all(row in without for row in everything if int(row["expression"]) == NO_FACE)
    assert 5 <= sum(int(row["expression"]) < NONE for row in without) <= 40
    assert all(len(row["facial_landmarks"].split(";")) == 136 for row in without)


def test_boxes_lie_in_the_photo_and_hold_the_landmarks(release, rows):
    boxed = [row for row in [*rows["training"], *rows["validation"]] if box_of(row)[2] > 0]
    assert len(boxed) > 850
    for row in boxed:
        (x, y, width, height), marks = box_of(row), marks_of(row)
        tall, wide = photo_of(release, row).shape[:2]
        assert min(x, y) >= 0
        assert x + width <= wide
        assert y + height <= tall
        assert (marks.min(axis=0) >= (x, y)).all()
        assert (marks.max(axis=0) <= (x + width, y + height)).all()
        assert width == height
        assert width * height < 0.9 * tall * wide, "the photo is larger than the face"
    assert all(len(number.split(".")[1]) == 2 for row in boxed[:50] for number in row["facial_landmarks"].split(";"))


def test_eyes_are_where_the_landmarks_say(tmp_path):
    write_synthetic("affectnet-manual", tmp_path / "faces", 70, SEED, size_px=128)
    darker = []
    for row in rows_of(tmp_path / "faces" / "training.csv"):
        if box_of(row)[2] > 0:
            gray = cv2.cvtColor(photo_of(tmp_path / "faces", row), cv2.COLOR_BGR2GRAY)
            marks = marks_of(row)
            for eye in (marks[36:42].mean(axis=0), marks[42:48].mean(axis=0)):
                x, y = eye.round().astype(int)
                darker.append(gray[y - 4 : y + 5, x - 4 : x + 5].min() < gray[y + 10 : y + 16, x - 3 : x + 4].mean())
    assert len(darker) > 80
    assert np.mean(darker) > 0.9, "the pupil is darker than the cheek, but for hidden eyes"


def test_faces_of_one_photo_share_the_path_and_a_photo_is_in_one_part_only(release, rows):
    photos: dict[str, list[Row]] = defaultdict(list)
    for row in [*rows["training"], *rows["validation"]]:
        photos[row["subDirectory_filePath"]].append(row)
    sizes = Counter(len(faces) for faces in photos.values())
    assert set(sizes) == {1, 2, 3}
    assert 0.03 < (sizes[2] + sizes[3]) / len(photos) < 0.07
    assert not {row["subDirectory_filePath"] for row in rows["training"]} & {
        row["subDirectory_filePath"] for row in rows["validation"]
    }
    files = {
        path.relative_to(release / "Manually_Annotated_Images").as_posix()
        for path in (release / "Manually_Annotated_Images").rglob("*.*")
    }
    assert files == set(photos)
    for faces in photos.values():
        marks = [marks_of(row) for row in faces if box_of(row)[2] > 0]
        spans = sorted((points[:, 0].min(), points[:, 0].max()) for points in marks)
        assert all(first[1] < second[0] for first, second in itertools.pairwise(spans)), "side by side"


def test_names_are_hashes_in_numbered_folders_with_the_endings_of_the_release(release):
    files = [path for path in (release / "Manually_Annotated_Images").rglob("*") if path.is_file()]
    assert len({file.stem for file in files}) == len(files)
    assert all(len(file.stem) == 56 and set(file.stem) <= set("0123456789abcdef") for file in files)
    assert all(file.parent.name.isdecimal() for file in files)
    assert len({file.parent for file in files}) >= 3
    endings = Counter(file.suffix for file in files)
    assert set(endings) == {".jpg", ".JPG", ".jpeg", ".png", ".bmp", ".tif"}
    assert endings[".jpg"] > 0.7 * len(files)
    for file in files:
        assert file.read_bytes().startswith(FIRST_BYTES[file.suffix[1:].lower()]), file


def test_without_a_size_photos_vary_from_small_to_large(tmp_path):
    write_synthetic("affectnet-manual", tmp_path / "faces", 250, 1)
    sizes = [max(photo_of(tmp_path / "faces", row).shape[:2]) for row in rows_of(tmp_path / "faces" / "training.csv")]
    assert 130 <= min(sizes) < 220
    assert max(sizes) > 1000
    assert len(set(sizes)) > 100


def test_missing_leaves_out_exactly_that_share_of_images_and_nothing_else(release, rows, tmp_path):
    write_synthetic("affectnet-manual", tmp_path / "faces", 1000, SEED, size_px=40, missing=0.01)
    assert (tmp_path / "faces" / "training.csv").read_bytes() == (release / "training.csv").read_bytes()
    images = tmp_path / "faces" / "Manually_Annotated_Images"
    everything = [*rows["training"], *rows["validation"]]
    absent = [row for row in everything if not (images / row["subDirectory_filePath"]).exists()]
    assert len({row["subDirectory_filePath"] for row in absent}) == 10
    assert 10 <= len(absent) <= 15
