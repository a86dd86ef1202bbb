"""FER-2013 in every form in which it circulates, and every way in which a copy can be broken."""

import csv
import io
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest

from ferlab.datasets.fer2013 import locate, read
from ferlab.datasets.listing import Listing
from ferlab.datasets.synthetic.layouts import write_synthetic
from ferlab.emotions import FER2013
from ferlab.errors import UserError

NAMES = ["angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"]
HEADER = "emotion,pixels,Usage"
Row = tuple[int | str, np.ndarray | str, str]


def rows(training: int = 70, public: int = 14, private: int = 14) -> list[Row]:
    """Distinct random faces, labels in turn."""
    rng = np.random.default_rng(0)
    usages = ["Training"] * training + ["PublicTest"] * public + ["PrivateTest"] * private
    return [(i % 7, rng.integers(0, 256, (48, 48), dtype=np.uint8), usage) for i, usage in enumerate(usages)]


def lines(samples: list[Row]) -> list[str]:
    def text(pixels: np.ndarray | str) -> str:
        return pixels if isinstance(pixels, str) else " ".join(map(str, pixels.ravel()))

    return [f"{label},{text(pixels)},{usage}" for label, pixels, usage in samples]


def write(folder: Path, samples: list[Row], name: str = "fer2013.csv") -> Path:
    (folder / name).write_text("\n".join([HEADER, *lines(samples), ""]))
    return folder


def listing(root: Path, protocol: str = "official", fraction: float = 0.1, seed: int = 0) -> Listing:
    return read(locate(root), protocol, fraction, seed)


def counts(found: Listing) -> Counter:
    return Counter(zip(found.table["split"].to_pylist(), found.table["label"].to_pylist(), strict=True))


# --- whole copies


def test_rows_keep_number_label_and_pixels(tmp_path):
    samples = rows()
    table = listing(write(tmp_path, samples)).table.to_pylist()
    assert [row["id"] for row in table] == [str(i) for i in range(len(samples))]
    for row, (label, pixels, _) in zip(table, samples, strict=True):
        assert row["label"] == label
        assert row["pixels"] == pixels.tobytes()
        assert FER2013.classes[row["label"]] == NAMES[label]


def test_official_fits_training_selects_public_and_reports_private(tmp_path):
    samples = rows()
    expected = {"Training": "train", "PublicTest": "validation", "PrivateTest": "test"}
    found = listing(write(tmp_path, samples), "official")
    assert found.table["split"].to_pylist() == [expected[usage] for _, _, usage in samples]
    assert found.excluded == {}


def test_carved_takes_validation_from_training_and_reports_public(tmp_path):
    samples = rows()
    found = listing(write(tmp_path, samples), "carved")
    splits = dict(zip(found.table["id"].to_pylist(), found.table["split"].to_pylist(), strict=True))
    for i, (_, _, usage) in enumerate(samples):
        assert (
            splits.get(str(i))
            in {
                "Training": ("train", "validation"),
                "PublicTest": ("test",),
                "PrivateTest": (None,),
            }[usage]
        )
    assert counts(found) == {(s, i): n for s, n in (("train", 9), ("validation", 1), ("test", 2)) for i in range(7)}
    assert sum(found.excluded.values()) == 14
    assert "PrivateTest" in next(iter(found.excluded))


def test_pixel_twins_stay_on_one_side_of_the_cut(tmp_path):
    samples = rows(210)
    for i in range(0, 84, 14):
        samples[i + 7] = (samples[i + 7][0], samples[i][1], "Training")
    write(tmp_path, samples)
    crossed = 0
    for seed in range(5):
        table = listing(tmp_path, "carved", 0.3, seed).table.to_pylist()
        split_of = {int(row["id"]): row["split"] for row in table}
        crossed += sum(split_of[i] != split_of[i + 7] for i in range(0, 84, 14))
        assert Counter(split_of.values())["validation"] == 7 * 9
    assert crossed == 0


def png(pixels: np.ndarray, level: int) -> bytes:
    return cv2.imencode(".png", pixels, [cv2.IMWRITE_PNG_COMPRESSION, level])[1].tobytes()


def test_twins_that_were_encoded_differently_stay_on_one_side_of_the_cut(tmp_path):
    rng = np.random.default_rng(0)
    for split, usage in (("train", "Training"), ("test", "PublicTest")):
        for name in NAMES:
            (tmp_path / split / name).mkdir(parents=True)
            (tmp_path / split / name / f"{usage}_x.png").write_bytes(png(rng.integers(0, 256, (48, 48), np.uint8), 3))
    for i in range(100):
        pixels = cv2.resize(rng.integers(0, 256, (6, 6), dtype=np.uint8), (48, 48))
        for level in (0, 9):
            (tmp_path / "train" / "happy" / f"Training_{i}_{level}.png").write_bytes(png(pixels, level))
    table = listing(tmp_path, "carved", 0.5).table.to_pylist()
    split_of = {Path(row["id"]).stem: row["split"] for row in table if "happy/Training_" in row["id"]}
    assert all(split_of[f"Training_{i}_0"] == split_of[f"Training_{i}_9"] for i in range(100))


def test_csv_and_folders_of_the_same_faces_have_the_same_counts(tmp_path):
    for layout in ("fer2013-csv", "fer2013-folder"):
        write_synthetic(layout, tmp_path / layout, 300, 1)
    for protocol in ("official", "carved"):
        by_csv, by_folder = (counts(listing(tmp_path / name, protocol)) for name in ("fer2013-csv", "fer2013-folder"))
        assert by_csv == by_folder
        assert {split for split, _ in by_csv} == {"train", "validation", "test"}


def test_folder_names_decide_not_their_alphabetical_position(tmp_path):
    for split, prefix in (("train", "Training"), ("test", "PublicTest"), ("test", "PrivateTest")):
        for i, name in enumerate(sorted(NAMES)):
            folder = tmp_path / split / name
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{prefix}_{i}.png").write_bytes(png(np.full((48, 48), i + 1, np.uint8), 3))
    found = listing(tmp_path)
    for row in found.table.to_pylist():
        assert FER2013.classes[row["label"]] == row["id"].split("/")[1]
        assert Path(row["path"]) == tmp_path / row["id"]


def test_the_file_name_prefix_restores_the_official_split(tmp_path):
    write_synthetic("fer2013-folder", tmp_path / "faces", 100, 0)
    expected = {"Training": "train", "PublicTest": "validation", "PrivateTest": "test"}
    for row in listing(tmp_path / "faces").table.to_pylist():
        assert row["split"] == expected[Path(row["id"]).name.split("_")[0]]


def test_names_that_lost_the_prefix_are_refused(tmp_path):
    write_synthetic("fer2013-folder", tmp_path / "faces", 100, 0)
    file = next((tmp_path / "faces/test/happy").iterdir())
    file.rename(file.with_name("im0.jpg"))
    with pytest.raises(UserError, match=r"im0\.jpg"):
        listing(tmp_path / "faces")


def test_a_folder_that_is_no_class_is_refused_with_the_classes(tmp_path):
    write_synthetic("fer2013-folder", tmp_path / "faces", 100, 0)
    (tmp_path / "faces/train/contempt").mkdir()
    with pytest.raises(UserError, match=r"contempt.*angry, disgust"):
        listing(tmp_path / "faces")


def test_files_that_are_no_images_are_passed_over(tmp_path):
    write_synthetic("fer2013-folder", tmp_path / "faces", 100, 0)
    (tmp_path / "faces/train/happy/.DS_Store").write_bytes(b"x")
    (tmp_path / "faces/train/Thumbs.db").write_bytes(b"x")
    assert listing(tmp_path / "faces").table.num_rows == 100


# --- spellings of the CSV


def spelled(text: str, name: str = "fer2013.csv") -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes(text.encode())


BODY = lines(rows())
REORDERED = [f"{line.split(',')[0]},{line.split(',')[2]},{line.split(',')[1]}" for line in BODY]


@pytest.mark.parametrize(
    "write_copy",
    [
        pytest.param(spelled("\n".join([HEADER, *BODY])), id="no newline at the end"),
        pytest.param(spelled("\r\n".join([HEADER, *BODY, ""])), id="CRLF"),
        pytest.param(spelled("\ufeff" + "\n".join([HEADER, *BODY, ""])), id="BOM"),
        pytest.param(spelled("\ufeff" + "\r\n".join([HEADER, *BODY, ""])), id="BOM and CRLF"),
        pytest.param(spelled("\n".join(["emotion, Usage, pixels", *REORDERED, ""]), "icml_face_data.csv"), id="icml"),
        pytest.param(spelled("\n".join(["EMOTION,Pixels,USAGE", *BODY, ""])), id="other case"),
        pytest.param(spelled("\n".join([HEADER, *BODY, "", "", ""])), id="blank lines at the end"),
        pytest.param(
            spelled(
                "\n".join([HEADER, *(line.replace(",", ',"', 1)[::-1].replace(",", ',"', 1)[::-1] for line in BODY)])
            ),
            id="quoted pixels",
        ),
        pytest.param(spelled("\n".join(["x," + HEADER, *(f"1,{line}" for line in BODY)])), id="one more column"),
    ],
)
def test_a_copy_in_another_spelling_is_read_the_same(tmp_path, write_copy):
    (tmp_path / "plain").mkdir()
    (tmp_path / "other").mkdir()
    write_copy(tmp_path / "other")
    plain, other = listing(write(tmp_path / "plain", rows())), listing(tmp_path / "other")
    assert other.table.equals(plain.table)
    assert other.rejected == ()


def test_the_csv_itself_may_be_the_root(tmp_path):
    write(tmp_path, rows(), "my_faces.csv")
    assert listing(tmp_path / "my_faces.csv").table.num_rows == 98


# --- broken copies


@pytest.mark.parametrize("missing", ["emotion", "pixels", "Usage"])
def test_a_missing_column_is_named(tmp_path, missing):
    write(tmp_path, rows())
    text = (tmp_path / "fer2013.csv").read_text().replace(missing, "other", 1)
    (tmp_path / "fer2013.csv").write_text(text)
    with pytest.raises(UserError, match=f"no column {missing.lower()}"):
        listing(tmp_path)


@pytest.mark.parametrize(
    ("pixels", "reason"),
    [
        ("", "0 pixels"),
        ("1 2 3", "3 pixels, expected 2304"),
        (" ".join(["7"] * 2303), "2303 pixels"),
        (" ".join(["7"] * 2305), "2305 pixels"),
        (" ".join(["7"] * 2303 + ["256"]), "outside 0..255"),
        (" ".join(["7"] * 2303 + ["-1"]), "outside 0..255"),
        (" ".join(["7"] * 2303 + ["x"]), "not whole numbers"),
        (" ".join(["7"] * 2304 + ["x"]), "not whole numbers"),
        (" ".join(["7"] * 2303 + ["7.5"]), "not whole numbers"),
        ("a face", "not whole numbers"),
    ],
)
def test_pixels_that_are_no_image_are_set_aside_with_the_reason(tmp_path, pixels, reason):
    samples = rows()
    samples[5] = (3, pixels, "Training")
    found = listing(write(tmp_path, samples))
    assert [item.id for item in found.rejected] == ["5"]
    assert reason in found.rejected[0].reason
    assert found.table.num_rows == len(samples) - 1
    assert "5" not in found.table["id"].to_pylist()


def test_spaces_around_and_between_pixels_do_no_harm(tmp_path):
    samples = rows()
    pixels = samples[5][1]
    assert isinstance(pixels, np.ndarray)
    samples[5] = (5, "  " + "  ".join(map(str, pixels.ravel())) + " ", "Training ")
    assert listing(write(tmp_path, samples)).table["pixels"][5].as_py() == pixels.tobytes()


@pytest.mark.parametrize("label", [7, -1, 255, "3.0", "happy", ""])
def test_a_label_out_of_range_stops_with_the_row_named(tmp_path, label):
    samples = rows()
    samples[41] = (label, samples[41][1], "Training")
    with pytest.raises(UserError, match=r"fer2013\.csv: row 42: emotion is '.*0\.\.6"):
        listing(write(tmp_path, samples))


def test_an_unknown_usage_stops_with_the_row_named(tmp_path):
    samples = rows()
    samples[41] = (1, samples[41][1], "Validation")
    with pytest.raises(UserError, match=r"row 42: Usage is 'Validation'.*Training, PublicTest, PrivateTest"):
        listing(write(tmp_path, samples))


def test_a_file_cut_anywhere_inside_a_row_is_refused(tmp_path):
    write(tmp_path, rows(21, 7, 7))
    data = (tmp_path / "fer2013.csv").read_bytes()
    last = data.rstrip(b"\n").rfind(b"\n") + 1
    end = len(data.rstrip(b"\n"))
    positions = {last + 1, last + 2, last + 3, last + 40, (last + end) // 2, end - 1, end - 4, end - len("PrivateTest")}
    positions |= {end - len(",PrivateTest"), end - len(" 1,PrivateTest"), data.find(b"\n") + 30, len(HEADER) - 2, 3, 0}
    for position in sorted(positions):
        (tmp_path / "fer2013.csv").write_bytes(data[:position])
        with pytest.raises(UserError) as caught:
            listing(tmp_path)
        assert "fer2013.csv" in str(caught.value) or str(tmp_path) in str(caught.value), position
        assert "\n" not in str(caught.value)


def test_a_quoted_file_cut_inside_the_quotes_is_refused(tmp_path):
    file = io.StringIO()
    writer = csv.writer(file, quoting=csv.QUOTE_ALL)
    writer.writerow(HEADER.split(","))
    writer.writerows(line.split(",") for line in BODY)
    data = file.getvalue().encode()
    for position in (len(data) - 5, len(data) - 20, len(data) - 3000, len(data) // 2):
        (tmp_path / "fer2013.csv").write_bytes(data[:position])
        with pytest.raises(UserError):
            listing(tmp_path)


def test_a_hole_of_a_partial_download_is_refused(tmp_path):
    write(tmp_path, rows())
    data = bytearray((tmp_path / "fer2013.csv").read_bytes())
    data[len(data) // 2 :] = bytes(len(data) - len(data) // 2)
    (tmp_path / "fer2013.csv").write_bytes(data)
    with pytest.raises(UserError):
        listing(tmp_path)


@pytest.mark.parametrize("content", [b"", b"\n", HEADER.encode(), b"\xff\xfe\x00binary\x80", b"<html>404</html>\n"])
def test_a_csv_without_rows_or_that_is_none_is_a_user_error(tmp_path, content):
    (tmp_path / "fer2013.csv").write_bytes(content)
    with pytest.raises(UserError):
        listing(tmp_path)


def test_official_without_private_test_points_to_carved(tmp_path):
    write(tmp_path, rows(private=0))
    with pytest.raises(UserError, match=r"no PrivateTest images.*dataset\.protocol=carved"):
        listing(tmp_path, "official")
    assert listing(tmp_path, "carved").table.num_rows == 84


def test_carved_without_public_test_is_refused(tmp_path):
    with pytest.raises(UserError, match="no PublicTest images"):
        listing(write(tmp_path, rows(public=0)), "carved")


def test_official_without_public_test_names_what_is_missing(tmp_path):
    with pytest.raises(UserError, match="no PublicTest images"):
        listing(write(tmp_path, rows(public=0)), "official")


def test_a_file_without_training_rows_is_refused(tmp_path):
    with pytest.raises(UserError, match="no Training images"):
        listing(write(tmp_path, rows(training=0)))


def test_a_missing_root_an_empty_folder_and_a_file_that_is_no_csv_are_named(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("")
    for name in ("absent", "empty", "notes.txt"):
        with pytest.raises(UserError, match=f"dataset.root={tmp_path / name}"):
            locate(tmp_path / name)


def test_folders_without_images_are_refused(tmp_path):
    (tmp_path / "train" / "happy").mkdir(parents=True)
    with pytest.raises(UserError, match="no Training images"):
        listing(tmp_path)


# --- the real faces, where they are


def test_two_thousand_real_rows_have_the_counts_and_twins_of_the_file(tmp_path, real_faces):
    stored = pq.read_table(real_faces, columns=["usage", "emotion", "png"]).slice(27_709, 2_000).to_pylist()
    decoded = [cv2.imdecode(np.frombuffer(row["png"], np.uint8), cv2.IMREAD_GRAYSCALE) for row in stored]
    write(tmp_path, [(row["emotion"], pixels, row["usage"]) for row, pixels in zip(stored, decoded, strict=True)])
    found = listing(tmp_path, "carved")
    usage_of = {"train": "Training", "validation": "Training", "test": "PublicTest"}
    assert Counter((usage_of[split], label) for split, label in counts(found).elements()) == Counter(
        (row["usage"], row["emotion"]) for row in stored
    )
    sides: dict[bytes, set[str]] = {}
    for row in found.table.to_pylist():
        if row["split"] != "test":
            sides.setdefault(row["pixels"], set()).add(row["split"])
    assert all(len(side) == 1 for side in sides.values())
    training = Counter(row["emotion"] for row in stored if row["usage"] == "Training")
    for label, count in training.items():
        assert counts(found)["validation", label] == round(0.1 * count)


@pytest.mark.parametrize(
    ("found_in", "named"), [("train", "PublicTest"), ("train", "PrivateTest"), ("test", "Training")]
)
def test_a_copy_that_was_split_anew_is_refused(tmp_path, found_in, named):
    write_synthetic("fer2013-folder", tmp_path / "faces", 100, 0)
    file = next((tmp_path / "faces" / found_in).rglob("*.jpg"))
    file.rename(file.with_name(f"{named}_99999999.jpg"))
    with pytest.raises(UserError, match="split anew"):
        listing(tmp_path / "faces", "carved")
