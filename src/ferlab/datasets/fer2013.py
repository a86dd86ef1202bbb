"""FER-2013 (Goodfellow et al. 2013): one CSV of pixels, or class folders of image files.

Protocols: ``official`` fits Training, selects on PublicTest, reports PrivateTest. ``carved`` fits and selects
within Training and reports PublicTest, for copies without PrivateTest.
"""

import hashlib
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import csv

from ferlab.datasets.listing import Listing, Source
from ferlab.datasets.splits import carve_validation
from ferlab.emotions import FER2013
from ferlab.errors import UserError
from ferlab.imaging.codec import ImageError, decode
from ferlab.manifest import Rejection
from ferlab.samples import TEST, TRAIN, VALIDATION, pixel_digest, sample_table

CSV_NAMES = ("fer2013.csv", "icml_face_data.csv")
USAGES = ("Training", "PublicTest", "PrivateTest")
PIXELS = 48 * 48
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")


def locate(root: Path) -> Source:
    """Recognise the layout in ``root`` (a folder, or the CSV itself); UserError when there is none."""
    if root.is_file() and root.suffix.lower() == ".csv":
        return Source("csv", root.parent, (root,))
    if not root.is_dir():
        message = f"dataset.root={root}: no such folder. Point it at the folder that holds {CSV_NAMES[0]}."
        raise UserError(message)
    for name in CSV_NAMES:
        if (root / name).is_file():
            return Source("csv", root, (root / name,))
    if (root / "train").is_dir():
        return Source("folder", root, tuple(root / name for name in ("train", "test") if (root / name).is_dir()))
    message = (
        f"dataset.root={root}: no {', '.join(CSV_NAMES)} or train/ folder found there. "
        "Point dataset.root at the folder that holds one of them."
    )
    raise UserError(message)


def read(source: Source, protocol: str, val_fraction: float, seed: int) -> Listing:
    """List every sample under ``protocol``; UserError when the files do not fit the layout or the protocol."""
    rows = _read_csv(source.entries[0]) if source.layout == "csv" else _read_folders(source)
    present = Counter(rows.usages)
    if not present["Training"]:
        message = f"{source.root}: no Training images found there. Download the dataset again."
        raise UserError(message)
    needed = ("PublicTest", "PrivateTest") if protocol == "official" else ("PublicTest",)
    missing = [usage for usage in needed if not present[usage]]
    if missing:
        hint = " Use dataset.protocol=carved, which reports PublicTest." if missing == ["PrivateTest"] else ""
        message = f"{source.root}: no {' and no '.join(missing)} images there; protocol {protocol} needs them.{hint}"
        raise UserError(message)
    return _apply_protocol(rows, protocol, val_fraction, seed)


@dataclass
class _Rows:
    """Columns as found on disk, before a protocol decides which split each row belongs to.

    Either ``pixels`` or ``paths`` is filled; ``twins`` holds a key that equal images share.
    """

    ids: list[str] = field(default_factory=list)
    usages: list[str] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    twins: list[bytes] = field(default_factory=list)
    pixels: list[bytes] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    rejected: list[Rejection] = field(default_factory=list)


def _apply_protocol(rows: _Rows, protocol: str, val_fraction: float, seed: int) -> Listing:
    usages = np.array(rows.usages)
    splits = np.full(len(usages), TRAIN, dtype=object)
    keep = np.ones(len(usages), dtype=bool)
    excluded: dict[str, int] = {}
    if protocol == "official":
        splits[usages == "PublicTest"] = VALIDATION
        splits[usages == "PrivateTest"] = TEST
    else:
        training = np.flatnonzero(usages == "Training")
        validation = carve_validation(
            [rows.ids[i] for i in training],
            [rows.labels[i] for i in training],
            [rows.twins[i] for i in training],
            val_fraction,
            seed,
        )
        splits[training[validation]] = VALIDATION
        splits[usages == "PublicTest"] = TEST
        keep = usages != "PrivateTest"
        if not keep.all():
            excluded["PrivateTest, not used by protocol carved"] = int((~keep).sum())
    chosen = np.flatnonzero(keep)

    def take(column: list) -> list:
        return [column[i] for i in chosen]

    table = sample_table(
        take(rows.ids),
        list(splits[chosen]),
        take(rows.labels),
        pixels=take(rows.pixels) if rows.pixels else None,
        paths=take(rows.paths) if rows.paths else None,
    )
    return Listing(table, FER2013, tuple(rows.rejected), excluded)


def _read_csv(path: Path) -> _Rows:
    table = _parse_csv(path)
    rows = _Rows()
    columns = (table[name].to_pylist() for name in ("emotion", "usage", "pixels"))
    for number, (emotion, usage, text) in enumerate(zip(*columns, strict=True)):
        label = _label(emotion, path, number)
        if usage.strip() not in USAGES:
            message = (
                f"{path}: row {number + 1}: Usage is {usage!r}, must be one of {', '.join(USAGES)}. "
                "Is the file cut short? Download it again."
            )
            raise UserError(message)
        pixels = _pixels(text)
        if isinstance(pixels, str):
            rows.rejected.append(Rejection(str(number), pixels))
            continue
        rows.ids.append(str(number))
        rows.usages.append(usage.strip())
        rows.labels.append(label)
        rows.pixels.append(pixels)
        rows.twins.append(_twin_key(pixels))
    return rows


def _parse_csv(path: Path) -> pa.Table:
    """Columns emotion, pixels, usage as text; header names trimmed and in lower case."""
    broken: list[csv.InvalidRow] = []

    def note(row: csv.InvalidRow) -> str:
        broken.append(row)
        return "skip"

    try:
        table = csv.read_csv(
            path,
            read_options=csv.ReadOptions(use_threads=False),
            parse_options=csv.ParseOptions(invalid_row_handler=note),
            convert_options=csv.ConvertOptions(
                column_types=dict.fromkeys(
                    (f"{pad}{name}" for name in _COLUMN_SPELLINGS for pad in ("", " ")), pa.string()
                )
            ),
        )
    except (pa.ArrowInvalid, OSError) as error:
        message = f"{path}: not a readable CSV ({str(error).splitlines()[0][:120]})."
        raise UserError(message) from error
    if broken:
        first = broken[0]
        message = (
            f"{path}: row {first.number - 1 if first.number else '?'} has {first.actual_columns} of "
            f"{first.expected_columns} columns: the file is cut short or damaged. Download it again."
        )
        raise UserError(message)
    table = table.rename_columns([name.strip().lower() for name in table.column_names])
    missing = [name for name in ("emotion", "pixels", "usage") if name not in table.column_names]
    if missing:
        message = f"{path}: no column {', '.join(missing)}. Expected emotion,pixels,Usage."
        raise UserError(message)
    return table


_COLUMN_SPELLINGS = ("emotion", "pixels", "Usage", "usage")


def _label(text: str, path: Path, number: int) -> int:
    try:
        return FER2013.index_of_id(int(text))
    except (KeyError, ValueError, TypeError):
        message = (
            f"{path}: row {number + 1}: emotion is {text!r}, must be 0..{len(FER2013) - 1}. Download the file again."
        )
        raise UserError(message) from None


def _pixels(text: str) -> bytes | str:
    """Row-major gray bytes, or the reason why the text is no 48x48 image."""
    try:
        values = np.fromstring(text, dtype=np.int64, sep=" ")
    except ValueError:
        return "pixels are not whole numbers"
    if len(values) != PIXELS:
        return f"{len(values)} pixels, expected {PIXELS}"
    if values.min() < 0 or values.max() > 255:
        return "pixel values outside 0..255"
    return values.astype(np.uint8).tobytes()


def _twin_key(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=16).digest()


def _read_folders(source: Source) -> _Rows:
    rows = _Rows()
    for folder in source.entries:
        for class_folder in sorted(path for path in folder.iterdir() if path.is_dir()):
            try:
                label = FER2013.index_of(class_folder.name)
            except KeyError:
                message = (
                    f"{class_folder}: not a class of FER-2013. Expected folders named {', '.join(FER2013.classes)}."
                )
                raise UserError(message) from None
            for file in sorted(class_folder.iterdir()):
                if file.suffix.lower() in IMAGE_SUFFIXES:
                    _add_file(rows, file, source.root, label)
    return rows


def _add_file(rows: _Rows, file: Path, root: Path, label: int) -> None:
    inside = file.relative_to(root)
    in_train = inside.parts[0] == "train"
    usage = file.name.split("_")[0]
    if in_train and usage not in USAGES:
        usage = "Training"
    if usage not in USAGES:
        message = (
            f"{file}: file names in test/ must start with PublicTest_ or PrivateTest_; without them the official "
            "split cannot be restored. Use fer2013.csv, or a copy that kept the names."
        )
        raise UserError(message)
    if (usage == "Training") != in_train:
        message = f"{file}: named {usage} but found in {inside.parts[0]}/: this copy was split anew. Use another one."
        raise UserError(message)
    try:
        twin = _file_twin_key(file)
    except OSError as error:
        rows.rejected.append(Rejection(inside.as_posix(), f"cannot be read ({error.strerror})"))
        return
    rows.ids.append(inside.as_posix())
    rows.usages.append(usage)
    rows.labels.append(label)
    rows.paths.append(str(file))
    rows.twins.append(twin)


def _file_twin_key(file: Path) -> bytes:
    """The key of the decoded pixels, so that re-encoded twins are found; of the bytes when they do not decode."""
    data = file.read_bytes()
    try:
        return pixel_digest(decode(data, "gray"))
    except ImageError:
        return _twin_key(data)
