"""FERPlus: votes join the right images, the label is the plurality, and everything that is left out is counted."""

import csv
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ferlab.datasets.catalog import FAMILIES
from ferlab.datasets.fer2013.tables import read_table
from ferlab.datasets.ferplus import COLUMNS, EMOTIONS, read_votes
from ferlab.datasets.listing import ROW_SCHEMA, Reading, Rows, Source
from ferlab.datasets.synthetic.layouts import write_synthetic
from ferlab.emotions import FER2013, FERPLUS8, Taxonomy
from ferlab.errors import UserError

COUNT = 600
# columns of the published file to the names of the classes, written out by hand
CLASS_OF = {
    "neutral": "neutral", "happiness": "happy", "surprise": "surprise", "sadness": "sad", "anger": "angry",
    "disgust": "disgust", "fear": "fear", "contempt": "contempt",
}  # fmt: skip


def change_cells(file: Path, change: Callable[[list[str], int], list[str]]) -> None:
    """Rewrite every row of a table: ``change(cells, number)`` gives the cells that stand there afterwards."""
    header, *lines = file.read_text().splitlines()
    changed = [",".join(change(line.split(","), number)) for number, line in enumerate(lines)]
    file.write_text("\n".join([header, *changed, ""]))


@pytest.fixture(scope="module")
def drawn(tmp_path_factory) -> Path:
    """600 drawn faces with their votes, on every fourth of which the annotators agree on nothing; read-only."""
    folder = tmp_path_factory.mktemp("drawn") / "ferplus"
    write_synthetic("ferplus", folder, COUNT, 2)
    rng = np.random.default_rng(0)

    def scatter(cells: list[str], number: int) -> list[str]:
        return [*cells[:2], *map(str, rng.multinomial(10, [0.1] * 10))] if number % 4 == 0 else cells

    change_cells(folder / "fer2013new.csv", scatter)
    return folder


@pytest.fixture
def copy(tmp_path, drawn) -> Path:
    """A copy of the drawn faces to change."""
    shutil.copytree(drawn, tmp_path / "ferplus")
    return tmp_path / "ferplus"


def open_copy(root: Path, votes: Path | None = None) -> Source:
    return FAMILIES["ferplus"].locate(root, root.parent / "unpacked", votes)


def rows_of(root: Path, taxonomy: Taxonomy = FERPLUS8, votes: Path | None = None) -> Rows:
    return FAMILIES["ferplus"].read(open_copy(root, votes), Reading(taxonomy))


def votes_in(file: Path) -> np.ndarray:
    """Votes int (rows, 10), read with the standard library."""
    with file.open(newline="") as stream:
        return np.array([[int(row[name]) for name in COLUMNS] for row in csv.DictReader(stream)])


# --- labels


@pytest.mark.parametrize("taxonomy", [FERPLUS8, FER2013], ids=["8 classes", "7 classes"])
def test_the_label_is_the_plurality_and_ties_go_to_the_first_column(drawn, taxonomy):
    votes = votes_in(drawn / "fer2013new.csv")
    expected: dict[int, str] = {}
    excluded: Counter[str] = Counter()
    for number, row in enumerate(votes.tolist()):
        leader = next(name for name, count in zip(COLUMNS, row, strict=True) if count == max(row))
        if CLASS_OF.get(leader) in taxonomy.classes:
            expected[number] = CLASS_OF[leader]
        else:
            excluded[f"{leader} by plurality of the votes"] += 1
    ties = ((votes == votes.max(axis=1, keepdims=True)).sum(axis=1) > 1).sum()
    assert ties > 40
    found = rows_of(drawn, taxonomy)
    assert found.table.schema == ROW_SCHEMA
    rows = found.table.to_pylist()
    assert {int(row["id"]): taxonomy.classes[row["label"]] for row in rows} == expected
    assert found.excluded == excluded
    assert set(excluded) >= {"unknown by plurality of the votes", "NF by plurality of the votes"}
    assert ("contempt by plurality of the votes" in excluded) == (taxonomy is FER2013)
    assert len(rows) + len(found.rejected) + sum(excluded.values()) == COUNT


@pytest.mark.parametrize("taxonomy", [FERPLUS8, FER2013], ids=["8 classes", "7 classes"])
def test_votes_stand_in_the_order_of_the_taxonomy(drawn, taxonomy):
    votes = votes_in(drawn / "fer2013new.csv")
    column = {CLASS_OF[name]: place for place, name in enumerate(EMOTIONS)}
    for row in rows_of(drawn, taxonomy).table.to_pylist():
        expected = [int(votes[int(row["id"]), column[name]]) for name in taxonomy.classes]
        assert row["votes"] == expected
        assert row["votes"][row["label"]] == max(expected)


def test_a_tie_between_an_emotion_and_no_face_is_the_emotion(copy):
    def tie(cells: list[str], number: int) -> list[str]:
        rest = {0: "0,0,0,5,0,0,0,0,0,5", 1: "0,0,0,0,0,0,0,5,5,0", 2: "0,0,0,0,0,0,0,0,5,5", 3: "0,3,3,3,0,0,0,0,1,0"}
        return [*cells[:2], *rest[number].split(",")] if number in rest else cells

    change_cells(copy / "fer2013new.csv", tie)
    found = {row["id"]: FERPLUS8.classes[row["label"]] for row in rows_of(copy).table.to_pylist()}
    assert {number: found.get(number) for number in "0123"} == {"0": "sad", "1": "contempt", "2": None, "3": "happy"}


def test_pixels_and_parts_are_those_of_the_images(drawn):
    images = {row["id"]: row for row in read_table(drawn / "fer2013.csv", FER2013).table.to_pylist()}
    for row in rows_of(drawn).table.to_pylist():
        assert (row["pixels"], row["part"]) == (images[row["id"]]["pixels"], images[row["id"]]["part"])


def test_an_image_that_cannot_be_used_does_not_shift_the_votes(copy):
    before = {row["id"]: row["votes"] for row in rows_of(copy).table.to_pylist()}
    change_cells(copy / "fer2013.csv", lambda cells, number: [cells[0], "1 2 3", cells[2]] if number == 10 else cells)
    found = rows_of(copy)
    assert [item.id for item in found.rejected] == ["10"]
    before.pop("10")
    assert {row["id"]: row["votes"] for row in found.table.to_pylist()} == before


def test_what_was_decided_is_said(drawn):
    eight, seven = rows_of(drawn), rows_of(drawn, FER2013)
    assert eight.policy["contempt"] == "its own class"
    assert "left out" in seven.policy["contempt"]
    assert "first column on ties" in eight.policy["votes"]


# --- the file of votes


def test_votes_may_lie_beside_in_the_folder_above_or_anywhere_when_named(copy, drawn, tmp_path):
    expected = rows_of(drawn).table
    inner = copy / "fer2013"
    inner.mkdir()
    (copy / "fer2013.csv").rename(inner / "fer2013.csv")
    assert rows_of(inner).table.equals(expected)
    (copy / "fer2013new.csv").rename(tmp_path / "my votes.csv")
    assert rows_of(inner, votes=tmp_path / "my votes.csv").table.equals(expected)


def test_votes_that_are_not_there_are_asked_for(copy):
    (copy / "fer2013new.csv").unlink()
    with pytest.raises(UserError, match=r"no fer2013new\.csv there.*dataset\.votes"):
        open_copy(copy)
    with pytest.raises(UserError, match=r"dataset\.votes=.*absent\.csv: no such file"):
        open_copy(copy, copy / "absent.csv")


def test_blanks_in_the_header_do_no_harm(copy, drawn):
    file = copy / "fer2013new.csv"
    file.write_text(file.read_text().replace(",", ", ", 11))
    assert rows_of(copy).table.equals(rows_of(drawn).table)


def not_votes(file: Path) -> None:
    file.write_text("emotion,pixels,Usage\n3,1 2 3,Training\n")


def without_contempt(file: Path) -> None:
    file.write_text(file.read_text().replace("contempt", "envy", 1))


def web_page(file: Path) -> None:
    file.write_text("<html>404</html>\n")


def nothing(file: Path) -> None:
    file.write_bytes(b"")


def cell(value: str) -> Callable[[Path], None]:
    def change(file: Path) -> None:
        change_cells(file, lambda cells, number: [*cells[:4], value, *cells[5:]] if number == 7 else cells)

    return change


@pytest.mark.parametrize(
    "damage",
    [not_votes, without_contempt, web_page, nothing, cell("-1"), cell("many"), cell(""), cell("0.5"), cell("nan")],
    ids=["another table", "a missing column", "a web page", "empty", "negative", "text", "no vote", "half", "nan"],
)
def test_a_file_that_holds_no_votes_is_one_line_that_names_it(copy, damage):
    damage(copy / "fer2013new.csv")
    with pytest.raises(UserError, match=r"fer2013new\.csv") as caught:
        rows_of(copy)
    assert "\n" not in str(caught.value)


def test_votes_of_an_unreadable_file_are_one_line(unprivileged):
    file = unprivileged / "fer2013new.csv"
    file.write_text("x")
    file.chmod(0)
    with pytest.raises(UserError, match=r"fer2013new\.csv"):
        read_votes(file)


# --- images and votes that do not belong together


def test_a_row_of_another_usage_is_named(copy):
    change_cells(copy / "fer2013new.csv", lambda cells, n: ["PrivateTest", *cells[1:]] if n == 5 else cells)
    with pytest.raises(UserError, match=r"row 6 is PrivateTest, in fer2013\.csv it is Training") as caught:
        rows_of(copy)
    assert "do not belong together" in str(caught.value)


def test_votes_that_end_too_early_are_refused(copy):
    lines = (copy / "fer2013new.csv").read_text().splitlines(keepends=True)
    (copy / "fer2013new.csv").write_text("".join(lines[:-3]))
    with pytest.raises(UserError, match="no such row"):
        rows_of(copy)


def test_images_that_end_earlier_than_the_votes_are_fine(copy):
    """The public file has votes for PrivateTest, which a copy may lack."""
    lines = (copy / "fer2013.csv").read_text().splitlines(keepends=True)
    (copy / "fer2013.csv").write_text("".join(lines[:541]))
    found = rows_of(copy)
    assert set(found.table["part"].to_pylist()) == {"Training", "PublicTest"}
    assert found.table.num_rows + sum(found.excluded.values()) == 540


def test_the_files_of_the_challenge_are_refused_for_their_order(tmp_path, drawn):
    write_synthetic("fer2013-kaggle", tmp_path / "kaggle", 70, 2)
    shutil.copy(drawn / "fer2013new.csv", tmp_path / "kaggle")
    with pytest.raises(UserError, match=r"train\.csv and test\.csv .*Use fer2013\.csv"):
        rows_of(tmp_path / "kaggle")


def test_folders_of_other_pictures_are_refused(tmp_path, drawn):
    write_synthetic("fer2013-folder", tmp_path / "faces", 70, 2)
    with pytest.raises(UserError, match=r"63 of 63 images do not have the official pixels .*Use fer2013\.csv"):
        rows_of(tmp_path / "faces", votes=drawn / "fer2013new.csv")


def test_a_source_keeps_its_votes_when_it_comes_from_an_archive(tmp_path, drawn):
    archive = shutil.make_archive(str(tmp_path / "ferplus"), "gztar", drawn)
    source = open_copy(Path(archive))
    assert source.votes is not None
    assert source.archive == Path(archive)
    assert FAMILIES["ferplus"].read(source, Reading(FERPLUS8)).table.equals(rows_of(drawn).table)
    assert replace(source, votes=None).signature() != source.signature()
