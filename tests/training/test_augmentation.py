"""Augmentation does to pixels what its settings say, judged by OpenCV and by eye-independent arithmetic."""

from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pytest

from ferlab.config.nodes import Augment
from ferlab.training.augmentation import changer, weakened

NOTHING = Augment("none")
MOVING = Augment("all", flip=True, rotation_deg=20, shift=0.1, zoom=0.1, brightness=0.2, contrast=0.2)
EVERYTHING = replace(MOVING, erase=0.5, randaugment=2, mixup=0.2, cutmix=1.0)
SIZE_PX = 48
CENTRE = (SIZE_PX - 1) / 2


def smooth(count: int, channels: int = 1, size_px: int = SIZE_PX) -> np.ndarray:
    """Images without sharp edges, so that two ways of interpolating agree."""
    noise = np.random.default_rng(0).uniform(0, 255, (count, size_px, size_px, channels)).astype(np.float32)
    blurred = np.stack([cv2.GaussianBlur(image, (0, 0), 4).reshape(image.shape) for image in noise])
    low, high = blurred.min(), blurred.max()
    return np.round(20 + 215 * (blurred - low) / (high - low)).astype(np.uint8)


def with_targets(augment: Augment, images: np.ndarray, targets: np.ndarray, seed: Any = 1) -> Any:
    return changer(augment)(images, targets, np.random.default_rng(seed))


def augmented(augment: Augment, images: np.ndarray, seed: Any = 1) -> np.ndarray:
    return with_targets(augment, images, np.zeros((len(images), 2), np.float32), seed)[0]


def warped(image: np.ndarray, matrix: Any) -> np.ndarray:
    """OpenCV's affine transform, edges repeated."""
    flags, border = cv2.INTER_LINEAR, cv2.BORDER_REPLICATE
    return cv2.warpAffine(
        image.astype(np.float32), np.asarray(matrix, np.float64), (image.shape[1],) * 2, flags=flags, borderMode=border
    )


def rotation(angle_deg: float, scale: float = 1.0) -> Any:
    return cv2.getRotationMatrix2D((CENTRE, CENTRE), angle_deg, scale)


def difference(first: np.ndarray, second: np.ndarray) -> float:
    return float(np.abs(first.astype(float) - second.astype(float)).mean())


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    "augment", [NOTHING, MOVING, EVERYTHING, replace(NOTHING, brightness=0.3)], ids=["none", "moving", "all", "light"]
)
def test_shape_and_type_stay_and_the_arguments_too(augment: Augment, channels: int) -> None:
    images, targets = smooth(5, channels), np.eye(5, dtype=np.float32)
    before = images.copy(), targets.copy()
    changed, mixed = with_targets(augment, images, targets)
    assert (changed.shape, changed.dtype) == (images.shape, np.uint8)
    assert (mixed.shape, mixed.dtype) == (targets.shape, np.float32)
    changed[:] = 0
    np.testing.assert_array_equal(images, before[0])
    np.testing.assert_array_equal(targets, before[1])


def test_no_setting_changes_no_pixel_and_no_target() -> None:
    images = np.random.default_rng(1).integers(0, 256, (6, SIZE_PX, SIZE_PX, 1), dtype=np.uint8)
    targets = np.random.default_rng(2).random((6, 3)).astype(np.float32)
    changed, mixed = with_targets(NOTHING, images, targets)
    np.testing.assert_array_equal(changed, images)
    np.testing.assert_array_equal(mixed, targets)


@pytest.mark.parametrize("augment", [MOVING, EVERYTHING], ids=["moving", "all"])
def test_same_seed_same_images_and_any_other_seed_others(augment: Augment) -> None:
    images, targets = smooth(8), np.eye(8, dtype=np.float32)
    first, mixed = with_targets(augment, images, targets, (7, 3))
    again, mixed_again = with_targets(augment, images, targets, (7, 3))
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(mixed, mixed_again)
    assert difference(first, augmented(augment, images, (8, 3))) > 1
    assert difference(first, augmented(augment, images, (7, 4))) > 1


def test_images_of_a_batch_change_independently() -> None:
    images = np.repeat(smooth(1), 12, axis=0)
    assert len({image.tobytes() for image in augmented(MOVING, images)}) == 12


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
    changed = augmented(replace(MOVING, flip=False, brightness=0, contrast=0), images)
    assert (changed[:, :, :8].mean(axis=(1, 2, 3)) < changed[:, :, -8:].mean(axis=(1, 2, 3))).all()


def best(image: np.ndarray, changed: np.ndarray, candidates: np.ndarray, matrix: Any) -> tuple[float, float]:
    """The candidate whose OpenCV warp comes nearest, and how near."""
    distances = [difference(warped(image, matrix(value)), changed) for value in candidates]
    position = int(np.argmin(distances))
    return float(candidates[position]), distances[position]


@pytest.mark.parametrize("flip", [False, True])
def test_rotation_agrees_with_opencv_and_stays_in_bounds(flip: bool) -> None:
    images = smooth(24)
    changed = augmented(replace(NOTHING, rotation_deg=15, flip=flip), images)
    grid = np.arange(-20, 20.1, 0.25)
    angles = []
    for image, other in zip(images[..., 0], changed[..., 0], strict=True):
        sides = [image, image[:, ::-1]] if flip else [image]
        angle, distance = min((best(side, other, grid, rotation) for side in sides), key=lambda pair: pair[1])
        assert distance < 1
        angles.append(angle)
    assert np.abs(angles).max() <= 15.25
    assert min(angles) < -5
    assert max(angles) > 5


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
        best(image[..., 0], other[..., 0], grid, lambda scale: rotation(0, scale))
        for image, other in zip(images, changed, strict=True)
    ]
    factors = np.array([factor for factor, _ in found])
    assert max(distance for _, distance in found) < 1
    assert factors.min() >= 1 / 1.2 - 0.01
    assert factors.max() <= 1 / 0.8 + 0.01
    assert factors.min() < 0.95
    assert factors.max() > 1.05


def test_brightness_moves_every_pixel_within_its_bound() -> None:
    images = np.full((60, 8, 8, 1), 128, np.uint8)
    changed = augmented(replace(NOTHING, brightness=0.2), images)
    assert (changed == changed[:, :1, :1]).all()
    levels = changed[:, 0, 0, 0].astype(int) - 128
    assert np.abs(levels).max() <= 51
    assert levels.min() < -25
    assert levels.max() > 25


def test_brightness_clips_at_black_and_white() -> None:
    images = np.repeat(np.array([0, 255], np.uint8), 20)[:, None, None, None] * np.ones((1, 8, 8, 1), np.uint8)
    changed = augmented(replace(NOTHING, brightness=0.5), images)
    assert changed[:20].max() <= 128
    assert changed[20:].min() >= 127


def test_contrast_spreads_about_medium_gray() -> None:
    images = np.full((60, 8, 8, 1), 108, np.uint8)
    images[:, ::2] = 148
    changed = augmented(replace(NOTHING, contrast=0.5), images).astype(float)
    np.testing.assert_allclose(changed.mean(axis=(1, 2, 3)), 128, atol=0.6)
    spans = changed.max(axis=(1, 2, 3)) - changed.min(axis=(1, 2, 3))
    assert spans.min() >= 19
    assert spans.max() <= 61
    assert spans.min() < 30 < 50 < spans.max()


def boxes_of(changed: np.ndarray) -> list[tuple[int, int]]:
    """Height and width of the smallest box around what is not black, (0, 0) for a black image."""
    found = []
    for image in changed.max(axis=3):
        rows, columns = np.flatnonzero(image.any(axis=1)), np.flatnonzero(image.any(axis=0))
        found.append((rows[-1] - rows[0] + 1, columns[-1] - columns[0] + 1) if len(rows) else (0, 0))
    return found


@pytest.mark.parametrize("channels", [1, 3])
def test_erasing_hits_its_share_of_the_images_with_a_box_of_noise(channels: int) -> None:
    images = np.zeros((600, SIZE_PX, SIZE_PX, channels), np.uint8)
    changed = augmented(replace(NOTHING, erase=0.3, erase_area=0.2), images)
    hit = [image for image, box in zip(changed, boxes_of(changed), strict=True) if box[0]]
    assert len(hit) == pytest.approx(180, abs=4 * np.sqrt(600 * 0.3 * 0.7))
    for image in hit:
        ((height, width),) = boxes_of(image[None])
        # noise is black in one pixel of 256, so the box is full
        assert (image.max(axis=2) > 0).sum() >= 0.9 * height * width
        assert image[image > 0].std() > 50


def test_erased_areas_and_shapes_stay_in_their_bounds_and_use_them() -> None:
    images = np.zeros((800, 96, 96, 1), np.uint8)
    boxes = np.array(boxes_of(augmented(replace(NOTHING, erase=1.0, erase_area=0.25), images)), float)
    areas, aspects = boxes.prod(axis=1) / 96**2, boxes[:, 0] / boxes[:, 1]
    assert areas.min() >= 0.02 * 0.85  # sides are whole pixels, and a black one may stand at an edge
    assert areas.max() <= 0.25 * 1.05
    assert areas.mean() == pytest.approx((0.02 + 0.25) / 2, abs=0.01)
    assert 0.25 < aspects.min() < 0.4
    assert 2.5 < aspects.max() < 4


def test_every_place_can_be_erased() -> None:
    images = np.zeros((4000, 24, 24, 1), np.uint8)
    changed = augmented(replace(NOTHING, erase=1.0, erase_area=0.3), images)
    assert (changed.max(axis=0) > 0).all()


TONES = {
    "brightness +": lambda v: v + 127.5,
    "brightness -": lambda v: v - 127.5,
    "contrast +": lambda v: 128 + (v - 128) * 1.7,
    "contrast -": lambda v: 128 + (v - 128) * 0.3,
    "solarize": lambda v: np.where(v >= 96, 255 - v, v),
    "posterize": lambda v: v // 32 * 32,
}


def leaning(shear_x: float, shear_y: float) -> Any:
    return [[1, shear_x, -shear_x * CENTRE], [shear_y, 1, -shear_y * CENTRE]]


MOVES = {
    "rotate +": rotation(30),
    "rotate -": rotation(-30),
    "shear_x +": leaning(0.3, 0),
    "shear_x -": leaning(-0.3, 0),
    "shear_y +": leaning(0, 0.3),
    "shear_y -": leaning(0, -0.3),
    "shift_x +": [[1, 0, 12], [0, 1, 0]],
    "shift_x -": [[1, 0, -12], [0, 1, 0]],
    "shift_y +": [[1, 0, 0], [0, 1, 12]],
    "shift_y -": [[1, 0, 0], [0, 1, -12]],
}
ONE_OPERATION = Augment("rand", randaugment=1, magnitude=1.0)


def test_randaugment_at_full_magnitude_makes_one_of_its_operations_each_equally_often() -> None:
    """Rotation, shears and shifts against OpenCV's warp, tones against their formula; four standard errors."""
    image, count = smooth(1)[0], 900
    expected = {name: warped(image[..., 0], matrix) for name, matrix in MOVES.items()}
    expected |= {name: np.clip(np.rint(tone(image[..., 0].astype(float))), 0, 255) for name, tone in TONES.items()}
    found: dict[str, int] = dict.fromkeys(expected, 0)
    for changed in augmented(ONE_OPERATION, np.repeat(image[None], count, axis=0)):
        distances = {name: difference(changed[..., 0], wanted) for name, wanted in expected.items()}
        nearest = min(distances, key=lambda name: distances[name])
        assert distances[nearest] < (0.5 if nearest in MOVES else 1e-9), distances
        found[nearest] += 1
    for name, times in found.items():
        share = 1 / 9 if name in ("solarize", "posterize") else 1 / 18
        assert times == pytest.approx(count * share, abs=4 * np.sqrt(count * share)), name


@pytest.mark.parametrize(
    ("magnitude", "by_hand"),
    [
        (1.0, {0: 128, 100: 228, 127: 254, 200: 255}),
        (1.0, {0: 0, 100: 0, 128: 0, 200: 72, 255: 128}),
        (1.0, {0: 0, 100: 80, 128: 128, 200: 250, 255: 255}),
        (1.0, {0: 90, 100: 120, 128: 128, 255: 166}),
        (1.0, {0: 0, 95: 95, 96: 159, 255: 0}),
        (1.0, {31: 0, 100: 96, 255: 224}),
        (0.5, {0: 64, 100: 164, 200: 255}),
        (0.5, {0: 0, 100: 90, 128: 128, 200: 225}),
        (0.5, {100: 100, 175: 175, 176: 79, 255: 0}),
        (0.5, {3: 0, 100: 100, 103: 100, 255: 252}),
    ],
    ids=["brighter", "darker", "more contrast", "less contrast", "solarize", "posterize",
         "half brighter", "half more contrast", "half solarize", "half posterize"],
)  # fmt: skip
def test_tones_of_randaugment_by_hand(magnitude: float, by_hand: dict[int, int]) -> None:
    """Every gray value once in an image; one image of 200 must have gone exactly this way."""
    ramps = np.repeat(np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1), 200, axis=0)
    changed = augmented(replace(ONE_OPERATION, magnitude=magnitude), ramps).reshape(200, 256)
    assert any(all(row[value] == wanted for value, wanted in by_hand.items()) for row in changed)


def test_more_operations_of_randaugment_add_up() -> None:
    """A face moved and shaded at once comes from two operations only."""
    image = smooth(1)
    ones, twos = (
        augmented(replace(ONE_OPERATION, randaugment=number), np.repeat(image, 120, axis=0)) for number in (1, 2)
    )
    assert len({changed.tobytes() for changed in ones}) == 16
    assert len({changed.tobytes() for changed in twos}) > 60


def test_randaugment_of_no_magnitude_changes_nothing() -> None:
    images = smooth(20)
    np.testing.assert_array_equal(augmented(replace(ONE_OPERATION, magnitude=0.0, randaugment=3), images), images)


def test_strength_scales_every_range_and_probability() -> None:
    half = weakened(EVERYTHING, 0.5)
    assert half == replace(
        EVERYTHING, rotation_deg=10, shift=0.05, zoom=0.05, brightness=0.1, contrast=0.1, erase=0.25, magnitude=0.25,
        mixup=0.1, cutmix=0.5,
    )  # fmt: skip
    assert weakened(EVERYTHING, 1.0) == EVERYTHING


def test_no_strength_changes_nothing() -> None:
    images, targets = smooth(20), np.eye(20, dtype=np.float32)
    changed, mixed = with_targets(weakened(EVERYTHING, 0.0), images, targets)
    np.testing.assert_array_equal(changed, images)
    np.testing.assert_array_equal(mixed, targets)


def test_channels_of_an_image_share_their_tones() -> None:
    """Each channel changes as a gray image of the same draws does."""
    tones, images = replace(NOTHING, brightness=0.3, contrast=0.5), smooth(6, 3)
    changed = augmented(tones, images)
    for channel in range(3):
        np.testing.assert_array_equal(changed[..., channel : channel + 1], augmented(tones, images[..., [channel]]))
