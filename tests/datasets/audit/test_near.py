"""Near duplicates across parts: planted ones are found, faces that only resemble are not, time grows with the rows."""

from collections.abc import Callable

import cv2
import numpy as np
import pytest

from ferlab.datasets.audit import near
from ferlab.datasets.audit.features import thumbnail
from ferlab.datasets.audit.near import CONFIRMED, NearPairs, correlation
from ferlab.datasets.fingerprint.copy import Copy

Change = Callable[[np.ndarray, np.random.Generator], np.ndarray]
EACH = 60


def shifted(face: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    right, down = rng.integers(-3, 4, 2).tolist()
    matrix = np.array([[1, 0, right], [0, 1, down]], np.float32)
    return cv2.warpAffine(face, matrix, (48, 48), borderMode=cv2.BORDER_REPLICATE)


def contrast_changed(face: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return np.clip((face - 128.0) * rng.uniform(0.6, 1.3) + 128 + rng.uniform(-20, 20), 0, 255).astype(np.uint8)


def jpeg_50(face: np.ndarray, _rng: np.random.Generator) -> np.ndarray:
    return cv2.imdecode(cv2.imencode(".jpg", face, [cv2.IMWRITE_JPEG_QUALITY, 50])[1], cv2.IMREAD_GRAYSCALE)


def through_40_px(face: np.ndarray, _rng: np.random.Generator) -> np.ndarray:
    return cv2.resize(cv2.resize(face, (40, 40), interpolation=cv2.INTER_AREA), (48, 48))


CHANGES: dict[str, Change] = {
    "shifted": shifted,
    "mirrored": lambda face, _rng: face[:, ::-1].copy(),
    "JPEG 50": jpeg_50,
    "contrast": contrast_changed,
    "through 40 px": through_40_px,
}


@pytest.fixture(scope="module")
def planted(drawn_faces, copy_of) -> tuple[Copy, dict[str, list[tuple[int, int]]]]:
    """4,000 drawn faces as Training, 60 changed ones of each kind as PublicTest; by kind the rows of each pair."""
    faces, labels = drawn_faces
    rng = np.random.default_rng(0)
    chosen = rng.choice(len(faces), EACH * len(CHANGES), replace=False)
    changed, pairs = [], {}
    for number, (kind, change) in enumerate(CHANGES.items()):
        own = chosen[number * EACH : (number + 1) * EACH].tolist()
        pairs[kind] = [(len(faces) + len(changed) + i, original) for i, original in enumerate(own)]
        changed += [change(faces[original], rng) for original in own]
    parts = ["Training"] * len(faces) + ["PublicTest"] * len(changed)
    return copy_of([*faces, *changed], parts, [*labels, *labels[chosen]]), pairs


def pairs_of(found: NearPairs) -> dict[int, int]:
    return dict(zip(found.first.tolist(), found.second.tolist(), strict=True))


@pytest.mark.parametrize("kind", CHANGES)
def test_planted_pairs_are_found_among_thousands_of_drawn_faces(planted, kind):
    copy, pairs = planted
    found, groups = pairs_of(copy.near), copy.duplicates.group
    # a face shifted by nothing is an exact duplicate
    hits = [found.get(changed) == original or groups[changed] == groups[original] for changed, original in pairs[kind]]
    assert np.mean(hits) >= 0.95


def test_hardly_any_drawn_face_is_taken_for_another(drawn_faces, copy_of):
    faces, labels = drawn_faces
    parts = np.where(np.arange(len(faces)) % 5 == 0, "PublicTest", "Training")
    copy = copy_of(faces, parts, labels)
    assert len(copy.near.first) <= 0.01 * (parts == "PublicTest").sum()


def test_mirrored_pairs_are_told_from_the_others(planted):
    copy, pairs = planted
    mirrored = dict(zip(copy.near.first.tolist(), copy.near.mirrored.tolist(), strict=True))
    assert {mirrored[changed] for changed, _ in pairs["mirrored"] if changed in mirrored} == {True}
    assert {mirrored[changed] for changed, _ in pairs["JPEG 50"] if changed in mirrored} == {False}


def test_a_pair_has_its_correlation_and_lies_across_parts(planted):
    copy, _ = planted
    found = copy.near
    assert len(found.first) == len(set(found.first.tolist()))
    assert set(copy.parts[found.first]) == {"PublicTest"}
    assert set(copy.parts[found.second]) == {"Training"}
    assert found.shared(copy.parts) == {("PublicTest", "Training"): len(found.first)}
    assert (found.correlation >= CONFIRMED).all()
    for first, second, value in list(zip(found.first, found.second, found.correlation, strict=True))[::20]:
        assert correlation(copy.scan.thumbnails[first], copy.scan.thumbnails[second])[0] == pytest.approx(value)


def test_the_smallest_part_asks_the_others(drawn_faces, copy_of):
    faces = drawn_faces[0]
    darker = [cv2.convertScaleAbs(face, alpha=0.8) for face in faces[:40]]
    images = [*faces[:300], *darker, faces[0][:, ::-1].copy()]
    parts = ["Training"] * 300 + ["PrivateTest"] * 40 + ["PublicTest"]
    copy = copy_of(images, parts, [0] * 341)
    assert copy.near.shared(copy.parts) == {
        ("PublicTest", "PrivateTest"): 1,
        ("PublicTest", "Training"): 1,
        ("PrivateTest", "Training"): 40,
    }


def test_equal_pixels_flat_pictures_and_pairs_inside_a_part_are_left_out(drawn_faces, copy_of):
    face = drawn_faces[0][0]
    flat = [np.full((48, 48), gray, np.uint8) for gray in (10, 11)]
    nearly_flat = [np.random.default_rng(i).integers(100, 104, (48, 48)).astype(np.uint8) for i in range(2)]
    inside = [drawn_faces[0][1], jpeg_50(drawn_faces[0][1], np.random.default_rng(0))]
    images = [face, flat[0], nearly_flat[0], *inside, face, flat[1], nearly_flat[1]]
    copy = copy_of(images, ["Training"] * 5 + ["PublicTest"] * 3, [0] * 8)
    assert len(copy.near.first) == 0
    assert copy.near.shared(copy.parts) == {}


def test_one_part_or_no_picture_gives_no_pairs(drawn_faces, copy_of):
    assert len(copy_of(drawn_faces[0][:50], ["Training"] * 50, [0] * 50).near.first) == 0
    assert len(copy_of([], [], []).near.first) == 0


# --- correlation of two pictures


def test_a_picture_correlates_with_itself_whatever_its_contrast(drawn_faces):
    for face in drawn_faces[0][:20]:
        small = thumbnail(face)
        assert correlation(small, small)[0] == pytest.approx(1, abs=1e-4)
        assert correlation(small, cv2.convertScaleAbs(small, alpha=0.5, beta=40))[0] == pytest.approx(1, abs=1e-3)
        value, mirrored = correlation(small[:, ::-1], small)
        assert (value, mirrored) == (pytest.approx(1, abs=1e-4), True)


def test_correlation_is_at_least_pearsons_of_the_centre_at_whole_shifts(drawn_faces):
    one, other = thumbnail(drawn_faces[0][0]), thumbnail(drawn_faces[0][1])
    padded = np.pad(other, 1, mode="edge")
    template = one[4:-4, 4:-4].ravel().astype(float)
    values = [np.corrcoef(template, padded[y : y + 24, x : x + 24].ravel())[0, 1] for y in range(11) for x in range(11)]
    value, mirrored = correlation(one, other)
    assert value >= max(values) - 1e-4
    assert mirrored or value < max(values) + 0.1


# --- growth


def comparisons(copy: Copy, monkeypatch: pytest.MonkeyPatch) -> int:
    """Hashes that were compared to find the near duplicates of a copy."""
    counted = []
    real = near.distances

    def counting(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        counted.append(len(first))
        return real(first, second)

    with monkeypatch.context() as patch:
        patch.setattr(near, "distances", counting)
        assert copy.near is not None
    return sum(counted)


def smooth_noise(count: int) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [cv2.resize(small, (32, 32)) for small in rng.integers(0, 256, (count, 9, 9), dtype=np.uint8)]


def alike(count: int) -> list[np.ndarray]:
    """A picture and its negative under weak noise: the worst case, every picture resembles half of the others."""
    rng = np.random.default_rng(0)
    base = cv2.resize(rng.integers(40, 216, (9, 9), dtype=np.uint8), (32, 32))
    noise = rng.integers(0, 8, (count, 32, 32), dtype=np.uint8)
    return [(base if i % 2 else 255 - base) + weak for i, weak in enumerate(noise)]


@pytest.mark.parametrize(("make", "count"), [(smooth_noise, 2500), (alike, 600)])
def test_four_times_the_pictures_are_less_than_six_times_the_work(copy_of, monkeypatch, make, count):
    pictures = make(4 * count)
    work = []
    for images in (pictures[:count], pictures):
        parts = ["PublicTest" if i % 10 == 0 else "Training" for i in range(len(images))]
        work.append(comparisons(copy_of(images, parts, [0] * len(images)), monkeypatch))
    assert work[0] > count
    assert work[1] < 6 * work[0]
