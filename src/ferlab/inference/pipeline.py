"""Pictures through detector and model: several at a time, batches across them, never more than a few in memory."""

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import cv2
import numpy as np

from ferlab.config.edge_nodes import BOX_SCALE, MIN_SCORE, SEEN_PX
from ferlab.edge.runtimes import Runtime
from ferlab.errors import UserError
from ferlab.imaging.codec import ImageError
from ferlab.inference.answers import NO_FACE, FaceAnswer, PictureAnswer, not_cut
from ferlab.inference.detection import FaceDetector, Found
from ferlab.inference.faces import images_of, in_colour, settings_of, whole_image
from ferlab.parallel import in_order

BATCH = 32
"""Faces that the model gets at once."""
WAITING = 16
"""Pictures that wait for their batch to fill; fewer where they are kept to be drawn on and are large."""
WAITING_BYTES = 64_000_000


@dataclass(frozen=True)
class Picture:
    """Pixels to look for faces in: RGB (h, w, 3) or gray (h, w); ``cut_from`` the same as the model's colour, if known.

    ``data``: the bytes of its file, from which faces are cut as in preparation; None for frames and arrays. A picture
    that could not be read has no pixels, and a ``problem``.
    """

    source: str
    pixels: np.ndarray | None
    problem: str = ""
    cut_from: np.ndarray | None = None
    data: bytes | None = field(default=None, repr=False)
    frame: int | None = None
    time_s: float | None = None


@dataclass(frozen=True)
class Looking:
    """How faces are found: in ``whole`` pictures there is nothing to find. Otherwise as in ``FaceDetector``.

    ``box_scale``: see ``BOX_SCALE``.
    """

    whole: bool = False
    seen_px: int = SEEN_PX
    min_score: float = MIN_SCORE
    box_scale: float = BOX_SCALE


@dataclass
class _Seen:
    """A picture with its faces cut out, before the model has answered."""

    picture: Picture
    width: int
    height: int
    found: list[Found | None]
    images: np.ndarray
    problem: str = ""

    @property
    def kept_bytes(self) -> int:
        """Of the picture that waits to be drawn on."""
        return 0 if self.picture.pixels is None else self.picture.pixels.nbytes


class Pipeline:
    """A model with the detector before it. ``threads`` pictures are decoded and searched at a time.

    Raises:
        UserError: the detector is not installed, or the model wants faces aligned and pictures are whole.

    """

    def __init__(self, runtime: Runtime, looking: Looking, threads: int = 1) -> None:
        self.runtime, self.looking, self.threads = runtime, looking, threads
        self.settings = settings_of(runtime.description)
        self._own = threading.local()
        if looking.whole and self.settings.align:
            message = (
                "faces.whole=true: the model takes faces aligned by landmarks, which must be found first. Leave it out."
            )
            raise UserError(message)
        if not looking.whole:
            self._detector()  # what is missing is said before anything begins

    def answers(
        self,
        items: Iterable[Any],
        load: Callable[[Any], Picture],
        batch: int = BATCH,
        keep_pixels: bool = False,
        waiting: int = WAITING,
    ) -> Iterator[PictureAnswer]:
        """One answer for each item, in order; ``load`` makes a picture of an item, in a thread of its own.

        ``batch``: faces that the model gets at once, from ``waiting`` pictures at most; 1 answers at once.
        ``keep_pixels``: answers carry the picture.
        """
        together: list[_Seen] = []
        for seen in self._seen(items, load, keep_pixels):
            together.append(seen)
            faces, kept = sum(len(one.images) for one in together), sum(one.kept_bytes for one in together)
            if faces >= batch or len(together) >= min(batch, waiting) or kept >= WAITING_BYTES:
                yield from self._answered(together)
                together = []
        yield from self._answered(together)

    def answer(self, picture: Picture) -> PictureAnswer:
        """The answer for one picture."""
        return next(self._answered([self._look(picture, keep_pixels=False)]))

    def _seen(self, items: Iterable[Any], load: Callable[[Any], Picture], keep_pixels: bool) -> Iterator[_Seen]:
        """Pictures searched by several threads, in order, a few ahead of the one that is wanted; by one, none ahead."""
        if self.threads == 1:
            yield from (self._look(load(item), keep_pixels) for item in items)
            return
        each = ((item,) for item in items)
        with _threads_of_opencv(1):
            yield from in_order(lambda one: self._look(load(one), keep_pixels), each, self.threads, self.threads)

    def _look(self, picture: Picture, keep_pixels: bool) -> _Seen:
        nothing = np.empty((0, *self.runtime.description.image_shape), np.uint8)
        pixels = picture.pixels
        if pixels is None:
            return _Seen(picture, 0, 0, [], nothing, picture.problem)
        kept = replace(picture, pixels=pixels if keep_pixels else None, cut_from=None, data=None)
        height, width = pixels.shape[:2]
        try:
            return _Seen(kept, width, height, *self._faces(picture, pixels))
        except ImageError as error:
            return _Seen(kept, width, height, [], nothing, str(error))

    def _faces(self, picture: Picture, pixels: np.ndarray) -> tuple[list[Found | None], np.ndarray, str]:
        """The faces of a picture, their images (n, size_px, size_px, channels), and what is wrong, if anything is."""
        colour = self.settings.colour
        cut_from = in_colour(pixels, colour) if picture.cut_from is None else picture.cut_from
        if self.looking.whole:
            return [None], whole_image(cut_from, self.settings, picture.data), ""
        found = self._detector().find(pixels)
        kept, images = images_of(cut_from, found, self.settings, self.looking.box_scale, picture.data)
        uncut = len(found) - len(kept)
        return list(kept), images, not_cut(uncut) if uncut else "" if found else NO_FACE

    def _answered(self, together: list[_Seen]) -> Iterator[PictureAnswer]:
        if not together:
            return
        images = np.concatenate([seen.images for seen in together])
        answers = self.runtime.probabilities(images) if len(images) else np.empty((0, 0), np.float32)
        first = 0
        for seen in together:
            rows = answers[first : first + len(seen.images)]
            first += len(seen.images)
            yield _answer(seen, rows)

    def _detector(self) -> FaceDetector:
        if not hasattr(self._own, "detector"):
            self._own.detector = FaceDetector(self.looking.seen_px, self.looking.min_score)
        return self._own.detector


@contextmanager
def _threads_of_opencv(count: int) -> Iterator[None]:
    """How many threads OpenCV uses by itself; where pictures share the cores already, more are in each other's way."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(count)
    try:
        yield
    finally:
        cv2.setNumThreads(before)


def _answer(seen: _Seen, rows: np.ndarray) -> PictureAnswer:
    picture = seen.picture
    faces = zip(seen.found, rows, seen.images, strict=True)
    return PictureAnswer(
        source=picture.source,
        faces=tuple(FaceAnswer(found, row, image) for found, row, image in faces),
        problem=seen.problem,
        width=seen.width,
        height=seen.height,
        frame=picture.frame,
        time_s=picture.time_s,
        pixels=picture.pixels,
    )
