"""Frames of a video file or a camera, one at a time; what is damaged or missing is counted."""

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ferlab.errors import UserError
from ferlab.imaging.codec import MAX_PIXELS

VIDEO_SUFFIXES = (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv", ".flv", ".3gp", ".ts")
"""Endings of the files that are taken for a video, in lower case."""
USUAL_RATE = 25.0
"""Frames a second where a file does not say."""
FRUITLESS = 50
"""Attempts in a row to read a frame after which a file is over that promised more, or nothing."""
CAMERA_WAIT_S, CAMERA_PAUSE_S = 5.0, 0.05
"""A camera that gives no frame for so long has ended; the pause between two attempts."""
LONGEST_STILL_S = 60.0
"""Of a written video: longer gaps between two frames are shortened."""


@dataclass(frozen=True)
class Frame:
    """A frame: its number from 0, its time in seconds, pixels RGB (h, w, 3) or None where it could not be decoded."""

    number: int
    time_s: float
    pixels: np.ndarray | None


@dataclass
class Counts:
    """What became of a video's frames. ``expected``: how many the file promises, None where it does not say.

    ``ended``: it was read to its end, or the camera gave no more frames.
    """

    expected: int | None = None
    read: int = 0
    scored: int = 0
    unreadable: int = 0
    ended: bool = False

    @property
    def missing(self) -> int:
        """Frames that the file promises and does not hold: it was cut short, or damaged."""
        return self.left if self.ended else 0

    @property
    def left(self) -> int:
        """Frames that the file promises and that were not yet read."""
        return 0 if self.expected is None else max(0, self.expected - self.read - self.unreadable)


class Video:
    """An opened video file, or a camera by its number; a context.

    ``size`` is width and height in pixels, ``rate`` frames a second. ``counts`` grow while frames are read.

    Raises:
        UserError: it cannot be opened, or its frames are too large.

    """

    def __init__(self, source: Path | int) -> None:
        self.is_camera = isinstance(source, int)
        self._capture = _opened(source)
        width, height = (int(self._get(key)) for key in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
        if width * height > MAX_PIXELS:
            self.close()
            message = f"input={source}: frames of {width}x{height} pixels are larger than {MAX_PIXELS:,} pixels."
            raise UserError(message)
        self.size = width, height
        rate, promised = self._get(cv2.CAP_PROP_FPS), self._get(cv2.CAP_PROP_FRAME_COUNT)
        self.rate = rate if np.isfinite(rate) and 0 < rate < 1000 else USUAL_RATE
        # some containers answer with nonsense, such as a negative number
        self.counts = Counts(int(promised) if not self.is_camera and 0 < promised < 1e9 else None)

    def __enter__(self) -> "Video":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file or the camera."""
        self._capture.release()

    def frames(self, every: int = 1, wanted: bool = False) -> Iterator[Frame]:
        """Every ``every``-th frame; with ``wanted`` the others, too.

        The time is the file's own, so that a rate that varies does no harm; where it stands still, the rate tells.
        """
        number, last_s, begun = 0, -1.0, time.monotonic()
        while self._grabbed():
            time_s = time.monotonic() - begun if self.is_camera else self._get(cv2.CAP_PROP_POS_MSEC) / 1000
            if not np.isfinite(time_s) or time_s <= last_s:
                time_s = last_s + 1 / self.rate if number else 0.0
            last_s = time_s
            if wanted or number % every == 0:
                yield Frame(number, time_s, self._retrieved())
            else:
                self.counts.read += 1
            number += 1
        self.counts.ended = True

    def _grabbed(self) -> bool:
        """Whether there is a next frame; a file that may hold more is asked again, and so is a camera for a while."""
        if not self.is_camera:
            is_over = self.counts.expected is not None and not self.counts.left
            return any(self._capture.grab() for _ in range(1 if is_over else FRUITLESS))
        given_up = time.monotonic() + CAMERA_WAIT_S
        while not self._capture.grab():
            if time.monotonic() >= given_up:
                return False
            time.sleep(CAMERA_PAUSE_S)
        return True

    def _retrieved(self) -> np.ndarray | None:
        decoded, pixels = False, None
        with contextlib.suppress(cv2.error):
            decoded, pixels = self._capture.retrieve()
        if not decoded or pixels is None or pixels.size == 0:
            self.counts.unreadable += 1
            return None
        self.counts.read += 1
        if pixels.ndim == 2:
            return cv2.cvtColor(pixels, cv2.COLOR_GRAY2RGB)
        return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)

    def _get(self, key: int) -> float:
        return float(self._capture.get(key))


def _opened(source: Path | int) -> Any:
    if isinstance(source, int):
        capture = cv2.VideoCapture(source)
        if not capture.isOpened():
            message = f"input=camera:{source}: no camera answers there. Plug one in, or try another number."
            raise UserError(message)
        return capture
    capture = cv2.VideoCapture(str(source), cv2.CAP_FFMPEG)
    if not capture.isOpened():
        message = (
            f"input={source}: not a video that can be read (cut short before its index, damaged, or another format). "
            "Convert it, for example to MP4 with H.264."
        )
        raise UserError(message)
    return capture


class VideoOut:
    """An MP4 file (mp4v) that frames are written to one by one; a context. ``size`` is width and height in pixels.

    It has ``rate`` frames a second throughout: a frame is repeated until the next one is due, and one that comes before
    its place in time is free is left out.

    Raises:
        UserError: the file cannot be written.

    """

    def __init__(self, file: Path, size: tuple[int, int], rate: float) -> None:
        self.size = size
        self._first_s, self._written = 0.0, 0
        self._latest = np.empty(0, np.uint8)
        # mp4v has no room for every rate; frames are written by their times, whatever it is
        for self.rate in (rate, round(rate, 2), max(1.0, float(round(rate)))):
            self._writer = cv2.VideoWriter(str(file), cv2.VideoWriter.fourcc(*"mp4v"), self.rate, size)
            if self._writer.isOpened():
                break
        if not self._writer.isOpened():
            message = f"out={file}: a video cannot be written there. Name another folder."
            raise UserError(message)

    def __enter__(self) -> "VideoOut":
        return self

    def __exit__(self, *_: Any) -> None:
        self._writer.release()

    def write(self, pixels: np.ndarray, time_s: float) -> None:
        """Add an RGB frame of the source's ``time_s``; one of another size is brought to the video's."""
        if not self._written:
            self._first_s = time_s
        missing = round((time_s - self._first_s) * self.rate) - self._written
        if missing < 0:
            return
        longest = round(LONGEST_STILL_S * self.rate)
        if missing > longest:
            self._first_s += (missing - longest) / self.rate
        for _ in range(min(missing, longest)):
            self._add(self._latest)
        if pixels.shape[1::-1] != self.size:
            pixels = cv2.resize(pixels, self.size, interpolation=cv2.INTER_AREA)
        self._latest = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
        self._add(self._latest)

    def _add(self, frame: np.ndarray) -> None:
        self._writer.write(frame)
        self._written += 1
