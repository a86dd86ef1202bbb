"""Light on the face: a map of brightness factors from head shape, soft hollows and fine skin lines."""

import cv2
import numpy as np

from ferlab.datasets.synthetic.anatomy import Face
from ferlab.datasets.synthetic.projection import UNIT_SHARE, Outlines

NEUTRAL = 128
"""Level of the map that leaves a pixel as it is."""

_SUBPIXEL_BITS = 4


def shade_map(face: Face, outlines: Outlines, shade_px: int) -> np.ndarray:
    """Brightness map uint8 (shade_px, shade_px): a pixel is multiplied by level / NEUTRAL."""
    pixels = np.rint((outlines.points * shade_px - 0.5) * (1 << _SUBPIXEL_BITS)).astype(np.int32)
    soft = _blurred(_hollows(face, outlines, pixels, shade_px), 0.022 * shade_px)
    fine = _blurred(_skin_lines(face, outlines, pixels, shade_px), 0.0055 * shade_px)
    shaded = cv2.multiply(soft, fine, scale=1.0 / NEUTRAL)
    return np.asarray(cv2.multiply(shaded, _light(face, shade_px), scale=1.0 / NEUTRAL))


def _blurred(layer: np.ndarray, sigma_px: float) -> np.ndarray:
    return np.asarray(cv2.GaussianBlur(layer, (0, 0), sigma_px))


def _light(face: Face, shade_px: int) -> np.ndarray:
    """Lambert's law on an ellipsoid of the head's size; beyond its rim the light of the rim goes on."""
    pose, capture = face.pose, face.capture
    axis = ((np.arange(28) + 0.5) / 28 - 0.5) / (UNIT_SHARE * pose.scale)
    x = ((axis - pose.shift_x) / 0.82)[None, :]
    y = ((axis - pose.shift_y) / 1.12)[:, None]
    z = np.sqrt(np.clip(1.0 - x**2 - y**2, 0.0, None))
    facing = np.clip(x, -1, 1) * capture.light_x + np.clip(y, -1, 1) * capture.light_y + 0.6 * (z - 0.6)
    level = NEUTRAL * (1.0 + 0.62 * capture.light_strength * facing)
    coarse = np.clip(level, 30, 255).astype(np.uint8)
    return np.asarray(cv2.resize(coarse, (shade_px, shade_px), interpolation=cv2.INTER_LINEAR))


def _hollows(face: Face, outlines: Outlines, pixels: np.ndarray, shade_px: int) -> np.ndarray:
    """Eye sockets, the sides of the nose, cheeks and the shadow under lip and chin."""
    au, who = face.units, face.identity
    layer = np.full((shade_px, shade_px), NEUTRAL, np.uint8)
    side_light = 0.14 * face.capture.light_x * face.capture.light_strength
    levels = {
        "beard": 0.72 if who.beard == "stubble" else 1.0,
        "left_socket": 0.90 - 0.10 * au.au4,
        "right_socket": 0.90 - 0.10 * au.au4,
        "left_cheek": 1.05 + 0.09 * au.au6 + 0.03 * au.au12,
        "right_cheek": 1.05 + 0.09 * au.au6 + 0.03 * au.au12,
        "left_nose_flank": 0.84 - side_light,
        "right_nose_flank": 0.84 + side_light,
        "nose_ridge": 1.12,
        "nose_tip": 1.14,
        "left_mouth_corner": 0.80,
        "right_mouth_corner": 0.80,
        "under_lip": 0.84 - 0.12 * au.au17,
    }
    for name, level in levels.items():
        if name in outlines and level != 1.0:
            _fill(layer, pixels[outlines.spans[name]], level)
    return layer


def _skin_lines(face: Face, outlines: Outlines, pixels: np.ndarray, shade_px: int) -> np.ndarray:
    """Folds and wrinkles: some from age, most from the action units that make them."""
    au, age = face.units, face.identity.age
    layer = np.full((shade_px, shade_px), NEUTRAL, np.uint8)
    width = max(1, round(0.011 * shade_px * face.pose.scale))
    brow_raise, upper_nose = max(au.au1, au.au2), max(au.au9, 0.6 * au.au10)
    depths = {
        "pouch": 0.05 + 0.14 * age + 0.22 * au.au6,
        "crow_feet": 0.08 * age + 0.30 * au.au6 + 0.1 * au.au9 - 0.05,
        "nasolabial": 0.04 + 0.20 * age + 0.30 * max(au.au12, 0.9 * au.au9, 0.9 * au.au10),
        "corner_fold": 0.10 * age + 0.34 * au.au15 - 0.03,
        "frown": 0.08 * age + 0.42 * au.au4 + 0.15 * au.au9 - 0.04,
    }
    for name, depth in depths.items():
        for side in ("left", "right"):
            _line(layer, pixels[outlines.spans[f"{side}_{name}"]], depth, width)
    for number in range(3):
        line = pixels[outlines.spans[f"forehead_{number}"]]
        _line(layer, line, 0.10 * age + 0.24 * brow_raise - 0.04 - 0.02 * number, width)
    wrinkles = pixels[outlines.spans["nose_wrinkles"]]
    for start in (0, 3, 6):
        _line(layer, wrinkles[start : start + 3], 0.40 * upper_nose - 0.06, width)
    _fill(layer, pixels[outlines.spans["nose_base"]], 0.93 - 0.05 * au.au9)
    return layer


def _fill(layer: np.ndarray, polygon: np.ndarray, factor: float) -> None:
    cv2.fillPoly(layer, [polygon], round(NEUTRAL * factor), cv2.LINE_AA, _SUBPIXEL_BITS)


def _line(layer: np.ndarray, path: np.ndarray, depth: float, thickness_px: int) -> None:
    if depth > 0.02:
        level = round(NEUTRAL * (1.0 - min(depth, 0.6)))
        cv2.polylines(layer, [path], False, level, thickness_px, cv2.LINE_AA, _SUBPIXEL_BITS)
