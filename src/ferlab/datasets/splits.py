"""Protocols: which rows of a copy train, select and report, decided by hashes of ids: the same on every machine."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ferlab.datasets.carving import carve_validation, fold_numbers
from ferlab.datasets.grouping import NO_KEY, disputed, joined_groups, key_codes, shared_with
from ferlab.datasets.listing import Listing, Rows
from ferlab.errors import UserError
from ferlab.samples import SAMPLE_SCHEMA, SPLITS, TEST, TRAIN, VALIDATION

DUPLICATES = ("keep", "drop_train_twins", "drop_all")


@dataclass(frozen=True)
class Protocol:
    """Which part of a copy is used for what; ``select`` None: validation is carved out of ``train``.

    ``fraction`` is the share carved, None for the one that the config gives.
    """

    train: str
    select: str | None
    report: str
    fraction: float | None = None


@dataclass(frozen=True)
class Split:
    """How a copy is split: protocol, share and seed of what is carved, fold ``fold`` of ``folds`` (0: no folds).

    ``duplicates`` is one of DUPLICATES: ``drop_train_twins`` takes training rows whose pixels also stand in validation
    or test, ``drop_all`` besides leaves one row of every picture and none of those with conflicting labels.
    """

    protocol: str
    val_fraction: float
    seed: int
    folds: int = 0
    fold: int = 0
    duplicates: str = "keep"

    @property
    def id(self) -> str:
        """Name of the protocol as recorded, with fold and dropped duplicates when there are any."""
        folds = f"-fold{self.fold}of{self.folds}" if self.folds else ""
        return self.protocol + folds + ("" if self.duplicates == "keep" else f"-{self.duplicates}")


UNUSED = -1
TRAINED, SELECTED, REPORTED = (SPLITS.index(name) for name in (TRAIN, VALIDATION, TEST))
"""The role of a row, int8: the position of its split in ``SPLITS``, or ``UNUSED``."""

Digests: TypeAlias = Sequence[bytes | None] | pa.Array | pa.ChunkedArray


def apply_split(rows: Rows, split: Split, protocols: Mapping[str, Protocol], digests: Digests | None) -> Listing:
    """The samples of a copy under a protocol; ``digests`` of the pixels, one a row, or None when they are not known.

    Raises:
        UserError: the copy lacks a part, cannot be split honestly, or folds are asked of a protocol without carving.

    """
    protocol = protocols[split.protocol]
    labels = rows.table["label"].to_numpy()
    _refuse_unfit(rows, split, protocols)
    if digests is None and split.duplicates != "keep":
        message = f"duplicates={split.duplicates} needs pixel digests"
        raise ValueError(message)
    photos = key_codes(rows.table["group"])
    pixels = None if digests is None else key_codes(digests)
    excluded = Counter(rows.excluded)
    roles = _roles(rows.table["part"], labels, protocol)
    leaking = (roles == TRAINED) & shared_with(photos, roles == REPORTED)
    roles[leaking] = UNUSED
    if leaking.any():
        excluded[f"{protocol.train} face of a photo that also stands in {protocol.report}"] = int(leaking.sum())
    excluded += _unused(rows.table["part"], labels, (roles == UNUSED) & ~leaking, split.protocol)
    if protocol.select is None:
        held_out = _held_out(rows.table["id"], labels, photos, pixels, roles == TRAINED, split, protocol)
        roles[held_out] = SELECTED
    if pixels is not None:
        excluded += _drop_duplicates(roles, labels, pixels, split.duplicates)
    twins = None if pixels is None else _twins(roles, pixels, carved=protocol.select is None)
    table = _samples(rows.table, roles, twins)
    return Listing(table, rows.taxonomy, rows.rejected, dict(excluded), rows.policy)


def _refuse_unfit(rows: Rows, split: Split, protocols: Mapping[str, Protocol]) -> None:
    if rows.problems:
        raise UserError(rows.problems[0])
    protocol = protocols[split.protocol]
    _require_parts(rows.table, protocol, protocols, split)
    if split.folds and protocol.select is not None:
        message = (
            f"dataset.folds={split.folds}: protocol {split.protocol} selects on {protocol.select}; folds need carved."
        )
        raise UserError(message)


def _require_parts(table: pa.Table, protocol: Protocol, protocols: Mapping[str, Protocol], split: Split) -> None:
    labelled = pc.greater_equal(table["label"], 0)
    present = set(pc.unique(table["part"].filter(labelled)).to_pylist())
    needed = [part for part in (protocol.train, protocol.select, protocol.report) if part]
    missing = [part for part in needed if part not in present]
    if not missing:
        return
    fitting = [
        name
        for name, other in protocols.items()
        if {part for part in (other.train, other.select, other.report) if part} <= present
    ]
    unlabelled = sorted(pc.unique(table["part"].filter(pc.invert(labelled))).to_pylist())
    if fitting:
        hint = f" This copy fits dataset.protocol={'|'.join(fitting)}."
    elif unlabelled:
        hint = f" The images of {', '.join(unlabelled)} have no labels: use another file of the same release."
    else:
        hint = f" There are: {', '.join(sorted(present)) or 'none'}."
    message = f"no {' and no '.join(missing)} images there; protocol {split.protocol} needs them.{hint}"
    raise UserError(message)


def _roles(parts: pa.ChunkedArray, labels: np.ndarray, protocol: Protocol) -> np.ndarray:
    """The role (n,) of each row by its part alone."""
    roles = np.full(len(labels), UNUSED, dtype=np.int8)
    for part, role in ((protocol.train, TRAINED), (protocol.report, REPORTED), (protocol.select, SELECTED)):
        if part:
            roles[pc.equal(parts, part).to_numpy()] = role
    roles[labels < 0] = UNUSED
    return roles


def _unused(parts: pa.ChunkedArray, labels: np.ndarray, rows: np.ndarray, protocol: str) -> Counter[str]:
    """How many of ``rows`` (a mask) are not used, by reason."""
    counts: Counter[str] = Counter()
    for mask, reason in (
        (rows & (labels >= 0), f"not used by protocol {protocol}"),
        (rows & (labels < 0), "without a label"),
    ):
        for item in pc.value_counts(parts.filter(pa.array(mask))).to_pylist():
            counts[f"{item['values']}, {reason}"] = item["counts"]
    return counts


def _held_out(
    ids: pa.ChunkedArray,
    labels: np.ndarray,
    photos: np.ndarray,
    pixels: np.ndarray | None,
    training: np.ndarray,
    split: Split,
    protocol: Protocol,
) -> np.ndarray:
    """Rows that validation takes out of ``training`` (a mask)."""
    rows = np.flatnonzero(training)
    own, classes = ids.filter(pa.array(training)), labels[rows]
    twins = np.full(len(rows), NO_KEY) if pixels is None else pixels[rows]
    groups = joined_groups(photos[rows], twins)
    if split.folds:
        return rows[fold_numbers(own, classes, groups, split.folds, split.seed) == split.fold]
    fraction = protocol.fraction or split.val_fraction
    return rows[carve_validation(own, classes, groups, fraction, split.seed, disputed(twins, classes))]


def _drop_duplicates(roles: np.ndarray, labels: np.ndarray, pixels: np.ndarray, policy: str) -> Counter[str]:
    """Take out what ``policy`` drops (the role becomes UNUSED) and count it by reason."""
    dropped: Counter[str] = Counter()
    if policy == "keep":
        return dropped

    def drop(rows: np.ndarray, reason: str) -> None:
        if rows.any():
            dropped[reason] = int(rows.sum())
        roles[rows] = UNUSED

    codes = np.where(roles == UNUSED, NO_KEY, pixels)
    conflicts = disputed(codes, labels)
    drop(
        (roles == TRAINED) & shared_with(codes, roles > TRAINED),
        "training image whose pixels stand in validation or test",
    )
    if policy == "drop_all":
        drop((roles != UNUSED) & conflicts, "image with the same pixels under another label")
        drop(_repeated(codes, roles), "second row of the same pixels")
    return dropped


def _repeated(codes: np.ndarray, roles: np.ndarray) -> np.ndarray:
    """Rows (n,) in use whose key an earlier one has; a test row comes before a validation row."""
    rows = np.flatnonzero((roles != UNUSED) & (codes != NO_KEY))
    # the reported score covers as much as it can
    rows = rows[np.lexsort((roles[rows] != REPORTED, codes[rows]))]
    repeated = np.zeros(len(codes), dtype=bool)
    repeated[rows[1:]] = codes[rows[1:]] == codes[rows[:-1]]
    return repeated


def _twins(roles: np.ndarray, pixels: np.ndarray, carved: bool) -> np.ndarray:
    """Evaluation rows whose pixels were trained on, or selected on in a validation split carved out of training."""
    trained = shared_with(pixels, roles == TRAINED)
    selected = shared_with(pixels, roles == SELECTED) if carved else np.zeros(len(roles), dtype=bool)
    return ((roles == SELECTED) & trained) | ((roles == REPORTED) & (trained | selected))


def _samples(table: pa.Table, roles: np.ndarray, twins: np.ndarray | None) -> pa.Table:
    """The rows in use as samples; columns are shared with ``table`` where every row is."""
    used = roles != UNUSED
    kept = table if used.all() else table.filter(pa.array(used))
    columns = {
        "split": pa.DictionaryArray.from_arrays(roles[used], pa.array(SPLITS)).cast(pa.string()),
        "twin": pa.nulls(kept.num_rows, pa.bool_()) if twins is None else pa.array(twins[used]),
    }
    return pa.Table.from_arrays(
        [columns[name] if name in columns else kept[name] for name in SAMPLE_SCHEMA.names], schema=SAMPLE_SCHEMA
    )
