"""Head, hair, beard, glasses and shoulders as outlines in face units (see ``features``)."""

import numpy as np

from ferlab.datasets.synthetic.anatomy import Face, Identity
from ferlab.datasets.synthetic.curves import Points, ellipse, mirrored, smooth
from ferlab.datasets.synthetic.features import EYE_X, EYE_Y, MOUTH_Y, SIDES

HAIRLINES = {
    "short": (-0.30, -0.56, -0.66, -0.68, -0.66, -0.56, -0.30),
    "side": (-0.28, -0.60, -0.74, -0.70, -0.58, -0.46, -0.26),
    "fringe": (-0.10, -0.36, -0.42, -0.43, -0.42, -0.37, -0.10),
    "long": (0.05, -0.46, -0.68, -0.78, -0.68, -0.46, 0.05),
    "curly": (-0.14, -0.50, -0.58, -0.56, -0.58, -0.50, -0.14),
    "bun": (-0.26, -0.62, -0.74, -0.76, -0.74, -0.62, -0.26),
}
"""Height of the hairline at the seven places ``HAIRLINE_X``, from ear to ear, per style."""

HAIRLINE_X = (-0.74, -0.6, -0.32, 0.0, 0.32, 0.6, 0.74)

STRANDS = 18
"""Locks of hair that are drawn."""

VOLUME = {"short": 0.05, "side": 0.07, "fringe": 0.07, "long": 0.09, "curly": 0.15, "bun": 0.03}
"""How far the hair stands off the skull, in face units."""


def head_outlines(face: Face) -> dict[str, Points]:
    """Name to outline (n, 2) in face units of the head and what sits on it; styles not worn are left out."""
    who = face.identity
    skull = _skull(face)
    shapes = {
        "head": smooth(mirrored(skull), 4, closed=True),
        "neck": mirrored([(0.36, 0.4), (0.37, 1.0), (0.46, 1.2), (0.5, 1.9)]),
        "shoulders": mirrored([(0.40, 1.12), (0.75, 1.22), (1.25, 1.36), (1.6, 2.2)]),
        "neck_shadow": mirrored([(0.38, 0.6), (0.4, 1.0 + 0.1 * face.units.au26), (0.2, 1.16)]),
    }
    for side, sign in SIDES.items():
        shapes[f"{side}_ear"] = ellipse(sign * 0.735 * who.face_width, 0.06, 0.085, 0.17)
        shapes |= {f"{side}_{name}": ring for name, ring in _cheek(face, sign).items()}
        shapes[f"{side}_socket"] = ellipse(sign * EYE_X * who.eye_spacing, EYE_Y - 0.06, 0.22, 0.15)
    shapes |= _forehead_lines(face) | _hair(who, skull) | _beard(who, skull)
    return shapes | (_glasses(who) if who.glasses else {})


def _skull(face: Face) -> Points:
    """Right half of the head, from crown to chin."""
    who, au = face.identity, face.units
    jaw = who.jaw_width
    upper = [(0.0, -1.0), (0.40, -0.93), (0.65, -0.66), (0.73, -0.2), (0.70, 0.2)]
    half = np.array([*upper, (0.61 * jaw, 0.58), (0.38 * jaw, 0.88), (0.13 * jaw, 0.995)])
    drop = 0.15 * au.au26 - 0.02 * au.au17
    half[:, 1] += np.clip(half[:, 1] - 0.1, 0.0, None) * drop / 0.9
    half[4:6, 0] += 0.02 * au.au12 + 0.015 * au.au6
    return half * (who.face_width, who.face_height)


def _cheek(face: Face, sign: float) -> dict[str, Points]:
    """Rings inside each other, so that the colour of the cheek fades out towards its rim."""
    au = face.units
    x, y = sign * 0.40 * face.identity.face_width, 0.22 - 0.07 * au.au6 - 0.03 * au.au12
    radii = {"cheek_rim": 0.20, "cheek_ring": 0.155, "cheek": 0.11}
    return {name: ellipse(x, y, radius, 0.78 * radius, 18) for name, radius in radii.items()}


def _forehead_lines(face: Face) -> dict[str, Points]:
    au = face.units
    lift = 0.04 * (au.au1 + au.au2)
    bend = 0.05 * (au.au2 - au.au1)
    x = np.linspace(-0.42, 0.42, 9)
    shapes = {}
    for number, y in enumerate((-0.44, -0.53, -0.62)):
        shapes[f"forehead_{number}"] = np.array((x * (1 - 0.12 * number), y - lift - bend * (x / 0.4) ** 2)).T
    for side, sign in SIDES.items():
        shapes[f"{side}_frown"] = np.array([(sign * 0.05, -0.34), (sign * 0.045, -0.26), (sign * 0.06, -0.2)])
    return shapes


def _hair(who: Identity, skull: Points) -> dict[str, Points]:
    if who.hair_style not in HAIRLINES:
        return {}
    outer = np.array(skull[:5]) * (1.0 + VOLUME[who.hair_style], 1.0 + VOLUME[who.hair_style])
    outer[-1] = (outer[-1, 0] - 0.02, 0.1)
    edge = np.array((HAIRLINE_X, HAIRLINES[who.hair_style])).T[::-1]
    line = smooth(edge * (who.face_width, who.face_height))
    cap = smooth(np.concatenate([outer[::-1] * (-1.0, 1.0), outer[1:]]))
    keep = cap[:, 1] < max(line[0, 1], line[-1, 1]) + 0.02
    shapes = {"hair": np.concatenate([cap[keep], _ragged(line)]), "strands": _strands(cap[keep], line[::-1])}
    if who.hair_style == "long":
        tail = [(0.0, -1.1), (0.5, -1.02), (0.82, -0.6), (0.9, 0.0), (0.92, 0.6), (0.86, 1.15), (0.5, 1.3)]
        shapes["back_hair"] = smooth(mirrored(tail) * (who.face_width, 1.0), 4, closed=True)
    elif who.hair_style == "bun":
        shapes["back_hair"] = ellipse(0.0, -1.08, 0.27, 0.2)
    elif who.hair_style == "curly":
        shapes["back_hair"] = _curls(cap)
    return shapes


def _ragged(line: Points) -> Points:
    """Hang a small tuft from every second point of the hairline."""
    tufted = line.copy()
    tufted[1:-1:2, 1] += 0.035
    return tufted


def _strands(crown: Points, hairline: Points) -> Points:
    """Locks from crown to hairline, three points each: (3 * STRANDS, 2)."""
    share = np.linspace(0.06, 0.94, STRANDS)
    root = crown[np.rint(share * (len(crown) - 1)).astype(int)] * 0.97
    tip = hairline[np.rint(share * (len(hairline) - 1)).astype(int)] - (0.0, 0.03)
    middle = 0.5 * (root + tip) * (1.06, 1.0) - (0.0, 0.03)
    return np.asarray(np.stack([root, middle, tip], axis=1).reshape(-1, 2))


def _curls(cap: Points) -> Points:
    """Scallop the rim of the cap."""
    swing = 1.0 + 0.045 * np.cos(np.arange(len(cap)) * np.pi)
    return np.asarray(cap * swing[:, None])


def _beard(who: Identity, skull: Points) -> dict[str, Points]:
    y = MOUTH_Y + who.mouth_height
    if who.beard == "moustache":
        half = [
            (0.0, y - 0.17),
            (0.16, y - 0.14),
            (0.28, y - 0.02),
            (0.22, y - 0.02),
            (0.1, y - 0.06),
            (0.0, y - 0.05),
        ]
        return {"moustache": smooth(mirrored(half), 3, closed=True)}
    if who.beard == "none":
        return {}
    cheek_to_chin = skull[4:] * (0.995, 1.0) + (0.0, 0.02)
    inner = [
        (0.0, y + 0.14),
        (0.22, y + 0.12),
        (0.36, y - 0.02),
        (0.28, y - 0.14),
        (0.5, y - 0.12),
        (0.62, 0.1),
    ]
    outline = mirrored([*inner, *cheek_to_chin.tolist(), (0.0, cheek_to_chin[-1, 1])])
    moustache = mirrored([(0.0, y - 0.17), (0.2, y - 0.14), (0.36, y + 0.02), (0.28, y + 0.04), (0.0, y - 0.06)])
    return {"beard": outline, "moustache": moustache}


def _glasses(who: Identity) -> dict[str, Points]:
    shapes = {}
    corners = np.array([(-0.2, -0.13), (0.0, -0.155), (0.21, -0.13), (0.2, 0.07), (0.0, 0.15), (-0.18, 0.08)])
    for side, sign in SIDES.items():
        x = EYE_X * who.eye_spacing
        shapes[f"{side}_glass"] = smooth((corners - (-x, -EYE_Y - 0.02)) * (sign, 1.0), 3, closed=True)
        temple = [(x + 0.21, EYE_Y - 0.08), (0.72 * who.face_width, EYE_Y - 0.1)]
        shapes[f"{side}_temple"] = np.array(temple) * (sign, 1.0)
    shapes["bridge"] = smooth([(-0.12, EYE_Y), (0.0, EYE_Y - 0.03), (0.12, EYE_Y)])
    return shapes
