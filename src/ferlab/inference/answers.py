"""What is said of a picture: its faces, each with the probability of every category; or why nothing is said."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ferlab.inference.detection import Found

NO_FACE = "no face found"
DIGITS = 6
"""Decimals of a probability in files."""


def not_cut(count: int) -> str:
    """The problem of a picture with faces that were found but are no faces to be cut out."""
    return f"{count} {'face' if count == 1 else 'faces'} could not be cut out"


@dataclass(frozen=True)
class FaceAnswer:
    """A face and what the model says: ``probabilities`` float32 (k,).

    ``person`` is the number of a face that is followed through a video, ``smoothed`` (k,) its probabilities over time;
    both None in a single picture. ``crop`` is the image that the model saw.
    """

    found: Found | None
    probabilities: np.ndarray
    crop: np.ndarray = field(repr=False)
    person: int | None = None
    smoothed: np.ndarray | None = None

    @property
    def shown(self) -> np.ndarray:
        """What is shown to people: smoothed where there is a past."""
        return self.probabilities if self.smoothed is None else self.smoothed

    @property
    def best(self) -> int:
        """Position of the likeliest category."""
        return int(np.argmax(self.shown))

    @property
    def confidence(self) -> float:
        """Its probability."""
        return float(self.shown[self.best])

    def answers(self, abstain_below: float | None) -> bool:
        """Whether it is sure enough to be given an answer."""
        return abstain_below is None or self.confidence >= abstain_below

    def as_json(self, classes: tuple[str, ...], abstain_below: float | None) -> dict[str, Any]:
        """``label`` is null where the model is too unsure; ``box`` is x, y, width, height in pixels, null for all."""
        answers = self.answers(abstain_below)
        item: dict[str, Any] = {
            "box": None if self.found is None else [round(number, 2) for number in self.found.box],
            "detection": None if self.found is None else round(self.found.score, 4),
            "label": classes[self.best] if answers else None,
            "confidence": round(self.confidence, DIGITS),
            "probabilities": _named(classes, self.probabilities),
        }
        if self.person is not None:
            item["person"] = self.person
        if self.smoothed is not None:
            item["smoothed"] = _named(classes, self.smoothed)
        return item


@dataclass(frozen=True)
class PictureAnswer:
    """A picture, or a frame: ``source`` names it, ``frame`` and ``time_s`` say where in a video it stands.

    ``problem`` says why there are no faces, or not all; ``pixels`` (RGB or gray) are there to be drawn on if asked for.
    """

    source: str
    faces: tuple[FaceAnswer, ...] = ()
    problem: str = ""
    width: int = 0
    height: int = 0
    frame: int | None = None
    time_s: float | None = None
    pixels: np.ndarray | None = field(default=None, repr=False)

    def as_json(self, classes: tuple[str, ...], abstain_below: float | None) -> dict[str, Any]:
        """One object; ``problem`` only where there is one."""
        item: dict[str, Any] = {"source": self.source, "width": self.width, "height": self.height}
        if self.frame is not None:
            item |= {"frame": self.frame, "time_s": None if self.time_s is None else round(self.time_s, 4)}
        if self.problem:
            item["problem"] = self.problem
        return item | {"faces": [face.as_json(classes, abstain_below) for face in self.faces]}


def _named(classes: tuple[str, ...], values: np.ndarray) -> dict[str, float]:
    return {name: round(float(value), DIGITS) for name, value in zip(classes, values, strict=True)}
