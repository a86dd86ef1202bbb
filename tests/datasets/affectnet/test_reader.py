"""Which layout a folder holds is recognised from what lies in it, and a mistake is answered with what was expected."""

from pathlib import Path

import numpy as np
import pytest

from ferlab.datasets.affectnet.reader import locate, read
from ferlab.datasets.listing import Reading
from ferlab.emotions import AFFECTNET7
from ferlab.errors import UserError

HEADER = "subDirectory_filePath,face_x,face_y,face_width,face_height,facial_landmarks,expression,valence,arousal"


def manual(root: Path) -> None:
    (root / "Manually_Annotated_Images").mkdir(parents=True)
    marks = ";".join(["7"] * 136)
    (root / "training.csv").write_text(f"{HEADER}\n1/a.jpg,1,2,30,40,{marks},1,0.5,0.5\n")


def release2021(root: Path) -> None:
    for kind in ("images", "annotations"):
        (root / "train_set" / kind).mkdir(parents=True)
    (root / "train_set/images/0.jpg").write_bytes(b"")
    np.save(root / "train_set/annotations/0_exp.npy", np.array("1"))


def folders(root: Path) -> None:
    (root / "train/happy").mkdir(parents=True)
    (root / "train/happy/a.jpg").write_bytes(b"")


WRITERS = {"affectnet-manual": manual, "affectnet-2021": release2021, "affectnet-folder": folders}


@pytest.mark.parametrize("layout", WRITERS)
def test_each_layout_is_recognised_and_read(tmp_path, layout):
    WRITERS[layout](tmp_path)
    source = locate(tmp_path)
    assert (source.layout, source.root) == (layout, tmp_path)
    (row,) = read(source, Reading(AFFECTNET7)).table.to_pylist()
    assert (row["part"], AFFECTNET7.classes[row["label"]]) == ("train", "happy")


@pytest.mark.parametrize("layout", ["affectnet-manual", "affectnet-2021"])
def test_a_release_is_found_one_level_below(tmp_path, layout):
    WRITERS[layout](tmp_path / "AffectNet")
    (tmp_path / "__MACOSX").mkdir()
    assert locate(tmp_path).root == tmp_path / "AffectNet"


def test_train_folders_one_level_below_may_be_another_dataset(tmp_path):
    folders(tmp_path / "something")
    with pytest.raises(UserError, match="no AffectNet found there"):
        locate(tmp_path)


def test_several_copies_below_are_not_chosen_from(tmp_path):
    manual(tmp_path / "2017")
    release2021(tmp_path / "2021")
    with pytest.raises(UserError, match=r"2017/, 2021/ each hold a copy.*Point dataset\.root at one of them"):
        locate(tmp_path)


def test_the_original_release_goes_before_folders_made_from_it(tmp_path):
    manual(tmp_path)
    folders(tmp_path)
    assert locate(tmp_path).layout == "affectnet-manual"


@pytest.mark.parametrize("name", ["absent", "file.csv", "empty"])
def test_a_root_without_the_dataset_says_what_is_expected(tmp_path, name):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file.csv").write_text("x")
    with pytest.raises(UserError, match=r"dataset\.root=.*Point dataset\.root at the folder that holds.*train_set/"):
        locate(tmp_path / name)
