"""Who appears in the embedded data set: every face follows from (seed, index) alone."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from ferlab.datasets.synthetic.anatomy import (
    ACTION_UNIT_NAMES,
    BEARDS,
    CIRCUMPLEX,
    HAIR_STYLES,
    PROTOTYPES,
    ActionUnits,
    Capture,
    Face,
    Identity,
    Occlusion,
    Pose,
    Rgb,
    blend,
)

CLASS_SHARES: Mapping[str, float] = {
    "happy": 0.33,
    "neutral": 0.20,
    "sad": 0.13,
    "surprise": 0.11,
    "angry": 0.10,
    "fear": 0.08,
    "disgust": 0.05,
}
"""Share of each category. Ordered like AffectNet, which is steeper (happy 47 %, disgust 1.3 % of 283,901)."""

BLEND_SHARE = 0.06
"""Share of faces that mix in the expression of another category (compound expressions, Du et al. 2014)."""

GOLDEN = (5**0.5 - 1) / 2

SKIN_RGB: tuple[Rgb, ...] = (
    (244, 208, 178),
    (232, 188, 154),
    (214, 164, 126),
    (186, 132, 96),
    (146, 98, 68),
    (102, 68, 50),
)
HAIR_RGB: tuple[Rgb, ...] = (
    (34, 28, 26),
    (58, 40, 30),
    (92, 62, 40),
    (134, 92, 54),
    (186, 148, 92),
    (148, 70, 40),
    (168, 166, 164),
)
IRIS_RGB: tuple[Rgb, ...] = ((84, 56, 36), (58, 40, 30), (104, 88, 50), (84, 116, 92), (92, 124, 156))


def sample_face(seed: int, index: int, category: str | None = None) -> Face:
    """Draw the face number ``index`` (>= 0) of the population ``seed`` (>= 0).

    Nothing else is drawn from, so any worker may draw any subset in any order. Categories follow a golden
    ratio sequence over the index: every 34 consecutive faces hold each category, at shares close to
    ``CLASS_SHARES``. ``category`` asks for one instead, the only way to a face of contempt.
    """
    rng = np.random.default_rng(np.random.SeedSequence([seed, index]))
    category = category or _category(seed, index)
    strength = _strength(rng)
    tone = rng.uniform(0.0, 1.0)
    face = Face(
        category=category,
        units=_units(rng, category, strength),
        identity=_identity(rng, tone),
        pose=_pose(rng),
        capture=_capture(rng),
        valence=_affect(rng, CIRCUMPLEX[category][0], strength),
        arousal=_affect(rng, CIRCUMPLEX[category][1], strength),
    )
    return _one_sided(rng, face) if category == "contempt" else face


def _one_sided(rng: np.random.Generator, face: Face) -> Face:
    side = float(rng.choice((-1.0, 1.0)))
    return replace(face, identity=replace(face.identity, asymmetry=side * float(rng.uniform(0.75, 0.95))))


def _category(seed: int, index: int) -> str:
    start = float(np.random.default_rng(np.random.SeedSequence([seed])).random())
    place = (start + index * GOLDEN) % 1.0
    for category, share in CLASS_SHARES.items():
        place -= share
        if place < 0:
            return category
    return tuple(CLASS_SHARES)[-1]  # the shares may sum to a hair below 1


def _strength(rng: np.random.Generator) -> float:
    """Expression intensity in 0.15..1: mostly clear, with a tail of hardly visible ones."""
    return float(0.15 + 0.85 * rng.beta(2.6, 1.2))


def _units(rng: np.random.Generator, category: str, strength: float) -> ActionUnits:
    """Draw the category's action units, each with its own intensity, plus what any face does besides."""
    goal = _variant(rng, category)
    if rng.random() < BLEND_SHARE:
        other = str(rng.choice([name for name in CLASS_SHARES if name != category]))
        goal = blend(goal, _variant(rng, other), float(rng.uniform(0.2, 0.45)))
    own = rng.normal(1.0, 0.2, len(ACTION_UNIT_NAMES))
    stray = np.maximum(rng.normal(0.0, 0.08, len(ACTION_UNIT_NAMES)), 0.0)
    values = strength * own * [getattr(goal, name) for name in ACTION_UNIT_NAMES] + stray
    intensities = dict(zip(ACTION_UNIT_NAMES, np.clip(values, 0.0, 1.0).tolist(), strict=True))
    if rng.random() < 0.15:  # speaking: the mouth opens whatever the expression
        intensities["au25"] = max(intensities["au25"], float(rng.uniform(0.2, 0.8)))
        intensities["au26"] = max(intensities["au26"], float(rng.uniform(0.0, 0.4)))
    return ActionUnits(**intensities)


def _variant(rng: np.random.Generator, category: str) -> ActionUnits:
    variants = PROTOTYPES[category]
    return variants[int(rng.integers(len(variants)))]


def _identity(rng: np.random.Generator, tone: float) -> Identity:
    skin = _jitter(rng, _between(SKIN_RGB, tone), 6)
    hair = HAIR_RGB[int(rng.integers(len(HAIR_RGB) if tone < 0.6 else 3))]
    bearded = rng.random() < 0.3
    return Identity(
        **_proportions(rng),
        **_resting_face(rng),
        age=float(rng.beta(1.5, 2.2)),
        skin_rgb=skin,
        hair_rgb=_jitter(rng, hair, 8),
        iris_rgb=_jitter(rng, IRIS_RGB[int(rng.integers(len(IRIS_RGB) if tone < 0.5 else 2))], 6),
        lip_rgb=_lips(rng, skin),
        clothes_rgb=_any_rgb(rng, 40, 210),
        hair_style=HAIR_STYLES[int(rng.choice(len(HAIR_STYLES), p=(0.08, 0.24, 0.18, 0.14, 0.18, 0.1, 0.08)))],
        beard=BEARDS[int(rng.integers(1, len(BEARDS)))] if bearded else "none",
        glasses=bool(rng.random() < 0.16),
    )


def _proportions(rng: np.random.Generator) -> dict[str, Any]:
    spreads = {
        "face_width": 0.05,
        "face_height": 0.035,
        "jaw_width": 0.07,
        "eye_spacing": 0.05,
        "eye_size": 0.09,
        "brow_thickness": 0.25,
        "brow_arch": 0.35,
        "nose_length": 0.08,
        "nose_width": 0.13,
        "mouth_width": 0.09,
        "lip_fullness": 0.22,
    }
    return {name: _normal(rng, 1.0, spread) for name, spread in spreads.items()}


def _resting_face(rng: np.random.Generator) -> dict[str, Any]:
    return {
        "eye_slant": _normal(rng, 0.0, 0.015),
        "brow_height": _normal(rng, 0.0, 0.018),
        "mouth_height": _normal(rng, 0.0, 0.02),
        "mouth_curve": _normal(rng, 0.0, 0.014),
        "lid_droop": _normal(rng, 0.0, 0.1),
        "lip_part": max(0.0, _normal(rng, -0.01, 0.015)),
        "asymmetry": _normal(rng, 0.0, 0.13),
    }


def _pose(rng: np.random.Generator) -> Pose:
    return Pose(
        roll=_normal(rng, 0.0, 4.5),
        yaw=_normal(rng, 0.0, 8.0),
        pitch=_normal(rng, 0.0, 4.0),
        shift_x=_normal(rng, 0.0, 0.016),
        shift_y=_normal(rng, 0.0, 0.016),
        scale=_normal(rng, 1.12, 0.045),
        gaze_x=_normal(rng, 0.0, 0.35),
        gaze_y=_normal(rng, 0.0, 0.25),
    )


def _capture(rng: np.random.Generator) -> Capture:
    angle = rng.uniform(0.0, 2.0 * np.pi)
    return Capture(
        light_x=float(np.cos(angle)),
        light_y=float(0.6 * np.sin(angle) - 0.3),
        light_strength=float(rng.beta(2.0, 3.0)),
        contrast=_normal(rng, 0.98, 0.11),
        brightness=_normal(rng, 0.0, 12.0),
        blur=float(rng.beta(1.2, 3.5) * 0.02),
        noise=float(rng.gamma(1.6, 2.2)),
        tint=_normal(rng, 0.0, 0.4),
        background_rgb=_any_rgb(rng, 30, 230),
        occlusion=_occlusion(rng) if rng.random() < 0.08 else None,
        grain_seed=int(rng.integers(2**31)),
    )


def _occlusion(rng: np.random.Generator) -> Occlusion:
    return Occlusion(
        x=float(rng.uniform(0.1, 0.9)),
        y=float(rng.uniform(0.2, 0.95)),
        half_width=float(rng.uniform(0.07, 0.17)),
        half_height=float(rng.uniform(0.07, 0.2)),
        turn=float(rng.uniform(-60, 60)),
        rgb=_any_rgb(rng, 30, 220),
    )


def _affect(rng: np.random.Generator, at_full_strength: float, strength: float) -> float:
    """Valence or arousal in -1..1: grows with the strength; annotators differ by about a tenth."""
    return float(np.clip(at_full_strength * (0.4 + 0.6 * strength) + rng.normal(0.0, 0.1), -1.0, 1.0))


def _normal(rng: np.random.Generator, mean: float, spread: float) -> float:
    """Draw from a normal distribution cut at 2.5 deviations, so that the face can still be drawn."""
    return mean + spread * min(max(float(rng.standard_normal()), -2.5), 2.5)


def _between(stops: tuple[Rgb, ...], place: float) -> Rgb:
    """Mix the colour at ``place`` in 0..1 along the stops."""
    low = min(int(place * (len(stops) - 1)), len(stops) - 2)
    share = place * (len(stops) - 1) - low
    red, green, blue = (a + (b - a) * share for a, b in zip(stops[low], stops[low + 1], strict=True))
    return red, green, blue


def _jitter(rng: np.random.Generator, rgb: Rgb, spread: float) -> Rgb:
    red, green, blue = (min(max(float(c), 0.0), 255.0) for c in np.asarray(rgb) + rng.normal(0.0, spread, 3))
    return red, green, blue


def _any_rgb(rng: np.random.Generator, low: float, high: float) -> Rgb:
    """Draw a muted colour: one brightness, three small deviations."""
    level = float(rng.uniform(low, high))
    return _jitter(rng, (level, level, level), 18)


def _lips(rng: np.random.Generator, skin: Rgb) -> Rgb:
    """Lips are the skin, redder and darker; some wear lipstick."""
    red, green, blue = skin
    if rng.random() < 0.15:
        return _jitter(rng, (0.35 * red + 110, 0.3 * green + 12, 0.3 * blue + 30), 8)
    return _jitter(rng, (0.86 * red + 6, 0.66 * green, 0.68 * blue), 5)
