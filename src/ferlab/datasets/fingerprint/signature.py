"""What is known of a release: a small JSON file of counts, statistics and hashes. No image can be drawn from it.

``ferlab verify ... write_signature=PATH`` makes one; those that ferlab brings lie in ``signatures/``.
"""

import base64
import json
from dataclasses import dataclass, field, fields
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from ferlab.datasets.audit.features import BITS, hashes
from ferlab.datasets.audit.near import FLAT
from ferlab.datasets.fingerprint.copy import Copy
from ferlab.errors import UserError
from ferlab.storage import places

SCHEMA_VERSION = 1
FOLDER = Path(__file__).parent / "signatures"
SAMPLED = 768
"""Pictures of each part whose hashes are kept."""
KEY_BYTES = 5
"""Of each pixel digest. A foreign image meets one of 36,000 keys with a probability of 3e-8."""
MOST_ROWS = 50_000
"""Larger releases get no keys of all rows: the file stays small."""


@dataclass(frozen=True)
class Sample:
    """Some pictures of a part, chosen by the smallest digest among those that occur once and are not flat.

    ``digests`` uint8 (k, 8): the beginning of their pixel digests; ``hashes`` uint8 (k, 14): perceptual;
    ``labels`` uint8 (k,); ``means``, ``contrasts``, ``sharpness`` float16 (k,), as in ``audit.scan``.
    """

    digests: np.ndarray
    hashes: np.ndarray
    labels: np.ndarray
    means: np.ndarray
    contrasts: np.ndarray
    sharpness: np.ndarray


@dataclass(frozen=True)
class KnownRows:
    """Every image of the measured parts, in the official order.

    ``keys`` uint64 (n,): the first KEY_BYTES of the pixel digests; ``labels`` uint8 (n,): positions in the signature's
    classes; ``parts`` uint8 (n,): positions in its parts.
    """

    keys: np.ndarray
    labels: np.ndarray
    parts: np.ndarray


def row_keys(digests: np.ndarray) -> np.ndarray:
    """Keys uint64 (n,) of pixel digests uint8 (n, 16)."""
    padded = np.zeros((len(digests), 8), np.uint8)
    padded[:, :KEY_BYTES] = digests[:, :KEY_BYTES]
    return padded.view("<u8")[:, 0]


KINDS = {"means": "<f2", "contrasts": "<f2", "sharpness": "<f2"}


@dataclass(frozen=True)
class Part:
    """A part of a release: images by class name, width and height (None where they vary), and a sample of pictures.

    ``twins`` maps another part to how many images have the same pixels as an image there, ``near`` to how many more are
    near duplicates of one.
    """

    counts: dict[str, int]
    size_px: tuple[int, int] | None = None
    twins: dict[str, int] = field(default_factory=dict)
    near: dict[str, int] = field(default_factory=dict)
    sample: Sample | None = None

    @property
    def total(self) -> int:
        """Number of images."""
        return sum(self.counts.values())


@dataclass(frozen=True)
class Signature:
    """A release.

    ``files`` maps a name to the size and md5 of the published file; ``optional`` names parts that a copy may lack
    without being a subset; ``mixtures`` maps a part of some copies to the parts that it stands for; ``conflicts`` is
    the number of groups of equal pixels with different labels, ``flat`` that of images of one colour; ``medians``
    float32 (BITS,) belong to the hashes.
    """

    name: str
    title: str
    family: str
    origin: str
    classes: tuple[str, ...]
    parts: dict[str, Part]
    files: dict[str, dict[str, Any]] = field(default_factory=dict)
    optional: tuple[str, ...] = ()
    mixtures: dict[str, tuple[str, ...]] = field(default_factory=dict)
    conflicts: int = 0
    flat: int = 0
    medians: np.ndarray = field(default_factory=lambda: np.zeros(BITS, np.float32))
    rows: KnownRows | None = None

    @property
    def knows_pixels(self) -> bool:
        """Whether it holds more than counts."""
        return any(part.sample for part in self.parts.values())

    def sources(self, part: str) -> tuple[str, ...]:
        """The parts of the release that a part of a copy stands for; empty when the release has none like it."""
        return (part,) if part in self.parts else self.mixtures.get(part, ())


def measure(copy: Copy, name: str, title: str, family: str, origin: str) -> Signature:
    """The signature of a copy that is known to be good; rows in the order of the copy."""
    medians = np.median(copy.features[copy.scan.usable], axis=0)
    digests = copy.digest_bytes()
    shared, near = copy.duplicates.shared, copy.near.shared(copy.parts)
    return Signature(
        name=name,
        title=title,
        family=family,
        origin=origin,
        classes=copy.rows.taxonomy.classes,
        parts={
            part: Part(
                counts=counts,
                size_px=_size(copy, part),
                twins={other: count for (one, other), count in shared.items() if one == part},
                near={other: count for (one, other), count in near.items() if one == part},
                sample=_sample(copy, part, medians, digests),
            )
            for part, counts in copy.counts.items()
        },
        conflicts=len(copy.duplicates.conflicts),
        flat=int((copy.scan.usable & (copy.scan.contrasts == 0)).sum()),
        medians=medians.astype(np.float32),
        rows=_rows(copy, digests) if len(digests) <= MOST_ROWS and (copy.labels >= 0).all() else None,
    )


def _rows(copy: Copy, digests: np.ndarray) -> KnownRows:
    names = list(copy.counts)
    parts = np.array([names.index(part) for part in copy.parts.tolist()], np.uint8)
    return KnownRows(row_keys(digests), copy.labels.astype(np.uint8), parts)


def _size(copy: Copy, part: str) -> tuple[int, int] | None:
    sizes = np.unique(copy.scan.sizes[copy.scan.usable & (copy.parts == part)], axis=0)
    return (int(sizes[0, 0]), int(sizes[0, 1])) if len(sizes) == 1 else None


def _sample(copy: Copy, part: str, medians: np.ndarray, digests: np.ndarray) -> Sample:
    duplicates, scan = copy.duplicates, copy.scan
    once = scan.usable & (scan.contrasts >= FLAT) & (copy.parts == part) & (copy.labels >= 0)
    rows = np.flatnonzero(once)
    rows = rows[duplicates.sizes[duplicates.group[rows]] == 1]
    rows = rows[np.lexsort(digests[rows, :8].T[::-1])][:SAMPLED]
    return Sample(
        digests=digests[rows, :8],
        hashes=hashes(copy.features[rows], medians),
        labels=copy.labels[rows].astype(np.uint8),
        means=scan.means[rows].astype(np.float16),
        contrasts=scan.contrasts[rows].astype(np.float16),
        sharpness=scan.sharpness[rows].astype(np.float16),
    )


def save(signature: Signature, place: str | Path) -> None:
    """Write the JSON file or object, whole or not at all."""
    text = json.dumps(_plain(signature) | {"schema_version": SCHEMA_VERSION}, indent=1) + "\n"
    places.write_bytes(str(place), text.encode())


def load(path: Path) -> Signature:
    """Read a signature.

    Raises:
        UserError: there is none, it is damaged, or another version wrote it.

    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if data.pop("schema_version") != SCHEMA_VERSION:
            message = f"{path}: another version of ferlab wrote this signature. Make it anew with write_signature."
            raise UserError(message)
        rows = data["rows"]
        known = {
            **data,
            "parts": {name: _part(part) for name, part in data["parts"].items()},
            "classes": tuple(data["classes"]),
            "optional": tuple(data["optional"]),
            "mixtures": {name: tuple(parts) for name, parts in data["mixtures"].items()},
            "medians": _array(data["medians"], 0, "<f4"),
            "rows": _load_rows(rows) if rows else None,
        }
        _require_sizes(known)
        return Signature(**known)
    except OSError as error:
        message = f"signature={path}: cannot be read ({error.strerror})."
        raise UserError(message) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        message = f"signature={path}: not a signature of ferlab ({type(error).__name__}: {error})."
        raise UserError(message) from error


@lru_cache
def builtin_signature(name: str) -> Signature:
    """One of the signatures that ferlab brings."""
    return load(FOLDER / f"{name}.json")


def builtin_signatures(family: str) -> list[Signature]:
    """All signatures of a family of datasets, by name."""
    found = [builtin_signature(path.stem) for path in sorted(FOLDER.glob("*.json"))]
    return [signature for signature in found if signature.family == family]


def _plain(value: Any) -> Any:
    """Dataclasses as objects, arrays as base64 of their little-endian bytes; of keys only the bytes that count."""
    if isinstance(value, KnownRows):
        keys = value.keys.astype("<u8").view(np.uint8).reshape(-1, 8)[:, :KEY_BYTES]
        return {"keys": _text(keys), "labels": _text(value.labels), "parts": _text(value.parts)}
    if isinstance(value, np.ndarray):
        return _text(value)
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if hasattr(value, "__dataclass_fields__"):
        return {spec.name: _plain(getattr(value, spec.name)) for spec in fields(value)}
    return value


def _text(array: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<")).tobytes()).decode()


def _load_rows(data: dict[str, str]) -> KnownRows:
    keys = row_keys(_array(data["keys"], KEY_BYTES, np.uint8))
    return KnownRows(keys, _array(data["labels"], 0, np.uint8), _array(data["parts"], 0, np.uint8))


def _part(data: dict[str, Any]) -> Part:
    sample = data.pop("sample")
    size = data.pop("size_px")
    return Part(**data, size_px=tuple(size) if size else None, sample=_load_sample(sample) if sample else None)


def _load_sample(data: dict[str, str]) -> Sample:
    widths = {"digests": 8, "hashes": -(-BITS // 8)}
    arrays = {name: _array(text, widths.get(name, 0), KINDS.get(name, np.uint8)) for name, text in data.items()}
    return Sample(**arrays)


def _require_sizes(known: dict[str, Any]) -> None:
    """ValueError when counts are no numbers or arrays that belong together have other lengths."""
    if known["medians"].shape != (BITS,):
        message = f"medians of {len(known['medians'])} features, {BITS} are needed"
        raise ValueError(message)
    for name, part in known["parts"].items():
        if not all(isinstance(count, int) and count >= 0 for count in part.counts.values()):
            message = f"counts of {name} are not whole numbers"
            raise ValueError(message)
        if part.sample and len({len(getattr(part.sample, spec.name)) for spec in fields(part.sample)}) > 1:
            message = f"the sample of {name} has columns of different length"
            raise ValueError(message)
    rows = known["rows"]
    if rows and not len(rows.keys) == len(rows.labels) == len(rows.parts):
        message = "rows have columns of different length"
        raise ValueError(message)


def _array(text: str, width: int, kind: Any) -> np.ndarray:
    flat = np.frombuffer(base64.b64decode(text, validate=True), kind)
    return flat.reshape(-1, width) if width else flat
