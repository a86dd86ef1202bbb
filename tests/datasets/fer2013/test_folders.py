"""FER-2013 as class folders: names decide class and part, and every file is a row or is counted."""

import os
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest

from ferlab.datasets.audit.scan import scan
from ferlab.datasets.listing import ROW_SCHEMA, Rows
from ferlab.datasets.synthetic.layouts import write_synthetic
from ferlab.emotions import FER2013, RAFDB
from ferlab.errors import UserError

NAMES = ["angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"]


@pytest.fixture
def faces(tmp_path) -> Path:
    """A hundred drawn faces as Kaggle's repack has them."""
    write_synthetic("fer2013-folder", tmp_path / "faces", 100, 0)
    return tmp_path / "faces"


def parts(found: Rows) -> dict[str, int]:
    return Counter(found.table["part"].to_pylist())


# --- classes


def test_folder_names_decide_not_their_alphabetical_position(tmp_path, make_rows, write_folders, read_rows):
    found = read_rows(write_folders(tmp_path, make_rows()))
    assert found.table.schema == ROW_SCHEMA
    assert found.table.num_rows == 98
    for row in found.table.to_pylist():
        assert NAMES[row["label"]] == row["id"].split("/")[1]
        assert Path(row["path"]) == tmp_path / row["id"]
        assert row["pixels"] is None


@pytest.mark.parametrize("spelled", ["Happy", "HAPPINESS", "happiness", " happy "])
def test_other_spellings_of_a_class_are_the_class(faces, read_rows, spelled):
    before = read_rows(faces).table["label"].to_pylist()
    for part in ("train", "test"):
        (faces / part / "happy").rename(faces / part / spelled)
    assert Counter(read_rows(faces).table["label"].to_pylist()) == Counter(before)


def test_a_folder_that_is_no_class_is_refused_with_the_classes(faces, read_rows):
    (faces / "train" / "joyful").mkdir()
    with pytest.raises(UserError, match=r"joyful.*angry, disgust"):
        read_rows(faces)


def test_a_category_that_fer2013_does_not_have_is_counted(faces, read_rows):
    (faces / "train" / "contempt").mkdir()
    for number in range(3):
        (faces / "train" / "contempt" / f"{number}.jpg").write_bytes(b"x")
    found = read_rows(faces)
    assert found.table.num_rows == 100
    assert found.excluded == {"contempt, not one of the 7 classes": 3}


def test_numbered_folders_are_read_by_the_named_order(tmp_path, make_rows, write_folders, read_rows):
    samples = make_rows()
    own = write_folders(tmp_path / "own", samples, class_of=str)
    raf = write_folders(tmp_path / "raf", samples, class_of=lambda i: str(RAFDB.ids[RAFDB.classes.index(NAMES[i])]))
    wanted = Counter(NAMES[label] for label, _, _ in samples)
    for root, order in ((own, "fer2013"), (raf, "rafdb")):
        found = read_rows(root, order)
        assert Counter(FER2013.classes[i] for i in found.table["label"].to_pylist()) == wanted
        for row in found.table.to_pylist():
            number = int(Path(row["path"]).stem.split("_")[1])
            assert row["label"] == samples[number][0]


def test_numbered_folders_without_an_order_ask_for_one(tmp_path, make_rows, write_folders, read_rows):
    write_folders(tmp_path, make_rows(), class_of=str)
    with pytest.raises(UserError, match=r"/0: class folders are numbers.*dataset\.label_order=fer2013\|"):
        read_rows(tmp_path)


def test_a_number_that_the_order_does_not_have_is_refused(tmp_path, make_rows, write_folders, read_rows):
    write_folders(tmp_path, make_rows(), class_of=str)
    with pytest.raises(UserError, match=r"0 is no class number of rafdb \(1, 2, 3, 4, 5, 6, 7\)"):
        read_rows(tmp_path, "rafdb")


# --- parts


def test_the_file_name_prefix_restores_the_official_parts(tmp_path, make_rows, write_folders, read_rows):
    found = read_rows(write_folders(tmp_path, make_rows()))
    assert parts(found) == {"Training": 70, "PublicTest": 14, "PrivateTest": 14}
    for row in found.table.to_pylist():
        assert row["part"] == Path(row["id"]).name.split("_")[0]
    assert found.problems == ()


def test_names_that_lost_the_prefix_leave_the_two_tests_mixed(tmp_path, make_rows, write_folders, read_rows):
    found = read_rows(write_folders(tmp_path, make_rows(), name_of=lambda usage, number: f"im{number}"))
    assert parts(found) == {"Training": 70, "test": 28}
    assert found.problems == ()


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("Training", "PublicTest", "PrivateTest"), ("Training", "PublicTest", "PrivateTest")),
        (("train", "val", "PrivateTest"), ("Training", "PublicTest", "PrivateTest")),
        (("TRAIN", "Validation", "Test"), ("Training", "PublicTest", "test")),
        (("train", "valid", "test"), ("Training", "PublicTest", "test")),
    ],
)
def test_part_folders_of_other_names_are_understood(tmp_path, make_rows, write_folders, read_rows, names, expected):
    usages = ("Training", "PublicTest", "PrivateTest")
    folder_of = dict(zip(usages, names, strict=True)).__getitem__
    root = write_folders(tmp_path, make_rows(), name_of=lambda usage, number: f"{number}", folder_of=folder_of)
    assert parts(read_rows(root)) == dict(zip(expected, (70, 14, 14), strict=True))


@pytest.mark.parametrize(
    ("found_in", "named"), [("train", "PublicTest"), ("train", "PrivateTest"), ("test", "Training")]
)
def test_a_prefix_that_contradicts_its_folder_is_a_problem_that_names_the_file(faces, read_rows, found_in, named):
    file = next((faces / found_in).rglob("*.jpg"))
    file.rename(file.with_name(f"{named}_99999999.jpg"))
    found = read_rows(faces)
    assert len(found.problems) == 1
    assert "split anew (1 files" in found.problems[0]
    assert f"{named}_99999999.jpg" in found.problems[0]
    assert found.table.num_rows == 100


# --- files


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".jpeg", ".bmp", ".tif", ".PNG", ".JPG"])
def test_every_image_ending_is_read_and_decoded(tmp_path, make_rows, write_folders, read_rows, suffix):
    samples = [(label, cv2.GaussianBlur(pixels, (0, 0), 4), usage) for label, pixels, usage in make_rows()]
    found = read_rows(write_folders(tmp_path, samples, suffix))
    looked = scan(found.table, 2, lambda done, total: None)
    assert (found.table.num_rows, found.rejected, looked.unusable) == (98, (), {})
    assert {tuple(size) for size in looked.sizes.tolist()} == {(48, 48)}
    numbers = [int(Path(name).stem.split("_")[1]) for name in found.table["id"].to_pylist()]
    np.testing.assert_allclose(looked.means, [samples[i][1].mean() for i in numbers], atol=1)


def test_what_desktops_leave_behind_is_passed_over(faces, read_rows):
    (faces / "train/happy/.DS_Store").write_bytes(b"x")
    (faces / "train/Thumbs.db").write_bytes(b"x")
    (faces / "train/sad/desktop.ini").write_bytes(b"x")
    (faces / "train/.ipynb_checkpoints").mkdir()
    found = read_rows(faces)
    assert (found.table.num_rows, found.rejected) == (100, ())


def test_everything_else_that_is_no_row_is_rejected_with_its_reason(faces, read_rows):
    (faces / "train/happy/notes.txt").write_text("x")
    (faces / "train/happy/more").mkdir()
    for name in ("a.jpg", "b.png"):
        (faces / "train/happy/more" / name).write_bytes(b"x")
    (faces / "train/happy/folder.png").mkdir()
    (faces / "train/list.csv").write_text("x")
    (faces / "test/stray.jpg").write_bytes(b"x")
    found = read_rows(faces)
    assert found.table.num_rows == 100
    assert {item.id: item.reason for item in found.rejected} == {
        "train/happy/notes.txt": "not an image file",
        "train/happy/more/a.jpg": "in a folder inside a class folder",
        "train/happy/more/b.png": "in a folder inside a class folder",
        "train/happy/folder.png": "in a folder inside a class folder",
        "train/list.csv": "not an image file",
        "test/stray.jpg": "not in a class folder",
    }


def bomb(side: int) -> bytes:
    """A PNG whose header asks for ``side`` x ``side`` pixels."""
    data = bytearray(cv2.imencode(".png", np.zeros((8, 8), np.uint8))[1].tobytes())
    data[16:24] = side.to_bytes(4, "big") * 2
    return bytes(data)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty file"),
        (b"GIF89a a moving face", "not a JPEG, PNG, BMP or TIFF image"),
        (b"<html>404</html>", "not a JPEG, PNG, BMP or TIFF image"),
        (b"\xff\xd8\xff\xe0 half a face", "cut JPEG file"),
        (cv2.imencode(".png", np.zeros((48, 48), np.uint8))[1].tobytes()[:-20], "cut PNG file"),
        (bomb(100_000), "image of 100000x100000 pixels is larger than 100,000,000 pixels"),
    ],
    ids=["zero bytes", "GIF", "web page", "cut JPEG", "cut PNG", "decompression bomb"],
)
def test_an_image_that_cannot_be_used_is_one_counted_rejection(faces, read_rows, content, reason):
    (faces / "train/happy/Training_bad.jpg").write_bytes(content)
    found = read_rows(faces)
    looked = scan(found.table, 2, lambda done, total: None)
    assert found.table.num_rows == 101
    assert {found.table["id"][row].as_py(): text for row, text in looked.unusable.items()} == {
        "train/happy/Training_bad.jpg": reason
    }
    assert looked.usable.sum() == 100


def test_a_link_that_leads_nowhere_is_one_counted_rejection(faces, read_rows):
    (faces / "train/happy/Training_gone.jpg").symlink_to(faces / "nowhere.jpg")
    looked = scan(read_rows(faces).table, 2, lambda done, total: None)
    assert list(looked.unusable.values()) == ["cannot be read (No such file or directory)"]


def test_a_file_whose_name_is_no_text_is_one_counted_rejection(faces, read_rows):
    Path(os.fsdecode(os.fsencode(faces / "train/happy") + b"/Training_\xff.jpg")).write_bytes(b"x")
    found = read_rows(faces)
    assert found.table.num_rows == 100
    assert len(found.rejected) == 1
    assert found.rejected[0].id.encode().startswith(b"train/happy/Training_")


@pytest.mark.parametrize("folder", ["", "train", "train/happy"])
def test_an_unreadable_folder_is_one_line_that_names_it(unprivileged, make_rows, write_folders, read_rows, folder):
    write_folders(unprivileged / "faces", make_rows())
    (unprivileged / "faces" / folder).chmod(0)
    with pytest.raises(UserError, match=f"{unprivileged / 'faces' / folder}: .*(permissions|cannot be read)") as caught:
        read_rows(unprivileged / "faces")
    assert "\n" not in str(caught.value)


def test_an_unreadable_image_is_one_counted_rejection(unprivileged, make_rows, write_folders, read_rows):
    write_folders(unprivileged, make_rows())
    next((unprivileged / "train/happy").iterdir()).chmod(0)
    looked = scan(read_rows(unprivileged).table, 2, lambda done, total: None)
    assert list(looked.unusable.values()) == ["cannot be read (Permission denied)"]


def test_rows_rejected_and_excluded_add_up_to_the_files(faces, read_rows):
    rng = np.random.default_rng(0)
    (faces / "train/contempt").mkdir()
    for number in range(60):
        folder = faces / ("train", "train/sad", "test/happy", "train/contempt")[rng.integers(4)]
        (folder / f"{number}{('.png', '.txt', '.gif')[rng.integers(3)]}").write_bytes(b"x")
    found = read_rows(faces)
    files = sum(path.is_file() for path in faces.rglob("*"))
    assert files == 160
    assert found.table.num_rows + len(found.rejected) + sum(found.excluded.values()) == files
