"""Predictions into a folder: photos one by one, a video with its timelines; memory does not grow with them."""

import contextlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ferlab.errors import UserError
from ferlab.inference.answers import PictureAnswer
from ferlab.inference.drawing import annotated
from ferlab.inference.outputs import (
    VIDEO,
    FrameTable,
    Tables,
    write_annotated,
    write_people,
    write_plot,
)
from ferlab.inference.predictor import Predictor
from ferlab.inference.timeline import Timeline
from ferlab.inference.video import Frame, Video, VideoOut

OnProgress = Callable[[int, int], None]


@dataclass
class Summary:
    """What was predicted: pictures (or scored frames), those without faces by their problem, faces by category.

    ``unsure``: faces that got no answer.
    """

    pictures: int = 0
    faces: int = 0
    unsure: int = 0
    categories: dict[str, int] = field(default_factory=dict)
    problems: dict[str, int] = field(default_factory=dict)

    def add(self, answer: PictureAnswer, classes: tuple[str, ...], abstain_below: float | None) -> None:
        """Count an answer."""
        self.pictures += 1
        if answer.problem:
            self.problems[answer.problem] = self.problems.get(answer.problem, 0) + 1
        for face in answer.faces:
            self.faces += 1
            if face.answers(abstain_below):
                self.categories[classes[face.best]] = self.categories.get(classes[face.best], 0) + 1
            else:
                self.unsure += 1


def facts_of(predictor: Predictor, source: str) -> dict[str, Any]:
    """What stands at the head of a predictions file: which model said it."""
    said = predictor.description
    keys = ("run_id", "name", "taxonomy", "protocol", "precision", "abstain_below", "licence")
    return {"input": source, "model": {key: getattr(said, key) for key in keys}, "classes": list(said.classes)}


def record_photos(
    predictor: Predictor,
    answers: Iterable[PictureAnswer],
    total: int,
    source: str,
    folder: Path,
    annotate: bool,
    on_progress: OnProgress,
    on_answer: Callable[[PictureAnswer], None],
) -> Summary:
    """Write the answers for photos as they come; with ``annotate`` they carry pixels, which are drawn on."""
    summary, said = Summary(), predictor.description
    with Tables(folder, said, facts_of(predictor, source), smoothed=False) as tables:
        for done, answer in enumerate(answers, 1):
            tables.write(answer)
            summary.add(answer, said.classes, said.abstain_below)
            if annotate and answer.pixels is not None:
                write_annotated(folder, answer, said)
            on_answer(answer)
            on_progress(done, total)
    return summary


@dataclass(frozen=True)
class VideoSettings:
    """How a video is scored: every ``every``-th frame, ``smooth`` and ``smooth_s`` as in ``smoothing``.

    ``annotate`` writes a video of the frames with the latest answer drawn on them, in the time of the source.
    ``seconds`` 0: to the end.
    """

    every: int = 1
    smooth: str = "exponential"
    smooth_s: float = 0.5
    annotate: bool = False
    seconds: float = 0.0


def record_video(
    predictor: Predictor, video: Video, source: str, folder: Path, settings: VideoSettings, on_progress: OnProgress
) -> tuple[Summary, dict[str, Any]]:
    """Write the answers for a video's frames as they come, then its timelines; the summary and the frames' counts.

    A camera is watched until it is interrupted or gives no more frames, or for ``settings.seconds``.

    Raises:
        UserError: not a single frame could be read.

    """
    summary, said = Summary(), predictor.description
    timeline = Timeline(said.classes, said.abstain_below)
    with ExitStack() as stack:
        tables = stack.enter_context(Tables(folder, said, facts_of(predictor, source), settings.smooth != "none"))
        frames = stack.enter_context(FrameTable(folder, said.classes))
        out = stack.enter_context(VideoOut(folder / VIDEO, video.size, video.rate)) if settings.annotate else None
        # an interrupt is a camera's usual end
        with contextlib.suppress(*[KeyboardInterrupt] if video.is_camera else []):
            for answer in _answers(predictor, video, source, settings, out):
                tables.write(answer)
                frames.write(answer)
                timeline.add(answer)
                summary.add(answer, said.classes, said.abstain_below)
                on_progress((answer.frame or 0) + 1, video.counts.expected or 0)
        if video.counts.read == 0:
            advice = "Is it in use?" if video.is_camera else "Convert it, for example to MP4 with H.264."
            message = f"input={source}: not a single frame of it can be decoded. {advice}"
            raise UserError(message)
    write_people(folder, timeline)
    write_plot(folder, timeline, f"{said.name or 'model'} on {Path(source).name}")
    counts = asdict(video.counts) | {"missing": video.counts.missing, "people": len(timeline.people)}
    return summary, counts


def _answers(
    predictor: Predictor, video: Video, source: str, settings: VideoSettings, out: VideoOut | None
) -> Iterator[PictureAnswer]:
    """Answers for the scored frames; frames between them are drawn on with the answer before."""
    drawn = _Drawn(predictor, out, settings.every) if out is not None else None
    found = predictor.frames(
        video,
        source,
        settings.every,
        settings.smooth,
        settings.smooth_s,
        on_frame=drawn.frame if drawn else None,
        live=video.is_camera,
    )
    for answer in found:
        if drawn is not None:
            drawn.answer(answer)
        yield answer
        if settings.seconds and (answer.time_s or 0.0) >= settings.seconds:
            break
    if drawn is not None:
        drawn.rest()


class _Drawn:
    """Frames that wait until the answer of the latest scored frame is there; then they are written."""

    def __init__(self, predictor: Predictor, out: VideoOut, every: int) -> None:
        self.description, self.out, self.every = predictor.description, out, every
        self._waiting: deque[Frame] = deque()
        self._latest: PictureAnswer | None = None
        self._answered = -1

    def frame(self, frame: Frame) -> None:
        self._waiting.append(frame)
        self._write()

    def answer(self, answer: PictureAnswer) -> None:
        self._latest, self._answered = answer, answer.frame or 0
        self._write()

    def rest(self) -> None:
        """Write what never got its answer, with the one before."""
        self._answered = self._waiting[-1].number if self._waiting else self._answered
        self._write()

    def _write(self) -> None:
        while self._waiting and self._waiting[0].number // self.every * self.every <= self._answered:
            frame, latest, said = self._waiting.popleft(), self._latest, self.description
            if frame.pixels is None:
                continue
            pixels = (
                frame.pixels if latest is None else annotated(frame.pixels, latest, said.classes, said.abstain_below)
            )
            self.out.write(pixels, frame.time_s)
