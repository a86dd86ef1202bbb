"""From an image file to the face as a model sees it: one way, for preparation and for prediction."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ferlab.imaging.codec import ImageError, decode, is_turned, jpeg_size, resize, shrink_for
from ferlab.imaging.geometry import align, crop, resize_part, square_around, upright


@dataclass(frozen=True)
class ImageSettings:
    """What all pictures of a prepared dataset have in common.

    ``size_px``: pixels a side; ``colour`` and ``encoding`` as in ``imaging.codec``; ``margin`` and ``align`` as in
    ``imaging.geometry``.
    """

    size_px: int
    colour: str
    encoding: str
    margin: float = 0.0
    align: bool = False


def face_of_file(
    data: bytes,
    settings: ImageSettings,
    box: Sequence[float] | None = None,
    landmarks: Sequence[float] | np.ndarray | None = None,
    decoded: dict[int, np.ndarray] | None = None,
) -> np.ndarray:
    """The face of an image file, uint8 (size_px, size_px[, 3]); ``box`` and ``landmarks`` in pixels of the photo.

    A JPEG is decoded at a half, a quarter or an eighth of its size where the face keeps ``size_px`` pixels a side.
    ``decoded`` has its pixels in the colour of ``settings`` by how many times smaller they are (1: all of them); they
    are not decoded again, and others are added to it. So many faces of one photo cost a few decodings.

    Raises:
        ImageError: the file cannot be decoded, or box or landmarks do not fit it.

    """
    points = _points(landmarks, settings)
    shrink = shrink_for(data, settings.size_px, _region_px(settings, box, points))
    if shrink > 1 and any(side % shrink for side in jpeg_size(data)) and is_turned(data):
        shrink = 1  # the last pixel of a side stands for less of the photo, and here it may be the first
    sizes = {} if decoded is None else decoded
    if shrink not in sizes:
        sizes[shrink] = decode(data, settings.colour, shrink)
    pixels = sizes[shrink]
    if shrink == 1:
        return face_of_pixels(pixels, settings, box, points)
    if points is not None:
        # a pixel's middle is at a whole number for landmarks, and half a pixel from its edges for boxes
        return align(pixels, (points + 0.5) / shrink - 0.5, settings.size_px, settings.margin)
    height, width = _photo_size(data, pixels, shrink)
    left, top, side_x, side_y = 0, 0, width, height
    if box is not None:
        left, top, side_x = square_around(box, settings.margin, height, width)
        side_y = side_x
    # the photo's edges, and those of its faces, do not lie between the pixels of the smaller picture
    return resize_part(pixels, left / shrink, top / shrink, side_x / shrink, side_y / shrink, settings.size_px)


def _photo_size(data: bytes, smaller: np.ndarray, shrink: int) -> tuple[int, int]:
    """Height and width of a photo as it is seen, turned or not."""
    width, height = jpeg_size(data)
    turned = smaller.shape[:2] != (-(-height // shrink), -(-width // shrink))
    return (width, height) if turned else (height, width)


def face_of_pixels(
    pixels: np.ndarray,
    settings: ImageSettings,
    box: Sequence[float] | None = None,
    landmarks: Sequence[float] | np.ndarray | None = None,
) -> np.ndarray:
    """The face upright by its landmarks, or cut by its box, or the whole picture; as ``face_of_file``."""
    points = _points(landmarks, settings)
    if points is not None:
        return align(pixels, points, settings.size_px, settings.margin)
    if box is not None:
        pixels = crop(pixels, box, settings.margin)
    return resize(pixels, settings.size_px)


def _points(landmarks: Sequence[float] | np.ndarray | None, settings: ImageSettings) -> np.ndarray | None:
    """The landmarks (68, 2) when faces are aligned by them."""
    if not settings.align:
        return None
    if landmarks is None:
        raise ImageError("no landmarks to align by")
    return np.array(landmarks, np.float64).reshape(-1, 2)


def _region_px(settings: ImageSettings, box: Sequence[float] | None, points: np.ndarray | None) -> float | None:
    """Side of the part of the photo that the picture shows; None for all of it."""
    if points is not None:
        return settings.size_px / float(np.hypot(*upright(points, settings.size_px, settings.margin)[:, 0]))
    if box is not None:
        return float(max(box[2:])) * (1 + 2 * settings.margin)
    return None
