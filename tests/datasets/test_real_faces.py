"""The real FER-2013, where it is: audit and fingerprint against independent counts, contaminated copies named."""

import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest

from ferlab.datasets.audit import near
from ferlab.datasets.audit.scan import scan
from ferlab.datasets.catalog import FAMILIES, FER2013_PROTOCOLS
from ferlab.datasets.ferplus import COLUMNS, read_votes
from ferlab.datasets.fingerprint.compare import compare
from ferlab.datasets.fingerprint.copy import Copy
from ferlab.datasets.fingerprint.signature import builtin_signature
from ferlab.datasets.listing import Reading, Rows
from ferlab.datasets.splits import Split, apply_split
from ferlab.datasets.verification import verify
from ferlab.emotions import FER2013, FERPLUS8, Taxonomy
from ferlab.errors import UserError

TRAINING, PUBLIC = 28_709, 3_589
PLANTED_EACH = 60


@pytest.fixture(scope="module")
def rows(real_faces) -> dict[str, list]:
    """Columns usage, emotion and kaggle_name of the real rows in the official order."""
    return pq.read_table(real_faces, columns=["usage", "emotion", "kaggle_name"]).to_pydict()


@pytest.fixture(scope="module")
def pictures(real_faces) -> np.ndarray:
    """The real faces uint8 (32298, 48, 48)."""
    stored = pq.read_table(real_faces, columns=["png"])["png"]
    return np.stack([cv2.imdecode(np.frombuffer(png.as_buffer(), np.uint8), cv2.IMREAD_GRAYSCALE) for png in stored])


@pytest.fixture(scope="module")
def faces(pictures, rows) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Images, parts and labels of the real rows."""
    return pictures, np.array(rows["usage"], dtype=object), np.array(rows["emotion"])


@pytest.fixture(scope="module")
def copy(faces, copy_of) -> Copy:
    """The real rows after their scan."""
    return copy_of(*faces)


def write_rows(folder: Path, images: np.ndarray, parts: np.ndarray, labels: np.ndarray) -> None:
    cells = zip(images, parts, labels, strict=True)
    text = [f"{label},{' '.join(map(str, face.ravel()))},{part}" for face, part, label in cells]
    (folder / "fer2013.csv").write_text("\n".join(["emotion,pixels,Usage", *text, ""]))


# --- audit


def test_duplicates_are_those_of_an_independent_count(copy, faces):
    images, parts, labels = faces
    keys = np.unique(images.reshape(len(images), -1), axis=0, return_inverse=True)[1].reshape(-1)
    sizes = np.bincount(keys)
    of_training, of_public = (
        np.bincount(keys[parts == part], minlength=len(sizes)) for part in ("Training", "PublicTest")
    )
    classes = np.zeros((len(sizes), 7), bool)
    classes[keys, labels] = True
    found = copy.duplicates
    assert (found.unique, found.surplus) == (len(sizes), len(images) - len(sizes))
    assert (found.groups, found.sizes.max()) == ((sizes > 1).sum(), sizes.max())
    assert found.surplus_inside == {
        "Training": (of_training - 1).clip(0).sum(),
        "PublicTest": (of_public - 1).clip(0).sum(),
    }
    assert found.shared == {("PublicTest", "Training"): of_public[of_training > 0].sum()}
    assert len(found.conflicts) == (classes.sum(axis=1) > 1).sum()
    assert ((copy.scan.contrasts == 0).sum()) == (images.reshape(len(images), -1).std(axis=1) == 0).sum()
    # and what was published of these rows
    assert (found.shared["PublicTest", "Training"], found.surplus_inside["Training"], found.sizes.max()) == (
        280,
        1236,
        12,
    )


def changed(face: np.ndarray, kind: str, rng: np.random.Generator) -> np.ndarray:
    if kind == "shifted":
        right, down = rng.integers(-3, 4, 2).tolist()
        matrix = np.array([[1, 0, right], [0, 1, down]], np.float32)
        return cv2.warpAffine(face, matrix, (48, 48), borderMode=cv2.BORDER_REPLICATE)
    if kind == "mirrored":
        return face[:, ::-1].copy()
    if kind == "JPEG 50":
        return cv2.imdecode(cv2.imencode(".jpg", face, [cv2.IMWRITE_JPEG_QUALITY, 50])[1], cv2.IMREAD_GRAYSCALE)
    if kind == "contrast":
        return np.clip((face - 128.0) * rng.uniform(0.6, 1.3) + 128 + rng.uniform(-20, 20), 0, 255).astype(np.uint8)
    return cv2.resize(cv2.resize(face, (40, 40), interpolation=cv2.INTER_AREA), (48, 48))


KINDS = ("shifted", "mirrored", "JPEG 50", "contrast", "through 40 px")


@pytest.fixture(scope="module")
def recall(pictures, copy_of) -> dict[str, float]:
    """Share of planted pairs that are found among 8,000 real faces, by what was done to them."""
    rng = np.random.default_rng(0)
    originals = pictures[:8000]
    chosen = rng.choice(len(originals), PLANTED_EACH * len(KINDS), replace=False)
    kinds = np.repeat(KINDS, PLANTED_EACH)
    planted = [changed(originals[row], kind, rng) for row, kind in zip(chosen, kinds, strict=True)]
    parts = ["Training"] * len(originals) + ["PublicTest"] * len(planted)
    copy = copy_of([*originals, *planted], parts, [0] * len(parts))
    found = dict(zip(copy.near.first.tolist(), copy.near.second.tolist(), strict=True))
    group = copy.duplicates.group

    def hit(row: int, original: int) -> bool:
        # an original may stand there several times, and a face shifted by nothing is an exact duplicate
        return group[row] == group[original] or group[found.get(row, row)] == group[original]

    hits = np.array([hit(len(originals) + place, row) for place, row in enumerate(chosen.tolist())])
    return {kind: float(hits[kinds == kind].mean()) for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS)
def test_planted_near_duplicates_are_found_among_real_faces(recall, kind):
    assert recall[kind] >= 0.95, recall


def test_four_times_the_real_faces_are_less_than_six_times_the_work(faces, copy_of, monkeypatch):
    images, _, _ = faces
    counted: list[int] = []
    real = near.distances

    def counting(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        counted.append(len(first))
        return real(first, second)

    monkeypatch.setattr(near, "distances", counting)
    work = []
    for count in (4000, 16_000):
        counted.clear()
        parts = np.where(np.arange(count) % 10 == 0, "PublicTest", "Training")
        assert len(copy_of(images[:count], parts, [0] * count).near.first) > 0.01 * count / 10
        work.append(sum(counted))
    assert work[1] < 6 * work[0]


# --- fingerprint


def test_the_untouched_rows_raise_no_alarm_and_private_test_is_named_as_missing(copy):
    found = verify(copy, [builtin_signature("fer2013")])
    assert found.alarms == []
    assert found.fingerprint.verdict == "official-without-privatetest"
    assert "PrivateTest (3,589 images) is not there" in found.known
    assert any(
        line.startswith("280 PublicTest images have the same pixels as a Training image") for line in found.known
    )
    assert {part: sum(classes.values()) for part, classes in found.as_json()["counts"].items()} == {
        "Training": TRAINING,
        "PublicTest": PUBLIC,
    }


def test_encoding_anew_raises_no_alarm(faces, copy_of, re_encoded):
    found = compare(copy_of(*re_encoded(*faces)), builtin_signature("fer2013"))
    assert (found.verdict, found.alarms) == ("jpeg-reencode", [])


def test_encoding_anew_makes_no_twins_that_the_release_does_not_have(faces, copy_of):
    images, parts, labels = faces
    encoded = [cv2.imencode(".jpg", face, [cv2.IMWRITE_JPEG_QUALITY, 75])[1] for face in images]
    decoded = [cv2.imdecode(data, cv2.IMREAD_GRAYSCALE) for data in encoded]
    assert verify(copy_of(decoded, parts, labels), [builtin_signature("fer2013")]).alarms == []


def test_what_was_done_to_the_real_rows_is_named(faces, copy_of, contamination):
    found = compare(copy_of(*contamination.change(*faces)), builtin_signature("fer2013"))
    assert found.verdict == contamination.verdict
    assert any(re.search(contamination.words, alarm) for alarm in found.alarms), found.alarms


def test_noise_is_unknown(copy_of):
    noise = np.random.default_rng(0).integers(0, 256, (3000, 48, 48), dtype=np.uint8)
    found = compare(
        copy_of(noise, ["Training"] * 2500 + ["PublicTest"] * 500, [0] * 3000), builtin_signature("fer2013")
    )
    assert found.verdict == "unknown"
    assert len(found.alarms) == 1


# --- splits


@pytest.mark.parametrize("seed", [0, 1])
def test_carving_the_real_rows_keeps_twins_together_and_marks_those_of_the_test(copy, faces, seed):
    digests = [row.tobytes() for row in copy.scan.digests]
    _, parts, labels = faces
    found = apply_split(copy.rows, Split("carved", 0.1, seed), FER2013_PROTOCOLS, digests).table
    split = np.array(found["split"].to_pylist())
    group = copy.duplicates.group[[int(row) for row in found["id"].to_pylist()]]
    fitted, selected, tested = (group[split == name] for name in ("train", "validation", "test"))
    assert not set(fitted) & set(selected)
    assert found["twin"].to_pylist() == (np.isin(group, np.union1d(fitted, selected)) & (split == "test")).tolist()
    assert sum(found["twin"].to_pylist()) == 280
    assert len(tested) == PUBLIC
    carved = np.bincount(np.array(found["label"].to_pylist())[split == "validation"], minlength=7)
    assert carved.tolist() == np.rint(0.1 * np.bincount(labels[parts == "Training"])).tolist()


def test_dropping_from_the_real_rows_is_what_numpy_counts(copy):
    digests = [row.tobytes() for row in copy.scan.digests]

    def applied(policy: str) -> tuple[np.ndarray, np.ndarray, dict[str, int]]:
        found = apply_split(copy.rows, Split("carved", 0.1, 0, duplicates=policy), FER2013_PROTOCOLS, digests)
        assert found.table.num_rows + sum(found.excluded.values()) == TRAINING + PUBLIC
        row = [int(row) for row in found.table["id"].to_pylist()]
        return copy.duplicates.group[row], np.array(found.table["split"].to_pylist()), found.excluded

    group, split, _ = applied("keep")
    twins_of_test = np.isin(group, group[split == "test"]) & (split == "train")
    assert applied("drop_train_twins")[2] == {
        "training image whose pixels stand in validation or test": twins_of_test.sum()
    }
    left, _, _ = applied("drop_all")
    assert sorted(left) == sorted(set(group.tolist()) - set(copy.duplicates.conflicts.tolist()))


def test_two_thousand_real_rows_as_a_file_have_its_counts_and_keep_twins_together(tmp_path, faces, make_request):
    images, parts, labels = (column[27_709:29_709] for column in faces)
    write_rows(tmp_path, images, parts, labels)
    found = make_request(tmp_path, dataset="fer2013", protocol="carved").listing(2).table.to_pylist()
    usage_of = {"train": "Training", "validation": "Training", "test": "PublicTest"}
    assert Counter((usage_of[row["split"]], row["label"]) for row in found) == Counter(
        zip(parts, labels.tolist(), strict=True)
    )
    sides: dict[bytes, set[str]] = {}
    for row in found:
        if row["split"] != "test":
            sides.setdefault(row["pixels"], set()).add(row["split"])
    assert all(len(side) == 1 for side in sides.values())
    for label, count in Counter(labels[parts == "Training"].tolist()).items():
        assert sum(row["split"] == "validation" and row["label"] == label for row in found) == round(0.1 * count)


# --- FERPlus


@pytest.fixture(scope="module")
def votes(real_faces) -> Path:
    file = real_faces.with_name("ferplus_train_public.csv")
    if not file.is_file():
        pytest.skip(f"{file.name} is not there")
    return file


def with_votes(root: Path, votes: Path, taxonomy: Taxonomy = FERPLUS8) -> Rows:
    family = FAMILIES["ferplus"]
    return family.read(family.locate(root, root.parent / "unpacked", votes), Reading(taxonomy))


@pytest.fixture(scope="module")
def table(tmp_path_factory, faces) -> Path:
    """The real rows as ``fer2013.csv``, of each face the four pixels in its middle: votes join by row."""
    folder = tmp_path_factory.mktemp("rows")
    images, parts, labels = faces
    write_rows(folder, images[:, 23:25, 23:25], parts, labels)
    return folder


def test_ferplus_leaves_the_published_number_of_images(table, votes):
    found = with_votes(table, votes)
    assert Counter(found.table["part"].to_pylist()) == {"Training": 28_389, "PublicTest": 3_553}
    assert found.rejected == ()
    counted, _ = read_votes(votes)
    winners = np.array(COLUMNS)[counted.argmax(axis=1)]
    assert found.excluded == {
        f"{name} by plurality of the votes": (winners == name).sum() for name in ("unknown", "NF")
    }
    labels = [winners[int(row)] for row in found.table["id"].to_pylist()]
    assert [COLUMNS[label] for label in found.table["label"].to_pylist()] == labels


def test_seven_classes_leave_out_contempt_besides(table, votes):
    eight, seven = with_votes(table, votes), with_votes(table, votes, FER2013)
    contempt = eight.table["label"].to_pylist().count(FERPLUS8.classes.index("contempt"))
    assert seven.excluded["contempt by plurality of the votes"] == contempt > 100
    assert seven.table.num_rows == eight.table.num_rows - contempt


@pytest.fixture(scope="module")
def some(copy, faces) -> list[int]:
    """300 real rows and all of forty groups of twins, in the official order."""
    rng = np.random.default_rng(0)
    groups = np.flatnonzero(copy.duplicates.sizes == 2)[:40]
    twins = np.flatnonzero(np.isin(copy.duplicates.group, groups))
    single = np.flatnonzero(copy.duplicates.sizes[copy.duplicates.group] == 1)
    return sorted({*rng.choice(single, 300, replace=False).tolist(), *twins.tolist()})


@pytest.fixture(scope="module")
def write_some(faces, rows, some) -> Callable[[Path, str], Path]:
    """Those rows in class folders under their names in Kaggle's repack, with another ending."""

    def write(root: Path, suffix: str) -> Path:
        for row in some:
            part = "train" if rows["usage"][row] == "Training" else "test"
            folder = root / part / FER2013.classes[rows["emotion"][row]]
            folder.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(folder / Path(rows["kaggle_name"][row]).with_suffix(suffix)), faces[0][row])
        return root

    return write


def test_folders_of_png_find_their_votes_by_pixels(tmp_path, table, votes, rows, some, copy, write_some):
    by_row = {int(row["id"]): row for row in with_votes(table, votes).table.to_pylist()}
    found = with_votes(write_some(tmp_path / "png", ".png"), votes)
    row_of = {Path(rows["kaggle_name"][row]).stem: row for row in some}
    single = copy.duplicates.sizes[copy.duplicates.group] == 1
    joined = {row_of[Path(row["id"]).stem]: row for row in found.table.to_pylist()}
    for row in some:
        if single[row]:
            assert (row in joined) == (row in by_row)
            if row in joined:
                assert (joined[row]["label"], joined[row]["votes"]) == (by_row[row]["label"], by_row[row]["votes"])
    # twins cannot be told apart, but each of their votes is handed out once
    together = Counter(tuple(row["votes"]) for row in joined.values())
    assert together == Counter(tuple(by_row[row]["votes"]) for row in some if row in by_row)
    assert found.rejected == ()
    assert found.table.num_rows + sum(found.excluded.values()) == len(some)


def test_folders_of_jpeg_are_refused_with_the_way_out(tmp_path, votes, write_some):
    with pytest.raises(UserError, match=r"do not have the official pixels .*JPEG.*Use fer2013\.csv, or a copy as PNG"):
        with_votes(write_some(tmp_path / "jpg", ".jpg"), votes)


def test_a_few_other_pictures_are_rejected_and_private_test_is_counted(tmp_path, votes, write_some, some):
    root = write_some(tmp_path / "png", ".png")
    first = with_votes(root, votes)
    noise = np.random.default_rng(0).integers(0, 256, (3, 48, 48), dtype=np.uint8)
    names = ("train/happy/Training_1.png", "test/happy/PrivateTest_1.png", "test/happy/PrivateTest_2.png")
    for name, picture in zip(names, noise, strict=True):
        cv2.imwrite(str(root / name), picture)
    found = with_votes(root, votes)
    assert found.table.num_rows == first.table.num_rows
    assert [(item.id, item.reason) for item in found.rejected] == [
        ("train/happy/Training_1.png", "not the pixels of any FER-2013 row")
    ]
    assert found.excluded["PrivateTest, whose pixels ferlab does not know by row"] == 2
    assert found.table.num_rows + sum(found.excluded.values()) + 1 == len(some) + 3


# --- the files that users have


@pytest.mark.slow
@pytest.mark.parametrize(("layout", "verdict"), [("csv", "official-without-privatetest"), ("folder", "jpeg-reencode")])
def test_both_layouts_that_are_written_for_measuring_are_recognised(tmp_path, real_faces, layout, verdict):
    script = real_faces.with_name("materialize_fer2013.py")
    subprocess.run([sys.executable, script, "--layout", layout, "--out", tmp_path / "faces"], check=True)
    family = FAMILIES["fer2013"]
    source = family.locate(tmp_path / "faces", tmp_path / "unpacked")
    read = family.read(source, Reading(FER2013))
    found = verify(Copy(source, read, scan(read.table, 2, lambda done, total: None)), [builtin_signature("fer2013")])
    assert (found.fingerprint.verdict, found.alarms) == (verdict, [])
    assert "PrivateTest (3,589 images) is not there" in found.known
