"""Write the embedded data set to disk in the layouts in which FER-2013 and AffectNet circulate."""

import csv
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np

from ferlab.datasets.synthetic.anatomy import Face
from ferlab.datasets.synthetic.drawing import draw_face
from ferlab.datasets.synthetic.population import sample_face
from ferlab.datasets.synthetic.projection import landmarks
from ferlab.emotions import AFFECTNET7, FER2013
from ferlab.errors import UserError
from ferlab.storage import remove_folder, writing_errors

FER2013_PX = 48
AFFECTNET_PX = 224
JPEG_QUALITY = 95

SMALLEST_COUNT = 70
"""With fewer faces a split or a category could stay empty."""

Progress = Callable[[int], None]


def write_synthetic(layout: str, out: Path, count: int, seed: int, on_progress: Progress | None = None) -> None:
    """Write ``count`` faces of the population ``seed`` into the folder ``out`` in one of ``LAYOUTS``.

    ``on_progress`` is called with the number of faces written so far, after each. The folder appears complete
    or not at all. UserError when the layout is unknown, ``count`` is below ``SMALLEST_COUNT``, ``out`` exists
    and is not an empty folder, or the disk refuses.
    """
    _check(layout, out, count)
    with _appears_complete(out) as folder:
        _WRITERS[layout](folder, count, seed, on_progress or _silent)


def _silent(_written: int) -> None:
    """Progress that nobody watches."""


def _check(layout: str, out: Path, count: int) -> None:
    if layout not in LAYOUTS:
        message = f"layout={layout}: not known. Known: {', '.join(LAYOUTS)}."
        raise UserError(message)
    if count < SMALLEST_COUNT:
        message = f"count={count}: at least {SMALLEST_COUNT} faces are needed to fill every split and category."
        raise UserError(message)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        message = f"out={out}: already exists and is not an empty folder. Remove it or name another folder."
        raise UserError(message)


@contextmanager
def _appears_complete(out: Path) -> Iterator[Path]:
    """Lend a temporary folder beside ``out`` that takes its name at the end, or vanishes."""
    partial = out.with_name(f"{out.name}.partial-{os.getpid()}")
    with writing_errors(out):
        try:
            partial.mkdir(parents=True)
            yield partial
            if out.exists():
                out.rmdir()
            partial.rename(out)
        finally:
            remove_folder(partial)


def _fer2013_usages(count: int) -> list[str]:
    """Split like the official file, by index order: 80, 10 and 10 per cent."""
    tenth = count // 10
    return ["Training"] * (count - 2 * tenth) + ["PublicTest"] * tenth + ["PrivateTest"] * tenth


def _write_fer2013_csv(folder: Path, count: int, seed: int, on_progress: Progress) -> None:
    with (folder / "fer2013.csv").open("w", newline="", encoding="ascii") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["emotion", "pixels", "Usage"])
        for index, usage in enumerate(_fer2013_usages(count)):
            face = sample_face(seed, index)
            pixels = draw_face(face, FER2013_PX, "gray").ravel().tolist()
            rows.writerow([_fer2013_id(face), " ".join(map(str, pixels)), usage])
            on_progress(index + 1)


def _fer2013_id(face: Face) -> int:
    return FER2013.ids[FER2013.index_of(face.category)]


def _write_fer2013_folder(folder: Path, count: int, seed: int, on_progress: Progress) -> None:
    for split in ("train", "test"):
        for category in FER2013.classes:
            (folder / split / category).mkdir(parents=True)
    for index, usage in enumerate(_fer2013_usages(count)):
        face = sample_face(seed, index)
        split = "train" if usage == "Training" else "test"
        file = folder / split / face.category / f"{usage}_{index:08d}.jpg"
        file.write_bytes(_jpeg(draw_face(face, FER2013_PX, "gray")))
        on_progress(index + 1)


def _write_affectnet_2021(folder: Path, count: int, seed: int, on_progress: Progress) -> None:
    for split in ("train_set", "val_set"):
        for kind in ("images", "annotations"):
            (folder / split / kind).mkdir(parents=True)
    for index in range(count):
        face = sample_face(seed, index)
        home = folder / ("train_set" if index < count - count // 10 else "val_set")
        picture = draw_face(face, AFFECTNET_PX, "rgb")
        (home / "images" / f"{index}.jpg").write_bytes(_jpeg(picture))
        for kind, value in _affectnet_annotations(face).items():
            np.save(home / "annotations" / f"{index}_{kind}.npy", value)
        on_progress(index + 1)


def _affectnet_annotations(face: Face) -> dict[str, np.ndarray]:
    """As in the 2021 release: labels are strings in 0-d arrays, landmarks 136 numbers x, y, x, y, ..."""
    expression = AFFECTNET7.ids[AFFECTNET7.index_of(face.category)]
    return {
        "exp": np.array(str(expression)),
        "val": np.array(f"{face.valence:.6f}"),
        "aro": np.array(f"{face.arousal:.6f}"),
        "lnd": landmarks(face, AFFECTNET_PX).ravel(),
    }


def _jpeg(picture: np.ndarray) -> bytes:
    """Encode here and write ourselves, because ``cv2.imwrite`` swallows the error of a full disk."""
    bgr = picture if picture.ndim == 2 else cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
    encoded, buffer = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    if not encoded:
        message = f"OpenCV could not encode a {picture.shape} picture as JPEG"
        raise RuntimeError(message)
    return bytes(buffer)


_WRITERS: dict[str, Callable[[Path, int, int, Progress], None]] = {
    "fer2013-csv": _write_fer2013_csv,
    "fer2013-folder": _write_fer2013_folder,
    "affectnet-2021": _write_affectnet_2021,
}

LAYOUTS = ("fer2013-csv", "fer2013-folder", "affectnet-2021")
"""The layouts that can be written, named after the releases that they imitate."""
