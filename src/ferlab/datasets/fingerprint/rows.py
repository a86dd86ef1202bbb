"""Every image of a copy against the pixel digests of every image of a release: no sampling, no tolerance."""

from collections.abc import Iterator

import numpy as np

from ferlab.datasets.fingerprint.copy import Copy
from ferlab.datasets.fingerprint.findings import ALTERED, RELABELLED, RESPLIT, Alarm, Fingerprint
from ferlab.datasets.fingerprint.orders import order_of
from ferlab.datasets.fingerprint.signature import KnownRows, Signature, row_keys

EXACT, OTHER = 0.999, 0.02
"""Share of a part's images with pixels of the release from which, and up to which, the part is all of one kind."""


def exact_shares(copy: Copy, signature: Signature, names: tuple[str, ...] | None = None) -> dict[str, float]:
    """Share of the images of parts whose pixels are an image's of the release; of the measured parts by default."""
    rows = signature.rows
    if rows is None:
        return {}
    known = np.isin(row_keys(copy.digest_bytes()), rows.keys)
    measured = tuple(name for name in copy.counts if name in signature.parts and signature.parts[name].sample)
    chosen = {name: copy.scan.usable & (copy.parts == name) for name in (measured if names is None else names)}
    return {name: float(known[mask].mean()) for name, mask in chosen.items() if mask.any()}


def row_alarms(copy: Copy, signature: Signature, result: Fingerprint) -> Iterator[Alarm]:
    """Images that occur once in the release and stand in another part or class of the copy, and parts half altered."""
    rows = signature.rows
    if rows is None:
        return
    shares = exact_shares(copy, signature)
    result.evidence["same_pixels"] = shares
    for name, share in shares.items():
        if OTHER < share < EXACT and len(copy.parts[copy.parts == name]) <= signature.parts[name].total:
            yield ALTERED, f"{name}: {1 - share:.1%} of its images have other pixels than any image of the release"
    if min(shares.values(), default=0) <= OTHER and max(shares.values(), default=0) >= EXACT:
        changed = ", ".join(name for name, share in shares.items() if share <= OTHER)
        yield ALTERED, f"{changed}: none of its images have the release's pixels, those of the other parts do"
    ours, theirs = _paired(copy, rows)
    yield from _moved(copy, signature, rows, ours, theirs, result)
    yield from _relabelled(copy, signature, rows, ours, theirs, result)


def _paired(copy: Copy, rows: KnownRows) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the copy and of the release with the same pixels, of pictures that the release holds once."""
    unique, first, counts = np.unique(rows.keys, return_index=True, return_counts=True)
    unique, first = unique[counts == 1], first[counts == 1]
    usable = np.flatnonzero(copy.scan.usable)
    keys = row_keys(copy.digest_bytes()[usable])
    if not len(unique) or not len(keys):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    place = np.minimum(np.searchsorted(unique, keys), len(unique) - 1)
    same = unique[place] == keys
    return usable[same], first[place[same]]


def _moved(
    copy: Copy, signature: Signature, rows: KnownRows, ours: np.ndarray, theirs: np.ndarray, result: Fingerprint
) -> Iterator[Alarm]:
    names = list(signature.parts)
    home = np.array([names[part] for part in rows.parts[theirs].tolist()], dtype=object)
    allowed = {name: set(signature.sources(name)) for name in copy.counts}
    away = np.array([h not in allowed[p] for h, p in zip(home, copy.parts[ours], strict=True)], dtype=bool)
    result.evidence["moved"] = int(away.sum())
    pairs = sorted(set(zip(home[away].tolist(), copy.parts[ours][away].tolist(), strict=True)))
    for name, there in pairs:
        count = int(((home == name) & (copy.parts[ours] == there)).sum())
        yield RESPLIT, f"{count:,} {name} images of the release stand in {there}: the copy was split anew"


def _relabelled(
    copy: Copy, signature: Signature, rows: KnownRows, ours: np.ndarray, theirs: np.ndarray, result: Fingerprint
) -> Iterator[Alarm]:
    if copy.rows.taxonomy.classes != signature.classes:
        return
    labels = copy.labels[ours]
    table = np.zeros((len(signature.classes),) * 2, np.int64)
    np.add.at(table, (rows.labels[theirs][labels >= 0], labels[labels >= 0]), 1)
    wrong = int(table.sum() - np.trace(table))
    result.evidence["other_label"] = wrong
    if wrong:
        yield RELABELLED, f"{wrong:,} images carry another label than in the release{order_of(table, copy)}"
