"""The embedded data set: deterministic, varied, learnable but not trivial."""

import hashlib
import subprocess
import sys
from collections import Counter

import cv2
import numpy as np
import pytest
from sklearn.linear_model import RidgeClassifier
from sklearn.metrics import balanced_accuracy_score
from sklearn.preprocessing import StandardScaler

from ferlab.datasets.synthetic.anatomy import (
    CIRCUMPLEX,
    PROTOTYPES,
    ActionUnits,
    Face,
    Identity,
    Pose,
    blend,
)
from ferlab.datasets.synthetic.drawing import draw_face
from ferlab.datasets.synthetic.population import CLASS_SHARES, sample_face
from ferlab.datasets.synthetic.projection import landmarks
from ferlab.emotions import AFFECTNET8, FER2013

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


def test_prototypes_and_circumplex_have_eight_categories_of_which_a_population_has_seven():
    assert set(PROTOTYPES) == set(CIRCUMPLEX) == set(AFFECTNET8.classes)
    assert set(CLASS_SHARES) == set(FER2013.classes)
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


def test_contempt_is_asked_for_and_lifts_one_corner_of_the_mouth():
    asked = [sample_face(6, index, "contempt") for index in range(40)]
    faces = [Face("contempt", face.units, Identity(asymmetry=face.identity.asymmetry)) for face in asked]
    lips = np.stack([landmarks(face, 100) for face in faces])
    one_sided = np.abs(lips[:, 48, 1] - lips[:, 54, 1])
    happy = np.stack([landmarks(Face("happy", sample_face(6, i, "happy").units), 100) for i in range(40)])
    assert {face.category for face in asked} == {"contempt"}
    assert np.mean([face.valence for face in asked]) < -0.2
    assert one_sided.mean() > 1.0 > 0.1 > np.abs(happy[:, 48, 1] - happy[:, 54, 1]).mean()
    assert 10 < sum(lips[:, 48, 1] < lips[:, 54, 1]) < 30, "either side"


def test_asking_for_the_category_a_face_has_anyway_changes_nothing():
    assert all(sample_face(1, index) == sample_face(1, index, sample_face(1, index).category) for index in range(30))


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


def test_a_linear_model_beats_chance_but_does_not_solve_it():
    pixels, names = faces_of(1500)
    scale = StandardScaler().fit(pixels[:1200])
    model = RidgeClassifier(alpha=300.0).fit(scale.transform(pixels[:1200]), names[:1200])
    predicted = model.predict(scale.transform(pixels[1200:]))
    score = balanced_accuracy_score(names[1200:], predicted)
    assert 1.4 / 7 < score < 0.5
    assert np.mean(predicted == names[1200:]) < 0.6
