"""AffectNet's 2021 release: cropped 224 px images, and beside them one ``.npy`` per annotation.

This release does not tell which faces share a photo.
"""

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa

from ferlab.datasets.affectnet.expressions import EXPRESSIONS, LEFT_OUT, labels_in, policy_of, why_left_out
from ferlab.datasets.affectnet.npy import load
from ferlab.datasets.affectnet.text_numbers import LANDMARK_NUMBERS
from ferlab.datasets.image_files import NOT_AN_IMAGE, entries_of, is_image
from ferlab.datasets.listing import Reading, Rows, Source, row_table
from ferlab.errors import UserError
from ferlab.manifest import Rejection

LAYOUT = "affectnet-2021"
PARTS = {"train_set": "train", "val_set": "val"}
FOLDERS = ("images", "annotations")
READERS, FACES_A_TURN = 8, 512
"""Files are tiny, so on a disk with latency the waiting is shared among some threads."""


def find(root: Path) -> Source | None:
    """The 2021 release in ``root``, with or without val_set.

    None when nothing of it is there, UserError when train_set or a folder of it is missing.
    """
    present = [name for name in PARTS if (root / name).is_dir()]
    if not present:
        return None
    wanted = dict.fromkeys(("train_set", *present))
    missing = [f"{name}/{folder}" for name in wanted for folder in FOLDERS if not (root / name / folder).is_dir()]
    if missing:
        message = (
            f"dataset.root={root}: no {', '.join(missing)} there. Point dataset.root at the folder of AffectNet's "
            "2021 release that holds train_set/ and val_set/."
        )
        raise UserError(message)
    return Source(LAYOUT, root, tuple(root / name for name in present))


def read(source: Source, reading: Reading) -> Rows:
    """Every image with its annotations; the id is its path below the root.

    An image without a readable expression, or with landmarks that are not 136 numbers, is rejected; missing landmarks
    and what is not annotated of valence and arousal are null.

    Raises:
        UserError: a folder cannot be read.

    """
    rejected: list[Rejection] = []
    excluded: Counter[str] = Counter()
    found: list[tuple[str, str, _Face]] = []
    for folder in source.entries:
        names = _images(folder, rejected)
        for name, face in zip(names, _faces(folder / "annotations", names, labels_in(reading.taxonomy)), strict=True):
            sample_id = f"{folder.name}/images/{name}"
            if isinstance(face, str):
                rejected.append(Rejection(sample_id, face))
            elif face.label == LEFT_OUT:
                excluded[why_left_out(face.expression, reading.taxonomy)] += 1
            else:
                found.append((sample_id, PARTS[folder.name], face))
    ids, parts, faces = zip(*found, strict=True) if found else ((), (), ())
    table = row_table(
        ids,
        parts,
        [face.label for face in faces],
        path=[f"{source.root}/{sample_id}" for sample_id in ids],
        landmarks=_lists([face.landmarks for face in faces]),
        valence=[face.valence for face in faces],
        arousal=[face.arousal for face in faces],
    )
    rejected.sort(key=lambda item: item.id)
    return Rows(table, reading.taxonomy, tuple(rejected), dict(excluded), policy_of(reading.taxonomy))


@dataclass(frozen=True, slots=True)
class _Face:
    """The annotations of one image; ``landmarks`` are the bytes of 136 float32, read only when ``label`` is one."""

    expression: int
    label: int
    valence: float | None = None
    arousal: float | None = None
    landmarks: bytes | None = None


def _images(folder: Path, rejected: list[Rejection]) -> list[str]:
    names: list[str] = []
    for entry in entries_of(folder / "images"):
        if is_image(entry):
            names.append(entry.name)
        else:
            rejected.append(Rejection(f"{folder.name}/images/{entry.name}", NOT_AN_IMAGE))
    return names


def _faces(notes: Path, names: list[str], labels: np.ndarray) -> Iterator[_Face | str]:
    """The annotations of each image in turn, or the reason why it cannot be used."""
    turns = [names[start : start + FACES_A_TURN] for start in range(0, len(names), FACES_A_TURN)]
    with ThreadPoolExecutor(READERS) as pool:
        for faces in pool.map(partial(_read_turn, str(notes), labels=labels.tolist()), turns):
            yield from faces


def _read_turn(notes: str, names: list[str], labels: list[int]) -> list[_Face | str]:
    return [_face(f"{notes}/{name.rpartition('.')[0]}", labels) for name in names]


def _face(stem: str, labels: list[int]) -> _Face | str:
    expression = _number(f"{stem}_exp.npy")
    if isinstance(expression, str):
        return expression
    if expression not in range(len(EXPRESSIONS)):
        return f"expression is {expression:g}, must be 0..{len(EXPRESSIONS) - 1}"
    number = int(expression)
    if labels[number] == LEFT_OUT:
        return _Face(number, LEFT_OUT)
    landmarks = _landmarks(f"{stem}_lnd.npy")
    if isinstance(landmarks, str):
        return landmarks
    return _Face(number, labels[number], _affect(f"{stem}_val.npy"), _affect(f"{stem}_aro.npy"), landmarks)


def _number(file: str) -> float | str:
    """The one number in a ``.npy``, written as a number or as text, or the reason why there is none."""
    try:
        return float(load(file).item())
    except FileNotFoundError:
        return f"annotation {Path(file).name} is missing"
    except (ValueError, TypeError, OSError):
        return f"annotation {Path(file).name} is not a number"


def _affect(file: str) -> float | None:
    """Valence or arousal in -1..1; None where it is missing or -2, the mark of what was not annotated."""
    value = _number(file)
    return value if not isinstance(value, str) and -1 <= value <= 1 else None


def _landmarks(file: str) -> bytes | str | None:
    """The bytes of 136 float32, None without a file, or the reason why they cannot be used."""
    try:
        points = load(file).astype(np.float32).ravel()
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, OSError):
        return f"annotation {Path(file).name} is not readable as numbers"
    if points.size != LANDMARK_NUMBERS:
        return f"landmarks: {points.size} numbers, expected {LANDMARK_NUMBERS}"
    return points.tobytes() if np.isfinite(points).all() else "landmarks: not all are numbers"


def _lists(rows: list[bytes | None]) -> pa.Array:
    """Lists of float32, null where there are none."""
    lengths = [0 if row is None else LANDMARK_NUMBERS for row in rows]
    offsets = np.cumsum([0, *lengths]).astype(np.int32)
    values = np.frombuffer(b"".join(row for row in rows if row is not None), np.float32)
    missing = np.array([row is None for row in rows], dtype=bool)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(values), mask=pa.array(missing))
