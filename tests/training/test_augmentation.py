"""Augmentation does to pixels what its settings say, judged by OpenCV and by eye-independent arithmetic."""

from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pytest

from ferlab.training.augmentation import AugmentSpec, augmenter

NOTHING = AugmentSpec(flip=False, rotation_deg=0, shift=0, zoom=0, brightness=0, contrast=0)
EVERYTHING = AugmentSpec(flip=True, rotation_deg=20, shift=0.1, zoom=0.1, brightness=0.2, contrast=0.2)
SIZE_PX = 48
CENTRE = (SIZE_PX - 1) / 2


@pytest.fixture(scope="module", autouse=True)
def _tensorflow(tf: Any) -> None:
    """Imported once, before the first test is timed."""


def smooth(count: int, channels: int = 1, size_px: int = SIZE_PX) -> np.ndarray:
    """Images without sharp edges, so that two ways of interpolating agree."""
    noise = np.random.default_rng(0).uniform(0, 255, (count, size_px, size_px, channels)).astype(np.float32)
    blurred = np.stack([cv2.GaussianBlur(image, (0, 0), 4).reshape(image.shape) for image in noise])
    low, high = blurred.min(), blurred.max()
    return np.round(20 + 215 * (blurred - low) / (high - low)).astype(np.uint8)


def augmented(spec: AugmentSpec, images: np.ndarray, seed: tuple[int, int] = (1, 2)) -> np.ndarray:
    import tensorflow as tf

    return augmenter(spec, images.shape[1])(tf.constant(images), tf.constant(seed, tf.int64)).numpy()


def warped(image: np.ndarray, matrix: Any) -> np.ndarray:
    """OpenCV's affine transform, edges repeated."""
    flags, border = cv2.INTER_LINEAR, cv2.BORDER_REPLICATE
    return cv2.warpAffine(
        image.astype(np.float32), np.asarray(matrix, np.float64), (image.shape[1],) * 2, flags=flags, borderMode=border
    )


def difference(first: np.ndarray, second: np.ndarray) -> float:
    return float(np.abs(first.astype(float) - second.astype(float)).mean())


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("spec", [NOTHING, EVERYTHING, replace(NOTHING, brightness=0.3)], ids=["none", "all", "light"])
def test_shape_and_type_stay(spec: AugmentSpec, channels: int) -> None:
    images = smooth(5, channels)
    changed = augmented(spec, images)
    assert changed.shape == images.shape
    assert changed.dtype == np.uint8


def test_no_setting_changes_no_pixel() -> None:
    images = np.random.default_rng(1).integers(0, 256, (6, SIZE_PX, SIZE_PX, 1), dtype=np.uint8)
    np.testing.assert_array_equal(augmented(NOTHING, images), images)


def test_same_seed_same_images_and_any_other_seed_others() -> None:
    images = smooth(8)
    first = augmented(EVERYTHING, images, (7, 3))
    np.testing.assert_array_equal(first, augmented(EVERYTHING, images, (7, 3)))
    assert difference(first, augmented(EVERYTHING, images, (8, 3))) > 1
    assert difference(first, augmented(EVERYTHING, images, (7, 4))) > 1


def test_images_of_a_batch_change_independently() -> None:
    images = np.repeat(smooth(1), 12, axis=0)
    assert len({image.tobytes() for image in augmented(EVERYTHING, images)}) == 12


@pytest.mark.parametrize("channels", [1, 3])
def test_flip_mirrors_about_half_of_the_images_and_leaves_the_others(channels: int) -> None:
    images = np.random.default_rng(2).integers(0, 256, (200, 20, 20, channels), dtype=np.uint8)
    changed = augmented(replace(NOTHING, flip=True), images)
    same = (changed == images).all(axis=(1, 2, 3))
    mirrored = (changed == images[:, :, ::-1]).all(axis=(1, 2, 3))
    assert (same ^ mirrored).all()
    assert 70 <= mirrored.sum() <= 130


def test_without_flip_nothing_is_mirrored() -> None:
    """A half-dark face stays dark on its side whatever else moves."""
    images = np.full((100, SIZE_PX, SIZE_PX, 1), 200, np.uint8)
    images[:, :, : SIZE_PX // 2] = 20
    changed = augmented(replace(EVERYTHING, flip=False, brightness=0, contrast=0), images)
    assert (changed[:, :, :8].mean(axis=(1, 2, 3)) < changed[:, :, -8:].mean(axis=(1, 2, 3))).all()


def best(image: np.ndarray, changed: np.ndarray, candidates: np.ndarray, matrix: Any) -> tuple[float, float]:
    """The candidate whose OpenCV warp comes nearest, and how near."""
    distances = [difference(warped(image, matrix(value)), changed) for value in candidates]
    position = int(np.argmin(distances))
    return float(candidates[position]), distances[position]


def test_rotation_agrees_with_opencv_and_stays_in_bounds() -> None:
    images = smooth(24)
    changed = augmented(replace(NOTHING, rotation_deg=15), images)
    grid = np.arange(-20, 20.1, 0.25)
    found = [
        best(image[..., 0], other[..., 0], grid, lambda deg: cv2.getRotationMatrix2D((CENTRE, CENTRE), deg, 1))
        for image, other in zip(images, changed, strict=True)
    ]
    angles = np.array([angle for angle, _ in found])
    assert max(distance for _, distance in found) < 1
    assert np.abs(angles).max() <= 15.25
    assert angles.min() < -5
    assert angles.max() > 5


@pytest.mark.parametrize("axis", [0, 1], ids=["sideways", "up and down"])
def test_shift_agrees_with_opencv_and_stays_in_bounds(axis: int) -> None:
    images = smooth(16)
    changed = augmented(replace(NOTHING, shift=0.1), images)
    bound = 0.1 * SIZE_PX
    grid = np.arange(-6, 6.1, 0.5)
    shifts = []
    for image, other in zip(images[..., 0], changed[..., 0], strict=True):
        nearest = min(
            ((dx, dy) for dx in grid for dy in grid),
            key=lambda move: difference(warped(image, [[1, 0, move[0]], [0, 1, move[1]]]), other),
        )
        assert difference(warped(image, [[1, 0, nearest[0]], [0, 1, nearest[1]]]), other) < 2.5
        shifts.append(nearest[axis])
    assert np.abs(shifts).max() <= bound + 0.5
    assert min(shifts) < -1
    assert max(shifts) > 1


def test_zoom_agrees_with_opencv_and_stays_in_bounds() -> None:
    images = smooth(16)
    changed = augmented(replace(NOTHING, zoom=0.2), images)
    grid = np.arange(0.78, 1.30, 0.01)
    found = [
        best(image[..., 0], other[..., 0], grid, lambda s: cv2.getRotationMatrix2D((CENTRE, CENTRE), 0, s))
        for image, other in zip(images, changed, strict=True)
    ]
    factors = np.array([factor for factor, _ in found])
    assert max(distance for _, distance in found) < 1
    assert factors.min() >= 1 / 1.2 - 0.01
    assert factors.max() <= 1 / 0.8 + 0.01
    assert factors.min() < 0.95
    assert factors.max() > 1.05


def test_brightness_moves_the_mean_within_its_bound() -> None:
    images = np.full((60, 8, 8, 1), 128, np.uint8)
    levels = augmented(replace(NOTHING, brightness=0.2), images)[:, 0, 0, 0].astype(int) - 128
    assert np.abs(levels).max() <= 51
    assert levels.min() < -25
    assert levels.max() > 25


def test_brightness_clips_at_black_and_white() -> None:
    images = np.repeat(np.array([0, 255], np.uint8), 20)[:, None, None, None] * np.ones((1, 8, 8, 1), np.uint8)
    changed = augmented(replace(NOTHING, brightness=0.5), images)
    assert changed[:20].max() <= 128
    assert changed[20:].min() >= 127


def test_contrast_spreads_about_the_mean() -> None:
    images = np.full((60, 8, 8, 1), 100, np.uint8)
    images[:, ::2] = 140
    changed = augmented(replace(NOTHING, contrast=0.5), images).astype(float)
    np.testing.assert_allclose(changed.mean(axis=(1, 2, 3)), 120, atol=0.6)
    spans = changed.max(axis=(1, 2, 3)) - changed.min(axis=(1, 2, 3))
    assert spans.min() >= 19
    assert spans.max() <= 61
    assert spans.min() < 30 < 50 < spans.max()


def test_runs_inside_tf_data_with_the_last_batch_of_any_size(tf: Any) -> None:
    images = smooth(7)
    augment = augmenter(EVERYTHING, SIZE_PX)
    batches = tf.data.Dataset.from_tensor_slices(images).batch(4)
    changed = [b.numpy() for b in batches.map(lambda batch: augment(batch, tf.constant([1, 2], tf.int64)))]
    assert [batch.shape for batch in changed] == [(4, 48, 48, 1), (3, 48, 48, 1)]
    np.testing.assert_array_equal(changed[0], augmented(EVERYTHING, images[:4]))
