"""What a prediction leaves in a folder: JSON and CSV written as answers come, annotated pictures, timelines."""

import csv
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ferlab.edge.description import Description
from ferlab.errors import UserError
from ferlab.imaging.codec import IMAGE_SUFFIXES
from ferlab.inference.answers import DIGITS, FaceAnswer, PictureAnswer
from ferlab.inference.drawing import annotated
from ferlab.inference.timeline import Curve, Timeline

JSON, CSV = "predictions.json", "predictions.csv"
FRAMES, PEOPLE, PLOT = "timeline.csv", "people.csv", "timeline.png"
PICTURES, VIDEO = "annotated", "annotated.mp4"
HEAD_BEGIN, HEAD_END = '{"input": ', ', "pictures": ['
"""Of the first line of ``predictions.json``."""
LONGEST_HEAD = 100_000
"""Characters in which that line must end to be known."""
LABELS = "expression categories as perceived by annotators, not felt emotions"


class Tables:
    """``predictions.json`` and ``predictions.csv`` of a folder, a context; each answer is written at once.

    The JSON ends with ``complete``, false where an error or an interrupt ended the context.
    """

    def __init__(self, folder: Path, description: Description, facts: dict[str, Any], smoothed: bool) -> None:
        self.classes, self.abstain_below = description.classes, description.abstain_below
        self._smoothed, self._first = smoothed, True
        self._json = (folder / JSON).open("w", encoding="utf-8")
        self._table = (folder / CSV).open("w", encoding="utf-8", newline="")
        self._rows = csv.writer(self._table)
        smooth = [f"smoothed_{name}" for name in self.classes] if smoothed else []
        self._rows.writerow(
            ["source", "frame", "time_s", "person", "x", "y", "width", "height", "detection", "label", "confidence"]
            + [f"p_{name}" for name in self.classes]
            + smooth
            + ["problem"]
        )
        head = json.dumps(facts | {"meaning": LABELS})
        self._json.write(head[:-1] + HEAD_END)

    def __enter__(self) -> "Tables":
        return self

    def __exit__(self, error: type[BaseException] | None, *_: Any) -> None:
        self._json.write(f'\n], "complete": {json.dumps(error is None)}}}\n')
        self._json.close()
        self._table.close()

    def write(self, answer: PictureAnswer) -> None:
        """Add an answer; a picture without faces is a row with its problem, which stands at every face of others."""
        text = json.dumps(answer.as_json(self.classes, self.abstain_below))
        self._json.write(("\n" if self._first else ",\n") + text)
        self._first = False
        for face in answer.faces:
            self._rows.writerow([*_place(answer), *self._of_face(face), answer.problem])
        if not answer.faces:
            empty = 8 + len(self.classes) * (2 if self._smoothed else 1)
            self._rows.writerow([*_place(answer), *[""] * empty, answer.problem])

    def _of_face(self, face: FaceAnswer) -> list[Any]:
        box = ["", "", "", ""] if face.found is None else [f"{number:.2f}" for number in face.found.box]
        label = self.classes[face.best] if face.answers(self.abstain_below) else ""
        smoothed = face.smoothed if face.smoothed is not None else face.probabilities
        return [
            "" if face.person is None else face.person,
            *box,
            "" if face.found is None else f"{face.found.score:.4f}",
            label,
            f"{face.confidence:.{DIGITS}f}",
            *_texts(face.probabilities),
            *(_texts(smoothed) if self._smoothed else []),
        ]


class FrameTable:
    """``timeline.csv`` of a folder, a context: a row for each scored frame, the mean of its faces."""

    def __init__(self, folder: Path, classes: tuple[str, ...]) -> None:
        self._file = (folder / FRAMES).open("w", encoding="utf-8", newline="")
        self._rows = csv.writer(self._file)
        self._rows.writerow(["frame", "time_s", "faces", *classes])
        self._empty = [""] * len(classes)

    def __enter__(self) -> "FrameTable":
        return self

    def __exit__(self, *_: Any) -> None:
        self._file.close()

    def write(self, answer: PictureAnswer) -> None:
        """Add a frame."""
        faces = answer.faces
        means = _texts(np.mean([face.shown for face in faces], axis=0)) if faces else self._empty
        self._rows.writerow([answer.frame, f"{answer.time_s or 0:.4f}", len(faces), *means])


def write_people(folder: Path, timeline: Timeline) -> None:
    """``people.csv``: when each person was in view, the mean probabilities, how often each category was shown."""
    classes = timeline.classes
    with (folder / PEOPLE).open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        means, frames = [f"mean_{name}" for name in classes], [f"frames_{name}" for name in classes]
        rows.writerow(["person", "first_s", "last_s", "frames", *means, *frames, "frames_unsure"])
        for person in timeline.people.values():
            seen = [f"{person.first_s:.4f}", f"{person.last_s:.4f}", person.frames]
            rows.writerow([person.number, *seen, *_texts(person.means), *person.shown, person.unanswered])


def write_plot(folder: Path, timeline: Timeline, title: str, most_people: int = 6) -> None:
    """``timeline.png``: probabilities over time, of all faces and of the persons that were in view the longest."""
    import matplotlib as mpl

    mpl.use("Agg", force=False)
    import seaborn as sns
    from matplotlib.figure import Figure

    sns.set_theme(context="notebook", style="whitegrid", palette="colorblind")
    people = list(timeline.longest_seen(most_people))
    curves: list[tuple[str, Curve]] = [("all faces", timeline.everyone)]
    curves += [(f"person {person.number}", curve) for person, curve in people]
    figure = Figure(figsize=(10, 1.2 + 1.9 * len(curves)), layout="constrained")
    panels = figure.subplots(len(curves), 1, sharex=True, squeeze=False)[:, 0]
    for axes, (name, curve) in zip(panels, curves, strict=True):
        times, means = curve.points()
        for column, category in enumerate(timeline.classes):
            axes.plot(times, means[:, column], label=category, linewidth=1.5)
        axes.set(ylim=(0, 1), ylabel=name)
    panels[0].legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=len(timeline.classes), frameon=False, fontsize=9)
    panels[-1].set(xlabel=f"seconds ({LABELS})")
    figure.suptitle(title, fontsize=11, parse_math=False)
    figure.savefig(folder / PLOT, dpi=110)


def write_annotated(folder: Path, answer: PictureAnswer, description: Description) -> Path:
    """The picture with its faces framed and named as a JPEG below ``annotated``; the answer carries its pixels.

    Raises:
        UserError: it cannot be written.

    """
    if answer.pixels is None:
        message = f"{answer.source}: there is no picture to draw on"
        raise ValueError(message)
    named = inside(folder / PICTURES, answer.source)
    file = named.with_name(f"{named.name}.jpg")  # a.png and a.bmp may lie side by side
    file.parent.mkdir(parents=True, exist_ok=True)
    drawn = annotated(answer.pixels, answer, description.classes, description.abstain_below)
    written, data = cv2.imencode(".jpg", cv2.cvtColor(drawn, cv2.COLOR_RGB2BGR))
    if not written:
        message = f"{answer.source}: cannot be drawn on ({drawn.shape[1]}x{drawn.shape[0]} pixels)."
        raise UserError(message)
    file.write_bytes(data.tobytes())
    return file


def remove_earlier(folder: Path, source: Path | None) -> None:
    """Remove what an earlier prediction left in a folder, if ``predictions.json`` there is one's; nothing else.

    Raises:
        UserError: ``source``, which is to be predicted on now, is one of these files.

    """
    if not _is_prediction(folder / JSON):
        return
    pictures = (folder / PICTURES).rglob("*.jpg")
    drawn = [file for file in pictures if Path(file.stem).suffix.lower() in IMAGE_SUFFIXES]
    # the file that marks the folder goes last
    files = [*drawn, *(folder / name for name in (CSV, FRAMES, PEOPLE, PLOT, VIDEO, JSON))]
    if source in files:
        message = (
            f"input={source}: an earlier prediction wrote it into out={folder}. Name another folder for the answers."
        )
        raise UserError(message)
    for file in files:
        file.unlink(missing_ok=True)


def _is_prediction(file: Path) -> bool:
    """Whether a file begins as ``Tables`` begins it."""
    if not file.is_file():
        return False
    with file.open(encoding="utf-8", errors="replace") as text:
        head = text.readline(LONGEST_HEAD)
    return head.startswith(HEAD_BEGIN) and HEAD_END in head


def inside(folder: Path, name: str) -> Path:
    """The path of a relative name below ``folder``, whatever the name says of parents and roots."""
    parts = [part for part in Path(name).parts if part not in ("..", ".", "/", "\\") and ":" not in part]
    return folder.joinpath(*parts) if parts else folder / "picture"


def _place(answer: PictureAnswer) -> list[Any]:
    time_s = "" if answer.time_s is None else f"{answer.time_s:.4f}"
    return [answer.source, "" if answer.frame is None else answer.frame, time_s]


def _texts(values: np.ndarray) -> list[str]:
    return [f"{value:.{DIGITS}f}" for value in values]
