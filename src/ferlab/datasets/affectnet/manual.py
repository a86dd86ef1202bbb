"""AffectNet's original release: uncropped photos, their faces and labels in ``training.csv`` and ``validation.csv``."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ferlab.datasets.affectnet.expressions import EXPRESSIONS, LEFT_OUT, labels_in, policy_of, why_left_out
from ferlab.datasets.affectnet.file_lists import AROUSAL, BOX, EXPRESSION, LANDMARKS, PATH, VALENCE, batches
from ferlab.datasets.affectnet.text_numbers import landmark_numbers, numbers
from ferlab.datasets.listing import Reading, Rows, Source, row_table
from ferlab.emotions import Taxonomy
from ferlab.errors import UserError
from ferlab.manifest import Rejection

LAYOUT = "affectnet-manual"
IMAGES, PARENT, LISTS = "Manually_Annotated_Images", "Manually_Annotated", "Manually_annotated_file_lists"
PARTS = {"training.csv": "train", "validation.csv": "val"}

NO_FACE_BOX = "no face box (face_width < 0)"
OUTSIDE = r"^/|^[A-Za-z]:|(^|/)\.\.(/|$)|\x00"
BASE_NAME = r"(?s)^(?:.*/)?(?P<stem>[^/]+?)(?:\.[^./]*)?$"


def find(root: Path) -> Source | None:
    """The original release in ``root``; None when nothing of it is there, UserError when a part is missing.

    The lists lie in ``root``, in their own folder, or beside or among the images; names in any case.
    """
    images = _inside(root, IMAGES) or _inside(_inside(root, PARENT), IMAGES)
    places = [root, _inside(root, LISTS), _inside(root, PARENT)]
    if images and images.is_dir():
        places += [images.parent, _inside(images.parent, LISTS), images]
    lists = [next(filter(None, (_inside(place, name) for place in places)), None) for name in PARTS]
    if not images and not any(lists):
        return None
    missing = [name for name, found in ((f"folder {IMAGES}", images), ("training.csv", lists[0])) if not found]
    if missing:
        message = (
            f"dataset.root={root}: no {' and no '.join(missing)} there. Point dataset.root at the folder of "
            f"AffectNet's original release that holds {IMAGES}/, training.csv and validation.csv."
        )
        raise UserError(message)
    return Source(LAYOUT, root, tuple(entry for entry in (images, *lists) if entry))


def _inside(folder: Path | None, name: str) -> Path | None:
    """The entry of that name in a folder, in any case."""
    if folder is None or not folder.is_dir():
        return None
    return next((entry for entry in sorted(folder.iterdir()) if entry.name.lower() == name.lower()), None)


def read(source: Source, reading: Reading) -> Rows:
    """Every face of the lists with its box and landmarks; images are not looked at.

    The id is the path as the list writes it; the second face of a photo gets ``#2``, and so on. The group is the base
    name, which all faces of a photo share. A row is judged in this order: its path, its expression (left out when it is
    not in the taxonomy), its box, its landmarks.

    Raises:
        UserError: a list lacks a column, has a damaged row or cannot be read.

    """
    images, *lists = source.entries
    judged: list[_Judged] = []
    rows = 0
    for file in lists:
        for batch in batches(file):
            judged.append(_judge(batch, rows, PARTS[file.name.lower()], reading.taxonomy))
            rows += len(batch)
    ids = _unique(pa.chunked_array([batch.paths for batch in judged], pa.string()).combine_chunks())
    faces = pa.concat_tables([FACES.empty_table(), *(batch.faces for batch in judged)])
    column = {name: faces[name].combine_chunks() for name in FACES.names}
    table = row_table(
        ids.take(column["row"]),
        column["part"],
        column["label"],
        path=pc.binary_join_element_wise(str(images), column["path"], "/"),
        group=pc.struct_field(pc.extract_regex(column["path"], BASE_NAME), "stem"),
        **{name: column[name] for name in ("box", "landmarks", "valence", "arousal")},
    )
    rejected = [
        Rejection(ids[row].as_py(), reason) for batch in judged for row, reason in batch.verdicts.rejected.items()
    ]
    excluded = sum((batch.verdicts.excluded for batch in judged), Counter[str]())
    rejected.sort(key=lambda item: item.id)
    return Rows(table, reading.taxonomy, tuple(rejected), dict(excluded), policy_of(reading.taxonomy))


FACES = pa.schema(
    [
        ("row", pa.int64()),
        ("part", pa.string()),
        ("label", pa.int32()),
        ("path", pa.string()),
        ("box", pa.list_(pa.float32())),
        ("landmarks", pa.list_(pa.float32())),
        ("valence", pa.float32()),
        ("arousal", pa.float32()),
    ]
)
"""The usable rows of a batch; ``row`` counts over both lists, ``path`` is relative to the images."""


@dataclass(frozen=True)
class _Verdicts:
    """What becomes of the rows from ``first`` on: the first objection to a row counts, ``open`` are those without."""

    first: int
    open: np.ndarray
    rejected: dict[int, str] = field(default_factory=dict)
    excluded: Counter[str] = field(default_factory=Counter)

    def reject(self, mask: np.ndarray, reason: Callable[[int], str]) -> None:
        for row in np.flatnonzero(mask & self.open).tolist():
            self.rejected[self.first + row] = reason(row)
        self.open[mask] = False

    def exclude(self, mask: np.ndarray, reason: str) -> None:
        count = int((mask & self.open).sum())
        if count:
            self.excluded[reason] += count
        self.open[mask] = False


@dataclass(frozen=True)
class _Judged:
    """One batch: the paths of all its rows, the verdicts, and the usable rows (``FACES``)."""

    paths: pa.Array
    verdicts: _Verdicts
    faces: pa.Table


def _judge(batch: pa.RecordBatch, first: int, part: str, taxonomy: Taxonomy) -> _Judged:
    verdicts = _Verdicts(first, np.ones(len(batch), dtype=bool))
    paths = pc.replace_substring(pc.ascii_trim_whitespace(batch[PATH]), "\\", "/")
    verdicts.reject(_mask(pc.equal(paths, "")), lambda _: "no path")
    verdicts.reject(_mask(pc.match_substring_regex(paths, OUTSIDE)), lambda _: "path leaves the dataset folder")
    labels = _judge_expressions(batch[EXPRESSION], verdicts, taxonomy)
    boxes = np.stack([numbers(batch[name]) for name in BOX], axis=1)
    verdicts.exclude(boxes[:, BOX.index("face_width")] < 0, NO_FACE_BOX)
    verdicts.reject(~np.isfinite(boxes).all(axis=1), lambda _: "face box: not four numbers")
    landmarks = _judge_landmarks(batch[LANDMARKS], verdicts)
    kept = np.flatnonzero(verdicts.open)
    columns = {
        "row": first + kept,
        "part": pa.repeat(part, len(kept)),
        "label": labels[kept],
        "path": paths.take(pa.array(kept)),
        "box": _lists(boxes[kept]),
        "landmarks": _lists(landmarks),
        "valence": _annotated(numbers(batch[VALENCE])[kept]),
        "arousal": _annotated(numbers(batch[AROUSAL])[kept]),
    }
    return _Judged(paths, verdicts, pa.table(columns, schema=FACES))


def _judge_expressions(texts: pa.Array, verdicts: _Verdicts, taxonomy: Taxonomy) -> np.ndarray:
    """The label of every row, of no meaning where an objection was found."""
    expressions = numbers(texts)
    known = np.isin(expressions, range(len(EXPRESSIONS)))
    verdicts.reject(~known, lambda row: f"expression is {texts[row].as_py()!r}, must be 0..{len(EXPRESSIONS) - 1}")
    labels = labels_in(taxonomy)
    for number in np.flatnonzero(labels == LEFT_OUT).tolist():
        verdicts.exclude(expressions == number, why_left_out(number, taxonomy))
    return labels[np.where(known, expressions, 0).astype(np.int64)]


def _judge_landmarks(texts: pa.Array, verdicts: _Verdicts) -> np.ndarray:
    """The landmarks of the rows that are open at the end, float32 (n, 136)."""
    rows = np.flatnonzero(verdicts.open)
    landmarks, reasons = landmark_numbers(texts.take(pa.array(rows)))
    broken = np.zeros(len(verdicts.open), dtype=bool)
    broken[rows[list(reasons)]] = True
    by_row = {int(rows[place]): reason for place, reason in reasons.items()}
    verdicts.reject(broken, by_row.__getitem__)
    return landmarks[verdicts.open[rows]]


def _mask(column: pa.Array) -> np.ndarray:
    return column.to_numpy(zero_copy_only=False)


def _lists(rows: np.ndarray) -> pa.Array:
    """The rows of an (n, k) array as lists of float32."""
    offsets = np.arange(0, rows.size + 1, rows.shape[1], dtype=np.int32)
    return pa.ListArray.from_arrays(offsets, rows.astype(np.float32).ravel())


def _annotated(values: np.ndarray) -> pa.Array:
    """Valence or arousal; null outside -1..1, where -2 marks what was not annotated."""
    return pa.array(values.astype(np.float32), mask=~(np.abs(values) <= 1))


def _unique(paths: pa.Array) -> pa.Array:
    """The paths, those that occur again with ``#2``, ``#3`` and so on in order of appearance."""
    codes = paths.dictionary_encode().indices.to_numpy()
    order = np.argsort(codes, kind="stable")
    fresh = np.diff(codes[order], prepend=-1) != 0
    place = np.arange(len(codes))
    earlier = np.empty(len(codes), dtype=np.int64)
    earlier[order] = place - np.maximum.accumulate(np.where(fresh, place, 0))
    numbered = pc.binary_join_element_wise(paths, pa.array(earlier + 1).cast(pa.string()), "#")
    return pc.if_else(pa.array(earlier > 0), numbered, paths)
