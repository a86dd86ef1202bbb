"""The nodes of a config that say how a model leaves the house: exports kept, faces found, videos scored."""

from dataclasses import dataclass

from ferlab.config.fields import choice, number

PRECISIONS = {"litert": ("float32", "float16", "dynamic", "int8"), "onnx": ("float32",), "keras": ("float32",)}
"""What an exported file of each format may store and compute with."""
VARIANTS = tuple(
    name for form, kinds in PRECISIONS.items() for name in (form, *(f"{form}-{precision}" for precision in kinds))
)
"""Formats with a precision, ``litert-int8``, or without: float32."""
SEEN_PX, MIN_SCORE = 640, 0.6
"""Longer side in pixels that the face detector looks at; least score in 0..1 of a face that counts."""
BOX_SCALE = 0.9
"""Side of the cut as a share of the longer side of the detector's box, measured on FER-2013 (docs/predicting.md)."""
SMOOTHINGS = ("none", "exponential", "hmm")
"""Of probabilities over time."""


@dataclass
class Parity:
    """What an exported model must keep of the trained one, on validation.

    ``images``: how many are looked at, all where there are fewer; ``float32`` to ``int8``: the share of them on which
    the most probable class must be the same; ``accuracy_lost``: how much may be, as a share, in any precision.
    ``resamples`` and ``seed`` are of the interval of that difference, and of the draw.
    """

    images: int = number(1000, 10_000_000, 3000)
    float32: float = number(0.0, 1.0, 0.999)
    float16: float = number(0.0, 1.0, 0.995)
    dynamic: float = number(0.0, 1.0, 0.98)
    int8: float = number(0.0, 1.0, 0.97)
    accuracy_lost: float = number(0.0, 1.0, 0.01)
    resamples: int = number(100, 1_000_000, 2000)
    seed: int = number(0, 2**31 - 1, 0)


@dataclass
class Faces:
    """How faces are found: ``whole`` pictures are faces already.

    ``seen_px``: longer side that the detector looks at; ``min_score``: of a face that counts; ``box_scale``: side of
    the cut as a share of the detector's box, to which the model's own margin is added.
    """

    whole: bool = False
    seen_px: int = number(64, 4096, SEEN_PX)
    min_score: float = number(0.05, 0.99, MIN_SCORE)
    box_scale: float = number(0.3, 3.0, BOX_SCALE)


@dataclass
class VideoScoring:
    """Every ``every``-th frame is scored; ``smooth_s`` is the constant of smoothing; ``seconds`` 0 goes to the end."""

    every: int = number(1, 100_000, 1)
    smooth: str = choice(SMOOTHINGS, "exponential")
    smooth_s: float = number(0.001, 3600.0, 0.5)
    seconds: float = number(0.0, 1e7, 0.0)
