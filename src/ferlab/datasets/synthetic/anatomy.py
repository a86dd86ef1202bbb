"""What a drawn face is made of: action units, identity, pose, capture, and the categories' prototypes."""

from collections.abc import Mapping
from dataclasses import dataclass, fields

Rgb = tuple[float, float, float]
"""Red, green, blue, each in 0..255."""


@dataclass(frozen=True, slots=True)
class ActionUnits:
    """Intensities in 0..1 of the action units that are drawn, numbered as in FACS (Ekman & Friesen 1978).

    ======  =====================  ======  =====================  ======  ====================
    au1     inner brow raiser      au7     lid tightener          au17    chin raiser
    au2     outer brow raiser      au9     nose wrinkler          au20    lip stretcher
    au4     brow lowerer           au10    upper lip raiser       au23    lip tightener
    au5     upper lid raiser       au12    lip corner puller      au25    lips part
    au6     cheek raiser           au15    lip corner depressor   au26    jaw drop
    ======  =====================  ======  =====================  ======  ====================
    """

    au1: float = 0.0
    au2: float = 0.0
    au4: float = 0.0
    au5: float = 0.0
    au6: float = 0.0
    au7: float = 0.0
    au9: float = 0.0
    au10: float = 0.0
    au12: float = 0.0
    au15: float = 0.0
    au17: float = 0.0
    au20: float = 0.0
    au23: float = 0.0
    au25: float = 0.0
    au26: float = 0.0


ACTION_UNIT_NAMES: tuple[str, ...] = tuple(f.name for f in fields(ActionUnits))

HAIR_STYLES = ("bald", "short", "side", "fringe", "long", "curly", "bun")

BEARDS = ("none", "stubble", "moustache", "full")


@dataclass(frozen=True, slots=True)
class Identity:
    """The person. Lengths are factors around 1 of an average face, the rest as said.

    ``brow_height``, ``mouth_curve``, ``lid_droop`` and ``lip_part`` describe the face at rest: they imitate
    weak action units, as real physiognomies do, in face units (half the height of a head is 1).
    ``asymmetry`` (-1..1) is how much stronger the right side of the picture moves; ``age`` in 0..1 deepens
    the lines; colours are RGB in 0..255.
    """

    face_width: float = 1.0
    face_height: float = 1.0
    jaw_width: float = 1.0
    eye_spacing: float = 1.0
    eye_size: float = 1.0
    eye_slant: float = 0.0
    brow_thickness: float = 1.0
    brow_height: float = 0.0
    brow_arch: float = 1.0
    lid_droop: float = 0.0
    nose_length: float = 1.0
    nose_width: float = 1.0
    mouth_width: float = 1.0
    mouth_height: float = 0.0
    mouth_curve: float = 0.0
    lip_fullness: float = 1.0
    lip_part: float = 0.0
    asymmetry: float = 0.0
    age: float = 0.3
    skin_rgb: Rgb = (224.0, 172.0, 138.0)
    hair_rgb: Rgb = (70.0, 48.0, 34.0)
    iris_rgb: Rgb = (92.0, 64.0, 42.0)
    lip_rgb: Rgb = (186.0, 98.0, 92.0)
    clothes_rgb: Rgb = (80.0, 96.0, 120.0)
    hair_style: str = "short"
    beard: str = "none"
    glasses: bool = False


@dataclass(frozen=True, slots=True)
class Pose:
    """Head pose: angles in degrees, shifts as a share of the picture, scale as a factor; gaze in -1..1."""

    roll: float = 0.0
    yaw: float = 0.0
    pitch: float = 0.0
    shift_x: float = 0.0
    shift_y: float = 0.0
    scale: float = 1.0
    gaze_x: float = 0.0
    gaze_y: float = 0.0


@dataclass(frozen=True, slots=True)
class Occlusion:
    """A patch in front of the face: centre, half sizes as shares of the picture, turn in degrees."""

    x: float
    y: float
    half_width: float
    half_height: float
    turn: float
    rgb: Rgb


@dataclass(frozen=True, slots=True)
class Capture:
    """How the picture was taken.

    ``light_x`` and ``light_y`` (-1..1) point to the light (right, down), ``light_strength`` in 0..1;
    ``contrast`` is a factor, ``brightness`` and ``noise`` (standard deviation) are in pixel values 0..255,
    ``blur`` is a standard deviation as a share of the picture, ``tint`` in -1..1 goes from cold to warm.
    ``grain_seed`` fixes noise and background.
    """

    light_x: float = -0.3
    light_y: float = -0.4
    light_strength: float = 0.4
    contrast: float = 1.0
    brightness: float = 0.0
    blur: float = 0.0
    noise: float = 0.0
    tint: float = 0.0
    background_rgb: Rgb = (150.0, 160.0, 170.0)
    occlusion: Occlusion | None = None
    grain_seed: int = 0


@dataclass(frozen=True, slots=True)
class Face:
    """Everything that decides one picture, with its category and its valence and arousal in -1..1."""

    category: str
    units: ActionUnits = ActionUnits()
    identity: Identity = Identity()
    pose: Pose = Pose()
    capture: Capture = Capture()
    valence: float = 0.0
    arousal: float = 0.0


PROTOTYPES: Mapping[str, tuple[ActionUnits, ...]] = {
    "angry": (
        ActionUnits(au4=1.0, au5=0.5, au7=0.7, au23=0.9),
        ActionUnits(au4=1.0, au7=0.8, au23=0.6, au17=0.5),
        ActionUnits(au4=1.0, au5=0.6, au7=0.6, au10=0.5, au25=0.7, au26=0.3),
    ),
    "disgust": (
        ActionUnits(au9=1.0, au10=0.5, au17=0.5, au15=0.4, au4=0.3),
        ActionUnits(au9=0.8, au10=1.0, au25=0.4, au7=0.4, au4=0.3),
    ),
    "fear": (
        ActionUnits(au1=1.0, au2=0.5, au4=0.6, au5=0.9, au7=0.3, au20=0.9, au25=0.5),
        ActionUnits(au1=0.9, au2=0.6, au4=0.6, au5=1.0, au20=0.7, au25=0.6, au26=0.4),
    ),
    "happy": (
        ActionUnits(au6=0.9, au12=1.0, au25=0.7),
        ActionUnits(au6=0.5, au12=0.9),
        ActionUnits(au6=1.0, au12=1.0, au25=0.9, au26=0.35),
    ),
    "sad": (
        ActionUnits(au1=1.0, au4=0.5, au15=0.8),
        ActionUnits(au1=0.9, au4=0.6, au15=1.0, au17=0.7),
        ActionUnits(au1=0.8, au4=0.4, au15=0.7, au25=0.3, au7=0.3),
    ),
    "surprise": (
        ActionUnits(au1=1.0, au2=1.0, au5=0.8, au25=0.6, au26=1.0),
        ActionUnits(au1=1.0, au2=0.9, au5=0.9, au25=0.6, au26=0.5),
    ),
    "neutral": (ActionUnits(),),
    "contempt": (
        ActionUnits(au12=0.55, au23=0.3),
        ActionUnits(au12=0.5, au7=0.2, au17=0.3, au23=0.3),
    ),
}
"""Category (class names of ``emotions.FER2013``, and contempt) to the variants of its full-strength expression.

After the prototypes of EMFACS and the FACS Investigator's Guide (Friesen & Ekman 1983; Ekman, Friesen & Hager
2002, table 10-1): anger 4+5+7+23, disgust 9 or 10 with 15/17, fear 1+2+4+5+20+25/26, happiness 6+12,
sadness 1+4+15(+17), surprise 1+2+5+26; contempt is 12+14 on one side, where tightened lips stand in for 14, which is
not drawn.
"""

CIRCUMPLEX: Mapping[str, tuple[float, float]] = {
    "angry": (-0.55, 0.65),
    "disgust": (-0.70, 0.35),
    "fear": (-0.45, 0.80),
    "happy": (0.80, 0.35),
    "sad": (-0.70, -0.30),
    "surprise": (0.20, 0.85),
    "neutral": (0.0, 0.0),
    "contempt": (-0.50, 0.50),
}
"""Category to (valence, arousal) at full strength: Russell 1980, near AffectNet's class means."""


def blend(first: ActionUnits, second: ActionUnits, share: float) -> ActionUnits:
    """Each unit of ``first`` times (1 - share) plus ``second`` times share, share in 0..1."""
    values = {n: getattr(first, n) * (1 - share) + getattr(second, n) * share for n in ACTION_UNIT_NAMES}
    return ActionUnits(**values)
