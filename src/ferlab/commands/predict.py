"""``ferlab predict``: what a model says of the faces in a photo, a folder, a video, or before a camera."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ferlab import interrupts
from ferlab.commands.answering import predictor_of
from ferlab.commands.launch import Context, Outcome, launch
from ferlab.commands.terminal import Terminal
from ferlab.config.schema import PredictConfig
from ferlab.errors import UserError
from ferlab.imaging.codec import IMAGE_SUFFIXES
from ferlab.inference.answers import PictureAnswer
from ferlab.inference.drawing import caption
from ferlab.inference.outputs import LABELS, remove_earlier
from ferlab.inference.pictures import picture_files
from ferlab.inference.predictor import Predictor
from ferlab.inference.recording import Summary, VideoSettings, record_photos, record_video
from ferlab.inference.video import VIDEO_SUFFIXES, Video
from ferlab.storage.files import writing_errors

CAMERA = re.compile(r"camera(?::(\d+))?")
MOST_SHOWN = 20
"""Photos whose answers are printed one by one."""


def main() -> list[Outcome]:
    """Entry point of ``ferlab predict``."""
    return launch("predict", PredictConfig, run)


def run(config: PredictConfig, context: Context) -> dict[str, Any]:
    """Write the answers into the folder ``out``; the result says where, and how many faces of which category.

    Raises:
        UserError: the input is not there or cannot be read at all, the model is not there, ``out`` cannot be written.

    """
    source = source_of(config.input)
    out = Path(config.out).expanduser().absolute() if config.out else _usual_folder(context.home, source)
    if isinstance(source, Path) and source.is_dir():
        picture_files(source)  # what is asked for is there before earlier answers go
    predictor = predictor_of(config, context)
    with writing_errors(out):
        out.mkdir(parents=True, exist_ok=True)
        remove_earlier(out, source if isinstance(source, Path) else None)
        is_video = isinstance(source, int) or source.suffix.lower() in VIDEO_SUFFIXES
        work = _video if is_video else _photos
        result = work(predictor, source, out, config, context.terminal)
    context.terminal.say(f"{LABELS}; {out}")
    return {"folder": str(out), "run_id": predictor.description.run_id, **result}


def source_of(text: str) -> Path | int:
    """A path that is there, or the number of a camera (``camera``, ``camera:1``).

    Raises:
        UserError: nothing is there, or it is no kind of file that can be read.

    """
    camera = CAMERA.fullmatch(text)
    if camera:
        return int(camera[1] or 0)
    path = Path(text).expanduser().absolute()
    if not path.exists():
        message = f"input={text}: no such file or folder. Name a photo, a folder, a video, or camera."
        raise UserError(message)
    if path.is_file() and path.suffix.lower() not in (*IMAGE_SUFFIXES, *VIDEO_SUFFIXES):
        message = (
            f"input={text}: neither a photo ({', '.join(IMAGE_SUFFIXES)}) nor a video ({', '.join(VIDEO_SUFFIXES)})."
        )
        raise UserError(message)
    return path


def _printable(name: str) -> str:
    """A file's name; bytes of it that are no UTF-8 are written as escapes."""
    return name.encode("utf-8", "backslashreplace").decode()


def _usual_folder(home: Path, source: Path | int) -> Path:
    name = f"camera-{source}" if isinstance(source, int) else _printable(source.name)
    return home / "predictions" / name


def _photos(
    predictor: Predictor, source: Path | int, folder: Path, config: PredictConfig, terminal: Terminal
) -> dict[str, Any]:
    place = Path(str(source))
    root, files = (place, picture_files(place)) if place.is_dir() else (place.parent, [place])
    named = [(file, _printable(file.relative_to(root).as_posix())) for file in files]
    answers = predictor.photos(named, config.annotate)
    lines = list[str]()

    def on_answer(answer: PictureAnswer) -> None:
        interrupts.check()
        if len(lines) < MOST_SHOWN:
            lines.append(_line(answer, predictor))

    with terminal.progress("predicting") as on_progress:
        summary = record_photos(
            predictor, answers, len(files), str(place), folder, config.annotate, on_progress, on_answer
        )
    for line in lines:
        terminal.say(line)
    if len(files) > MOST_SHOWN:
        terminal.say(f"... and {len(files) - MOST_SHOWN:,} more")
    return _result(summary, terminal, "pictures")


def _video(
    predictor: Predictor, source: Path | int, folder: Path, config: PredictConfig, terminal: Terminal
) -> dict[str, Any]:
    asked = config.video
    settings = VideoSettings(asked.every, asked.smooth, asked.smooth_s, config.annotate, asked.seconds)
    name = f"camera {source}" if isinstance(source, int) else source.name
    with Video(source) as video, terminal.progress("predicting", "frames") as show:
        if isinstance(source, int):
            terminal.say(f"camera {source}: Ctrl-C ends it")
        summary, counts = record_video(predictor, video, name, folder, settings, _checked(show))
    if counts["missing"] or counts["unreadable"]:
        terminal.warn(f"{name}: {lacking(counts)}; all others were read.")
    if video.is_camera and counts["ended"]:
        terminal.warn(f"{name}: the camera stopped answering.")
    return _result(summary, terminal, "frames") | {"frames": counts}


def lacking(counts: dict[str, Any]) -> str:
    """What a video's ``counts`` say of frames that are missing or could not be decoded."""
    parts = []
    if counts["missing"]:
        parts.append(f"{counts['missing']:,} of {counts['expected']:,} frames are missing (cut short or damaged)")
    if counts["unreadable"]:
        parts.append(f"{counts['unreadable']:,} frames could not be decoded")
    return ", ".join(parts)


def _checked(show: Callable[[int, int], None]) -> Callable[[int, int], None]:
    def on_progress(done: int, total: int) -> None:
        interrupts.check()
        show(done, total)

    return on_progress


def _line(answer: PictureAnswer, predictor: Predictor) -> str:
    said = predictor.description
    faces = [caption(face, said.classes, said.abstain_below) for face in answer.faces]
    return f"  {answer.source}: {', '.join(faces) or answer.problem}"


def _result(summary: Summary, terminal: Terminal, unit: str) -> dict[str, Any]:
    kinds = ", ".join(f"{name} {count:,}" for name, count in sorted(summary.categories.items()))
    terminal.say(
        f"{summary.pictures:,} {unit}, {summary.faces:,} faces: {kinds or 'no answer'}; unsure {summary.unsure:,}"
    )
    for problem, count in sorted(summary.problems.items()):
        terminal.say(f"  {count:,} {unit}: {problem}")
    return {
        "pictures": summary.pictures,
        "faces": summary.faces,
        "unsure": summary.unsure,
        "categories": summary.categories,
        "problems": summary.problems,
    }
