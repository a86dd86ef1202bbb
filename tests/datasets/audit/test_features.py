"""What a picture looks like in numbers: frequencies as SciPy computes them, bits that survive what a repack does."""

import cv2
import numpy as np
import pytest
from scipy.fft import dctn

from ferlab.datasets.audit.features import BITS, FREQUENCIES, HIGHEST, describe, distances, hashes, thumbnail


@pytest.fixture(scope="module")
def thumbnails(drawn_faces) -> np.ndarray:
    """Thumbnails uint8 (500, 32, 32) of drawn faces."""
    return np.stack([thumbnail(face) for face in drawn_faces[0][:500]])


def test_features_are_the_low_frequencies_of_the_centre(thumbnails):
    found = describe(thumbnails[:20])
    assert found.shape == (20, BITS)
    for row, picture in zip(found, thumbnails, strict=False):
        waves = dctn(picture[3:29, 3:29].astype(float), norm="ortho")
        low = [waves[u, v] for u in range(FREQUENCIES) for v in range(FREQUENCIES) if 0 < u + v <= HIGHEST]
        np.testing.assert_allclose(row, low, rtol=1e-4, atol=1e-2)


@pytest.mark.parametrize(("down", "right"), [(0, 0), (3, -3), (-2, 1)])
def test_a_moved_centre_is_the_centre_of_the_moved_picture(thumbnails, down, right):
    moved = np.roll(thumbnails[:20], (-down, -right), axis=(1, 2))
    np.testing.assert_allclose(describe(thumbnails[:20], down, right), describe(moved), rtol=1e-4, atol=1e-2)


def test_mirrored_features_are_those_of_the_mirrored_picture(thumbnails):
    np.testing.assert_allclose(
        describe(thumbnails[:20], mirrored=True), describe(thumbnails[:20, :, ::-1]), rtol=1e-4, atol=1e-2
    )


def test_distances_are_counted_bits():
    rng = np.random.default_rng(0)
    first, second = rng.integers(0, 256, (2, 7, 14), dtype=np.uint8)
    slow = [
        [sum(bin(a ^ b).count("1") for a, b in zip(one, other, strict=True)) for other in second.tolist()]
        for one in first.tolist()
    ]
    assert distances(first[:, None], second[None]).tolist() == slow


def bits_changed(pictures: list[np.ndarray], thumbnails: np.ndarray) -> np.ndarray:
    features = describe(thumbnails)
    medians = np.median(features, axis=0)
    changed = describe(np.stack([thumbnail(picture) for picture in pictures]))
    return distances(hashes(changed, medians), hashes(features[: len(pictures)], medians))


@pytest.mark.parametrize(
    "change",
    [
        lambda face: cv2.imdecode(cv2.imencode(".jpg", face, [cv2.IMWRITE_JPEG_QUALITY, 50])[1], cv2.IMREAD_GRAYSCALE),
        lambda face: cv2.GaussianBlur(face, (0, 0), 0.8),
        lambda face: cv2.resize(face, (28, 28), interpolation=cv2.INTER_AREA),
        lambda face: cv2.convertScaleAbs(face, alpha=0.8, beta=15),
    ],
    ids=["JPEG 50", "blurred", "28 px", "contrast"],
)
def test_what_a_repack_does_changes_few_bits_and_another_face_changes_many(drawn_faces, thumbnails, change):
    faces = list(drawn_faces[0][:300])
    own = bits_changed([change(face) for face in faces], thumbnails)
    others = bits_changed(faces[1:] + faces[:1], thumbnails)
    assert np.quantile(own, 0.95) <= 12
    assert np.quantile(others, 0.05) >= 18


@pytest.mark.parametrize("size", [(48, 48), (200, 160), (16, 16), (1, 1)])
def test_a_thumbnail_has_one_size_whatever_the_picture_has(size):
    picture = np.full(size, 77, np.uint8)
    np.testing.assert_array_equal(thumbnail(picture), np.full((32, 32), 77, np.uint8))
