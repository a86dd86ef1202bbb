"""FER-2013 as CSV: every spelling gives the same rows, and every broken file is refused or its rows are set aside."""

import csv
import io
from collections.abc import Callable

import numpy as np
import pytest

from ferlab.datasets.fer2013.tables import read_table
from ferlab.datasets.listing import ROW_SCHEMA
from ferlab.emotions import AFFECTNET8, FER2013
from ferlab.errors import UserError

# ids of the challenge, written out by hand
NAMES = ["angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"]
HEADER = "emotion,pixels,Usage"
SEVENS = " ".join(["7"] * 2304)


# --- whole copies


def test_rows_keep_number_part_label_and_pixels(tmp_path, make_rows, write_csv, read_rows):
    samples = make_rows()
    found = read_rows(write_csv(tmp_path, samples))
    assert found.table.schema == ROW_SCHEMA
    assert (found.rejected, found.excluded, found.problems) == ((), {}, ())
    table = found.table.to_pylist()
    assert [row["id"] for row in table] == [str(i) for i in range(len(samples))]
    for row, (label, pixels, usage) in zip(table, samples, strict=True):
        assert row["label"] == label
        assert row["part"] == usage
        assert row["pixels"] == pixels.tobytes()
        assert FER2013.classes[row["label"]] == NAMES[label]


def test_labels_are_positions_in_the_taxonomy_that_was_asked_for(tmp_path, make_rows, write_csv):
    samples = make_rows(21, 0, 0)
    write_csv(tmp_path, samples)
    found = read_table(tmp_path / "fer2013.csv", AFFECTNET8)
    assert [AFFECTNET8.classes[i] for i in found.table["label"].to_pylist()] == [NAMES[row[0]] for row in samples]


def test_the_challenge_has_labels_in_train_and_none_in_test(tmp_path, make_rows, csv_lines, read_rows):
    samples = make_rows()
    for name, part in (("train", samples[:70]), ("test", samples[70:])):
        cells = [line.split(",") for line in csv_lines(part)]
        kept = [row[:2] if name == "train" else row[1:2] for row in cells]
        header = "emotion,pixels" if name == "train" else "pixels"
        (tmp_path / f"{name}.csv").write_text("\n".join([header, *(",".join(row) for row in kept), ""]))
    table = read_rows(tmp_path).table.to_pylist()
    assert [row["id"] for row in table] == [*(f"train/{i}" for i in range(70)), *(f"test/{i}" for i in range(28))]
    assert [row["part"] for row in table] == ["Training"] * 70 + ["test"] * 28
    assert [row["label"] for row in table] == [label for label, _, _ in samples[:70]] + [-1] * 28
    assert [row["pixels"] for row in table] == [pixels.tobytes() for _, pixels, _ in samples]


# --- spellings

Spelling = Callable[[list[str]], str]


def quoted(body: list[str], header: str = HEADER) -> str:
    file = io.StringIO()
    writer = csv.writer(file, quoting=csv.QUOTE_ALL, lineterminator="\n")
    writer.writerow(header.split(","))
    writer.writerows(line.split(",") for line in body)
    return file.getvalue()


def reordered(body: list[str]) -> list[str]:
    return [f"{emotion},{usage},{pixels}" for emotion, pixels, usage in (line.split(",") for line in body)]


def quoted_pixels(body: list[str]) -> list[str]:
    return [f'{emotion},"{pixels}",{usage}' for emotion, pixels, usage in (line.split(",") for line in body)]


@pytest.mark.parametrize(
    ("spelling", "name"),
    [
        pytest.param(lambda body: "\n".join([HEADER, *body]), "fer2013.csv", id="no newline at the end"),
        pytest.param(lambda body: "\r\n".join([HEADER, *body, ""]), "fer2013.csv", id="CRLF"),
        pytest.param(lambda body: "\ufeff" + "\n".join([HEADER, *body, ""]), "fer2013.csv", id="BOM"),
        pytest.param(lambda body: "\ufeff" + "\r\n".join([HEADER, *body, ""]), "fer2013.csv", id="BOM and CRLF"),
        pytest.param(lambda body: "\ufeff" + quoted(body), "fer2013.csv", id="BOM and quotes"),
        pytest.param(
            lambda body: "\n".join(["emotion, Usage, pixels", *reordered(body), ""]), "icml_face_data.csv", id="icml"
        ),
        pytest.param(
            lambda body: quoted(reordered(body), "emotion, Usage, pixels"), "icml_face_data.csv", id="icml in quotes"
        ),
        pytest.param(lambda body: "\n".join(["EMOTION,Pixels,USAGE", *body, ""]), "fer2013.csv", id="other case"),
        pytest.param(lambda body: "\n".join([HEADER, *body, "", "", ""]), "fer2013.csv", id="blank lines at the end"),
        pytest.param(lambda body: "\n".join([HEADER, *quoted_pixels(body)]), "fer2013.csv", id="quoted pixels"),
        pytest.param(quoted, "fer2013.csv", id="everything quoted"),
        pytest.param(lambda body: "\n".join(['"emotion","pixels","Usage"', *body]), "fer2013.csv", id="quoted header"),
        pytest.param(
            lambda body: "\n".join(["," + HEADER, *(f"{i},{line}" for i, line in enumerate(body))]),
            "fer2013.csv",
            id="row numbers of pandas",
        ),
    ],
)
def test_a_copy_in_another_spelling_is_read_the_same(
    tmp_path, make_rows, csv_lines, write_csv, read_rows, spelling: Spelling, name
):
    samples = make_rows()
    (tmp_path / "plain").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / name).write_bytes(spelling(csv_lines(samples)).encode())
    plain, other = read_rows(write_csv(tmp_path / "plain", samples)), read_rows(tmp_path / "other")
    assert plain.table.num_rows == 98
    assert other.table.equals(plain.table)
    assert other.rejected == ()


def test_spaces_around_and_between_pixels_do_no_harm(tmp_path, make_rows, write_csv, read_rows):
    samples = make_rows()
    pixels = samples[5][1]
    samples[5] = (5, "  " + "  ".join(map(str, pixels.ravel())) + " ", "Training ")
    row = read_rows(write_csv(tmp_path, samples)).table.to_pylist()[5]
    assert (row["pixels"], row["part"]) == (pixels.tobytes(), "Training")


def test_a_copy_shrunk_to_28_px_is_read_as_it_is(tmp_path, read_rows):
    pixels = np.arange(784, dtype=np.uint8).reshape(28, 28)
    (tmp_path / "fer2013.csv").write_text(f"{HEADER}\n3,{' '.join(map(str, pixels.ravel()))},Training\n")
    assert read_rows(tmp_path).table["pixels"].to_pylist() == [pixels.tobytes()]


# --- rows that are set aside


@pytest.mark.parametrize(
    ("pixels", "reason"),
    [
        ("", "0 pixels"),
        (" ", "0 pixels"),
        ("1 2 3", "3 pixels, expected 2304"),
        (" ".join(["7"] * 2303), "2303 pixels"),
        (" ".join(["7"] * 2305), "2305 pixels"),
        (" ".join(["7"] * 2303 + ["256"]), "outside 0..255"),
        (" ".join(["7"] * 2303 + ["-1"]), "outside 0..255"),
        (" ".join(["7"] * 2303 + ["9" * 30]), "outside 0..255"),
        (" ".join(["7"] * 2303 + ["x"]), "not whole numbers"),
        (" ".join(["7"] * 2304 + ["x"]), "not whole numbers"),
        (" ".join(["7"] * 2303 + ["7.5"]), "not whole numbers"),
        (" ".join(["7"] * 2303 + ["nan"]), "not whole numbers"),
        (" ".join(["7"] * 2303 + ["1e2"]), "not whole numbers"),
        ("a face", "not whole numbers"),
    ],
)
def test_pixels_that_are_no_image_are_set_aside_with_the_reason(
    tmp_path, make_rows, write_csv, read_rows, pixels, reason
):
    samples = make_rows()
    samples[5] = (3, pixels, "Training")
    found = read_rows(write_csv(tmp_path, samples))
    assert [item.id for item in found.rejected] == ["5"]
    assert reason in found.rejected[0].reason
    assert found.table["id"].to_pylist() == [str(i) for i in range(len(samples)) if i != 5]


def test_rows_and_rejected_add_up_whatever_share_is_broken(tmp_path, make_rows, write_csv, read_rows):
    samples = make_rows()
    broken = np.random.default_rng(1).choice(len(samples), 40, replace=False).tolist()
    for place, i in enumerate(broken):
        samples[i] = (samples[i][0], ["", "1 2 3", "a face", SEVENS + " 7"][place % 4], samples[i][2])
    found = read_rows(write_csv(tmp_path, samples))
    assert sorted(int(item.id) for item in found.rejected) == sorted(broken)
    assert {int(i) for i in found.table["id"].to_pylist()} == set(range(98)) - set(broken)


# --- files that are refused


@pytest.mark.parametrize("missing", ["emotion", "pixels", "Usage"])
def test_a_missing_column_is_named(tmp_path, make_rows, write_csv, read_rows, missing):
    write_csv(tmp_path, make_rows())
    text = (tmp_path / "fer2013.csv").read_text().replace(missing, "other", 1)
    (tmp_path / "fer2013.csv").write_text(text)
    with pytest.raises(UserError, match=f"no column {missing.lower()}"):
        read_rows(tmp_path)


@pytest.mark.parametrize(("header", "missing"), [("label,pixels", "emotion"), ("emotion,image", "pixels")])
def test_a_missing_column_of_the_challenge_is_named(tmp_path, read_rows, header, missing):
    (tmp_path / "train.csv").write_text(f"{header}\n3,{SEVENS}\n")
    with pytest.raises(UserError, match=rf"train\.csv: no column {missing}"):
        read_rows(tmp_path)


@pytest.mark.parametrize("header", ["emotion,pixels,Usage,Usage", "emotion,pixels,Usage, usage"])
def test_a_column_that_stands_there_twice_is_named(tmp_path, read_rows, header):
    (tmp_path / "fer2013.csv").write_text(f"{header}\n3,{SEVENS},Training,PublicTest\n")
    with pytest.raises(UserError, match=r"fer2013\.csv: .*usage"):
        read_rows(tmp_path)


@pytest.mark.parametrize("label", [7, -1, 255, "3.0", "happy", ""])
def test_a_label_out_of_range_stops_with_the_row_named(tmp_path, make_rows, write_csv, read_rows, label):
    samples = make_rows()
    samples[41] = (label, samples[41][1], "Training")
    with pytest.raises(UserError, match=r"fer2013\.csv: row 42: emotion is '.*0\.\.6"):
        read_rows(write_csv(tmp_path, samples))


@pytest.mark.parametrize("usage", ["Validation", "", "training", "Private Test"])
def test_an_unknown_usage_stops_with_the_row_named(tmp_path, make_rows, write_csv, read_rows, usage):
    samples = make_rows()
    samples[41] = (1, samples[41][1], usage)
    with pytest.raises(UserError, match=rf"row 42: Usage is '{usage}'.*Training, PublicTest, PrivateTest"):
        read_rows(write_csv(tmp_path, samples))


def test_a_file_cut_anywhere_inside_a_row_is_refused(tmp_path, make_rows, write_csv, read_rows):
    write_csv(tmp_path, make_rows(21, 7, 7))
    data = (tmp_path / "fer2013.csv").read_bytes()
    last = data.rstrip(b"\n").rfind(b"\n") + 1
    end = len(data.rstrip(b"\n"))
    positions = {last + 1, last + 2, last + 3, last + 40, (last + end) // 2, end - 1, end - 4, end - len("PrivateTest")}
    positions |= {end - len(",PrivateTest"), end - len(" 1,PrivateTest"), data.find(b"\n") + 30, len(HEADER) - 2, 3, 0}
    for position in sorted(positions):
        (tmp_path / "fer2013.csv").write_bytes(data[:position])
        with pytest.raises(UserError) as caught:
            read_rows(tmp_path)
        assert "fer2013.csv" in str(caught.value), position
        assert "\n" not in str(caught.value)


def test_a_quoted_file_cut_inside_the_quotes_is_refused(tmp_path, make_rows, csv_lines, read_rows):
    data = quoted(csv_lines(make_rows())).encode()
    for position in (len(data) - 5, len(data) - 20, len(data) - 3000, len(data) // 2):
        (tmp_path / "fer2013.csv").write_bytes(data[:position])
        with pytest.raises(UserError):
            read_rows(tmp_path)


def test_a_hole_of_a_partial_download_is_refused(tmp_path, make_rows, write_csv, read_rows):
    write_csv(tmp_path, make_rows())
    data = bytearray((tmp_path / "fer2013.csv").read_bytes())
    data[len(data) // 2 :] = bytes(len(data) - len(data) // 2)
    (tmp_path / "fer2013.csv").write_bytes(data)
    with pytest.raises(UserError):
        read_rows(tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n",
        b"\xff\xfe\x00binary\x80",
        b"<html>404</html>\n",
        f"{HEADER}\n3,{SEVENS},Training\n".encode("utf-16"),
        f"{HEADER}\n3,{SEVENS},Train".encode() + b"\xe9\n",
        f"{HEADER}\n3,{SEVENS},Training\n".replace(",", ";").encode(),
        f"3,{SEVENS},Training\n".encode(),
    ],
    ids=["empty", "blank", "binary", "a web page", "UTF-16", "Latin-1", "semicolons", "no header"],
)
def test_a_csv_that_is_none_is_one_line_that_names_it(tmp_path, read_rows, content):
    (tmp_path / "fer2013.csv").write_bytes(content)
    with pytest.raises(UserError, match=r"fer2013\.csv") as caught:
        read_rows(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_file_that_may_not_be_read_is_one_line(unprivileged, make_rows, write_csv, read_rows):
    write_csv(unprivileged, make_rows(7, 0, 0))
    (unprivileged / "fer2013.csv").chmod(0)
    with pytest.raises(UserError, match=r"fer2013\.csv.*Permission denied"):
        read_rows(unprivileged)
