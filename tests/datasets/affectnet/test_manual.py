"""AffectNet's original release: every row of the lists is a face, set aside with a reason, or counted."""

import csv
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from ferlab.datasets.affectnet import file_lists
from ferlab.datasets.affectnet.reader import locate, read
from ferlab.datasets.listing import ROW_SCHEMA, Reading, Rows
from ferlab.emotions import AFFECTNET7, AFFECTNET8, FERPLUS8, Taxonomy
from ferlab.errors import UserError

HEADER = "subDirectory_filePath,face_x,face_y,face_width,face_height,facial_landmarks,expression,valence,arousal"
MARKS = [round(100 + 7 * (i % 17) + 0.13 * i, 2) for i in range(136)]
HASH = "737db2483489148d783ef278f43f486c0a97e140fc4b6b61b84363ca"

# ids of the data sheet
NAMES = ["neutral", "happy", "sad", "surprise", "fear", "disgust", "angry", "contempt", "None", "Uncertain", "No-Face"]


def line(path: str = f"689/{HASH}.jpg", **cells: object) -> str:
    """A row as the release writes it."""
    values = {
        "x": 134,
        "y": 134,
        "width": 899,
        "height": 899,
        "marks": ";".join(f"{number:g}" for number in MARKS),
        "expression": 1,
        "valence": "0.785714",
        "arousal": "-0.055556",
    }
    unknown = cells.keys() - values.keys()
    assert not unknown, unknown
    return ",".join(map(str, [path, *(values | cells).values()]))


def write(root: Path, training: list[str], validation: list[str] | None = None, header: str = HEADER) -> Path:
    (root / "Manually_Annotated_Images").mkdir(exist_ok=True)
    for name, rows in (("training.csv", training), ("validation.csv", validation)):
        if rows is not None:
            (root / name).write_text("\n".join([header, *rows]) + "\n")
    return root


def rows_of(root: Path, taxonomy: Taxonomy = AFFECTNET7) -> Rows:
    return read(locate(root), Reading(taxonomy))


def test_a_row_is_read_as_the_release_writes_it(tmp_path):
    found = rows_of(write(tmp_path, [line()], [line("12/b.JPG", expression=0)]))
    assert found.table.schema == ROW_SCHEMA
    first, second = found.table.to_pylist()
    assert first["landmarks"] == pytest.approx(MARKS, rel=1e-6)
    assert first["box"] == [134, 134, 899, 899]
    assert (first["valence"], first["arousal"]) == pytest.approx((0.785714, -0.055556), rel=1e-6)
    assert first["path"] == str(tmp_path / f"Manually_Annotated_Images/689/{HASH}.jpg")
    keys = ("id", "part", "label", "group", "pixels", "votes")
    assert [first[key] for key in keys] == [f"689/{HASH}.jpg", "train", 1, HASH, None, None]
    assert [second[key] for key in keys] == ["12/b.JPG", "val", 0, "b", None, None]
    assert (found.rejected, found.excluded) == ((), {})


# --- where the files lie


@pytest.mark.parametrize("images", ["Manually_Annotated_Images", "Manually_Annotated/Manually_Annotated_Images"])
@pytest.mark.parametrize("lists", [".", "Manually_Annotated_file_lists", "Manually_Annotated", "{images}"])
@pytest.mark.parametrize("top", ["", "AffectNet"])
@pytest.mark.parametrize("case", [str, str.lower, str.upper])
def test_the_places_in_which_the_release_is_found(tmp_path, images, lists, top, case):
    images, lists = case(images), case(lists.format(images=images))
    names = [case(name) for name in ("training.csv", "validation.csv")]
    home = tmp_path / top
    (home / images).mkdir(parents=True)
    (home / lists).mkdir(parents=True, exist_ok=True)
    for name in names:
        (home / lists / name).write_text(f"{HEADER}\n{line(f'1/{name}.jpg')}\n")
    source = locate(tmp_path)
    assert (source.layout, source.root) == ("affectnet-manual", home)
    rows = read(source, Reading(AFFECTNET7)).table.to_pylist()
    assert [(row["part"], row["path"]) for row in rows] == [
        ("train", str(home / images / f"1/{names[0]}.jpg")),
        ("val", str(home / images / f"1/{names[1]}.jpg")),
    ]


def test_without_validation_csv_there_is_no_part_val(tmp_path):
    found = rows_of(write(tmp_path, [line()]))
    assert found.table["part"].to_pylist() == ["train"]


def test_what_is_missing_is_named(tmp_path):
    write(tmp_path, [line()], [line()])
    (tmp_path / "training.csv").unlink()
    with pytest.raises(UserError, match=r"dataset\.root=.*no training\.csv there"):
        locate(tmp_path)
    write(tmp_path, [line()])
    (tmp_path / "Manually_Annotated_Images").rmdir()
    with pytest.raises(UserError, match=r"no folder Manually_Annotated_Images there.*Point dataset\.root at"):
        locate(tmp_path)


@pytest.mark.parametrize("changed", ["training.csv", "validation.csv", "Manually_Annotated_Images/1/a.jpg"])
def test_every_file_of_the_release_belongs_to_its_signature(tmp_path, changed):
    write(tmp_path, [line()], [line()])
    (tmp_path / "Manually_Annotated_Images/1").mkdir()
    (tmp_path / "Manually_Annotated_Images/1/a.jpg").write_bytes(b"1")
    before = locate(tmp_path).signature()
    (tmp_path / "readme.txt").write_text("not read")
    assert locate(tmp_path).signature() == before
    (tmp_path / changed).write_bytes((tmp_path / changed).read_bytes() + b"\n")
    assert locate(tmp_path).signature() != before


# --- how the lists are written


@pytest.mark.parametrize(
    "spell",
    [
        lambda text: text,
        lambda text: "\ufeff" + text,
        lambda text: text.replace("\n", "\r\n"),
        lambda text: "\ufeff" + text.replace("\n", "\r\n"),
        lambda text: text.rstrip("\n"),
        lambda text: text.replace("\n", "\n\n"),
        lambda text: text.replace(HEADER, " " + HEADER.replace(",", " , ")),
        lambda text: text.replace(HEADER, HEADER.lower()),
        lambda text: text.replace(HEADER + "\n", ""),
        lambda text: "\ufeff" + text.replace(HEADER + "\n", "").replace("\n", "\r\n"),
        lambda text: text.replace(",1,0.785714", ", 1 , 0.785714 "),
        lambda text: text.replace(",1,0.785714", ",1.0,7.85714e-1"),
    ],
)
def test_spellings_of_the_same_lists_give_the_same_rows(tmp_path, spell):
    write(tmp_path, [line(), line("3/c.png", expression=6)], [line("4/d.bmp", expression=3)])
    expected = rows_of(tmp_path)
    for file in tmp_path.glob("*.csv"):
        file.write_bytes(spell(file.read_text()).encode())
    found = rows_of(tmp_path)
    assert found.table.equals(expected.table)
    assert found.table.num_rows == 3


def test_columns_are_taken_by_name_and_others_overlooked(tmp_path):
    write(tmp_path, [line()])
    expected = rows_of(tmp_path).table
    cells = dict(zip(HEADER.split(","), line().split(","), strict=True)) | {"remark": "x"}
    names = sorted(cells)
    (tmp_path / "training.csv").write_text(",".join(names) + "\n" + ",".join(cells[name] for name in names) + "\n")
    assert rows_of(tmp_path).table.equals(expected)


@pytest.mark.parametrize("column", HEADER.split(","))
def test_a_missing_column_is_named(tmp_path, column):
    write(tmp_path, [line()], header=HEADER.replace(column, "something"))
    with pytest.raises(UserError, match=rf"training\.csv: no column {column}\. Expected"):
        rows_of(tmp_path)


@pytest.mark.parametrize("header", [HEADER, None])
@pytest.mark.parametrize(("broken", "columns"), [("689/a.jpg,134,134", 3), (line() + ",1", 10)])
@pytest.mark.parametrize("place", [2, 900])
def test_a_row_of_another_length_stops_with_its_number(tmp_path, monkeypatch, header, broken, columns, place):
    monkeypatch.setattr(file_lists, "BLOCK_BYTES", 100_000)
    lines = [line(f"1/{number}.jpg") for number in range(1, 1000)]
    lines[place - 1] = broken
    write(tmp_path, [line()])
    (tmp_path / "training.csv").write_text("\n".join(([header] if header else []) + lines))
    with pytest.raises(UserError, match=rf"training\.csv: row {place} has {columns} of 9 columns"):
        rows_of(tmp_path)


@pytest.mark.parametrize("content", [b"", b"\n", b"\xff\xfe\x00s\x00u", b"PK\x03\x04 not a csv", HEADER.encode()])
def test_a_file_that_is_no_list_is_a_user_error(tmp_path, content):
    write(tmp_path, [line()])
    (tmp_path / "training.csv").write_bytes(content)
    with pytest.raises(UserError, match=r"training\.csv: no|no usable image"):
        rows_of(tmp_path)


def test_text_that_is_not_unicode_is_a_user_error(tmp_path):
    write(tmp_path, [line()])
    (tmp_path / "training.csv").write_bytes(f"{HEADER}\n{line()}\n".encode().replace(b"689/", b"6\xe4\xff/"))
    with pytest.raises(UserError, match="not a readable CSV"):
        rows_of(tmp_path)


# --- one photo, several faces


def test_faces_of_one_photo_have_ids_of_their_own_and_one_group(tmp_path):
    training = [line("1/a.jpg"), line("1/b.jpg"), line("1/a.jpg", x=5), line("2/a.png"), line("1/a.jpg", expression=7)]
    write(tmp_path, training, [line("1/a.jpg", x=9), line("1/b.tar.gz")])
    eight = rows_of(tmp_path, AFFECTNET8).table
    assert eight["id"].to_pylist() == [
        "1/a.jpg",
        "1/b.jpg",
        "1/a.jpg#2",
        "2/a.png",
        "1/a.jpg#3",
        "1/a.jpg#4",
        "1/b.tar.gz",
    ]
    assert eight["group"].to_pylist() == ["a", "b", "a", "a", "a", "a", "b.tar"]
    assert {row["path"] for row in eight.to_pylist() if row["id"].startswith("1/a.jpg")} == {
        str(tmp_path / "Manually_Annotated_Images/1/a.jpg")
    }
    # the face that seven classes leave out keeps its number, so an id means one face under both
    seven = rows_of(tmp_path).table
    assert seven["id"].to_pylist() == [name for name in eight["id"].to_pylist() if name != "1/a.jpg#3"]


def test_a_backslash_separates_folders_like_a_slash(tmp_path):
    write(tmp_path, [line("689\\a.jpg"), line("689/a.jpg")])
    rows = rows_of(tmp_path).table.to_pylist()
    assert [(row["id"], row["group"]) for row in rows] == [("689/a.jpg", "a"), ("689/a.jpg#2", "a")]


# --- classes


@pytest.mark.parametrize("taxonomy", [AFFECTNET7, AFFECTNET8, FERPLUS8])
def test_expressions_are_named_by_the_data_sheet_whatever_the_order_of_the_taxonomy(tmp_path, taxonomy):
    write(tmp_path, [line(f"1/{number}.jpg", expression=number) for number in range(11)])
    found = rows_of(tmp_path, taxonomy)
    named = {row["group"]: taxonomy.classes[row["label"]] for row in found.table.to_pylist()}
    assert named == {str(NAMES.index(name)): name for name in taxonomy.classes}
    others = {"None": 1, "Uncertain": 1, "No-Face": 1}
    contempt = {} if "contempt" in taxonomy.classes else {"contempt, not one of the 7 classes": 1}
    assert found.excluded == others | contempt
    assert found.taxonomy == taxonomy
    assert ("cannot predict it" if contempt else "its own class") in found.policy["contempt"]


@pytest.mark.parametrize("expression", ["11", "-1", "3.5", "nan", "", "happy", "1e1.5", "0x1", "1e999", "9" * 400])
def test_an_expression_that_does_not_exist_is_set_aside(tmp_path, expression):
    found = rows_of(write(tmp_path, [line(), line("1/a.jpg", expression=expression)]))
    (rejection,) = found.rejected
    assert rejection.id == "1/a.jpg"
    assert rejection.reason == f"expression is {expression!r}, must be 0..10"


# --- boxes, landmarks, valence and arousal


def test_a_face_without_a_box_is_left_out_and_counted(tmp_path):
    write(
        tmp_path, [line(), line("1/a.jpg", width=-1), line("1/b.jpg", width=-5, expression=9), line("1/c.jpg", width=0)]
    )
    found = rows_of(tmp_path)
    assert found.excluded == {"no face box (face_width < 0)": 1, "Uncertain": 1}
    assert found.table["group"].to_pylist() == [HASH, "c"]


@pytest.mark.parametrize("cell", ["x", "y", "width", "height"])
@pytest.mark.parametrize("value", ["", "NULL", "inf", "nan", "1-2"])
def test_a_box_that_is_no_four_numbers_is_set_aside(tmp_path, cell, value):
    found = rows_of(write(tmp_path, [line(), line("1/a.jpg", **{cell: value})]))
    assert [(item.id, item.reason) for item in found.rejected] == [("1/a.jpg", "face box: not four numbers")]


def test_a_box_may_start_outside_the_photo(tmp_path):
    (row,) = rows_of(write(tmp_path, [line(x=-12, y="-3.5")])).table.to_pylist()
    assert row["box"] == [-12, -3.5, 899, 899]


@pytest.mark.parametrize(
    ("marks", "reason"),
    [
        ("1;2;3;4;5;6;7;8;9;10;11;12", "landmarks: 12 numbers, expected 136"),
        ("", "landmarks: 0 numbers, expected 136"),
        ("NULL", "landmarks: 1 numbers, expected 136"),
        (";".join(["1"] * 135), "landmarks: 135 numbers, expected 136"),
        (";".join(["1"] * 137), "landmarks: 137 numbers, expected 136"),
        (";".join(["1"] * 136) + ";", "landmarks: 137 numbers, expected 136"),
        (";".join(["1"] * 135 + [""]), "landmarks: not all are numbers"),
        (";".join(["1"] * 135 + ["x"]), "landmarks: not all are numbers"),
        (";".join(["nan"] + ["1"] * 135), "landmarks: not all are numbers"),
        (";".join(["1"] * 70 + ["-inf"] + ["1"] * 65), "landmarks: not all are numbers"),
        (";".join(["1"] * 70 + ["1e99"] + ["1"] * 65), "landmarks: not all are numbers"),
    ],
)
def test_broken_landmarks_are_set_aside_with_the_reason(tmp_path, marks, reason):
    others = [line(f"2/{number}.jpg") for number in range(9)]
    for place in (0, 4, 9):
        rows = [*others[:place], line("1/a.jpg", marks=marks), *others[place:]]
        found = rows_of(write(tmp_path, rows))
        assert [(item.id, item.reason) for item in found.rejected] == [("1/a.jpg", reason)]
        assert found.table["group"].to_pylist() == [str(number) for number in range(9)]
        np.testing.assert_allclose(found.table["landmarks"].to_pylist(), [MARKS] * 9, rtol=1e-6)


def test_landmarks_of_faces_that_are_left_out_do_not_matter(tmp_path):
    found = rows_of(
        write(tmp_path, [line(), line("1/a.jpg", expression=10, marks="NULL"), line("1/b.jpg", width=-1, marks="")])
    )
    assert found.rejected == ()
    assert sum(found.excluded.values()) == 2


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("-2", None),
        ("-2.0", None),
        ("1", 1.0),
        ("-1", -1.0),
        ("0", 0.0),
        ("1.01", None),
        ("", None),
        ("nan", None),
        ("x", None),
    ],
)
def test_valence_and_arousal_are_null_where_not_annotated(tmp_path, text, value):
    rows = rows_of(write(tmp_path, [line(valence=text), line("1/a.jpg", arousal=text)])).table.to_pylist()
    assert [rows[0]["valence"], rows[1]["arousal"]] == [value, value]
    assert rows[0]["arousal"] == pytest.approx(-0.055556)


# --- paths


@pytest.mark.parametrize(
    "path",
    [
        "../secret.jpg",
        "/etc/a.jpg",
        "1/../../a.jpg",
        "1/..",
        "..",
        "..\\a.jpg",
        "C:\\a.jpg",
        "\\\\host\\a.jpg",
        "1/../a.jpg",
    ],
)
def test_a_path_that_leaves_the_folder_is_set_aside(tmp_path, path):
    (tmp_path / "secret.jpg").write_bytes(b"private")
    found = rows_of(write(tmp_path, [line(), line(path)]))
    (rejection,) = found.rejected
    assert (rejection.id, rejection.reason) == (path.replace("\\", "/"), "path leaves the dataset folder")
    assert found.table["group"].to_pylist() == [HASH]


@pytest.mark.parametrize("path", ["1/..a.jpg", "1/a..jpg", "...", "1/a b.jpg"])
def test_dots_within_a_name_are_no_way_out(tmp_path, path):
    assert rows_of(write(tmp_path, [line(path)])).table["id"].to_pylist() == [path]


def test_rows_without_a_path_are_set_aside(tmp_path):
    found = rows_of(write(tmp_path, [line(), line(""), line(" ")]))
    assert [item.reason for item in found.rejected] == ["no path", "no path"]


def test_an_image_that_does_not_exist_stays_a_row(tmp_path):
    root = write(tmp_path, [line("1/here.jpg"), line("1/gone.jpg")])
    (root / "Manually_Annotated_Images/1").mkdir()
    (root / "Manually_Annotated_Images/1/here.jpg").write_bytes(b"")
    assert rows_of(root).table["group"].to_pylist() == ["here", "gone"]


# --- all rows


@pytest.fixture
def mixed(tmp_path) -> Path:
    """Lists of 3,000 and 400 rows with every kind of trouble, drawn at random."""
    rng = random.Random(5)

    def drawn(number: int) -> str:
        cells: dict[str, object] = {"expression": rng.randrange(11), "valence": rng.choice([-2, 0.25, "x"])}
        trouble = rng.random()
        if trouble < 0.05:
            cells["expression"] = rng.choice(["", "12", "2.5"])
        elif trouble < 0.1:
            cells["width"] = -1
        elif trouble < 0.15:
            cells["marks"] = rng.choice(["1;2", ";".join(["?"] * 136), ""])
        elif trouble < 0.2:
            cells["height"] = "NULL"
        path = f"../{number}.jpg" if trouble > 0.97 else f"{rng.randrange(9)}/{rng.randrange(900)}.jpg"
        return line(path, **cells)

    return write(tmp_path, [drawn(n) for n in range(3000)], [drawn(n) for n in range(400)])


@pytest.mark.parametrize("taxonomy", [AFFECTNET7, AFFECTNET8])
def test_no_row_is_lost(mixed, taxonomy):
    found = rows_of(mixed, taxonomy)
    assert min(found.table.num_rows, len(found.rejected), sum(found.excluded.values())) > 300
    assert found.table.num_rows + len(found.rejected) + sum(found.excluded.values()) == 3400
    ids = [*found.table["id"].to_pylist(), *(item.id for item in found.rejected)]
    assert len(set(ids)) == len(ids)
    assert list(found.rejected) == sorted(found.rejected, key=lambda item: item.id)


def test_rows_agree_with_a_plain_reading_of_the_lists(mixed):
    expected, excluded, seen = [], Counter(), Counter()
    for name, part in (("training.csv", "train"), ("validation.csv", "val")):
        with (mixed / name).open(newline="") as file:
            for row in csv.DictReader(file):
                path, marks = row["subDirectory_filePath"], row["facial_landmarks"].split(";")
                seen[path] += 1
                if path.startswith("..") or row["expression"] not in map(str, range(11)):
                    continue
                expression = int(row["expression"])
                if expression > 6:
                    excluded[NAMES[expression] + (", not one of the 7 classes" if expression == 7 else "")] += 1
                elif int(row["face_width"]) < 0:
                    excluded["no face box (face_width < 0)"] += 1
                elif row["face_height"] != "NULL" and len(marks) == 136 and "?" not in marks:
                    number = f"#{seen[path]}" if seen[path] > 1 else ""
                    valence = None if row["valence"] in ("-2", "x") else float(row["valence"])
                    expected.append((path + number, part, expression, Path(path).stem, valence))
    found = rows_of(mixed)
    columns = (found.table[name].to_pylist() for name in ("id", "part", "label", "group", "valence"))
    assert list(zip(*columns, strict=True)) == expected
    assert found.excluded == excluded


def test_the_size_of_a_block_makes_no_difference(mixed, monkeypatch):
    expected = rows_of(mixed)
    monkeypatch.setattr(file_lists, "BLOCK_BYTES", 20_000)
    found = rows_of(mixed)
    assert found.table.equals(expected.table)
    assert (found.rejected, found.excluded) == (expected.rejected, expected.excluded)


@pytest.mark.parametrize("rows", [[], [line(expression=8)], [line(marks="")]])
def test_lists_without_a_usable_face_are_a_user_error(tmp_path, rows):
    with pytest.raises(UserError, match=r"no usable image of the 7 classes .*Download"):
        rows_of(write(tmp_path, rows))


LARGE = """
import sys, time
from pathlib import Path
from ferlab.datasets.affectnet.reader import locate, read
from ferlab.datasets.listing import Reading
from ferlab.edge.measuring import peak_mb
from ferlab.emotions import AFFECTNET8
started = time.process_time()
rows = read(locate(Path(sys.argv[1])), Reading(AFFECTNET8))
print(rows.table.num_rows, time.process_time() - started, peak_mb())
"""


@pytest.mark.slow
def test_a_list_of_the_size_of_the_release_takes_seconds_and_no_gigabytes(tmp_path):
    write(tmp_path, [])
    with (tmp_path / "training.csv").open("a") as file:
        for number in range(300_000):
            file.write(line(f"{number % 1200}/{number:056x}.jpg", expression=number % 8) + "\n")
    done = subprocess.run([sys.executable, "-c", LARGE, str(tmp_path)], capture_output=True, text=True, check=True)
    count, cpu_s, peak_mb = map(float, done.stdout.split())
    assert count == 300_000
    assert cpu_s < 20
    assert peak_mb < 1500
