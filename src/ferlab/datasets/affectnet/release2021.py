"""AffectNet's 2021 release: cropped 224 px images, and beside them one ``.npy`` per annotation.

This release does not tell which faces share a photo.
"""

from collections import Counter, deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa

from ferlab.datasets.affectnet.expressions import EXPRESSIONS, LEFT_OUT, labels_in, policy_of, why_left_out
from ferlab.datasets.affectnet.npy import load
from ferlab.datasets.affectnet.text_numbers import LANDMARK_NUMBERS
from ferlab.datasets.image_files import NOT_AN_IMAGE, entries_of, is_image
from ferlab.datasets.listing import ROW_SCHEMA, Reading, Rows, Source, row_table
from ferlab.emotions import Taxonomy
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
    tables = [ROW_SCHEMA.empty_table()]
    for folder in source.entries:
        for turn in _read_in_turns(source.root, folder, _images(folder, rejected), reading.taxonomy):
            tables.append(turn.table)
            rejected += turn.rejected
            excluded += turn.excluded
    rejected.sort(key=lambda item: item.id)
    table = pa.concat_tables(tables)
    return Rows(table, reading.taxonomy, tuple(rejected), dict(excluded), policy_of(reading.taxonomy))


@dataclass(frozen=True)
class _Turn:
    """What became of some images in turn: the rows of those that can be used, and the others."""

    table: pa.Table
    rejected: list[Rejection] = field(default_factory=list)
    excluded: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class _Face:
    """The annotations of one image; ``landmarks`` are the bytes of 136 float32, read only when ``label`` is one."""

    expression: int
    label: int
    valence: float | None = None
    arousal: float | None = None
    landmarks: bytes | None = None


def _images(folder: Path, rejected: list[Rejection]) -> Iterator[str]:
    for entry in entries_of(folder / "images"):
        if is_image(entry):
            yield entry.name
        else:
            rejected.append(Rejection(f"{folder.name}/images/{entry.name}", NOT_AN_IMAGE))


def _read_in_turns(root: Path, folder: Path, names: Iterator[str], taxonomy: Taxonomy) -> Iterator[_Turn]:
    """The images of a part with their annotations in the order of ``names``, of which some at a time are read ahead."""
    pool = ThreadPoolExecutor(READERS)
    waiting: deque[Future[_Turn]] = deque()
    try:
        while turn := list(islice(names, FACES_A_TURN)):
            waiting.append(pool.submit(_read_turn, root, folder, turn, taxonomy))
            if len(waiting) > 2 * READERS:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _read_turn(root: Path, folder: Path, names: list[str], taxonomy: Taxonomy) -> _Turn:
    labels = labels_in(taxonomy).tolist()
    rejected: list[Rejection] = []
    excluded: Counter[str] = Counter()
    ids: list[str] = []
    faces: list[_Face] = []
    for name in names:
        sample_id = f"{folder.name}/images/{name}"
        face = _face(f"{folder}/annotations/{name.rpartition('.')[0]}", labels)
        if isinstance(face, str):
            rejected.append(Rejection(sample_id, face))
        elif face.label == LEFT_OUT:
            excluded[why_left_out(face.expression, taxonomy)] += 1
        else:
            ids.append(sample_id)
            faces.append(face)
    table = row_table(
        ids,
        [PARTS[folder.name]] * len(ids),
        [face.label for face in faces],
        path=[f"{root}/{sample_id}" for sample_id in ids],
        landmarks=_lists([face.landmarks for face in faces]),
        valence=[face.valence for face in faces],
        arousal=[face.arousal for face in faces],
    )
    return _Turn(table, rejected, excluded)


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
