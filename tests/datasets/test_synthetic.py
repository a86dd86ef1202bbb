"""The embedded data set: deterministic, varied, learnable but not trivial, written like the real releases."""

import csv
import errno
import hashlib
import itertools
import subprocess
import sys
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
from sklearn.linear_model import RidgeClassifier
from sklearn.metrics import balanced_accuracy_score
from sklearn.preprocessing import StandardScaler

from ferlab.datasets.synthetic import layouts
from ferlab.datasets.synthetic.anatomy import (
    CIRCUMPLEX,
    PROTOTYPES,
    ActionUnits,
    Face,
    Pose,
    blend,
)
from ferlab.datasets.synthetic.drawing import draw_face
from ferlab.datasets.synthetic.layouts import LAYOUTS, write_synthetic
from ferlab.datasets.synthetic.mosaic import mosaic
from ferlab.datasets.synthetic.population import CLASS_SHARES, sample_face
from ferlab.datasets.synthetic.projection import landmarks
from ferlab.emotions import AFFECTNET7, FER2013
from ferlab.errors import UserError

COUNT = 120
USAGES = {"Training": 96, "PublicTest": 12, "PrivateTest": 12}

# Rows of a 96 px frontal face in which each action unit is allowed to show.
BROWS, EYES, NOSE, MOUTH = slice(14, 46), slice(34, 58), slice(34, 66), slice(56, 96)
REGIONS = {
    "au1": BROWS,
    "au2": BROWS,
    "au4": BROWS,
    "au5": EYES,
    "au6": slice(34, 66),
    "au7": EYES,
    "au9": NOSE,
    "au10": MOUTH,
    "au12": MOUTH,
    "au15": MOUTH,
    "au17": MOUTH,
    "au20": MOUTH,
    "au23": MOUTH,
    "au25": MOUTH,
    "au26": MOUTH,
}


def digest(index: int) -> str:
    """SHA-256 of one face of population 5."""
    return hashlib.sha256(draw_face(sample_face(5, index), 48, "gray").tobytes()).hexdigest()


def faces_of(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    faces = [sample_face(seed, index) for index in range(count)]
    pixels = np.stack([draw_face(face, 48, "gray").ravel() for face in faces]).astype(np.float32)
    return pixels, np.array([face.category for face in faces])


# --- anatomy and population


def test_prototypes_shares_and_circumplex_name_exactly_the_fer2013_classes():
    expected = set(FER2013.classes)
    assert set(PROTOTYPES) == set(CLASS_SHARES) == set(CIRCUMPLEX) == expected
    assert sum(CLASS_SHARES.values()) == pytest.approx(1.0)


def test_blend_takes_each_unit_by_share():
    mixed = blend(ActionUnits(au12=1.0), ActionUnits(au4=0.5), 0.2)
    assert (mixed.au12, mixed.au4, mixed.au1) == pytest.approx((0.8, 0.1, 0.0))


def test_same_pixels_from_another_process_in_another_order():
    order = [7, 0, 31, 3, 12]
    code = (
        "import hashlib\n"
        "from ferlab.datasets.synthetic.drawing import draw_face\n"
        "from ferlab.datasets.synthetic.population import sample_face\n"
        f"for i in {order}:\n"
        "    print(hashlib.sha256(draw_face(sample_face(5, i), 48, 'gray').tobytes()).hexdigest())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert dict(zip(order, done.stdout.split(), strict=True)) == {index: digest(index) for index in sorted(order)}


def test_another_seed_or_index_is_another_face():
    assert sample_face(0, 1) == sample_face(0, 1)
    assert sample_face(0, 1) != sample_face(1, 1)
    assert sample_face(0, 1) != sample_face(0, 2)


def test_class_shares_are_those_documented_and_the_rarest_is_not_lost():
    counts = Counter(sample_face(9, index).category for index in range(2000))
    shares = {name: counts[name] / 2000 for name in CLASS_SHARES}
    assert shares == pytest.approx(dict(CLASS_SHARES), abs=0.005)
    assert min(shares.values()) >= 0.03


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_any_34_consecutive_faces_hold_every_category(seed):
    categories = [sample_face(seed, index).category for index in range(200)]
    assert all(len(set(categories[i : i + 34])) == len(FER2013) for i in range(200 - 34))


def test_sampled_values_stay_in_their_documented_ranges():
    for index in range(300):
        face = sample_face(4, index)
        units = [getattr(face.units, name) for name in ActionUnits.__slots__]
        assert all(0.0 <= value <= 1.0 for value in units)
        assert -1.0 <= face.valence <= 1.0
        assert -1.0 <= face.arousal <= 1.0
        assert all(0.0 <= channel <= 255.0 for channel in face.identity.skin_rgb)


def test_happy_faces_are_pleasant_and_sad_faces_are_not():
    faces = [sample_face(2, index) for index in range(300)]
    valence = {c: np.mean([f.valence for f in faces if f.category == c]) for c in ("happy", "sad", "neutral")}
    assert valence["happy"] > 0.4 > abs(valence["neutral"]) > -0.3 > valence["sad"]


# --- drawing


@pytest.mark.parametrize(
    ("size_px", "colour", "shape"),
    [(48, "gray", (48, 48)), (224, "rgb", (224, 224, 3)), (64, "rgb", (64, 64, 3))],
)
def test_shape_and_dtype(size_px, colour, shape):
    image = draw_face(sample_face(0, 0), size_px, colour)
    assert image.shape == shape
    assert image.dtype == np.uint8
    assert image.std() > 10


def test_unknown_colour_names_the_known_ones():
    with pytest.raises(ValueError, match=r"colour=bgr: not known\. Known: gray, rgb"):
        draw_face(Face("neutral"), 48, "bgr")


def test_skin_is_red_first_so_the_order_is_rgb():
    cheek = draw_face(Face("neutral"), 224, "rgb")[140:150, 70:80].reshape(-1, 3).mean(axis=0)
    assert cheek[0] > cheek[1] > cheek[2]


@pytest.mark.parametrize("unit", REGIONS)
def test_action_unit_changes_its_own_region_most(unit):
    rest = draw_face(Face("neutral"), 96, "gray").astype(int)
    moved = draw_face(Face("neutral", units=ActionUnits(**{unit: 1.0})), 96, "gray").astype(int)
    change = np.abs(moved - rest)
    change[:, :12] = change[:, -12:] = 0
    assert change.max() > 40
    assert change[REGIONS[unit]].sum() > 0.7 * change.sum()


def test_lip_corners_rise_with_au12_and_sink_with_au15():
    corner = {
        unit: landmarks(Face("neutral", units=ActionUnits(**{unit: 1.0})), 224)[48, 1]
        for unit in ("au12", "au15", "au9")
    }
    assert corner["au12"] < corner["au9"] - 3 < corner["au15"] - 6


def test_landmarks_lie_on_the_drawn_eyes_and_turn_with_the_head():
    points = landmarks(Face("neutral"), 224)
    image = draw_face(Face("neutral"), 224, "gray")
    x, y = points[36:42].mean(axis=0).round().astype(int)
    assert points.shape == (68, 2)
    assert image[y - 3 : y + 4, x - 3 : x + 4].min() < 60 < image[y + 25 : y + 30, x - 3 : x + 4].min()
    assert points[8, 1] > points[57, 1] > points[33, 1] > points[27, 1] > points[19, 1]
    turned = landmarks(Face("neutral", pose=Pose(yaw=15)), 224)
    assert turned[30, 0] > points[30, 0] + 8


def test_colour_and_gray_show_the_same_picture():
    face = sample_face(0, 3)
    gray = cv2.cvtColor(draw_face(face, 96, "rgb"), cv2.COLOR_RGB2GRAY)
    assert np.corrcoef(gray.ravel(), draw_face(face, 96, "gray").ravel())[0, 1] > 0.9


def test_mosaic_has_one_labelled_row_per_category():
    sheet = mosaic(seed=0, per_category=2, size_px=48, colour="gray")
    assert sheet.shape[0] == 7 * 48
    label = sheet[:, : sheet.shape[1] - 2 * 48]
    assert all(row.max() == 255 and row.min() < 120 for row in np.split(label, 7))


def test_a_linear_model_beats_chance_but_does_not_solve_it():
    pixels, names = faces_of(1500)
    scale = StandardScaler().fit(pixels[:1200])
    model = RidgeClassifier(alpha=300.0).fit(scale.transform(pixels[:1200]), names[:1200])
    predicted = model.predict(scale.transform(pixels[1200:]))
    score = balanced_accuracy_score(names[1200:], predicted)
    assert 1.4 / 7 < score < 0.5
    assert np.mean(predicted == names[1200:]) < 0.6


# --- layouts


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("synthetic")
    for layout in LAYOUTS:
        write_synthetic(layout, root / layout, COUNT, seed=3)
    return {layout: root / layout for layout in LAYOUTS}


def test_csv_holds_the_drawn_pixels_in_the_official_order(written):
    with (written["fer2013-csv"] / "fer2013.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["emotion", "pixels", "Usage"]
    assert [(usage, len(list(group))) for usage, group in itertools.groupby(row["Usage"] for row in rows)] == [
        *USAGES.items()
    ]
    for index in (0, 50, 119):
        face = sample_face(3, index)
        pixels = np.array(rows[index]["pixels"].split(), dtype=np.uint8).reshape(48, 48)
        np.testing.assert_array_equal(pixels, draw_face(face, 48, "gray"))
        assert FER2013.classes[int(rows[index]["emotion"])] == face.category
    assert len({row["pixels"] for row in rows}) == COUNT


def test_folder_has_class_folders_and_prefixes_that_restore_the_split(written):
    files = sorted(written["fer2013-folder"].rglob("*.jpg"))
    assert Counter(file.name.split("_")[0] for file in files) == USAGES
    assert {file.parents[1].name for file in files if file.name.startswith("Training")} == {"train"}
    assert {file.parents[1].name for file in files if "Test_" in file.name} == {"test"}
    assert {file.parent.name for file in files} == set(FER2013.classes)
    assert len({file.read_bytes() for file in files}) == COUNT
    for file in files[::25]:
        prefix_id = file.stem.split("_")[1]
        face = sample_face(3, int(prefix_id))
        image = cv2.imread(str(file), cv2.IMREAD_UNCHANGED)
        assert len(prefix_id) == 8
        assert image.shape == (48, 48)
        assert face.category == file.parent.name
        assert np.abs(image.astype(int) - draw_face(face, 48, "gray")).mean() < 6


def test_affectnet_images_and_annotations_match(written):
    root = written["affectnet-2021"]
    counts = {split: len(list((root / split / "images").iterdir())) for split in ("train_set", "val_set")}
    assert counts == {"train_set": 108, "val_set": 12}
    for split, number in (("train_set", 0), ("train_set", 77), ("val_set", 119)):
        face = sample_face(3, number)
        notes = {k: np.load(root / split / "annotations" / f"{number}_{k}.npy") for k in ("exp", "val", "aro", "lnd")}
        image = cv2.imread(str(root / split / "images" / f"{number}.jpg"))
        assert image.shape == (224, 224, 3)
        assert np.abs(image[..., ::-1].astype(int) - draw_face(face, 224, "rgb")).mean() < 8
        assert notes["exp"].shape == ()
        assert notes["exp"].dtype.kind == "U"
        assert AFFECTNET7.classes[int(notes["exp"])] == face.category
        assert float(notes["val"]) == pytest.approx(face.valence, abs=1e-6)
        assert float(notes["aro"]) == pytest.approx(face.arousal, abs=1e-6)
        assert notes["lnd"].shape == (136,)
        np.testing.assert_allclose(notes["lnd"].reshape(68, 2), landmarks(face, 224))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_nothing_stays_behind_when_writing_is_interrupted(tmp_path, layout):
    def stop(written: int) -> None:
        if written == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_synthetic(layout, tmp_path / "faces", 70, 0, on_progress=stop)
    assert list(tmp_path.iterdir()) == []


def test_target_is_absent_until_everything_is_written(tmp_path):
    seen: list[tuple[int, bool]] = []
    out = tmp_path / "deep" / "faces"
    write_synthetic("fer2013-csv", out, 70, 0, on_progress=lambda n: seen.append((n, out.exists())))
    assert seen == [(n, False) for n in range(1, 71)]
    assert [path.name for path in out.parent.iterdir()] == ["faces"]


def test_empty_folder_is_filled_and_a_full_one_refused(tmp_path):
    out = tmp_path / "faces"
    out.mkdir()
    write_synthetic("fer2013-csv", out, 70, 0)
    before = (out / "fer2013.csv").read_bytes()
    with pytest.raises(UserError, match="already exists and is not an empty folder") as error:
        write_synthetic("fer2013-csv", out, 70, 1)
    assert str(out) in str(error.value)
    assert (out / "fer2013.csv").read_bytes() == before


def test_full_disk_is_one_line_that_names_the_folder(tmp_path, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(layouts.np, "save", full)
    with pytest.raises(UserError, match="disk is full") as error:
        write_synthetic("affectnet-2021", tmp_path / "faces", 70, 0)
    assert str(tmp_path / "faces") in str(error.value)
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_unwritable_place_is_a_user_error(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match="cannot be written"):
        write_synthetic("fer2013-csv", tmp_path / "file" / "faces", 70, 0)


def test_unknown_layout_lists_the_known(tmp_path):
    with pytest.raises(
        UserError, match=r"layout=ferplus: not known\. Known: fer2013-csv, fer2013-folder, affectnet-2021"
    ):
        write_synthetic("ferplus", tmp_path / "faces", 100, 0)


def test_too_few_faces_are_refused(tmp_path):
    with pytest.raises(UserError, match="count=69: at least 70"):
        write_synthetic("fer2013-csv", tmp_path / "faces", 69, 0)


def test_same_seed_writes_the_same_bytes(written, tmp_path):
    write_synthetic("fer2013-csv", tmp_path / "again", COUNT, seed=3)
    assert (tmp_path / "again" / "fer2013.csv").read_bytes() == (written["fer2013-csv"] / "fer2013.csv").read_bytes()
