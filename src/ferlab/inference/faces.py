"""From a found face to the image that the model was trained on: its size, colour, margin and alignment."""

from collections.abc import Sequence

import cv2
import numpy as np

from ferlab.config.edge_nodes import BOX_SCALE
from ferlab.edge.description import Description
from ferlab.imaging.codec import ImageError
from ferlab.imaging.face import ImageSettings, face_of_file, face_of_pixels
from ferlab.imaging.geometry import EYES, LANDMARKS, MOUTH_CORNERS, NOSE_TIP
from ferlab.inference.detection import Found


def settings_of(description: Description) -> ImageSettings:
    """How the images of a model are made, as preparation knows it."""
    return ImageSettings(description.size_px, description.colour, "raw", description.margin, description.align)


def in_colour(pixels: np.ndarray, colour: str) -> np.ndarray:
    """RGB (h, w, 3) or gray (h, w) pixels as ``colour`` wants them."""
    if colour == "gray":
        return pixels if pixels.ndim == 2 else cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    return pixels if pixels.ndim == 3 else cv2.cvtColor(pixels, cv2.COLOR_GRAY2RGB)


def images_of(
    pixels: np.ndarray,
    found: Sequence[Found],
    settings: ImageSettings,
    box_scale: float = BOX_SCALE,
    data: bytes | None = None,
) -> tuple[list[Found], np.ndarray]:
    """The faces that could be cut out, and their images uint8 (n, size_px, size_px, channels).

    ``pixels`` are in the colour of ``settings``. The cut is ``imaging.face``'s, as in preparation; with the bytes of
    the picture's file as ``data`` a large face of a JPEG is decoded smaller, as it is there.
    """
    kept, images, decoded = [], [], {1: pixels}
    for face in found:
        try:
            box, landmarks = scaled(face.box, box_scale), landmarks_of(face.points)
            if data is None:
                image = face_of_pixels(pixels, settings, box, landmarks)
            else:
                image = face_of_file(data, settings, box, landmarks, decoded)
        except ImageError:  # points that are no face's, at the edge of the picture
            continue
        kept.append(face)
        images.append(image.reshape(settings.size_px, settings.size_px, -1))
    channels = 1 if settings.colour == "gray" else 3
    return kept, np.array(images, np.uint8).reshape(-1, settings.size_px, settings.size_px, channels)


def whole_image(pixels: np.ndarray, settings: ImageSettings, data: bytes | None = None) -> np.ndarray:
    """A picture that is a face already: uint8 (1, size_px, size_px, channels); ``pixels`` and ``data`` as above.

    Raises:
        ImageError: the model wants faces aligned by landmarks, which a whole picture does not name.

    """
    image = face_of_pixels(pixels, settings) if data is None else face_of_file(data, settings, decoded={1: pixels})
    return image.reshape(1, settings.size_px, settings.size_px, -1)


def scaled(box: Sequence[float], scale: float) -> tuple[float, float, float, float]:
    """A square around the middle of a box whose side is its longer one times ``scale``."""
    x, y, width, height = box
    side = max(width, height) * scale
    return x + (width - side) / 2, y + (height - side) / 2, side, side


def landmarks_of(points: np.ndarray) -> np.ndarray:
    """Five points as the 68 of 300-W (68, 2): those that alignment reads are theirs, the others the middle of all."""
    landmarks = np.tile(points.mean(axis=0), (LANDMARKS, 1))
    for eye, point in zip(EYES, points[:2], strict=True):
        landmarks[eye] = point
    landmarks[NOSE_TIP] = points[2]
    landmarks[list(MOUTH_CORNERS)] = points[3:]
    return landmarks
