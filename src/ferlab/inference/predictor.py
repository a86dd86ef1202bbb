"""``Predictor``: a model and a face detector, asked about photos, folders, videos and cameras."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ferlab.config.edge_nodes import VARIANTS
from ferlab.edge.description import Description
from ferlab.edge.export import EXPORTS, Target
from ferlab.edge.runtimes import KerasRuntime, Runtime, open_model
from ferlab.errors import UserError
from ferlab.inference.abstention import confidence_of
from ferlab.inference.answers import FaceAnswer, PictureAnswer
from ferlab.inference.describing import description_of
from ferlab.inference.people import Followed
from ferlab.inference.pictures import picture_files, picture_of_bytes, read_picture
from ferlab.inference.pipeline import BATCH, WAITING, WAITING_BYTES, Looking, Picture, Pipeline
from ferlab.inference.smoothing import Smoothing, smoothing
from ferlab.inference.video import Frame, Video
from ferlab.parallel import usable_cores
from ferlab.tracking.records import RunRecord, find_run

GAP_S, GAP_SCORED = 1.0, 2
"""A person may be out of sight for so many seconds, or scored frames where they take longer, and stay the same one."""

UNREADABLE = "frame cannot be decoded"
"""The problem of such a frame."""

OnFrame = Callable[[Frame], None]


class Predictor:
    """A model with the faces of its training: their size, colour, margin and alignment come from its description.

    ``looking`` says how faces are found, ``threads`` how many pictures are read and searched at a time (0: all cores).
    ``abstain_below`` replaces the model's own confidence below which it gives no answer; None keeps it. Not to be used
    from two threads at once.
    """

    def __init__(
        self, runtime: Runtime, looking: Looking | None = None, threads: int = 0, abstain_below: float | None = None
    ) -> None:
        described = runtime.description
        if abstain_below is not None:
            described = replace(described, abstain_below=abstain_below)
        self.description: Description = described
        self._pipeline = Pipeline(runtime, looking or Looking(), threads or usable_cores())

    @classmethod
    def from_file(cls, file: str | Path, **settings: Any) -> "Predictor":
        """The model of a .tflite, .onnx or .keras file that ``ferlab export`` wrote; code in it is refused, not run.

        ``settings`` are those of the class.

        Raises:
            UserError: not such a file, or a package that it needs is not installed.

        """
        place = Path(file).expanduser()
        return cls(open_model(place, settings.get("threads", 0) or usable_cores()), **settings)

    @classmethod
    def from_run(cls, run: str, runtime: str = "keras", **settings: Any) -> "Predictor":
        """The model of a recorded run, by its id or unique name, in the tracking store that is connected.

        ``runtime``: ``keras``, or the format of a file that was exported from the run (``litert``, ``litert-int8``,
        ``onnx``). Without ``abstain_below`` it is what was exported, else set so that at least 80 of 100 answers on
        validation are right.

        Raises:
            UserError: no such run, it has no model, or no such export.

        """
        record = find_run(run)
        description = description_of(record)
        opened: Runtime
        if runtime == "keras":
            opened = KerasRuntime(record.load_model(), description)
        else:
            opened = open_model(exported(record, runtime), settings.get("threads", 0) or usable_cores())
        if settings.get("abstain_below") is None and opened.description.abstain_below is None:
            settings = {**settings, "abstain_below": confidence_of(record)}
        return cls(opened, **settings)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the categories, in the order of the probabilities."""
        return self.description.classes

    @property
    def colour(self) -> str:
        """Of the images that the model takes: gray or rgb."""
        return self.description.colour

    def photo(self, file: str | Path) -> PictureAnswer:
        """The faces of one photo; ``problem`` says why there are none."""
        place = Path(file).expanduser()
        return self._pipeline.answer(read_picture(place, place.name, self.colour))

    def bytes(self, data: bytes, name: str = "picture") -> PictureAnswer:
        """As ``photo``, of the bytes of an image file."""
        return self._pipeline.answer(picture_of_bytes(data, name, self.colour))

    def pixels(self, pixels: np.ndarray, name: str = "picture") -> PictureAnswer:
        """As ``photo``, of uint8 pixels RGB (h, w, 3) or gray (h, w)."""
        return self._pipeline.answer(Picture(name, pixels))

    def folder(self, folder: str | Path, keep_pixels: bool = False) -> Iterator[PictureAnswer]:
        """The photos below a folder, by path; UserError when there is none."""
        root = Path(folder).expanduser()
        return self.photos([(file, file.relative_to(root).as_posix()) for file in picture_files(root)], keep_pixels)

    def photos(self, files: list[tuple[Path, str]], keep_pixels: bool = False) -> Iterator[PictureAnswer]:
        """Photos by file and name, in order; one that cannot be read has a ``problem``."""
        return self._pipeline.answers(
            files, lambda item: read_picture(item[0], item[1], self.colour), keep_pixels=keep_pixels
        )

    def frames(
        self,
        video: Video,
        source: str,
        every: int = 1,
        smooth: str = "none",
        smooth_s: float = 0.5,
        keep_pixels: bool = False,
        on_frame: OnFrame | None = None,
        live: bool = False,
    ) -> Iterator[PictureAnswer]:
        """Every ``every``-th frame of a video, its faces followed and smoothed (see ``smoothing``), one by one.

        ``on_frame`` is told of every frame, also of those that are not scored; it may keep those that wait for their
        answer, which are few where they are large. ``live``: each is answered before the next is read.
        """
        followed = _FollowedFaces(smooth, smooth_s, max(GAP_S, GAP_SCORED * every / video.rate))
        batch, threads, waiting = BATCH, self._pipeline.threads, WAITING
        if on_frame is not None:
            # scored frames with all up to the next one that may be kept: those of every thread and of the batch
            kept = WAITING_BYTES // max(1, 3 * every * video.size[0] * video.size[1])
            threads = min(threads, kept - 2)
            waiting = max(1, min(WAITING, kept - 1 - threads))
        if live or threads < 1:
            batch, threads = 1, 1
        pipeline = Pipeline(self._pipeline.runtime, self._pipeline.looking, threads)

        def scored() -> Iterator[Frame]:
            for frame in video.frames(every, wanted=on_frame is not None):
                if on_frame is not None:
                    on_frame(frame)
                if frame.number % every == 0:
                    yield frame

        load = partial(_picture, source)
        for answer in pipeline.answers(scored(), load, batch, keep_pixels, waiting):
            video.counts.scored += answer.problem != UNREADABLE
            yield followed.of(answer)


def _picture(source: str, frame: Frame) -> Picture:
    problem = UNREADABLE if frame.pixels is None else ""
    return Picture(source, frame.pixels, problem, frame=frame.number, time_s=frame.time_s)


class _FollowedFaces:
    """Persons and their pasts."""

    def __init__(self, kind: str, seconds: float, gap_s: float) -> None:
        self.kind, self.seconds, self.gap_s = kind, seconds, gap_s
        self._followed = Followed(gap_s)
        self._pasts: dict[int, tuple[Smoothing, float]] = {}

    def of(self, answer: PictureAnswer) -> PictureAnswer:
        time_s = answer.time_s or 0.0
        boxes = [face.found.box if face.found else (0.0, 0.0, 1.0, 1.0) for face in answer.faces]
        numbers = self._followed.numbers(boxes, time_s)
        faces = [self._smoothed(face, number, time_s) for face, number in zip(answer.faces, numbers, strict=True)]
        self._pasts = {number: past for number, past in self._pasts.items() if time_s - past[1] <= self.gap_s}
        return replace(answer, faces=tuple(faces))

    def _smoothed(self, face: FaceAnswer, number: int, time_s: float) -> FaceAnswer:
        past = self._pasts[number][0] if number in self._pasts else smoothing(self.kind, self.seconds)
        if past is None:
            return replace(face, person=number)
        self._pasts[number] = past, time_s
        return replace(face, person=number, smoothed=past.add(face.probabilities, time_s).astype(np.float32))


def exported(record: RunRecord, variant: str) -> Path:
    """The file of that format and precision (``litert`` is ``litert-float32``) among a run's exports.

    Of a run that was renamed since, the newest one.

    Raises:
        UserError: there is none.

    """
    if variant not in VARIANTS:
        message = f"runtime={variant}: unknown. Known: {', '.join(VARIANTS)}."
        raise UserError(message)
    target = Target.named(variant)
    with contextlib.suppress(UserError):
        return record.artifact(f"{EXPORTS}/{target.file_name(record.name)}")
    with contextlib.suppress(UserError):
        of_other_names = record.artifact(EXPORTS).glob("*" + target.file_name(""))
        if found := sorted(of_other_names, key=lambda file: file.stat().st_mtime):
            return found[-1]
    message = (
        f"runtime={variant}: run {record.id} ({record.name}) has no such export. Make it: "
        f"ferlab export run={record.id} format={target.format} precision={target.precision}"
    )
    raise UserError(message)
