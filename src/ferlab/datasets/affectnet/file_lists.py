"""The rows of ``training.csv`` and ``validation.csv`` of AffectNet's original release, in batches of text columns."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
from pyarrow import csv

from ferlab.errors import UserError, first_line

PATH, EXPRESSION, LANDMARKS = "subDirectory_filePath", "expression", "facial_landmarks"
BOX = ("face_x", "face_y", "face_width", "face_height")
VALENCE, AROUSAL = "valence", "arousal"
COLUMNS = (PATH, *BOX, LANDMARKS, EXPRESSION, VALENCE, AROUSAL)

BLOCK_BYTES = 16 << 20
LONGEST_HEADER = 4096


def batches(file: Path) -> Iterator[pa.RecordBatch]:
    """Batches of the columns ``COLUMNS``, every cell as text; a file without header is read by position.

    Raises:
        UserError: a column is missing, a row has too few or too many, or the file cannot be read.

    """
    names, header_rows = _header(file)
    broken: list[csv.InvalidRow] = []

    def note(row: csv.InvalidRow) -> str:
        broken.append(row)
        return "skip"

    try:
        with csv.open_csv(
            file,
            read_options=csv.ReadOptions(
                use_threads=False, block_size=BLOCK_BYTES, column_names=names, skip_rows=header_rows
            ),
            parse_options=csv.ParseOptions(invalid_row_handler=note),
            convert_options=csv.ConvertOptions(
                column_types=dict.fromkeys(COLUMNS, pa.string()), include_columns=list(COLUMNS)
            ),
        ) as reader:
            for batch in reader:
                _refuse(broken, file, header_rows)
                yield batch
            _refuse(broken, file, header_rows)
    except (pa.ArrowInvalid, OSError) as error:
        message = f"{file}: not a readable CSV ({first_line(error, 120)}). Download it again."
        raise UserError(message) from error


def _header(file: Path) -> tuple[list[str], int]:
    """The column names, and how many rows they take: 1, or 0 for a file that starts with an image."""
    try:
        with file.open(encoding="utf-8-sig", errors="replace") as lines:
            cells = [cell.strip(' "\r\n\t') for cell in lines.readline(LONGEST_HEADER).split(",")]
    except OSError as error:
        message = f"{file}: cannot be read ({error.strerror}). Change its permissions."
        raise UserError(message) from error
    if "/" in cells[0] and len(cells) == len(COLUMNS):
        return list(COLUMNS), 0
    spelling = {name.lower(): name for name in COLUMNS}
    names = [spelling.get(cell.lower(), cell) for cell in cells]
    missing = [name for name in COLUMNS if name not in names]
    if missing:
        message = f"{file}: no column {', '.join(missing)}. Expected {','.join(COLUMNS)}."
        raise UserError(message)
    return names, 1


def _refuse(broken: list[csv.InvalidRow], file: Path, header_rows: int) -> None:
    if broken:
        first = broken[0]
        message = (
            f"{file}: row {first.number - header_rows} has {first.actual_columns} of {first.expected_columns} "
            "columns: the file is cut short or damaged. Download it again."
        )
        raise UserError(message)
