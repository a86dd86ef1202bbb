"""Columns of text to numbers, a batch at a time, with what is no number marked instead of raised."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

LANDMARK_NUMBERS = 136
NUMBER = r"^-?(\d{1,20}(\.\d*)?|\.\d+)([eE][+-]?\d{1,2})?$"


def numbers(texts: pa.Array) -> np.ndarray:
    """Each cell as float64, NaN where it is no finite decimal number: (n,)."""
    trimmed = pc.ascii_trim_whitespace(texts)
    decimal = pc.if_else(pc.match_substring_regex(trimmed, NUMBER), trimmed, pa.scalar(None, pa.string()))
    return pc.cast(decimal, pa.float64()).to_numpy(zero_copy_only=False)


def landmark_numbers(texts: pa.Array) -> tuple[np.ndarray, dict[int, str]]:
    """Cells ``x;y;x;y;...`` of 68 points as float32 (n, 136), and by row why a cell is not that."""
    pieces = pc.split_pattern(texts, ";")
    counts = pc.list_value_length(pieces).to_numpy(zero_copy_only=False)
    complete = counts == LANDMARK_NUMBERS
    rows = np.full((len(texts), LANDMARK_NUMBERS), np.nan, dtype=np.float32)
    rows[complete] = _parsed(pc.list_flatten(pieces.filter(pa.array(complete))))
    reasons = {
        int(row): f"landmarks: {counts[row] if texts[row].as_py() else 0} numbers, expected {LANDMARK_NUMBERS}"
        for row in np.flatnonzero(~complete)
    }
    unreadable = np.flatnonzero(complete & ~np.isfinite(rows).all(axis=1))
    return rows, reasons | {int(row): "landmarks: not all are numbers" for row in unreadable}


def _parsed(texts: pa.Array) -> np.ndarray:
    """Float32 (n, 136) from n * 136 texts; a row with a text that is no number becomes NaN, found by halving."""
    try:
        return pc.cast(texts, pa.float32()).to_numpy().reshape(-1, LANDMARK_NUMBERS)
    except pa.ArrowInvalid:
        count = len(texts) // LANDMARK_NUMBERS
        if count == 1:
            return np.full((1, LANDMARK_NUMBERS), np.nan, dtype=np.float32)
        middle = count // 2 * LANDMARK_NUMBERS
        return np.concatenate([_parsed(texts.slice(0, middle)), _parsed(texts.slice(middle))])
