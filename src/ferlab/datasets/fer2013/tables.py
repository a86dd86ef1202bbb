"""FER-2013 as CSV: ``fer2013.csv``, ``icml_face_data.csv``, and the challenge's ``train.csv`` and ``test.csv``."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import csv

from ferlab.datasets.fer2013.parts import MIXED, SIDE_PX, TRAINING, USAGES
from ferlab.datasets.listing import Rows, row_table
from ferlab.emotions import FER2013, Taxonomy
from ferlab.errors import UserError, first_line
from ferlab.manifest import Rejection

UNLABELLED = -1


@dataclass
class _Columns:
    ids: list[str] = field(default_factory=list)
    parts: list[str] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    pixels: list[bytes] = field(default_factory=list)
    rejected: list[Rejection] = field(default_factory=list)

    def add(self, row_id: str, part: str, label: int, text: str | None) -> None:
        """A row, or its rejection when its pixels are none."""
        pixels = _pixels(text)
        if isinstance(pixels, str):
            self.rejected.append(Rejection(row_id, pixels))
            return
        self.ids.append(row_id)
        self.parts.append(part)
        self.labels.append(label)
        self.pixels.append(pixels)

    def rows(self, taxonomy: Taxonomy) -> Rows:
        table = row_table(self.ids, self.parts, self.labels, pixels=self.pixels)
        return Rows(table, taxonomy, tuple(self.rejected))


def read_table(path: Path, taxonomy: Taxonomy) -> Rows:
    """A file with the columns emotion, pixels and Usage; the id of a row is its number, from 0.

    Raises:
        UserError: not a CSV, a column or cell is missing, a label or Usage that FER-2013 does not have.

    """
    table = _parse(path, ("emotion", "pixels", "usage"))
    columns = _Columns()
    for number, row in _numbered(table.select(["emotion", "usage", "pixels"])):
        label, usage = _label(row["emotion"], path, number, taxonomy), row["usage"]
        part = (usage or "").strip()
        if part not in USAGES:
            message = (
                f"{path}: row {number + 1}: Usage is {usage!r}, must be one of {', '.join(USAGES)}. "
                "Is the file cut short? Download it again."
            )
            raise UserError(message)
        columns.add(str(number), part, label, row["pixels"])
    return columns.rows(taxonomy)


def read_challenge(paths: Sequence[Path], taxonomy: Taxonomy) -> Rows:
    """The challenge's ``train.csv``, and ``test.csv`` without labels; ids are ``train/0`` and so on."""
    columns = _Columns()
    for path in paths:
        labelled = path.stem == "train"
        wanted = ("emotion", "pixels") if labelled else ("pixels",)
        for number, row in _numbered(_parse(path, wanted).select(wanted)):
            label = _label(row["emotion"], path, number, taxonomy) if labelled else UNLABELLED
            columns.add(f"{path.stem}/{number}", TRAINING if labelled else MIXED, label, row["pixels"])
    return columns.rows(taxonomy)


def _numbered(table: pa.Table) -> Iterator[tuple[int, dict[str, str | None]]]:
    """Rows with their numbers, a batch at a time: the text of all pixels is several times their size."""
    return enumerate(row for batch in table.to_batches(max_chunksize=1024) for row in batch.to_pylist())


def _parse(path: Path, wanted: Sequence[str]) -> pa.Table:
    """The wanted columns as text; header names trimmed and in lower case."""
    broken: list[csv.InvalidRow] = []

    def note(row: csv.InvalidRow) -> str:
        broken.append(row)
        return "skip"

    try:
        with path.open("rb") as file:
            header = [name.strip('"') for name in file.readline(4096).decode("utf-8-sig").rstrip().split(",")]
        table = csv.read_csv(
            path,
            read_options=csv.ReadOptions(use_threads=False),
            parse_options=csv.ParseOptions(invalid_row_handler=note),
            convert_options=csv.ConvertOptions(column_types=dict.fromkeys(header, pa.string())),
        )
    except (pa.ArrowInvalid, OSError, UnicodeDecodeError) as error:
        message = f"{path}: not a readable CSV ({first_line(error, 120)})."
        raise UserError(message) from error
    if broken:
        first = broken[0]
        message = (
            f"{path}: row {first.number - 1 if first.number else '?'} has {first.actual_columns} of "
            f"{first.expected_columns} columns: the file is cut short or damaged. Download it again."
        )
        raise UserError(message)
    table = table.rename_columns([name.strip().lower() for name in table.column_names])
    missing = [name for name in wanted if table.column_names.count(name) != 1]
    if missing:
        message = f"{path}: no column {', '.join(missing)}, or more than one. Expected {', '.join(wanted)}."
        raise UserError(message)
    return table


def _label(text: str | None, path: Path, number: int, taxonomy: Taxonomy) -> int:
    """Position in ``taxonomy`` of a class number of FER-2013."""
    try:
        name = FER2013.classes[FER2013.index_of_id(int(text or ""))]
    except (KeyError, ValueError):
        message = (
            f"{path}: row {number + 1}: emotion is {text!r}, must be 0..{len(FER2013) - 1}. Download the file again."
        )
        raise UserError(message) from None
    return taxonomy.index_of(name)


def _pixels(text: str | None) -> bytes | str:
    """Row-major gray bytes of a square image, or the reason why the text is none."""
    try:
        values = np.fromstring((text or "").strip(), dtype=np.int64, sep=" ")
    except ValueError:
        return "pixels are not whole numbers"
    side = round(len(values) ** 0.5)
    if not len(values) or side * side != len(values):
        return f"{len(values)} pixels, expected {SIDE_PX * SIDE_PX}"
    if values.min() < 0 or values.max() > 255:
        return "pixel values outside 0..255"
    return values.astype(np.uint8).tobytes()
