"""Brows, eyes, nose, mouth and skin lines as outlines in face units, moved by the action units.

Face units: the origin lies between eyes and nose, x to the right of the picture, y down, half the height of a
head is 1. Sides are those of the picture: ``left`` has negative x.
"""

from collections.abc import Mapping

import numpy as np

from ferlab.datasets.synthetic.anatomy import ActionUnits, Face, Identity
from ferlab.datasets.synthetic.curves import Points, clip_between, ellipse, smooth

SIDES: Mapping[str, float] = {"left": -1.0, "right": 1.0}

EYE_X, EYE_Y, EYE_HALF_WIDTH = 0.31, -0.06, 0.155
MOUTH_Y, MOUTH_HALF_WIDTH = 0.53, 0.25

_ACROSS = np.linspace(-1.0, 1.0, 15)
_DOME = (1.0 - _ACROSS**2) ** 0.75
_EVEN = np.ones(13)
_BROW_TAPER = np.interp(np.linspace(0, 1, 13), (0, 0.12, 0.5, 1), (0.45, 1.0, 0.9, 0.12))
_CUPID = _DOME * (0.8 + 0.32 * np.exp(-(((np.abs(_ACROSS) - 0.24) / 0.16) ** 2)))


def feature_outlines(face: Face) -> dict[str, Points]:
    """Name to outline (n, 2) in face units of every inner feature of the face."""
    shapes: dict[str, Points] = {}
    for side, sign in SIDES.items():
        force = 1.0 + sign * face.identity.asymmetry
        shapes |= {f"{side}_{name}": p for name, p in _brow(face, sign, force).items()}
        shapes |= {f"{side}_{name}": p for name, p in _eye(face, sign, force).items()}
    return shapes | _nose(face) | _mouth(face)


def _brow(face: Face, sign: float, force: float) -> dict[str, Points]:
    who, au = face.identity, face.units
    y = EYE_Y - 0.20 - who.brow_height - 0.05 * who.eye_size
    inner, outer = 0.14 * force * au.au1, 0.13 * force * au.au2
    down = 0.11 * force * au.au4 + 0.05 * au.au9
    arch = 0.04 * who.brow_arch
    knots = np.array(
        [
            (0.13 - 0.045 * au.au4, y - 0.005 - inner + down),
            (0.26 - 0.02 * au.au4, y - 0.5 * arch - 0.6 * inner - 0.35 * outer + 0.75 * down),
            (0.42, y - arch - 0.12 * inner - outer + 0.35 * down),
            (0.55, y + 0.045 - 0.95 * outer + 0.05 * inner + 0.15 * down),
        ]
    )
    line = smooth(knots * (who.eye_spacing, 1.0))
    half = 0.03 * who.brow_thickness * _BROW_TAPER
    rim = np.array((np.zeros_like(half), half)).T
    outline = np.concatenate([line - rim, (line + rim)[::-1]])
    return {"brow": outline * (sign, 1.0), "brow_line": line * (sign, 1.0)}


def _eye(face: Face, sign: float, force: float) -> dict[str, Points]:
    who, au, pose = face.identity, face.units, face.pose
    x, half = sign * EYE_X * who.eye_spacing, EYE_HALF_WIDTH * who.eye_size
    opening = 1.0 - who.lid_droop + force * (0.65 * au.au5 - 0.4 * au.au7 - 0.3 * au.au6 - 0.35 * au.au9)
    tight = 1.0 - 0.75 * au.au6 * force - 0.55 * au.au7 * force - 0.45 * au.au9 + 0.2 * au.au5
    top, bottom = 0.088 * who.eye_size * max(opening, 0.1), 0.05 * who.eye_size * max(tight, 0.0)
    slant = (who.eye_slant - 0.05 * au.au1 * au.au4 * (1 - au.au5)) * _ACROSS * sign
    skew = 1.0 - sign * 0.25 * (au.au1 - 0.8 * au.au4) * _ACROSS * (1 - 0.5 * au.au5)
    upper = np.array((x + half * _ACROSS, EYE_Y - slant - top * _DOME * skew)).T
    lower = np.array((x + half * _ACROSS, EYE_Y - slant + bottom * _DOME)).T
    iris_x, iris_y = x + 0.06 * pose.gaze_x, EYE_Y - 0.018 + 0.03 * pose.gaze_y
    shapes = {
        "eye": np.concatenate([upper, lower[::-1]]),
        "upper_lid": upper,
        "lower_lid": lower,
        "lid_crease": upper[1:-1] - (0.0, 0.02 + 0.03 * (1 - 0.7 * au.au5)),
        "pouch": lower[2:-2] - (0.0, 0.015 * au.au6 - 0.05),
    }
    for name, radius in (("iris", 0.078), ("pupil", 0.036)):
        disc = ellipse(iris_x, iris_y, radius, radius)
        shapes[name] = clip_between(disc, upper, lower)
    shapes["glint"] = clip_between(ellipse(iris_x - 0.025, iris_y - 0.03, 0.019, 0.019, 8), upper, lower)
    shapes["crow_feet"] = _crow_feet(x + sign * half, sign)
    shapes["lid_hood"] = np.concatenate([upper, (upper[1:-1] - (0.0, 0.05))[::-1]])
    return shapes


def _crow_feet(x: float, sign: float) -> Points:
    """Three rays outside the eye corner, joined to one zigzag path."""
    rays = [((0.03, -0.01), (0.13, -0.06)), ((0.035, 0.02), (0.14, 0.02)), ((0.03, 0.05), (0.12, 0.09))]
    return np.array([(x + sign * dx, EYE_Y + dy) for ray in rays for dx, dy in (*ray, ray[0])])


def _nose(face: Face) -> dict[str, Points]:
    who, au = face.identity, face.units
    lift = 0.035 * au.au9 + 0.015 * au.au10
    tip = 0.27 * who.nose_length - lift + 0.5 * who.mouth_height
    wide = who.nose_width * (1.0 + 0.14 * au.au9 + 0.1 * au.au12)
    half = [(0.05, 0.045), (0.10, 0.055), (0.15, 0.02), (0.135, -0.05)]
    base = np.array([*[(-x, y) for x, y in reversed(half)], (0.0, 0.075), *half])
    wrinkles = [(sign * x, y) for y in (-0.16, -0.1, -0.04) for sign, x in ((-1, 0.085), (0, 0.0), (1, 0.085))]
    shapes = {
        "nose_base": smooth(base * (wide, 1.0) + (0.0, tip), 3),
        "nose_tip": ellipse(0.0, tip - 0.03, 0.085 * wide, 0.07, 14),
        "nose_ridge": np.array([(-0.03, -0.16), (0.03, -0.16), (0.045, tip - 0.03), (-0.045, tip - 0.03)]),
        "nose_wrinkles": np.array(wrinkles) + np.tile([(0.0, 0.03), (0.0, 0.0), (0.0, 0.03)], (3, 1)),
    }
    for side, sign in SIDES.items():
        shapes[f"{side}_nostril"] = ellipse(sign * 0.07 * wide, tip + 0.035, 0.036 * wide, 0.018, 10)
        flank = [
            (0.05, -0.14),
            (0.10, -0.02),
            (0.17 * wide, tip - 0.03),
            (0.13 * wide, tip + 0.05),
            (0.06, tip - 0.06),
        ]
        shapes[f"{side}_nose_flank"] = np.array(flank) * (sign, 1.0)
    return shapes


def mouth_corner(who: Identity, au: ActionUnits, sign: float) -> tuple[float, float]:
    """Where the lip corner of a side lies, in face units."""
    force = 1.0 + sign * who.asymmetry
    width = MOUTH_HALF_WIDTH * who.mouth_width + force * (0.085 * au.au12 + 0.075 * au.au20)
    width -= 0.04 * au.au23 + 0.08 * au.au26 * (1 - au.au12) + 0.015 * au.au17
    rise = force * (0.115 * au.au12 - 0.105 * au.au15) + who.mouth_curve - 0.03 * au.au20
    return sign * width, MOUTH_Y + who.mouth_height - rise + 0.05 * au.au26


def _mouth(face: Face) -> dict[str, Points]:
    who, au = face.identity, face.units
    line = _lip_line(who, au)
    gap_up = (0.03 * au.au25 + 0.02 * au.au26 + 0.035 * au.au10 + 0.3 * who.lip_part) * (0.4 + 0.6 * au.au25)
    gap_down = 0.08 * au.au25 + 0.25 * au.au26 * (0.35 + 0.65 * au.au25) + 0.5 * who.lip_part
    thin = (1.0 - 0.62 * au.au23) * (1.0 - 0.25 * au.au12) * (1.0 - 0.3 * au.au20) * who.lip_fullness
    inner_top = line - _vertical(gap_up * _DOME + 0.05 * au.au10 * _DOME * (1 - au.au25))
    inner_bottom = line + _vertical((gap_down - 0.035 * au.au17) * _DOME).clip(0.0)
    top = inner_top - _vertical(0.052 * thin * _CUPID + 0.012 * au.au10)
    bottom = inner_bottom + _vertical(0.078 * thin * (1.0 + 0.15 * au.au17) * _DOME)
    inside = np.concatenate([inner_top, inner_bottom[::-1]])
    shapes = {
        "lips": np.concatenate([top, bottom[::-1]]),
        "upper_lip": np.concatenate([top, inner_top[::-1]]),
        "mouth_inside": inside,
        "lip_line": line,
        "outer_top": top,
        "outer_bottom": bottom,
        "inner_top": inner_top,
        "inner_bottom": inner_bottom,
        "lip_gloss": _strip(bottom, 0.35, 0.02, -0.035),
        "under_lip": _strip(bottom, 0.6, 0.05, 0.045),
    }
    return shapes | _teeth_and_tongue(au, inner_top, inner_bottom) | _mouth_folds(face, line)


def _lip_line(who: Identity, au: ActionUnits) -> Points:
    """Line on which the lips meet, from the left to the right corner."""
    (left_x, left_y), (right_x, right_y) = (mouth_corner(who, au, sign) for sign in SIDES.values())
    share = (_ACROSS + 1.0) / 2.0
    middle = MOUTH_Y + who.mouth_height + 0.04 * au.au26 - 0.03 * au.au17 - 0.01 * au.au9 + 0.02 * au.au12
    ends = left_y + (right_y - left_y) * share
    wave = 0.008 * np.cos(3 * np.pi * _ACROSS) * (1 - np.abs(_ACROSS))
    y = middle + (ends - middle) * np.abs(_ACROSS) ** 1.7 + wave
    return np.array((left_x + (right_x - left_x) * share, y)).T


def _teeth_and_tongue(au: ActionUnits, top: Points, bottom: Points) -> dict[str, Points]:
    middle_top, middle_bottom = top[7, 1], bottom[7, 1]
    edge = top[1:-1] + _vertical((0.045 + 0.05 * au.au12 + 0.035 * au.au10 + 0.02 * au.au20) * _EVEN)
    upper_teeth = np.concatenate([top[1:-1], clip_between(edge, top, bottom)[::-1]])
    low_edge = bottom[3:-3] - (0.0, 0.04 + 0.03 * au.au20)
    lower_teeth = np.concatenate([bottom[3:-3], clip_between(low_edge, top, bottom)[::-1]])
    tongue = ellipse(0.5 * (top[0, 0] + top[-1, 0]), middle_bottom, 0.15, 0.45 * (middle_bottom - middle_top))
    return {
        "upper_teeth": upper_teeth,
        "lower_teeth": lower_teeth,
        "tongue": clip_between(tongue, top, bottom),
    }


def _mouth_folds(face: Face, line: Points) -> dict[str, Points]:
    au = face.units
    shapes: dict[str, Points] = {}
    for (side, sign), (x, y) in zip(SIDES.items(), (line[0], line[-1]), strict=True):
        nose_y = 0.22 * face.identity.nose_length - 0.04 * au.au9
        bulge = 0.05 + 0.05 * au.au12
        knots = [(sign * 0.17, nose_y), (x * 0.9 + sign * (bulge + 0.02), 0.55 * nose_y + 0.45 * y)]
        shapes[f"{side}_nasolabial"] = smooth([*knots, (x + sign * bulge, y + 0.03 - 0.03 * au.au10)])
        shapes[f"{side}_mouth_corner"] = ellipse(x + sign * 0.02, y, 0.04, 0.045, 10)
        shapes[f"{side}_corner_fold"] = np.array([(x + sign * 0.01, y + 0.01), (x + sign * 0.05, y + 0.12)])
    return shapes


def _vertical(heights: np.ndarray) -> Points:
    return np.array((np.zeros_like(heights), heights)).T


def _strip(curve: Points, share: float, height: float, offset: float) -> Points:
    """Lens of the given height along the middle ``share`` of a curve, ``offset`` below it."""
    keep = np.abs(_ACROSS) <= share
    middle, half = curve[keep] + (0.0, offset), _vertical(0.5 * height * _DOME[keep])
    return np.concatenate([middle - half, (middle + half)[::-1]])
