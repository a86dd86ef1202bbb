"""FER-2013 and FERPlus as written with drawn faces, read back without any reader of ours."""

import csv
import itertools
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest

from ferlab.datasets.synthetic.drawing import draw_face
from ferlab.datasets.synthetic.layouts import write_synthetic
from ferlab.datasets.synthetic.population import sample_face
from ferlab.emotions import FER2013

COUNT, SEED = 120, 3
USAGES = {"Training": 96, "PublicTest": 12, "PrivateTest": 12}
LAYOUTS = ("fer2013-csv", "fer2013-icml", "fer2013-kaggle", "fer2013-folder", "ferplus")
VOTES_HEADER = "Usage,Image name,neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF"
NAMES_OF_COLUMNS = {"happiness": "happy", "sadness": "sad", "anger": "angry"}


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("synthetic")
    for layout in LAYOUTS:
        write_synthetic(layout, root / layout, COUNT, SEED)
    return {layout: root / layout for layout in LAYOUTS}


@pytest.fixture(scope="module")
def ferplus(tmp_path_factory) -> Path:
    """A thousand small faces with their votes."""
    folder = tmp_path_factory.mktemp("ferplus") / "faces"
    write_synthetic("ferplus", folder, 1000, SEED, size_px=16)
    return folder


def rows_of(file: Path) -> list[list[str]]:
    """All lines of a table as cells, header included."""
    with file.open(newline="", encoding="ascii") as lines:
        return list(csv.reader(lines))


def pixels_of(text: str, size_px: int = 48) -> np.ndarray:
    return np.array(text.split(), dtype=np.uint8).reshape(size_px, size_px)


def test_csv_holds_the_drawn_pixels_in_the_official_order(written):
    header, *rows = rows_of(written["fer2013-csv"] / "fer2013.csv")
    assert header == ["emotion", "pixels", "Usage"]
    assert [(usage, len(list(group))) for usage, group in itertools.groupby(row[2] for row in rows)] == [
        *USAGES.items()
    ]
    for index in (0, 50, 119):
        face = sample_face(SEED, index)
        np.testing.assert_array_equal(pixels_of(rows[index][1]), draw_face(face, 48, "gray"))
        assert FER2013.classes[int(rows[index][0])] == face.category
    assert len({row[1] for row in rows}) == COUNT


def test_icml_has_blanks_in_the_header_and_the_same_rows_in_another_order_of_columns(written):
    file = written["fer2013-icml"] / "icml_face_data.csv"
    assert file.read_text().splitlines()[0] == "emotion, Usage, pixels"
    _, *rows = rows_of(file)
    _, *official = rows_of(written["fer2013-csv"] / "fer2013.csv")
    assert [[emotion, pixels, usage] for emotion, usage, pixels in rows] == official


def test_kaggle_has_training_rows_with_labels_and_both_test_parts_without(written):
    train_header, *train = rows_of(written["fer2013-kaggle"] / "train.csv")
    test_header, *test = rows_of(written["fer2013-kaggle"] / "test.csv")
    _, *official = rows_of(written["fer2013-csv"] / "fer2013.csv")
    assert (train_header, test_header) == (["emotion", "pixels"], ["pixels"])
    assert train == [row[:2] for row in official if row[2] == "Training"]
    assert test == [[row[1]] for row in official if row[2] != "Training"]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_table_layout_holds_its_files_and_no_other(written, layout):
    expected = {
        "fer2013-csv": {"fer2013.csv"},
        "fer2013-icml": {"icml_face_data.csv"},
        "fer2013-kaggle": {"train.csv", "test.csv"},
        "fer2013-folder": {"train", "test"},
        "ferplus": {"fer2013.csv", "fer2013new.csv"},
    }
    assert {path.name for path in written[layout].iterdir()} == expected[layout]


@pytest.mark.parametrize(("layout", "file"), [("fer2013-csv", "fer2013.csv"), ("fer2013-icml", "icml_face_data.csv")])
def test_another_size_is_the_face_drawn_at_that_size(tmp_path, layout, file):
    write_synthetic(layout, tmp_path / "faces", 70, SEED, size_px=28)
    text = max(rows_of(tmp_path / "faces" / file)[41], key=len)
    np.testing.assert_array_equal(pixels_of(text, 28), draw_face(sample_face(SEED, 40), 28, "gray"))


def test_folder_has_class_folders_and_prefixes_that_restore_the_split(written):
    files = sorted(written["fer2013-folder"].rglob("*.jpg"))
    assert Counter(file.name.split("_")[0] for file in files) == USAGES
    assert {file.parents[1].name for file in files if file.name.startswith("Training")} == {"train"}
    assert {file.parents[1].name for file in files if "Test_" in file.name} == {"test"}
    assert {file.parent.name for file in files} == set(FER2013.classes)
    assert len({file.read_bytes() for file in files}) == COUNT
    for file in files[::25]:
        prefix_id = file.stem.split("_")[1]
        face = sample_face(SEED, int(prefix_id))
        image = cv2.imread(str(file), cv2.IMREAD_UNCHANGED)
        assert len(prefix_id) == 8
        assert image.shape == (48, 48)
        assert face.category == file.parent.name
        assert np.abs(image.astype(int) - draw_face(face, 48, "gray")).mean() < 6


# --- FERPlus


def test_ferplus_is_the_official_file_and_votes_row_by_row(written):
    assert (written["ferplus"] / "fer2013.csv").read_bytes() == (written["fer2013-csv"] / "fer2013.csv").read_bytes()
    header, *votes = rows_of(written["ferplus"] / "fer2013new.csv")
    _, *rows = rows_of(written["ferplus"] / "fer2013.csv")
    assert ",".join(header) == VOTES_HEADER
    assert [row[0] for row in votes] == [row[2] for row in rows]


def test_each_row_has_ten_votes_and_a_name_with_its_number_unless_it_is_no_face(ferplus):
    _, *rows = rows_of(ferplus / "fer2013new.csv")
    votes = np.array([row[2:] for row in rows], dtype=int)
    assert len(rows) == 1000
    assert set(votes.sum(axis=1)) == {10}
    assert votes.min() == 0
    not_a_face = votes.argmax(axis=1) == 9
    for number, row in enumerate(rows):
        assert row[1] == ("" if not_a_face[number] else f"fer{number:07d}.png")
    assert 5 <= not_a_face.sum() <= 30


def test_most_votes_go_to_what_was_drawn_and_some_to_everything_else(ferplus):
    header, *rows = rows_of(ferplus / "fer2013new.csv")
    _, *faces = rows_of(ferplus / "fer2013.csv")
    columns = [NAMES_OF_COLUMNS.get(name, name) for name in header[2:]]
    votes = np.array([row[2:] for row in rows], dtype=int)
    drawn = np.array([columns.index(FER2013.classes[int(row[0])]) for row in faces])
    leading = votes.argmax(axis=1)
    assert 0.85 < np.mean(leading == drawn) < 0.97
    assert set(leading) == set(range(10)), "every column leads somewhere, contempt, unknown and NF included"
    assert 0.6 < votes[np.arange(1000), drawn].mean() / 10 < 0.9
    assert 0 < sum((votes == votes.max(axis=1, keepdims=True)).sum(axis=1) > 1) < 50, "some rows are level"
    assert len({tuple(row) for row in votes[drawn == columns.index("happy")]}) > 10
