"""Protocols: which rows of a copy train, select and report, decided by hashes of ids: the same on every machine."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from ferlab.datasets.listing import Listing, Rows
from ferlab.errors import UserError
from ferlab.samples import SAMPLE_SCHEMA, TEST, TRAIN, VALIDATION, hash_fraction

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


def apply_split(
    rows: Rows, split: Split, protocols: Mapping[str, Protocol], digests: Sequence[bytes | None] | None
) -> Listing:
    """The samples of a copy under a protocol; ``digests`` of the pixels, one a row, or None when they are not known.

    Raises:
        UserError: the copy lacks a part, cannot be split honestly, or folds are asked of a protocol without carving.

    """
    if rows.problems:
        raise UserError(rows.problems[0])
    protocol = protocols[split.protocol]
    parts = np.array(rows.table["part"].to_pylist(), dtype=object)
    labels = rows.table["label"].to_numpy()
    _require_parts(protocol, protocols, split, parts, labels)
    if split.folds and protocol.select is not None:
        message = (
            f"dataset.folds={split.folds}: protocol {split.protocol} selects on {protocol.select}; folds need carved."
        )
        raise UserError(message)
    excluded = Counter(rows.excluded)
    roles = np.full(len(parts), None, dtype=object)
    roles[parts == protocol.train] = TRAIN
    roles[parts == protocol.report] = TEST
    roles[labels < 0] = None
    photos = _shared_photos(roles, rows.table)
    roles[photos] = None
    if photos.any():
        excluded[f"{protocol.train} face of a photo that also stands in {protocol.report}"] = int(photos.sum())
    if protocol.select:
        roles[(parts == protocol.select) & (labels >= 0)] = VALIDATION
    else:
        _carve(roles, rows.table, labels, digests, protocol.fraction or split.val_fraction, split)
    unused = Counter(
        f"{part}, not used by protocol {split.protocol}" if label >= 0 else f"{part}, without a label"
        for part, label in zip(parts[_none(roles) & ~photos], labels[_none(roles) & ~photos], strict=True)
    )
    excluded += unused
    if digests is not None:
        excluded += _drop_duplicates(roles, labels, digests, split.duplicates)
    elif split.duplicates != "keep":
        message = f"duplicates={split.duplicates} needs pixel digests"
        raise ValueError(message)
    twins = None if digests is None else _twins(roles, digests, carved=protocol.select is None)
    table = _samples(rows.table, roles, twins)
    return Listing(table, rows.taxonomy, rows.rejected, dict(excluded), rows.policy)


def _shared_photos(roles: np.ndarray, table: pa.Table) -> np.ndarray:
    """Training rows (n,) whose photo also stands in the test split; false where photos are not known."""
    if table["group"].null_count == len(roles):
        return np.zeros(len(roles), dtype=bool)
    photos = np.array(table["group"].to_pylist(), dtype=object)
    tested = set(photos[roles == TEST].tolist()) - {None}
    return (roles == TRAIN) & np.array([photo in tested for photo in photos.tolist()], dtype=bool)


def _none(roles: np.ndarray) -> np.ndarray:
    return np.array([role is None for role in roles], dtype=bool)


def _require_parts(
    protocol: Protocol, protocols: Mapping[str, Protocol], split: Split, parts: np.ndarray, labels: np.ndarray
) -> None:
    present = set(parts[labels >= 0].tolist())
    needed = [part for part in (protocol.train, protocol.select, protocol.report) if part]
    missing = [part for part in needed if part not in present]
    if not missing:
        return
    fitting = [
        name
        for name, other in protocols.items()
        if {part for part in (other.train, other.select, other.report) if part} <= present
    ]
    unlabelled = sorted(set(parts[labels < 0].tolist()))
    if fitting:
        hint = f" This copy fits dataset.protocol={'|'.join(fitting)}."
    elif unlabelled:
        hint = f" The images of {', '.join(unlabelled)} have no labels: use another file of the same release."
    else:
        hint = f" There are: {', '.join(sorted(present)) or 'none'}."
    message = f"no {' and no '.join(missing)} images there; protocol {split.protocol} needs them.{hint}"
    raise UserError(message)


def _carve(
    roles: np.ndarray,
    table: pa.Table,
    labels: np.ndarray,
    digests: Sequence[bytes | None] | None,
    fraction: float,
    split: Split,
) -> None:
    training = np.flatnonzero(roles == TRAIN)
    ids = table["id"].take(training).to_pylist()
    photos = table["group"].take(training).to_pylist()
    twins = [digests[i] for i in training.tolist()] if digests is not None else [None] * len(training)
    groups = joined_groups(photos, twins)
    if split.folds:
        chosen = fold_numbers(ids, labels[training], groups, split.folds, split.seed) == split.fold
    else:
        disputed = _conflicting(twins, labels[training])
        chosen = carve_validation(ids, labels[training], groups, fraction, split.seed, disputed)
    roles[training[chosen]] = VALIDATION


def _conflicting(twins: Sequence[bytes | None], labels: np.ndarray) -> np.ndarray:
    """Samples (n,) whose pixels also stand there under another label."""
    first: dict[bytes, int] = {}
    disputed = {
        digest
        for digest, label in zip(twins, labels.tolist(), strict=True)
        if digest is not None and first.setdefault(digest, label) != label
    }
    return np.array([digest in disputed for digest in twins], dtype=bool)


def joined_groups(*keys: Sequence[object]) -> np.ndarray:
    """Group number (n,) of each sample: samples that share any key (None shares with nobody) are in one group."""
    count = len(keys[0])
    rows, columns, first = [], [], 0
    for column in keys:
        numbers: dict[object, int] = {}
        for position, key in enumerate(column):
            if key is not None:
                rows.append(position)
                columns.append(first + numbers.setdefault(key, len(numbers)))
        first += len(numbers)
    places = (np.array(rows, np.int64), np.array(columns, np.int64) + count)
    edges = coo_array((np.ones(len(rows), np.int8), places), shape=(count + first, count + first))
    return connected_components(edges, directed=False)[1][:count]


def carve_validation(
    ids: Sequence[str],
    labels: Sequence[int] | np.ndarray,
    groups: Sequence[int] | np.ndarray,
    fraction: float,
    seed: int,
    barred: np.ndarray | None = None,
) -> np.ndarray:
    """Which samples (n,) go to validation: ``round(fraction * count)`` of each class.

    Samples of one group (pixel twins, faces of one photo) stay together, and those that are ``barred`` in training. A
    class is filled with groups in the order of a hash of ids and seed, so the result does not depend on the order of
    the input; a group that would overfill any of its classes is passed over, so a class gets less, never more.
    """
    labels = np.asarray(labels, dtype=np.int64)
    room = np.rint(fraction * np.bincount(labels)).astype(np.int64)
    chosen = np.zeros(len(ids), dtype=bool)
    barred = chosen.copy() if barred is None else barred
    for members in _hashed_groups(ids, groups, seed):
        needed = np.bincount(labels[members], minlength=len(room))
        if (needed <= room).all() and not barred[members].any():
            chosen[members] = True
            room -= needed
    return chosen


def fold_numbers(
    ids: Sequence[str], labels: Sequence[int] | np.ndarray, groups: Sequence[int] | np.ndarray, folds: int, seed: int
) -> np.ndarray:
    """Fold 0..folds-1 of each sample (n,): stratified, groups kept whole, decided by hashes of ids and seed.

    Largest groups first, each goes to the fold that has the fewest samples of its classes.
    """
    labels = np.asarray(labels)
    filled = np.zeros((folds, int(labels.max()) + 1), dtype=np.int64)
    numbers = np.zeros(len(ids), dtype=np.int64)
    for members in sorted(_hashed_groups(ids, groups, seed), key=len, reverse=True):
        classes = labels[members]
        fold = int(filled[:, classes].sum(axis=1).argmin())
        numbers[members] = fold
        np.add.at(filled[fold], classes, 1)
    return numbers


def _hashed_groups(ids: Sequence[str], groups: Sequence[int] | np.ndarray, seed: int) -> list[list[int]]:
    """Positions of each group's members, groups in the order of their smallest hash."""
    members: dict[int, list[int]] = defaultdict(list)
    lowest: dict[int, float] = {}
    for position, group in enumerate(np.asarray(groups).tolist()):
        members[group].append(position)
        place = hash_fraction(ids[position], seed, "carve")
        lowest[group] = min(place, lowest.get(group, 1.0))
    return [members[group] for group in sorted(members, key=lowest.__getitem__)]


def _drop_duplicates(
    roles: np.ndarray, labels: np.ndarray, digests: Sequence[bytes | None], policy: str
) -> Counter[str]:
    """Take out what ``policy`` drops (the role becomes None) and count it by reason."""
    dropped: Counter[str] = Counter()
    if policy == "keep":
        return dropped

    def drop(position: int, reason: str) -> None:
        roles[position] = None
        dropped[reason] += 1

    seen: dict[bytes, list[int]] = defaultdict(list)
    for position, digest in enumerate(digests):
        if digest is not None and roles[position] is not None:
            seen[digest].append(position)
    for members in seen.values():
        held_out = {roles[i] for i in members} - {TRAIN}
        for i in members:
            if held_out and roles[i] == TRAIN:
                drop(i, "training image whose pixels stand in validation or test")
        rest = [i for i in members if roles[i] is not None]
        if policy == "drop_all" and len({labels[i] for i in members}) > 1:
            for i in rest:
                drop(i, "image with the same pixels under another label")
        elif policy == "drop_all":
            # test keeps its row before validation: the reported score covers as much as it can
            for i in sorted(rest, key=lambda i: roles[i] != TEST)[1:]:
                drop(i, "second row of the same pixels")
    return dropped


def _twins(roles: np.ndarray, digests: Sequence[bytes | None], carved: bool) -> list[bool]:
    """Evaluation rows whose pixels were trained on, or selected on in a validation split carved out of training."""
    trained = {digests[i] for i in np.flatnonzero(roles == TRAIN).tolist()} - {None}
    selected = {digests[i] for i in np.flatnonzero(roles == VALIDATION).tolist()} - {None} if carved else set()
    seen = {TRAIN: set(), VALIDATION: trained, TEST: trained | selected, None: set()}
    return [digest in seen[role] for role, digest in zip(roles.tolist(), digests, strict=True)]


def _samples(table: pa.Table, roles: np.ndarray, twins: list[bool] | None) -> pa.Table:
    kept = np.flatnonzero(~_none(roles))
    columns = {
        name: table[name].take(kept).combine_chunks() for name in SAMPLE_SCHEMA.names if name in table.column_names
    }
    columns["split"] = pa.array(roles[kept].tolist(), pa.string())
    columns["twin"] = pa.nulls(len(kept), pa.bool_()) if twins is None else pa.array(np.array(twins)[kept])
    return pa.Table.from_arrays([columns[name] for name in SAMPLE_SCHEMA.names], schema=SAMPLE_SCHEMA)
