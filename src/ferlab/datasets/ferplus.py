"""FERPlus (Barsoum et al. 2016): the votes of ten annotators for the images of FER-2013.

The label is the plurality of the ten columns, the first column on ties; rows whose plurality is ``unknown`` or ``NF``
(not a face) are left out, as published: 28,389 / 3,553 / 3,546. Soft targets train on the same images; votes for
classes that the taxonomy does not have are left out of them.
"""

import os
from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import csv

from ferlab.datasets.audit.scan import pixel_digests
from ferlab.datasets.fer2013 import reader
from ferlab.datasets.fer2013.parts import PRIVATE_TEST, USAGES
from ferlab.datasets.fingerprint.signature import builtin_signature, row_keys
from ferlab.datasets.listing import Reading, Rows, Source
from ferlab.emotions import FER2013, FERPLUS8, positions_in
from ferlab.errors import UserError, first_line
from ferlab.manifest import Rejection

VOTES_NAME = "fer2013new.csv"
EMOTIONS = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt")
COLUMNS = (*EMOTIONS, "unknown", "NF")
LARGEST_UNMATCHED = 0.01

locate = reader.locate


def read(source: Source, reading: Reading) -> Rows:
    """The rows of FER-2013 with the votes' labels; rows of no emotion are counted in ``excluded``.

    Raises:
        UserError: votes that do not fit the images, by number of rows, by Usage or by pixels.

    """
    assert source.votes is not None
    votes, usages = read_votes(source.votes)
    rows = reader.read(source, replace(reading, taxonomy=FER2013))
    if source.layout == "fer2013-folder":
        places = _rows_by_pixels(source, rows, usages)
    else:
        places = _rows_by_number(source, rows, usages)
    return _labelled(rows, votes, places, reading)


def read_votes(path: Path) -> tuple[np.ndarray, list[str]]:
    """Votes int (rows, 10), columns as in the file, and the Usage of each row.

    Raises:
        UserError: not such a file, or a vote that is not a whole number >= 0.

    """
    try:
        table = csv.read_csv(path)
        table = table.rename_columns([name.strip() for name in table.column_names])
        votes = np.column_stack([table[name].cast(pa.int64()).fill_null(-1).to_numpy() for name in COLUMNS])
        usages = [str(usage).strip() for usage in table["Usage"].to_pylist()]
    except (pa.ArrowException, OSError, KeyError, ValueError, TypeError) as error:
        reason = first_line(error, 120)
        message = f"{path}: not a file of FERPlus votes ({reason}). Get {VOTES_NAME} of microsoft/FERPlus."
        raise UserError(message) from error
    bad = (votes < 0).any(axis=1) | (votes.sum(axis=1) == 0)
    if bad.any():
        message = f"{path}: row {int(np.argmax(bad)) + 1} has a negative number of votes, or none."
        raise UserError(message)
    return votes, usages


def _rows_by_number(source: Source, rows: Rows, usages: list[str]) -> np.ndarray:
    """Row of votes (n,) of each image of a CSV: its own number, after its Usage and its pixels agreed to that."""
    if source.layout == "fer2013-kaggle":
        message = f"{source.name}: train.csv and test.csv do not have the rows of FERPlus in order. Use fer2013.csv."
        raise UserError(message)
    places = np.array([int(row_id) for row_id in rows.table["id"].to_pylist()])
    for place, part in zip(places.tolist(), rows.table["part"].to_pylist(), strict=True):
        if place >= len(usages) or usages[place] != part:
            there = usages[place] if place < len(usages) else "no such row"
            message = (
                f"{source.votes}: row {place + 1} is {there}, in {source.entries[0].name} it is {part}: the two files "
                "do not belong together. Both must have the official rows in the official order."
            )
            raise UserError(message)
    official, keys = _official_keys(), _keys(rows)
    elsewhere = np.isin(keys, official)
    inside = places < len(official)
    elsewhere[inside] &= keys[inside] != official[places[inside]]
    if elsewhere.any():
        row = int(places[np.argmax(elsewhere)]) + 1
        message = (
            f"{source.entries[0]}: row {row} (and {int(elsewhere.sum()) - 1:,} more) holds the pixels of another "
            "official row, so its votes are another image's. Use the file in the official order."
        )
        raise UserError(message)
    return places


def _rows_by_pixels(source: Source, rows: Rows, usages: list[str]) -> np.ndarray:
    """Row of votes (n,) of each image of a folder by its exact pixels; -1 where there is none."""
    waiting: dict[tuple[str, int], list[int]] = defaultdict(list)
    official = list(zip(usages, _official_keys().tolist(), strict=False))
    for place in reversed(range(len(official))):
        waiting[official[place]].append(place)
    parts = rows.table["part"].to_pylist()
    places = np.full(len(parts), -1)
    for position, image in enumerate(zip(parts, _keys(rows).tolist(), strict=True)):
        # rows with the same pixels are handed out in order
        if waiting[image]:
            places[position] = waiting[image].pop()
    known = np.array([part in USAGES and part != PRIVATE_TEST for part in parts])
    missing = int((places[known] < 0).sum())
    if missing > LARGEST_UNMATCHED * max(known.sum(), 1):
        message = (
            f"{source.name}: {missing:,} of {int(known.sum()):,} images do not have the official pixels (re-encoded as "
            "JPEG?), so their votes cannot be found. Use fer2013.csv, or a copy as PNG."
        )
        raise UserError(message)
    return places


def _official_keys() -> np.ndarray:
    """Keys of the official pixels by row: of Training and PublicTest, those of PrivateTest are not known."""
    rows = builtin_signature("fer2013").rows
    return np.zeros(0, np.uint64) if rows is None else rows.keys


def _keys(rows: Rows) -> np.ndarray:
    """Keys of the pixels of all rows; 0 for an image that cannot be decoded."""
    digests = pixel_digests(rows.table, os.cpu_count() or 1)
    return row_keys(np.frombuffer(b"".join(digest or bytes(16) for digest in digests), np.uint8).reshape(-1, 16))


def _labelled(rows: Rows, votes: np.ndarray, places: np.ndarray, reading: Reading) -> Rows:
    taxonomy = reading.taxonomy
    excluded = Counter(rows.excluded)
    rejected = list(rows.rejected)
    kept: list[int] = []
    labels: list[int] = []
    where = positions_in(FERPLUS8, taxonomy)
    plurality = votes.argmax(axis=1)
    ids, parts = rows.table["id"].to_pylist(), rows.table["part"].to_pylist()
    for position, place in enumerate(places.tolist()):
        winner = int(plurality[place]) if place >= 0 else -1
        label = where[winner] if 0 <= winner < len(EMOTIONS) else None
        if place < 0 and parts[position] == PRIVATE_TEST:
            excluded["PrivateTest, whose pixels ferlab does not know by row"] += 1
        elif place < 0:
            rejected.append(Rejection(ids[position], "not the pixels of any FER-2013 row"))
        elif label is None:
            excluded[f"{COLUMNS[winner]} by plurality of the votes"] += 1
        else:
            kept.append(position)
            labels.append(label)
    table = rows.table.take(kept)
    mapped = votes[places[kept]][:, [where.index(position) for position in range(len(taxonomy))]]
    table = table.set_column(
        table.schema.get_field_index("label"), table.schema.field("label"), pa.array(labels, pa.int32())
    )
    table = table.set_column(
        table.schema.get_field_index("votes"), table.schema.field("votes"), pa.array(list(mapped), pa.list_(pa.int32()))
    )
    policy = {
        **rows.policy,
        "votes": "label by plurality, first column on ties; unknown and not a face are left out",
        "contempt": "its own class" if "contempt" in taxonomy.classes else "left out: by plurality, and of the votes",
    }
    return Rows(table, taxonomy, tuple(rejected), dict(excluded), policy, rows.problems)
