"""Photographs with one or more drawn faces in them, larger than the faces, before a background out of focus."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import cv2
import numpy as np

from ferlab.datasets.synthetic.anatomy import Face, Rgb
from ferlab.datasets.synthetic.drawing import draw_face

FACE_PX = (110, 340)
"""Smallest and largest side of a drawn face where no size is asked for; a few photos are ``CLOSE_UP`` times larger."""

CLOSE_UP, CLOSE_UP_SHARE = 4, 0.008

HEAD_SCALE, HEAD_RISE = 0.8, -0.04
"""Make the whole head fit into its square, chin included: crops of other layouts cut it."""

FOREHEAD = 0.25
"""How far a face goes on above its landmarks, which end at the brows, as a share of their height."""

BACKGROUND_PX = 96
"""Longest side of the small picture from which a background is enlarged."""

Box = tuple[int, int, int, int]
"""Left, top, width and height in pixels."""


@dataclass(frozen=True, slots=True)
class Place:
    """The square of a photo in which a face is drawn: left, top and side in pixels."""

    x_px: int
    y_px: int
    size_px: int


@dataclass(frozen=True, slots=True)
class Photo:
    """Size and places of a photo, and the colour that dominates its background."""

    width_px: int
    height_px: int
    places: tuple[Place, ...]
    rgb: Rgb


def plan_photo(rng: np.random.Generator, faces: int, size_px: int | None) -> Photo:
    """A photo of ``faces`` people side by side; with ``size_px`` it is hardly larger than their squares."""
    sizes, spare = [size_px] * faces if size_px else _sizes(rng, faces), 0.18 if size_px else 0.75
    tallest = max(sizes)
    gaps = np.rint(tallest * rng.uniform(0.04, spare, faces + 1)).astype(int).tolist()
    above, below = np.rint(tallest * rng.uniform(0.04, spare, 2)).astype(int).tolist()
    places, x_px = [], 0
    for gap, size in zip(gaps, sizes, strict=False):
        places.append(Place(x_px + gap, above + int(rng.integers(tallest - size + 1)), size))
        x_px += gap + size
    level = float(rng.uniform(40, 215))
    red, green, blue = np.clip(level + rng.normal(0.0, 16.0, 3), 0, 255).tolist()
    return Photo(x_px + gaps[-1], above + tallest + below, tuple(places), (red, green, blue))


def _sizes(rng: np.random.Generator, faces: int) -> list[int]:
    """Sides of the squares: small ones are more frequent, people in one photo are about equally large."""
    largest = float(np.exp(rng.uniform(*np.log(FACE_PX)))) * (CLOSE_UP if rng.random() < CLOSE_UP_SHARE else 1)
    return [round(largest)] + [round(largest * share) for share in rng.uniform(0.75, 1.0, faces - 1)]


def fitted(face: Face, photo: Photo) -> Face:
    """The same face with its whole head in the square, before the background of the photo."""
    pose = replace(face.pose, scale=HEAD_SCALE * face.pose.scale, shift_y=HEAD_RISE + face.pose.shift_y)
    return replace(face, pose=pose, capture=replace(face.capture, background_rgb=photo.rgb))


def paint_photo(rng: np.random.Generator, photo: Photo, faces: Sequence[Face | None]) -> np.ndarray:
    """Pixels uint8 (height_px, width_px, 3) RGB with the ``fitted`` faces in the order of the places, None for none."""
    picture = _background(rng, photo)
    for face, place in zip(faces, photo.places, strict=True):
        if face is not None:
            here = np.s_[place.y_px : place.y_px + place.size_px, place.x_px : place.x_px + place.size_px]
            inside = _fade(place.size_px)
            behind = np.ascontiguousarray(picture[here])
            picture[here] = cv2.blendLinear(draw_face(face, place.size_px, "rgb"), behind, inside, 1.0 - inside)
    return picture


def face_box(points: np.ndarray, photo: Photo, slack: float) -> Box:
    """A square box inside the photo around the landmarks (n, 2) and a forehead; ``slack`` >= 0 widens it.

    Where the photo ends the box is moved, and cut when the photo is too small for it.
    """
    (left, top), (right, bottom) = points.min(axis=0), points.max(axis=0)
    top -= FOREHEAD * (bottom - top)
    side = int(np.ceil(max(right - left, bottom - top) * (1.0 + slack))) + 2
    width, height = min(side, photo.width_px), min(side, photo.height_px)
    x_px = int(np.clip((left + right - width) / 2, 0, photo.width_px - width))
    y_px = int(np.clip((top + bottom - height) / 2, 0, photo.height_px - height))
    return x_px, y_px, width, height


def _background(rng: np.random.Generator, photo: Photo) -> np.ndarray:
    """Light and dark areas, and a few things with edges, enlarged from a small picture: out of focus."""
    shrink = min(1.0, BACKGROUND_PX / max(photo.width_px, photo.height_px))
    width, height = max(2, round(photo.width_px * shrink)), max(2, round(photo.height_px * shrink))
    patches = np.asarray(photo.rgb) + rng.normal(0.0, 26.0, (4, 5, 1)) + rng.normal(0.0, 8.0, (4, 5, 3))
    room = cv2.resize(np.clip(patches, 0, 255).astype(np.uint8), (width, height), interpolation=cv2.INTER_CUBIC)
    for x, y, half_width, half_height in rng.uniform((0, 0, 0.05, 0.05), (1, 1, 0.3, 0.4), (3, 4)).tolist():
        colour = np.clip(np.asarray(photo.rgb) + rng.normal(0.0, 45.0) + rng.normal(0.0, 12.0, 3), 0, 255).tolist()
        first = (int((x - half_width) * width), int((y - half_height) * height))
        last = (int((x + half_width) * width), int((y + half_height) * height))
        cv2.rectangle(room, first, last, colour, cv2.FILLED)
    room = cv2.blur(room, (3, 3))
    return np.asarray(cv2.resize(room, (photo.width_px, photo.height_px), interpolation=cv2.INTER_LINEAR))


@lru_cache(maxsize=16)
def _fade(size_px: int) -> np.ndarray:
    """How much of a drawn square shows: float32 (size_px, size_px), 1 inside, falling to 0 at its rim."""
    ramp = np.minimum(np.arange(size_px) + 0.5, np.arange(size_px)[::-1] + 0.5) / (0.08 * size_px)
    rim = np.clip(ramp, 0.0, 1.0)
    return np.outer(rim, rim).astype(np.float32)
