"""Cutting the face out of a photo: a square around a box, or a face turned upright by its landmarks.

Coordinates are those of OpenCV: x to the right, y down, whole numbers in the middle of a pixel. A box is given by its
edges: x = 0 is the left edge of the first pixel.
"""

from collections.abc import Sequence

import cv2
import numpy as np

from ferlab.imaging.codec import MAX_PIXELS, ImageError, resize

LANDMARKS = 68
EYES = (slice(36, 42), slice(42, 48))
NOSE_TIP, MOUTH_CORNERS = 30, (48, 54)
"""Where the points of a face stand among the 68 of 300-W (Sagonas et al. 2016), the viewer's left side first."""

UPRIGHT_FACE = np.array([(0.33, 0.27), (0.67, 0.27), (0.5, 0.472), (0.346, 0.641), (0.654, 0.641)])
"""Places (x, y) in the unit square of both eyes, the nose tip and both corners of the mouth at margin 0.

Proportions of the mean face of OpenFace's 68-point template (Amos et al. 2016), mirrored onto itself so that neither
side is preferred: measured in distances of the eyes, the nose tip lies 0.59 below their line, the mouth 1.09 and the
chin 1.92, the brows end 0.37 above it, the mouth is 0.91 wide and the face 2.33. With the eyes 0.34 apart at height
0.27, the brows end at 0.14 and the chin at 0.92, so that raised brows and a dropped jaw stay in the picture.
"""

FARTHEST_PX = 1e9
SMALLEST_SPREAD_PX = 1.0
SMALLEST_LIKENESS = 0.25
"""Share of the points' variance that an upright face must explain; a full profile reaches about 0.55."""


def crop(pixels: np.ndarray, box: Sequence[float], margin: float) -> np.ndarray:
    """Cut out the square around a box: (s, s) or (s, s, 3) with s = longer side * (1 + 2 * margin), rounded.

    ``box`` is x, y, width, height in pixels; ``margin`` in 0..1 is the share of the longer side that is added on every
    side. What lies outside the photo repeats its border; inside, the result is a view of ``pixels``.

    Raises:
        ImageError: the box has no area, does not touch the photo, or is far too large.

    """
    left, top, side_px = square_around(box, margin, pixels.shape[0], pixels.shape[1])
    return _window(pixels, left, top, side_px, side_px)


def square_around(box: Sequence[float], margin: float, height_px: int, width_px: int) -> tuple[int, int, int]:
    """Left and top edge and side, in pixels, of what ``crop`` cuts out of a photo; ImageError as there."""
    x, y, width, height = (float(number) for number in box)
    if not np.isfinite((x, y, width, height)).all() or width <= 0 or height <= 0:
        message = f"face box {x:g}, {y:g}, {width:g}, {height:g} has no area"
        raise ImageError(message)
    if x >= width_px or y >= height_px or x + width <= 0 or y + height <= 0:
        message = f"face box {x:g}, {y:g}, {width:g}, {height:g} lies outside the photo"
        raise ImageError(message)
    side = max(width, height) * (1 + 2 * margin)
    _refuse_huge(side)
    side_px = max(1, _rounded(side))
    return _rounded(x + (width - side_px) / 2), _rounded(y + (height - side_px) / 2), side_px


def resize_part(pixels: np.ndarray, left: float, top: float, width: float, height: float, size_px: int) -> np.ndarray:
    """A rectangle with at least ``size_px`` pixels a side, whose edges may lie inside of pixels, resized.

    Uint8 (size_px, size_px[, 3]), averaged over 2x2 bilinear samples a pixel, or more where nothing would alias only
    so. Outside of ``pixels`` their border is repeated.
    """
    times = max(2, -(-int(np.ceil(max(width, height))) // size_px))
    drawn_px = times * size_px
    step_x, step_y = width / drawn_px, height / drawn_px
    if left == top == 0 and height <= pixels.shape[0] and width <= pixels.shape[1]:
        # the same samples as below in half of the time: the scales count, the size of the result does not
        drawn = cv2.resize(pixels, None, fx=1 / step_x, fy=1 / step_y, interpolation=cv2.INTER_LINEAR)
        drawn = drawn[:drawn_px, :drawn_px]
    else:
        matrix = np.array([(step_x, 0, left + step_x / 2 - 0.5), (0, step_y, top + step_y / 2 - 0.5)])
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        drawn = cv2.warpAffine(pixels, matrix, (drawn_px, drawn_px), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return cv2.resize(drawn, (size_px, size_px), interpolation=cv2.INTER_AREA)


def align(pixels: np.ndarray, landmarks: np.ndarray, size_px: int, margin: float) -> np.ndarray:
    """Turn, scale and shift the photo so that the face stands upright: (size_px, size_px[, 3]).

    ``landmarks`` are 68 points x, y in pixels of the photo, (68, 2) or 136 numbers. At ``margin`` 0 the face fills the
    picture from above the brows to the chin; a margin shrinks it towards the centre as it does for ``crop``. Faces
    larger than the picture are averaged down before they are interpolated, so that nothing aliases; outside the photo
    its border is repeated. The same input gives the same pixels.

    Raises:
        ImageError: not 68 finite points, all in one place, nothing like a face, or a face outside the photo.

    """
    larger_than_picture = _scale(upright(landmarks, size_px, margin)) < 1
    # twice the size, averaged 2x2 at the end: interpolating straight to the size would alias or blur
    drawn_px = 2 * size_px if larger_than_picture else size_px
    matrix = upright(landmarks, drawn_px, margin)
    scale = _scale(matrix)
    _refuse_huge(drawn_px / scale)
    left, top, width, height = _needed(matrix, drawn_px, border_px=2 * max(1, 1 / scale))
    if left >= pixels.shape[1] or top >= pixels.shape[0] or left + width <= 0 or top + height <= 0:
        raise ImageError("the face of the landmarks lies outside the photo")
    part = _window(pixels, left, top, width, height)
    matrix[:, 2] += matrix[:, :2] @ (left, top)
    if scale < 1:
        part, matrix = _shrunk(part, matrix, scale)
    drawn = cv2.warpAffine(part, matrix, (drawn_px, drawn_px), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return resize(drawn, size_px)


def upright(landmarks: np.ndarray, size_px: int, margin: float) -> np.ndarray:
    """The (2, 3) matrix from the photo to the picture of ``align``, both in pixels; ImageError as there.

    Least squares over rotation, uniform scale and shift (Umeyama 1991). In the plane, with points as complex numbers,
    its solution is one quotient.
    """
    source = _as_complex(_five_points(landmarks))
    places = 0.5 + (UPRIGHT_FACE - 0.5) / (1 + 2 * margin)
    target = _as_complex(places * size_px - 0.5)
    centred, wanted = source - source.mean(), target - target.mean()
    spread = np.vdot(centred, centred).real
    if spread < SMALLEST_SPREAD_PX**2:
        raise ImageError("landmarks: all points in one place")
    overlap = np.vdot(centred, wanted)
    if abs(overlap) ** 2 < SMALLEST_LIKENESS * spread * np.vdot(wanted, wanted).real:
        raise ImageError("landmarks: not the shape of a face")
    turn = overlap / spread
    shift = target.mean() - turn * source.mean()
    return np.array([(turn.real, -turn.imag, shift.real), (turn.imag, turn.real, shift.imag)])


def _five_points(landmarks: np.ndarray) -> np.ndarray:
    numbers = np.asarray(landmarks, dtype=np.float64).ravel()
    if len(numbers) != 2 * LANDMARKS:
        message = f"landmarks: {len(numbers)} numbers, expected {2 * LANDMARKS}"
        raise ImageError(message)
    points = numbers.reshape(LANDMARKS, 2)
    five = np.array([*(points[eye].mean(axis=0) for eye in EYES), points[NOSE_TIP], *points[list(MOUTH_CORNERS)]])
    if not (np.abs(five) < FARTHEST_PX).all():
        raise ImageError("landmarks: not finite, or far outside any photo")
    return five


def _scale(matrix: np.ndarray) -> float:
    """Pixels of the picture for a pixel of the photo."""
    return float(np.hypot(*matrix[:, 0]))


def _as_complex(points: np.ndarray) -> np.ndarray:
    return points[:, 0] + 1j * points[:, 1]


def _needed(matrix: np.ndarray, size_px: int, border_px: float) -> tuple[int, int, int, int]:
    """Left, top, width and height of the part of the photo that the picture shows, and a border around it."""
    last = size_px - 1
    corners = np.array([(0, 0), (last, 0), (0, last), (last, last)], dtype=np.float64)
    seen = np.linalg.solve(matrix[:, :2], (corners - matrix[:, 2]).T)
    left, top = (int(edge) for edge in np.floor(seen.min(axis=1)) - border_px)
    right, bottom = (int(edge) for edge in np.ceil(seen.max(axis=1)) + border_px)
    return left, top, right - left + 1, bottom - top + 1


def _shrunk(part: np.ndarray, matrix: np.ndarray, scale: float) -> tuple[np.ndarray, np.ndarray]:
    """The part averaged down to the scale of the picture, and the matrix that is left to apply."""
    height, width = part.shape[:2]
    small = cv2.resize(part, (round(width * scale), round(height * scale)), interpolation=cv2.INTER_AREA)
    # edges of pixels map onto edges, so their middles shift by half a pixel before and after
    growth = np.array((width / small.shape[1], height / small.shape[0]))
    rest = matrix.copy()
    rest[:, :2] *= growth
    rest[:, 2] += matrix[:, :2] @ (growth / 2 - 0.5)
    return small, rest


def _window(pixels: np.ndarray, left: int, top: int, width: int, height: int) -> np.ndarray:
    """A rectangle of the photo; outside of it the border is repeated."""
    columns = np.clip(np.arange(left, left + width), 0, pixels.shape[1] - 1)
    rows = np.clip(np.arange(top, top + height), 0, pixels.shape[0] - 1)
    inside = pixels[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    if inside.shape[:2] == (height, width):
        return inside
    return inside.take(rows - rows[0], axis=0).take(columns - columns[0], axis=1)


def _refuse_huge(side: float) -> None:
    if side > MAX_PIXELS**0.5:
        message = f"face of {side:g} pixels a side is larger than {MAX_PIXELS:,} pixels"
        raise ImageError(message)


def _rounded(number: float) -> int:
    """To the nearest whole number, halves up everywhere, so that a shifted box gives a shifted crop."""
    return int(np.floor(number + 0.5))
