"""FER-2013 from its root: every layout is recognised, gives the same faces, and is used as a protocol says."""

import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from ferlab.datasets.audit.scan import pixel_digests
from ferlab.datasets.fer2013.reader import locate
from ferlab.datasets.listing import Listing, Rows
from ferlab.datasets.synthetic.layouts import write_synthetic
from ferlab.errors import UserError

LAYOUTS = ("fer2013-csv", "fer2013-icml", "fer2013-kaggle", "fer2013-folder")


@pytest.fixture(scope="module")
def drawn(tmp_path_factory) -> dict[str, Path]:
    """The same 140 drawn faces in every layout; read-only."""
    folder = tmp_path_factory.mktemp("drawn")
    for layout in LAYOUTS:
        write_synthetic(layout, folder / layout, 140, 1)
    return {layout: folder / layout for layout in LAYOUTS}


@pytest.fixture(scope="module")
def listing(make_request) -> Callable[..., Listing]:
    """``listing(root, protocol="official", fraction=0.1, seed=0)``: the samples of a copy under a protocol."""

    def listed(root: Path, protocol: str = "official", fraction: float = 0.1, seed: int = 0) -> Listing:
        request = make_request(root, dataset="fer2013", protocol=protocol, val_fraction=fraction, split_seed=seed)
        return request.listing(2)

    return listed


def counts(found: Listing) -> Counter:
    return Counter(zip(found.table["split"].to_pylist(), found.table["label"].to_pylist(), strict=True))


def faces_of(found: Rows) -> Counter:
    """Pixels with part and label of every row, whatever its name."""
    digests = pixel_digests(found.table, 2)
    return Counter(zip(digests, found.table["part"].to_pylist(), found.table["label"].to_pylist(), strict=True))


# --- recognised from the root


@pytest.mark.parametrize("deep", [False, True], ids=["in the root", "one folder deep"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_is_recognised_by_itself(tmp_path, drawn, read_rows, layout, deep):
    root = tmp_path / "root"
    shutil.copytree(drawn[layout], root / "fer2013" if deep else root)
    source = locate(root)
    assert source.layout == layout
    assert source.root == (root / "fer2013" if deep else root)
    found = read_rows(root)
    assert (found.table.num_rows, found.rejected, found.excluded) == (140, (), {})


def test_both_tables_hold_the_same_rows_and_the_challenge_the_same_training_rows(drawn, read_rows):
    official = read_rows(drawn["fer2013-csv"])
    assert read_rows(drawn["fer2013-icml"]).table.equals(official.table)
    challenge = faces_of(read_rows(drawn["fer2013-kaggle"]))
    both_tests = Counter(
        (digest, part if part == "Training" else "test", label if part == "Training" else -1)
        for digest, part, label in faces_of(official).elements()
    )
    assert challenge == both_tests


def test_folders_of_png_hold_the_faces_of_the_table(tmp_path, make_rows, write_csv, write_folders, read_rows):
    samples = make_rows()
    (tmp_path / "csv").mkdir()
    table, folders = write_csv(tmp_path / "csv", samples), write_folders(tmp_path / "png", samples)
    assert faces_of(read_rows(folders)) == faces_of(read_rows(table))


def test_the_csv_itself_may_be_the_root(tmp_path, make_rows, write_csv, read_rows):
    write_csv(tmp_path, make_rows(), "my_faces.CSV")
    assert read_rows(tmp_path / "my_faces.CSV").table.num_rows == 98


def test_what_an_operating_system_leaves_beside_the_folder_does_not_hide_it(tmp_path, drawn):
    shutil.copytree(drawn["fer2013-csv"], tmp_path / "fer2013")
    for name in ("__MACOSX", ".Trash-0"):
        (tmp_path / name).mkdir()
    assert locate(tmp_path).layout == "fer2013-csv"


def test_a_missing_root_an_empty_folder_and_a_file_that_is_no_csv_are_named(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("")
    for name in ("absent", "empty", "notes.txt"):
        with pytest.raises(UserError, match=f"dataset.root={tmp_path / name}"):
            locate(tmp_path / name)


def test_folders_without_training_are_not_taken_for_a_copy(tmp_path):
    (tmp_path / "test" / "happy").mkdir(parents=True)
    with pytest.raises(UserError, match="train/ folder found there"):
        locate(tmp_path)


# --- under a protocol


def test_official_fits_training_selects_public_and_reports_private(tmp_path, make_rows, write_csv, listing):
    samples = make_rows()
    expected = {"Training": "train", "PublicTest": "validation", "PrivateTest": "test"}
    found = listing(write_csv(tmp_path, samples), "official")
    assert found.table["id"].to_pylist() == [str(i) for i in range(len(samples))]
    assert found.table["split"].to_pylist() == [expected[usage] for _, _, usage in samples]
    assert found.excluded == {}


def test_carved_takes_validation_from_training_and_reports_public(tmp_path, make_rows, write_csv, listing):
    samples = make_rows()
    found = listing(write_csv(tmp_path, samples), "carved")
    splits = dict(zip(found.table["id"].to_pylist(), found.table["split"].to_pylist(), strict=True))
    allowed = {"Training": ("train", "validation"), "PublicTest": ("test",), "PrivateTest": (None,)}
    for i, (_, _, usage) in enumerate(samples):
        assert splits.get(str(i)) in allowed[usage]
    assert counts(found) == {(s, i): n for s, n in (("train", 9), ("validation", 1), ("test", 2)) for i in range(7)}
    assert found.excluded == {"PrivateTest, not used by protocol carved": 14}


def test_fraction20_carves_a_fifth_whatever_the_config_says(tmp_path, make_rows, write_csv, listing):
    found = listing(write_csv(tmp_path, make_rows()), "fraction20", fraction=0.4)
    assert counts(found) == {(s, i): n for s, n in (("train", 8), ("validation", 2), ("test", 2)) for i in range(7)}


def test_mixed_reports_on_both_tests_of_a_copy_without_prefixes(tmp_path, make_rows, write_folders, listing):
    root = write_folders(tmp_path / "faces", make_rows(), name_of=lambda usage, number: f"im{number}")
    found = listing(root, "mixed")
    assert counts(found) == {(s, i): n for s, n in (("train", 9), ("validation", 1), ("test", 4)) for i in range(7)}


def test_pixel_twins_stay_on_one_side_of_the_cut(tmp_path, make_rows, write_csv, listing):
    samples = make_rows(210)
    for i in range(0, 84, 14):
        samples[i + 7] = (samples[i + 7][0], samples[i][1], "Training")
    write_csv(tmp_path, samples)
    crossed = 0
    for seed in range(5):
        table = listing(tmp_path, "carved", 0.3, seed).table.to_pylist()
        split_of = {int(row["id"]): row["split"] for row in table}
        crossed += sum(split_of[i] != split_of[i + 7] for i in range(0, 84, 14))
        assert Counter(split_of.values())["validation"] == 7 * 9
    assert crossed == 0


def test_twins_that_were_encoded_differently_stay_on_one_side_of_the_cut(tmp_path, make_rows, write_folders, listing):
    root = write_folders(tmp_path / "faces", make_rows(7, 7, 7))
    rng = np.random.default_rng(0)
    for i in range(100):
        pixels = cv2.resize(rng.integers(0, 256, (6, 6), dtype=np.uint8), (48, 48))
        for level in (0, 9):
            data = cv2.imencode(".png", pixels, [cv2.IMWRITE_PNG_COMPRESSION, level])[1].tobytes()
            (root / "train" / "happy" / f"Training_{i}_{level}.png").write_bytes(data)
    table = listing(root, "carved", 0.5).table.to_pylist()
    split_of = {Path(row["id"]).stem: row["split"] for row in table if "happy/Training_" in row["id"]}
    assert set(split_of.values()) == {"train", "validation"}
    assert all(split_of[f"Training_{i}_0"] == split_of[f"Training_{i}_9"] for i in range(100))


def test_csv_and_folders_of_the_same_faces_have_the_same_counts(drawn, listing):
    for protocol in ("official", "carved"):
        by_csv, by_folder = (counts(listing(drawn[name], protocol)) for name in ("fer2013-csv", "fer2013-folder"))
        assert by_csv == by_folder
        assert {split for split, _ in by_csv} == {"train", "validation", "test"}


# --- copies that do not fit a protocol


@pytest.mark.parametrize("protocol", ["official", "carved", "fraction20"])
def test_names_that_lost_the_prefix_fit_no_protocol_but_mixed(tmp_path, make_rows, write_folders, listing, protocol):
    root = write_folders(tmp_path / "faces", make_rows(), name_of=lambda usage, number: f"im{number}")
    with pytest.raises(UserError, match=r"no PublicTest.* images there.*fits dataset\.protocol=mixed") as caught:
        listing(root, protocol)
    assert str(root) in str(caught.value)


def test_one_name_that_lost_its_prefix_is_counted(tmp_path, make_rows, write_folders, listing):
    root = write_folders(tmp_path / "faces", make_rows())
    file = next((root / "test/happy").iterdir())
    file.rename(file.with_name("im0.png"))
    found = listing(root, "official")
    assert found.table.num_rows == 97
    assert found.excluded == {"test, not used by protocol official": 1}


def test_the_challenge_has_no_labels_to_report_on(drawn, listing):
    for protocol in ("official", "carved", "mixed"):
        with pytest.raises(UserError, match="images there"):
            listing(drawn["fer2013-kaggle"], protocol)


def test_official_without_private_test_points_to_carved(tmp_path, make_rows, write_csv, listing):
    write_csv(tmp_path, make_rows(private=0))
    with pytest.raises(UserError, match=r"no PrivateTest images.*dataset\.protocol=carved\|fraction20"):
        listing(tmp_path, "official")
    assert listing(tmp_path, "carved").table.num_rows == 84


@pytest.mark.parametrize("protocol", ["carved", "official", "fraction20"])
def test_a_copy_without_public_test_is_refused(tmp_path, make_rows, write_csv, listing, protocol):
    with pytest.raises(UserError, match="no PublicTest images"):
        listing(write_csv(tmp_path, make_rows(public=0)), protocol)


def test_a_copy_without_training_rows_is_refused(tmp_path, make_rows, write_csv, listing):
    with pytest.raises(UserError, match="no Training images"):
        listing(write_csv(tmp_path, make_rows(training=0)))


def test_a_file_that_holds_but_a_header_is_refused(tmp_path, listing):
    (tmp_path / "fer2013.csv").write_text("emotion,pixels,Usage\n")
    with pytest.raises(UserError, match="no Training and no PublicTest and no PrivateTest images"):
        listing(tmp_path)


def test_folders_without_images_are_refused(tmp_path, listing):
    (tmp_path / "train" / "happy").mkdir(parents=True)
    with pytest.raises(UserError, match="no Training"):
        listing(tmp_path)


@pytest.mark.parametrize(
    ("found_in", "named"), [("train", "PublicTest"), ("train", "PrivateTest"), ("test", "Training")]
)
def test_a_copy_that_was_split_anew_is_refused(tmp_path, make_rows, write_folders, listing, found_in, named):
    root = write_folders(tmp_path / "faces", make_rows())
    file = next((root / found_in).rglob("*.png"))
    file.rename(file.with_name(f"{named}_99999999.png"))
    with pytest.raises(UserError, match="split anew"):
        listing(root, "carved")
