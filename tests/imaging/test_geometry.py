"""A crop shows exactly the square it was asked for; an aligned face stands upright whatever its turn and size."""

import cv2
import numpy as np
import pytest

from ferlab.datasets.synthetic.anatomy import PROTOTYPES, Capture, Face, Pose
from ferlab.datasets.synthetic.drawing import draw_face
from ferlab.datasets.synthetic.projection import landmarks
from ferlab.imaging.codec import ImageError
from ferlab.imaging.geometry import UPRIGHT_FACE, align, crop, upright

RAMP = np.add.outer(10 * np.arange(20), np.arange(20)).astype(np.uint8)
"""A gray photo (20, 20) whose pixel in row r and column c is 10 r + c."""

STILL = Capture(noise=0.0, blur=0.0)


def five(points: np.ndarray) -> np.ndarray:
    """Eye centres, nose tip, mouth corners of 68 points, written out again from the 300-W numbering."""
    return np.array([points[36:42].mean(0), points[42:48].mean(0), points[30], points[48], points[54]])


def moved(points: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    return points @ matrix[:, :2].T + matrix[:, 2]


def similarity(degrees: float, scale: float, shift: tuple[float, float]) -> np.ndarray:
    turn = np.deg2rad(degrees)
    rotation = scale * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    return np.column_stack([rotation, shift])


def perfect_face() -> np.ndarray:
    """68 points whose five are the canonical ones, in a picture of 100 px."""
    points = np.zeros((68, 2))
    places = UPRIGHT_FACE * 100 - 0.5
    points[36:42], points[42:48], points[30], points[48], points[54] = places
    return points


# --- crop


@pytest.mark.parametrize(
    ("margin", "rows", "columns"),
    [
        (0.0, (8, 12), (6, 10)),
        (0.25, (7, 13), (5, 11)),
        (0.5, (6, 14), (4, 12)),
        (1.0, (4, 16), (2, 14)),
    ],
)
def test_a_margin_adds_its_share_of_the_longer_side_on_every_side(margin, rows, columns):
    cut = crop(RAMP, (6, 8, 4, 4), margin)
    np.testing.assert_array_equal(cut, RAMP[slice(*rows), slice(*columns)])


@pytest.mark.parametrize(
    ("box", "rows", "columns"), [((6, 8, 2, 6), (8, 14), (4, 10)), ((6, 8, 6, 2), (6, 12), (6, 12))]
)
def test_a_long_box_becomes_the_square_around_its_centre(box, rows, columns):
    np.testing.assert_array_equal(crop(RAMP, box, 0.0), RAMP[slice(*rows), slice(*columns)])


def test_sides_are_rounded_and_shift_with_the_box():
    assert crop(RAMP, (5, 5, 4.4, 3), 0.0).shape == (4, 4)
    assert crop(RAMP, (5, 5, 4.5, 3), 0.0).shape == (5, 5)
    lefts = [int(crop(RAMP, (x, 5, 5, 4), 0.1)[0, 0]) % 10 for x in range(3, 9)]
    assert np.diff(lefts).tolist() == [1] * 5


@pytest.mark.parametrize(
    ("box", "rows", "columns"),
    [
        ((-3, -2, 6, 6), range(-2, 4), range(-3, 3)),
        ((17, 18, 6, 6), range(18, 24), range(17, 23)),
        ((-5, -5, 30, 30), range(-5, 25), range(-5, 25)),
        ((5, 18, 10, 10), range(18, 28), range(5, 15)),
    ],
)
def test_outside_the_photo_the_border_is_repeated(box, rows, columns):
    cut = crop(RAMP, box, 0.0)
    expected = [[10 * min(max(r, 0), 19) + min(max(c, 0), 19) for c in columns] for r in rows]
    np.testing.assert_array_equal(cut, expected)


def test_a_box_that_only_grazes_the_photo_gives_its_border():
    np.testing.assert_array_equal(crop(RAMP, (-0.5, 4, 0.6, 0.6), 0.0), [[40]])


def test_colours_are_cut_like_gray():
    colours = np.dstack([RAMP, RAMP // 2, 255 - RAMP])
    for box in ((6, 8, 4, 4), (-3, -2, 6, 6)):
        cut = crop(colours, box, 0.25)
        for channel in range(3):
            np.testing.assert_array_equal(
                cut[:, :, channel], crop(np.ascontiguousarray(colours[:, :, channel]), box, 0.25)
            )


@pytest.mark.parametrize(
    ("box", "reason"),
    [
        ((20, 5, 4, 4), "outside the photo"),
        ((5, 20, 4, 4), "outside the photo"),
        ((-4, 5, 4, 4), "outside the photo"),
        ((5, -9, 4, 8), "outside the photo"),
        ((5, 5, 0, 4), "no area"),
        ((5, 5, 4, -1), "no area"),
        ((5, 5, np.nan, 4), "no area"),
        ((np.inf, 5, 4, 4), "no area"),
        ((-5, -5, 1e6, 1e6), "larger than"),
        ((-5, -5, 1e200, 1e200), "larger than"),
    ],
)
def test_a_box_that_shows_nothing_is_refused(box, reason):
    with pytest.raises(ImageError, match=reason):
        crop(RAMP, box, 0.2)


# --- align: the transform


@pytest.mark.parametrize("degrees", [-170, -60, -20, 0, 35, 90])
@pytest.mark.parametrize("scale", [0.1, 0.8, 1.0, 7.5])
def test_a_known_turn_scale_and_shift_is_undone(degrees, scale):
    points = moved(perfect_face(), similarity(degrees, scale, (40.0, -15.0)))
    found = moved(five(points), upright(points, 224, 0.0))
    assert np.abs(found - (UPRIGHT_FACE * 224 - 0.5)).max() < 1e-6


def umeyama(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The matrix (2, 3) after Umeyama 1991, equations 34-43, by singular values."""
    source_mean, target_mean = source.mean(0), target.mean(0)
    covariance = (target - target_mean).T @ (source - source_mean) / len(source)
    left, values, right = np.linalg.svd(covariance)
    signs = np.diag([1.0, np.sign(np.linalg.det(left) * np.linalg.det(right))])
    rotation = left @ signs @ right
    scale = np.trace(np.diag(values) @ signs) / ((source - source_mean) ** 2).sum() * len(source)
    return np.column_stack([scale * rotation, target_mean - scale * rotation @ source_mean])


@pytest.mark.parametrize("seed", range(20))
def test_noisy_points_get_the_least_squares_transform(seed):
    rng = np.random.default_rng(seed)
    points = moved(
        perfect_face(), similarity(rng.uniform(-180, 180), rng.uniform(0.2, 5), tuple(rng.uniform(0, 500, 2)))
    )
    points += rng.normal(0, 0.15 * np.ptp(five(points)[:, 0]), points.shape)
    expected = umeyama(five(points), UPRIGHT_FACE * 112 - 0.5)
    np.testing.assert_allclose(upright(points, 112, 0.0), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("margin", [0.1, 0.5, 1.0])
def test_a_margin_shrinks_the_face_towards_the_centre_as_in_a_crop(margin):
    points = perfect_face()
    # in a picture of 200 px the canonical face fills the box from 50 to 150, which a crop enlarges by the margin
    side = 100 * (1 + 2 * margin)
    tight = moved(five(points), upright(points, 100, 0.0))
    wide = moved(five(points), upright(points, 100, margin))
    np.testing.assert_allclose((wide - 49.5) * side / 100, tight - 49.5, atol=1e-9)


@pytest.mark.parametrize("category", PROTOTYPES)
def test_brows_and_chin_of_every_expression_stay_in_the_picture_and_fill_it(category):
    for units in PROTOTYPES[category]:
        points = landmarks(Face(category, units=units), 300)
        found = moved(points, upright(points, 224, 0.0))
        assert 0 < found[17:27, 1].min() < 0.2 * 224
        assert 0.85 * 224 < found[8, 1] < 224
        assert found[:, 0].min() > 0
        assert found[:, 0].max() < 224


def test_a_mirrored_photo_gives_the_mirrored_places():
    face = Face("happy", pose=Pose(roll=12, yaw=8))
    points = landmarks(face, 200)
    mirrored = np.column_stack([199 - points[:, 0], points[:, 1]])
    swapped = mirrored.copy()
    swapped[36:42], swapped[42:48], swapped[48], swapped[54] = (
        mirrored[42:48],
        mirrored[36:42],
        mirrored[54],
        mirrored[48],
    )
    ours, theirs = moved(five(points), upright(points, 96, 0.1)), moved(five(swapped), upright(swapped, 96, 0.1))
    np.testing.assert_allclose(theirs[[1, 0, 2, 4, 3]], np.column_stack([95 - ours[:, 0], ours[:, 1]]), atol=1e-9)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda points: np.full_like(points, 50.0), "one place"),
        (lambda points: points * 1e-3, "one place"),
        (lambda points: np.where(points == points[30], np.nan, points), "not finite"),
        (lambda points: np.where(points == points[48], np.inf, points), "not finite"),
        (lambda points: points * 1e300, "not finite, or far outside"),
        (lambda points: points * (-1, 1), "not the shape"),
        (lambda points: points[:67], "134 numbers, expected 136"),
        (lambda points: points * 1e5, "larger than"),
        (lambda points: points + 5000, "outside the photo"),
    ],
)
def test_landmarks_that_are_no_face_are_refused(change, reason):
    with pytest.raises(ImageError, match=reason):
        align(np.zeros((100, 100), np.uint8), change(perfect_face()), 48, 0.1)


# --- align: the pixels


@pytest.mark.parametrize(("degrees", "scale"), [(0, 1.0), (25, 0.6), (-40, 1.7), (15, 4.0), (75, 8.0)])
@pytest.mark.parametrize("margin", [0.0, 0.3])
def test_a_dot_on_each_point_lands_on_its_place(degrees, scale, margin):
    centre = 700.0
    matrix = similarity(degrees, scale, (0, 0))
    matrix[:, 2] = centre - matrix[:, :2] @ (49.5, 49.5)
    points = moved(perfect_face(), matrix)
    places = 0.5 + (UPRIGHT_FACE - 0.5) / (1 + 2 * margin)
    rows, columns = np.mgrid[0:1400, 0:1400]
    for (x, y), place in zip(five(points), places * 112 - 0.5, strict=True):
        width = max(1.5, 2 * scale)
        photo = np.rint(250 * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * width**2))).astype(np.uint8)
        picture = align(photo, points, 112, margin).astype(float)
        found = [(picture * axis).sum() / picture.sum() for axis in np.mgrid[0:112, 0:112][::-1]]
        assert np.abs(found - place).max() < 0.25


def turned_photo(photo: np.ndarray, points: np.ndarray, degrees: float) -> tuple[np.ndarray, np.ndarray]:
    """The photo and its points turned around its middle, by OpenCV and on a larger canvas."""
    size = photo.shape[0]
    matrix = cv2.getRotationMatrix2D(((size - 1) / 2,) * 2, degrees, 1.0)
    matrix[:, 2] += size // 4
    canvas = (size + size // 2,) * 2
    turned = cv2.warpAffine(photo, matrix, canvas, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return turned, moved(points, matrix)


@pytest.mark.parametrize("colour", ["gray", "rgb"])
@pytest.mark.parametrize("size_px", [48, 224])
@pytest.mark.parametrize("degrees", [20, -20])
def test_a_turned_face_is_aligned_to_nearly_the_same_picture(colour, size_px, degrees):
    face = Face("happy", units=PROTOTYPES["happy"][0], capture=STILL)
    photo, points = draw_face(face, 300, colour), landmarks(face, 300)
    straight = align(photo, points, size_px, 0.1)
    turned = align(*turned_photo(photo, points, degrees), size_px, 0.1)
    assert straight.shape == ((size_px, size_px) if colour == "gray" else (size_px, size_px, 3))
    assert straight.dtype == np.uint8
    assert np.abs(straight.astype(int) - turned).mean() < 0.8
    # the unturned crop of the same place is no such match, so the test can fail
    ignorant = align(turned_photo(photo, points, degrees)[0], points + 75, size_px, 0.1)
    assert np.abs(straight.astype(int) - ignorant).mean() > 10


def test_a_head_drawn_with_a_roll_is_aligned_like_one_without():
    straight, rolled = (Face("surprise", pose=Pose(roll=roll), capture=STILL) for roll in (0, 20))
    first, second = (align(draw_face(face, 300, "rgb"), landmarks(face, 300), 112, 0.0) for face in (straight, rolled))
    face_only = np.s_[20:100, 20:92]
    assert np.abs(first.astype(int) - second)[face_only].mean() < 4


@pytest.mark.parametrize("side", [110, 150, 224, 800])
def test_fine_stripes_average_out_instead_of_aliasing(side):
    rows, columns = np.indices((side, side))
    checker = ((rows + columns) % 2 * 255).astype(np.uint8)
    points = moved(perfect_face(), similarity(0, side / 100, (0, 0)))
    picture = align(checker, points, 100, 0.0)
    assert np.abs(picture[5:-5, 5:-5].astype(int) - 127).max() <= 35


def test_large_areas_keep_their_brightness_and_edges_their_place():
    photo = np.zeros((800, 800), np.uint8)
    photo[:, 400:] = 200
    points = moved(perfect_face(), similarity(0, 8.0, (3.5, 3.5)))
    picture = align(photo, points, 100, 0.0)
    np.testing.assert_array_equal(picture[:, :49], 0)
    np.testing.assert_array_equal(picture[:, 51:], 200)
    # the edge lies at 400 of 800, which is 50 of 100 pixels: as much dark as bright
    assert abs(picture.mean() - 100) < 0.5


def test_a_face_at_its_canonical_place_is_left_as_it_is():
    photo = np.random.default_rng(0).integers(0, 256, (100, 100, 3), dtype=np.uint8)
    np.testing.assert_array_equal(align(photo, perfect_face(), 100, 0.0), photo)


def test_outside_the_photo_the_border_of_an_aligned_face_is_repeated():
    photo = np.full((60, 60), 180, np.uint8)
    points = moved(perfect_face(), similarity(10, 1.0, (-40.0, -30.0)))
    np.testing.assert_array_equal(align(photo, points, 100, 0.2), np.full((100, 100), 180))


def test_the_same_input_gives_the_same_pixels_and_is_not_changed():
    face = Face("sad")
    photo, points = draw_face(face, 500, "rgb"), landmarks(face, 500)
    before, places = photo.copy(), points.copy()
    pictures = [align(photo, points.ravel().astype(np.float32), 224, 0.15) for _ in range(5)]
    assert all(np.array_equal(picture, pictures[0]) for picture in pictures)
    np.testing.assert_array_equal(photo, before)
    np.testing.assert_array_equal(points, places)
