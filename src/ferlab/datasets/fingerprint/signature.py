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
from ferlab.storage import write_text

SCHEMA_VERSION = 1
FOLDER = Path(__file__).parent / "signatures"
SAMPLED = 768
"""Pictures of each part whose hashes are kept."""
ROW_DIGEST_BYTES = 4
MOST_ROWS = 50_000
"""Larger releases get no row digests: the file stays small."""
NO_DIGESTS = np.zeros((0, ROW_DIGEST_BYTES), np.uint8)


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

    ``files`` maps a name to the size and md5 of the published file; ``conflicts`` is the number of groups of equal
    pixels with different labels, ``flat`` that of images of one colour; ``medians`` float32 (BITS,) belong to the
    hashes; ``row_digests`` uint8 (rows, 4) are the beginnings of the pixel digests in the official order.
    """

    name: str
    title: str
    family: str
    origin: str
    classes: tuple[str, ...]
    parts: dict[str, Part]
    files: dict[str, dict[str, Any]] = field(default_factory=dict)
    conflicts: int = 0
    flat: int = 0
    medians: np.ndarray = field(default_factory=lambda: np.zeros(BITS, np.float32))
    row_digests: np.ndarray = field(default_factory=NO_DIGESTS.copy)

    @property
    def knows_pixels(self) -> bool:
        """Whether it holds more than counts."""
        return any(part.sample for part in self.parts.values())


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
        row_digests=digests[:, :ROW_DIGEST_BYTES] if len(digests) <= MOST_ROWS else NO_DIGESTS,
    )


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


def save(signature: Signature, path: Path) -> None:
    """Write the JSON file atomically."""
    text = json.dumps(_plain(signature) | {"schema_version": SCHEMA_VERSION}, indent=1)
    write_text(path, text + "\n")


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
        parts = {name: _part(part) for name, part in data["parts"].items()}
        known = {
            **data,
            "parts": parts,
            "classes": tuple(data["classes"]),
            "medians": np.frombuffer(base64.b64decode(data["medians"]), "<f4"),
            "row_digests": _array(data["row_digests"], ROW_DIGEST_BYTES, np.uint8),
        }
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
    """Dataclasses as objects, arrays as base64 of their little-endian bytes."""
    if isinstance(value, np.ndarray):
        return base64.b64encode(np.ascontiguousarray(value).astype(value.dtype.newbyteorder("<")).tobytes()).decode()
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if hasattr(value, "__dataclass_fields__"):
        return {spec.name: _plain(getattr(value, spec.name)) for spec in fields(value)}
    return value


def _part(data: dict[str, Any]) -> Part:
    sample = data.pop("sample")
    size = data.pop("size_px")
    return Part(**data, size_px=tuple(size) if size else None, sample=_load_sample(sample) if sample else None)


def _load_sample(data: dict[str, str]) -> Sample:
    widths = {"digests": 8, "hashes": -(-BITS // 8)}
    arrays = {name: _array(text, widths.get(name, 0), KINDS.get(name, np.uint8)) for name, text in data.items()}
    return Sample(**arrays)


def _array(text: str, width: int, kind: Any) -> np.ndarray:
    flat = np.frombuffer(base64.b64decode(text), kind)
    return flat.reshape(-1, width) if width else flat
