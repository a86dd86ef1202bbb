"""What a layout is: the copy that is asked for, what one face adds to it, and image files."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

JPEG_QUALITY = 95


@dataclass(frozen=True, slots=True)
class Copy:
    """``count`` faces of the population ``seed`` to be written below ``folder``.

    ``size_px`` is the side of a drawn face, None for the layout's own; of the images that tables name, the share
    ``missing`` (0..1) is not written.
    """

    folder: Path
    count: int
    seed: int
    size_px: int | None = None
    missing: float = 0.0

    @property
    def held_out(self) -> int:
        """A tenth of the faces: as many as each official validation or test part gets, the last by index."""
        return self.count // 10

    def leaves_out(self, index: int) -> bool:
        """Whether the image of this face is one of those missing: every 1/``missing``-th is, exactly."""
        return int((index + 1) * self.missing) > int(index * self.missing)


Cells = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Drawn:
    """One face that is done: its part and label for the count, and the rows (file name, cells) it adds to tables."""

    part: str
    label: str
    rows: tuple[tuple[str, Cells], ...] = ()


Draw = Callable[[Copy, int], Drawn]
"""Draws the face of an index, writes its image files if there are any, and says what was done.

A function of a module, so that another process can be told to call it. It needs nothing of other faces.
"""


def no_folders(_copy: Copy) -> Iterable[str]:
    """For layouts that consist of tables."""
    return ()


@dataclass(frozen=True, slots=True)
class Layout:
    """One way in which a dataset circulates.

    ``parts`` and ``classes`` are everything a face can be counted as; ``tables`` maps file names to their header;
    ``folders`` gives, relative to the copy, those that ``draw`` writes into; ``may_miss``: its tables name image
    files, so that some can be absent.
    """

    draw: Draw
    parts: tuple[str, ...]
    classes: tuple[str, ...]
    tables: Mapping[str, tuple[str, ...]]
    folders: Callable[[Copy], Iterable[str]] = no_folders
    may_miss: bool = False


def save_image(path: Path, picture: np.ndarray) -> None:
    """Write uint8 (h, w) gray or (h, w, 3) RGB pixels in the format of the file's ending.

    Encoded here and written by Python, because ``cv2.imwrite`` swallows the error of a full disk.
    """
    bgr = picture if picture.ndim == 2 else cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
    ending = path.suffix.lower()
    settings = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY] if ending in (".jpg", ".jpeg") else []
    encoded, buffer = cv2.imencode(ending, bgr, settings)
    if not encoded:
        message = f"OpenCV could not encode a {picture.shape} picture as {ending}"
        raise RuntimeError(message)
    path.write_bytes(bytes(buffer))
