"""Repacks of AffectNet as class folders: classes by name, numbers only by a named order, nothing lost."""

from pathlib import Path

import pytest

from ferlab.datasets import class_folders
from ferlab.datasets.affectnet.reader import locate, read
from ferlab.datasets.listing import ROW_SCHEMA, Reading, Rows
from ferlab.emotions import AFFECTNET7, AFFECTNET8, Taxonomy
from ferlab.errors import UserError


def rows_of(root: Path, taxonomy: Taxonomy = AFFECTNET7, label_order: str | None = None) -> Rows:
    return read(locate(root), Reading(taxonomy, label_order))


def add(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"pixels are not looked at")


@pytest.fixture
def root(tmp_path) -> Path:
    for part, count in (("train", 3), ("val", 2)):
        for name in AFFECTNET8.classes:
            add(tmp_path, *(f"{part}/{name}/{name}_{number}.jpg" for number in range(count)))
    return tmp_path


def test_images_are_read_with_the_class_of_their_folder(root):
    found = rows_of(root, AFFECTNET8)
    assert found.table.schema == ROW_SCHEMA
    rows = found.table.to_pylist()
    assert len(rows) == 8 * 5
    for row in rows:
        part, name, file = row["id"].split("/")
        assert (row["part"], AFFECTNET8.classes[row["label"]]) == (part, name)
        assert row["path"] == str(root / part / name / file)
        assert [row[key] for key in ("group", "box", "landmarks", "valence", "pixels")] == [None] * 5
    assert found.policy["contempt"] == "its own class"


@pytest.mark.parametrize("at_once", [1, 2, 3])
def test_some_names_at_a_time_give_the_same_rows(root, monkeypatch, at_once):
    expected = rows_of(root)
    monkeypatch.setattr(class_folders, "NAMES_AT_ONCE", at_once)
    found = rows_of(root)
    assert found.table.equals(expected.table)
    assert (found.excluded, found.rejected) == (expected.excluded, expected.rejected)
    assert found.table["id"].to_pylist() == [f"{p}/{c}/{c}_{i}.jpg" for p, n in (("train", 3), ("val", 2))
                                             for c in sorted(AFFECTNET7.classes) for i in range(n)]  # fmt: skip


def test_a_class_that_is_left_out_is_counted_by_its_folder(root):
    found = rows_of(root)
    assert found.excluded == {"contempt, not one of the 7 classes": 5}
    assert found.table.num_rows == 35
    assert "cannot predict it" in found.policy["contempt"]


@pytest.mark.parametrize(
    ("folder", "part"),
    [("val", "val"), ("Valid", "val"), ("VALIDATION", "val"), ("test", "test"), ("Test", "test")],
)
def test_names_of_the_parts(tmp_path, folder, part):
    add(tmp_path, "Train/happy/a.jpg", f"{folder}/Happiness/b.jpg")
    rows = rows_of(tmp_path).table.to_pylist()
    assert {row["id"]: row["part"] for row in rows} == {
        "Train/happy/a.jpg": "train",
        f"{folder}/Happiness/b.jpg": part,
    }
    assert {AFFECTNET7.classes[row["label"]] for row in rows} == {"happy"}


def test_numbered_folders_need_the_name_of_their_order(tmp_path):
    add(tmp_path, *(f"train/{number}/a{number}.jpg" for number in range(8)))
    with pytest.raises(UserError, match=r"dataset\.label_order="):
        rows_of(tmp_path)
    found = rows_of(tmp_path, label_order="affectnet8")
    assert [AFFECTNET7.classes[label] for label in found.table["label"].to_pylist()] == list(AFFECTNET7.classes)
    assert found.excluded == {"7, not one of the 7 classes": 1}
    by_alphabet = rows_of(tmp_path, AFFECTNET8, "ferplus8").table.to_pylist()
    assert AFFECTNET8.classes[next(row["label"] for row in by_alphabet if row["id"] == "train/2/a2.jpg")] == "surprise"


def test_a_folder_that_is_no_category_is_a_user_error(root):
    add(root, "train/bored/a.jpg")
    with pytest.raises(UserError, match="bored: not a category"):
        rows_of(root)


def test_what_is_no_image_of_a_class_is_set_aside_and_system_files_are_overlooked(root):
    add(
        root,
        "train/happy/notes.txt",
        "train/labels.csv",
        "train/stray.jpg",
        "train/happy/more/x.jpg",
        "val/contempt/a.gif",
    )
    add(root, "train/.DS_Store", "train/happy/Thumbs.db", "val/desktop.ini", "val/sad/._a.jpg", "train/.cache/a.jpg")
    found = rows_of(root)
    assert [(item.id, item.reason) for item in found.rejected] == [
        ("train/happy/more/x.jpg", "in a folder inside a class folder"),
        ("train/happy/notes.txt", "not an image file"),
        ("train/labels.csv", "not an image file"),
        ("train/stray.jpg", "not in a class folder"),
        ("val/contempt/a.gif", "not an image file"),
    ]
    assert found.table.num_rows + sum(found.excluded.values()) == 40


def test_endings_in_any_case_are_images(tmp_path):
    names = [
        f"train/sad/a{number}{suffix}"
        for number, suffix in enumerate((".JPG", ".jpeg", ".PNG", ".bmp", ".Tif", ".TIFF"))
    ]
    add(tmp_path, *names)
    assert rows_of(tmp_path).table["id"].to_pylist() == names


def test_linked_folders_are_read_and_belong_to_the_signature(root, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    add(elsewhere, "joy/a.jpg", "test/fear/b.jpg")
    (root / "val/happiness").symlink_to(elsewhere / "joy")
    (root / "test").symlink_to(elsewhere / "test")
    rows = {row["id"]: row for row in rows_of(root).table.to_pylist()}
    assert rows["val/happiness/a.jpg"]["part"] == "val"
    assert rows["test/fear/b.jpg"]["part"] == "test"
    before = locate(root).signature()
    add(elsewhere, "joy/c.jpg")
    assert locate(root).signature() != before


@pytest.mark.parametrize("target", ["nowhere", "fear"])
def test_a_link_that_leads_nowhere_is_a_user_error(root, target):
    # a link to itself leads nowhere either
    (root / "train/fear").rename(root / "train/happy/elsewhere")
    (root / "train/fear").symlink_to(target)
    with pytest.raises(UserError, match=r"train/fear: a link that leads nowhere"):
        rows_of(root)


def test_a_linked_image_that_is_gone_stays_a_row(root):
    (root / "train/happy/gone.jpg").symlink_to("nowhere")
    assert "train/happy/gone.jpg" in rows_of(root).table["id"].to_pylist()


def test_an_unreadable_folder_is_a_user_error(root, request):
    folder = root / "train/happy"
    request.addfinalizer(lambda: folder.chmod(0o755))
    folder.chmod(0)
    try:
        list(folder.iterdir())
    except PermissionError:
        with pytest.raises(UserError, match=r"train/happy: cannot be read \(Permission denied\)"):
            rows_of(root)
    else:
        pytest.skip("this user may read everything")


def test_a_folder_that_vanishes_after_it_was_found_is_a_user_error(root):
    source = locate(root)
    (root / "val").rename(root / "moved")
    with pytest.raises(UserError, match=r"val: cannot be read"):
        read(source, Reading(AFFECTNET7))


def test_folders_without_a_usable_image_are_a_user_error(tmp_path):
    add(tmp_path, "train/contempt/a.jpg", "train/happy/a.txt")
    with pytest.raises(UserError, match=r"no usable image of the 7 classes there \(1 rejected, 1 left out\)"):
        rows_of(tmp_path)
