"""A labelled sheet of faces, one row per category, for the README and for a look at the population."""

import cv2
import numpy as np

from ferlab.datasets.synthetic.anatomy import Face
from ferlab.datasets.synthetic.drawing import draw_face
from ferlab.datasets.synthetic.population import sample_face
from ferlab.emotions import FER2013


def mosaic(seed: int, per_category: int, size_px: int, colour: str) -> np.ndarray:
    """Draw the first ``per_category`` faces of each category, as sampled: no picking.

    uint8 (7 * size_px, width) for "gray", (7 * size_px, width, 3) RGB for "rgb"; the category's name
    stands at the left of its row.
    """
    rows = []
    for category, faces in _first_faces(seed, per_category).items():
        tiles = [draw_face(face, size_px, colour) for face in faces]
        rows.append(np.concatenate([_label(category, tiles[0].shape), *tiles], axis=1))
    return np.concatenate(rows, axis=0)


def _first_faces(seed: int, per_category: int) -> dict[str, list[Face]]:
    faces: dict[str, list[Face]] = {category: [] for category in FER2013.classes}
    index = 0
    while min(len(row) for row in faces.values()) < per_category:
        face = sample_face(seed, index)
        if len(faces[face.category]) < per_category:
            faces[face.category].append(face)
        index += 1
    return faces


def _label(text: str, tile_shape: tuple[int, ...]) -> np.ndarray:
    """White strip as tall as a tile with the text, dark, centred."""
    height = tile_shape[0]
    font, scale = cv2.FONT_HERSHEY_SIMPLEX, height / 150
    (widest, _), _ = cv2.getTextSize(max(FER2013.classes, key=len), font, scale, 1)
    strip = np.full((height, widest + height // 6, *tile_shape[2:]), 255, np.uint8)
    (width, tall), _ = cv2.getTextSize(text, font, scale, 1)
    origin = ((strip.shape[1] - width) // 2, (height + tall) // 2)
    cv2.putText(strip, text, origin, font, scale, (40, 40, 40), max(1, height // 110), cv2.LINE_AA)
    return strip
