"""Predictions of other tools: a CSV or Parquet file of sample ids with probabilities or labels, read and checked."""

import csv
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ferlab.emotions import SYNONYMS
from ferlab.errors import UserError, first_line

ID_NAMES = ("id", "sample_id", "sample id")
LABEL_NAMES = ("prediction", "predicted", "label")
PROBABILITY_PREFIX = "p_"
SUM_TOLERANCE = 1e-3
ENCODING = "utf-8-sig"
"""UTF-8 with or without the mark that Excel puts at the beginning of a file."""


@dataclass(frozen=True)
class Foreign:
    """Answers by sample id: probabilities (n, classes) in the order asked for; ``hard``: made of a label each."""

    ids: tuple[str, ...]
    probabilities: np.ndarray
    hard: bool


def require_file(path: Path) -> None:
    """UserError when there is no such file: it is said before a dataset is prepared for it."""
    if not path.is_file():
        message = f"predictions={path}: no such file."
        raise UserError(message)


def read_foreign(path: Path, classes: Sequence[str]) -> Foreign:
    """Read a file with a column ``id`` and one per class (``happy`` or ``p_happy``, synonyms allowed), or a label.

    A label column is called ``prediction``, ``predicted`` or ``label`` and holds class names. Other columns are an
    error where they may be a class that the protocol does not have.

    Raises:
        UserError: no such file, columns that are missing or too many, ids twice, values that are no probabilities.

    """
    table = _table(path)
    columns = {str(name).strip().lower(): name for name in table.columns}
    key = next((columns[name] for name in ID_NAMES if name in columns), None)
    if key is None:
        message = f"{path}: no column id; it has {', '.join(map(str, table.columns))}."
        raise UserError(message)
    ids = _ids(path, table[key])
    found = _class_columns(path, [name for name in table.columns if name != key], classes)
    if found:
        return Foreign(ids, _probabilities(path, table[found]), hard=False)
    name = next((columns[name] for name in LABEL_NAMES if name in columns), None)
    if name is None:
        message = (
            f"{path}: neither a column for each of {', '.join(classes)} nor a column prediction; "
            f"it has {', '.join(map(str, table.columns))}."
        )
        raise UserError(message)
    return Foreign(ids, _one_hot(path, table[name], classes), hard=True)


def in_order(foreign: Foreign, ids: Sequence[str], where: str) -> np.ndarray:
    """Probabilities of the samples ``ids``, in their order; UserError when any is missing or there are others."""
    place = {name: row for row, name in enumerate(foreign.ids)}
    missing = [name for name in ids if name not in place]
    unknown = set(foreign.ids).difference(ids)
    if missing or unknown:
        parts = []
        if missing:
            parts.append(f"{len(missing):,} of {len(ids):,} samples have no prediction (the first: {missing[0]})")
        if unknown:
            parts.append(f"{len(unknown):,} ids are not of this split (such as {min(unknown)})")
        message = f"{where}: {'; '.join(parts)}. Score every sample of the split once; `id` is that of the dataset."
        raise UserError(message)
    return np.asarray(foreign.probabilities[[place[name] for name in ids]])


def _table(path: Path) -> Any:
    import pandas as pd

    require_file(path)
    import pyarrow as pa

    try:
        if path.suffix.lower() in (".parquet", ".pq"):
            return pd.read_parquet(path)
        with path.open(newline="", encoding=ENCODING) as file:
            header = next(csv.reader(file), [])
        keys = [name for name in header if name.strip().lower() in ID_NAMES]
        table = pd.read_csv(
            path, converters=dict.fromkeys(keys, str), encoding=ENCODING
        )  # ids stay as they are written
    except (OSError, ValueError, pa.ArrowException) as error:
        message = f"predictions={path}: neither CSV nor Parquet can be read there ({first_line(error)})."
        raise UserError(message) from error
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        message = f"{path}: column {', '.join(twice)} stands there more than once."
        raise UserError(message)
    return table


def _ids(path: Path, column: Any) -> tuple[str, ...]:
    missing = int((column.isna() | (column == "")).sum())
    if missing:
        message = f"{path}: {missing:,} rows have no id."
        raise UserError(message)
    if not len(column):
        message = f"{path}: there are no rows."
        raise UserError(message)
    ids = tuple(str(value) for value in column)
    if len(set(ids)) < len(ids):
        twice = Counter(ids).most_common(1)[0][0]
        message = f"{path}: id {twice} stands there more than once ({len(ids) - len(set(ids)):,} rows too many)."
        raise UserError(message)
    return ids


def _class_columns(path: Path, names: Sequence[Any], classes: Sequence[str]) -> list[Any]:
    """The columns of the classes in their order; nothing where no column is a class."""
    found: dict[str, Any] = {}
    others = []
    for name in names:
        plain = str(name).strip().lower()
        marked = plain.startswith(PROBABILITY_PREFIX)
        plain = plain.removeprefix(PROBABILITY_PREFIX)
        plain = SYNONYMS.get(plain, plain)
        if plain in found:
            message = f"{path}: columns {found[plain]} and {name} are the same class."
            raise UserError(message)
        if plain in classes:
            found[plain] = name
        elif marked or plain == "contempt":
            others.append(str(name))
    missing = [name for name in classes if name not in found]
    if found and (missing or others):
        wrong = [f"no column for {', '.join(missing)}"] if missing else []
        wrong += [f"{', '.join(others)} is no class of the protocol ({', '.join(classes)})"] if others else []
        message = f"{path}: {'; '.join(wrong)}."
        raise UserError(message)
    return [found[name] for name in classes] if found else []


def _probabilities(path: Path, table: Any) -> np.ndarray:
    try:
        values = table.to_numpy(dtype=np.float64)
    except (TypeError, ValueError) as error:
        message = f"{path}: the columns of the classes hold something else than numbers ({first_line(error)})."
        raise UserError(message) from error
    if not np.isfinite(values).all():
        rows = int((~np.isfinite(values)).any(axis=1).sum())
        message = f"{path}: {rows:,} rows hold NaN or infinite probabilities."
        raise UserError(message)
    off = (values < 0).any(axis=1) | (np.abs(values.sum(axis=1) - 1) > SUM_TOLERANCE)
    if off.any():
        row = int(off.argmax())
        message = (
            f"{path}: in {int(off.sum()):,} rows the probabilities are negative or do not sum to 1 "
            f"(the first: row {row + 1}, sum {values[row].sum():.4g}). Normalise them, or give labels only."
        )
        raise UserError(message)
    return np.asarray(values)


def _one_hot(path: Path, column: Any, classes: Sequence[str]) -> np.ndarray:
    names = [SYNONYMS.get(str(value).strip().lower(), str(value).strip().lower()) for value in column]
    strange = sorted(set(names).difference(classes))
    if strange:
        message = f"{path}: {', '.join(strange[:5])}: no class of the protocol ({', '.join(classes)})."
        raise UserError(message)
    return np.eye(len(classes))[[list(classes).index(name) for name in names]]
