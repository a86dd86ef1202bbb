"""Pictures with drawn faces in them, videos of such pictures, and a small model that needs no TensorFlow."""

import struct
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import pytest

from ferlab.datasets.synthetic.drawing import draw_face
from ferlab.datasets.synthetic.population import sample_face
from ferlab.edge.description import Description
from ferlab.emotions import FER2013
from ferlab.inference.predictor import Predictor
from ferlab.inference.server import Service

from .serving import LIMITS, served

Place = tuple[int, int, int]
"""Left edge, top edge and side in pixels of the square that a face is drawn in."""


class SmallModel:
    """Softmax of random projections: answers that depend on every pixel of the image, and on nothing else."""

    def __init__(self, size_px: int = 48, colour: str = "gray", margin: float = 0.0, align: bool = False) -> None:
        self.description = Description(
            classes=FER2013.classes, taxonomy="fer2013", run_id="0" * 32, size_px=size_px, colour=colour, margin=margin,
            align=align, licence="drawn", name="small", protocol="synthetic/carved",
        )  # fmt: skip
        rng = np.random.default_rng(0)
        self._weights = rng.normal(0, 0.02, (int(np.prod(self.description.image_shape)), len(FER2013)))
        self.batches: list[int] = []

    def probabilities(self, images: np.ndarray) -> np.ndarray:
        assert images.dtype == np.uint8
        assert images.shape[1:] == self.description.image_shape
        self.batches.append(len(images))
        logits = (images.reshape(len(images), -1).astype(np.float64) / 255 - 0.5) @ self._weights * 20
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        return (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)


@lru_cache
def drawn(index: int, side: int) -> np.ndarray:
    return draw_face(sample_face(3, index), side, "rgb")


def scene(places: Sequence[Place], first: int = 0, width: int = 640, height: int = 480) -> np.ndarray:
    """RGB pixels (height, width, 3) with the drawn faces ``first``, ``first + 1``, ... at those places."""
    coarse = np.random.default_rng(1).integers(90, 160, (6, 8, 3), dtype=np.uint8)
    pixels = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    for index, (x, y, side) in enumerate(places):
        pixels[y : y + side, x : x + side] = drawn(first + index, side)
    return pixels


def with_rate_that_varies(data: bytes, samples: int) -> bytes:
    """An MP4 whose second half of frames takes three times as long: its table of durations, and the sizes around it."""
    at = data.index(b"stts") - 4
    count, number, duration = struct.unpack(">III", data[at + 12 : at + 24])
    assert (count, number) == (1, samples)
    entries = struct.pack(">IIIII", 2, samples // 2, duration, samples - samples // 2, 3 * duration)
    grown = bytearray(data[: at + 12] + entries + data[at + 24 :])
    for box in (b"stts", b"stbl", b"minf", b"mdia", b"trak", b"moov"):
        place = grown.rindex(box, 0, at + 8) - 4
        grown[place : place + 4] = (int.from_bytes(grown[place : place + 4], "big") + 8).to_bytes(4, "big")
    return bytes(grown).replace(b"edts", b"free")  # a list of edits that says how long all of it takes


@pytest.fixture
def small_model() -> SmallModel:
    return SmallModel()


@pytest.fixture
def write_video(tmp_path: Path) -> Callable[..., Path]:
    """``write_video(name, frames, fourcc="MJPG", rate=25)``: a video of RGB frames, its path."""

    def write(name: str, frames: Sequence[np.ndarray], fourcc: str = "MJPG", rate: float = 25) -> Path:
        file = tmp_path / name
        height, width = frames[0].shape[:2]
        out = cv2.VideoWriter(str(file), cv2.VideoWriter.fourcc(*fourcc), rate, (width, height))
        for frame in frames:
            out.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
        out.release()
        return file

    return write


@pytest.fixture(scope="session")
def walk() -> list[np.ndarray]:
    """60 frames of 320x240: a face that moves to the right, and from the 30th on a second one that stands still."""
    frames = []
    for number in range(60):
        places = [(10 + number, 20, 100)] + ([(205, 120, 100)] if number >= 30 else [])
        frames.append(scene(places, width=320, height=240))
    return frames


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    """A small model that gives no answer below a confidence of .3."""
    return Predictor(SmallModel(), abstain_below=0.3)


@pytest.fixture(scope="module")
def port(predictor: Predictor) -> Iterator[int]:
    """That of a server on which ``predictor`` answers."""
    with served(Service(predictor, LIMITS)) as taken:
        yield taken
