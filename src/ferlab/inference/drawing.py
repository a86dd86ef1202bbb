"""Boxes and words on a picture."""

import cv2
import numpy as np

from ferlab.inference.answers import FaceAnswer, PictureAnswer

FONT = cv2.FONT_HERSHEY_SIMPLEX
COLOURS = ((0, 114, 178), (213, 94, 0), (0, 158, 115), (204, 121, 167), (86, 180, 233), (230, 159, 0), (120, 94, 240))
"""RGB of persons in turn; told apart by colour-blind people, too (Okabe and Ito 2008)."""
INK = (255, 255, 255)
UNSURE = "unsure"


def annotated(
    pixels: np.ndarray, answer: PictureAnswer, classes: tuple[str, ...], abstain_below: float | None
) -> np.ndarray:
    """A copy of RGB or gray pixels as RGB, every face framed and named; on a small picture all is small."""
    drawn = np.ascontiguousarray(np.repeat(pixels[:, :, None], 3, axis=2) if pixels.ndim == 2 else pixels.copy())
    thickness = max(1, round(min(drawn.shape[:2]) / 300))
    for position, face in enumerate(answer.faces):
        colour = COLOURS[((face.person or position + 1) - 1) % len(COLOURS)]
        x, y, width, height = (0, 0, drawn.shape[1] - 1, drawn.shape[0] - 1) if face.found is None else face.found.box
        corner = round(x), round(y)
        cv2.rectangle(drawn, corner, (round(x + width), round(y + height)), colour, thickness, cv2.LINE_AA)
        _write(drawn, caption(face, classes, abstain_below), corner, colour, thickness)
    return drawn


def caption(face: FaceAnswer, classes: tuple[str, ...], abstain_below: float | None) -> str:
    """What stands at a face: person, category and per cent, or that the model is too unsure."""
    name = classes[face.best] if face.answers(abstain_below) else UNSURE
    person = f"{face.person}: " if face.person is not None else ""
    return f"{person}{name} {100 * face.confidence:.0f}%"


def _write(drawn: np.ndarray, text: str, corner: tuple[int, int], colour: tuple[int, ...], thickness: int) -> None:
    scale = 0.45 * max(1.0, thickness * 0.75)
    (width, height), below = cv2.getTextSize(text, FONT, scale, thickness)
    left = min(max(0, corner[0]), max(0, drawn.shape[1] - width))
    base = corner[1] - below if corner[1] >= height + 2 * below else corner[1] + height + below
    cv2.rectangle(drawn, (left, base - height - below), (left + width, base + below), colour, cv2.FILLED)
    cv2.putText(drawn, text, (left, base), FONT, scale, INK, thickness, cv2.LINE_AA)
