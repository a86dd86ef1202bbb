"""A face as pixels: painted back to front on a larger canvas, lit, reduced and photographed."""

from dataclasses import dataclass

import cv2
import numpy as np

from ferlab.datasets.synthetic.anatomy import Face, Rgb
from ferlab.datasets.synthetic.head import STRANDS
from ferlab.datasets.synthetic.photograph import backdrop, expose, occlude, tone
from ferlab.datasets.synthetic.projection import UNIT_SHARE, Outlines, project
from ferlab.datasets.synthetic.shading import NEUTRAL, shade_map

COLOURS = ("gray", "rgb")

_SUBPIXEL_BITS = 4
_WHITE: Rgb = (236.0, 234.0, 228.0)
_DARK: Rgb = (34.0, 22.0, 22.0)


def draw_face(face: Face, size_px: int, colour: str) -> np.ndarray:
    """Draw a face: uint8 (size_px, size_px) for "gray", (size_px, size_px, 3) RGB for "rgb".

    The same face, size and colour give the same pixels on every run. ValueError on another colour.
    """
    if colour not in COLOURS:
        message = f"colour={colour}: not known. Known: {', '.join(COLOURS)}."
        raise ValueError(message)
    canvas = _canvas(face, size_px * (3 if size_px <= 96 else 2), 1 if colour == "gray" else 3)
    _paint_behind(canvas, face)
    _paint_head(canvas, face)
    for side in ("left", "right"):
        _paint_eye(canvas, face, side)
    _paint_nose(canvas, face)
    _paint_mouth(canvas, face)
    _paint_hair(canvas, face)
    if face.identity.glasses:
        _paint_glasses(canvas)
    image = _lit(canvas, face)
    if face.capture.occlusion is not None:
        occlude(image, face.capture.occlusion)
    small = cv2.resize(image, (size_px, size_px), interpolation=cv2.INTER_AREA)
    return expose(small, face.capture)


@dataclass(frozen=True, slots=True)
class _Canvas:
    """The picture in the making and the outlines in its pixels (fixed point, ``_SUBPIXEL_BITS``)."""

    image: np.ndarray
    outlines: Outlines
    pixels: np.ndarray
    unit_px: float

    @property
    def channels(self) -> int:
        return 1 if self.image.ndim == 2 else 3

    def fill(self, name: str, rgb: Rgb) -> None:
        colour = tone(rgb, self.channels)
        cv2.fillPoly(self.image, [self.pixels[self.outlines.spans[name]]], colour, cv2.LINE_AA, _SUBPIXEL_BITS)

    def stroke(self, name: str, rgb: Rgb, width: float, closed: bool = False) -> None:
        """Draw a line of ``width`` in face units."""
        colour = tone(rgb, self.channels)
        path, thickness = self.pixels[self.outlines.spans[name]], max(1, round(width * self.unit_px))
        cv2.polylines(self.image, [path], closed, colour, thickness, cv2.LINE_AA, _SUBPIXEL_BITS)

    def strands(self, light: Rgb, dark: Rgb) -> None:
        """Draw the locks of hair, in turn in the two colours."""
        locks, channels = self.pixels[self.outlines.spans["strands"]].reshape(STRANDS, 3, 2), self.channels
        thickness = max(1, round(0.02 * self.unit_px))
        for part, rgb in ((locks[::2], light), (locks[1::2], dark)):
            colour = tone(rgb, channels)
            cv2.polylines(self.image, list(part), False, colour, thickness, cv2.LINE_AA, _SUBPIXEL_BITS)


def _canvas(face: Face, canvas_px: int, channels: int) -> _Canvas:
    outlines = project(face)
    pixels = np.rint((outlines.points * canvas_px - 0.5) * (1 << _SUBPIXEL_BITS)).astype(np.int32)
    image = backdrop(face.capture, canvas_px, channels)
    return _Canvas(image, outlines, pixels, UNIT_SHARE * face.pose.scale * canvas_px)


def _mix(first: Rgb, second: Rgb, share: float) -> Rgb:
    red, green, blue = (a + (b - a) * share for a, b in zip(first, second, strict=True))
    return red, green, blue


def _paint_behind(canvas: _Canvas, face: Face) -> None:
    who = face.identity
    if "back_hair" in canvas.outlines:
        canvas.fill("back_hair", _mix(who.hair_rgb, _DARK, 0.25))
    canvas.fill("neck", _mix(who.skin_rgb, _DARK, 0.08))
    canvas.fill("neck_shadow", _mix(who.skin_rgb, _DARK, 0.34))
    canvas.fill("shoulders", who.clothes_rgb)


def _paint_head(canvas: _Canvas, face: Face) -> None:
    who = face.identity
    for side in ("left", "right"):
        canvas.fill(f"{side}_ear", _mix(who.skin_rgb, who.lip_rgb, 0.25))
    canvas.fill("head", who.skin_rgb)
    canvas.stroke("head", _mix(who.skin_rgb, _DARK, 0.22), 0.02, closed=True)
    for step, ring in enumerate(("cheek_rim", "cheek_ring", "cheek"), start=1):
        blush = _mix(who.skin_rgb, who.lip_rgb, step * (0.035 + 0.045 * face.units.au6))
        for side in ("left", "right"):
            canvas.fill(f"{side}_{ring}", blush)
    if who.beard == "full":
        canvas.fill("beard", who.hair_rgb)


def _paint_eye(canvas: _Canvas, face: Face, side: str) -> None:
    who = face.identity
    shadow = _mix(who.skin_rgb, _DARK, 0.30)
    canvas.fill(f"{side}_lid_hood", _mix(who.skin_rgb, _DARK, 0.16))
    canvas.stroke(f"{side}_lid_crease", shadow, 0.012)
    canvas.fill(f"{side}_eye", _WHITE)
    canvas.fill(f"{side}_iris", who.iris_rgb)
    canvas.fill(f"{side}_pupil", (18.0, 14.0, 14.0))
    canvas.fill(f"{side}_glint", (250.0, 250.0, 250.0))
    canvas.stroke(f"{side}_lower_lid", _mix(who.skin_rgb, _DARK, 0.36), 0.012)
    canvas.stroke(f"{side}_upper_lid", _DARK, 0.03)
    canvas.fill(f"{side}_brow", _mix(who.hair_rgb, _DARK, 0.35))


def _paint_nose(canvas: _Canvas, face: Face) -> None:
    skin = face.identity.skin_rgb
    canvas.stroke("nose_base", _mix(skin, _DARK, 0.30), 0.018)
    for side in ("left", "right"):
        canvas.fill(f"{side}_nostril", _mix(skin, _DARK, 0.66))


def _paint_mouth(canvas: _Canvas, face: Face) -> None:
    who = face.identity
    if "moustache" in canvas.outlines and who.beard != "stubble":
        canvas.fill("moustache", who.hair_rgb)
    canvas.fill("lips", who.lip_rgb)
    canvas.fill("upper_lip", _mix(who.lip_rgb, _DARK, 0.18))
    canvas.fill("lip_gloss", _mix(who.lip_rgb, _WHITE, 0.22))
    canvas.fill("mouth_inside", (66.0, 20.0, 22.0))
    if _opening(canvas) > 0.03:
        canvas.fill("tongue", (168.0, 78.0, 78.0))
        canvas.fill("upper_teeth", _WHITE)
        if face.units.au20 > 0.3:
            canvas.fill("lower_teeth", _mix(_WHITE, _DARK, 0.15))
    else:
        canvas.stroke("lip_line", _mix(who.lip_rgb, _DARK, 0.68), 0.018)


def _opening(canvas: _Canvas) -> float:
    """Height of the open mouth at its middle, in face units."""
    top, bottom = (canvas.pixels[canvas.outlines.spans[n]][7, 1] for n in ("inner_top", "inner_bottom"))
    return float(bottom - top) / (1 << _SUBPIXEL_BITS) / canvas.unit_px


def _paint_hair(canvas: _Canvas, face: Face) -> None:
    if "hair" not in canvas.outlines:
        return
    hair = face.identity.hair_rgb
    canvas.fill("hair", hair)
    canvas.stroke("hair", _mix(hair, _DARK, 0.4), 0.012, closed=True)
    canvas.strands(_mix(hair, _WHITE, 0.09), _mix(hair, _DARK, 0.3))


def _paint_glasses(canvas: _Canvas) -> None:
    for side in ("left", "right"):
        canvas.stroke(f"{side}_glass", (40.0, 36.0, 36.0), 0.026, closed=True)
        canvas.stroke(f"{side}_temple", (40.0, 36.0, 36.0), 0.026)
    canvas.stroke("bridge", (40.0, 36.0, 36.0), 0.026)


def _lit(canvas: _Canvas, face: Face) -> np.ndarray:
    """Put the painting under the light of the picture."""
    shade = shade_map(face, canvas.outlines, canvas.image.shape[0] * 2 // 3)
    shade = cv2.resize(shade, canvas.image.shape[:2], interpolation=cv2.INTER_LINEAR)
    if canvas.image.ndim == 3:
        shade = cv2.merge([shade, shade, shade])
    return np.asarray(cv2.multiply(canvas.image, shade, scale=1.0 / NEUTRAL))
