"""The sample contract: what every dataset reader yields and preparation consumes, as one Arrow table."""

import hashlib
from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa

TRAIN, VALIDATION, TEST = "train", "validation", "test"
SPLITS = (TRAIN, VALIDATION, TEST)

SAMPLE_SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("split", pa.string(), nullable=False),
        pa.field("label", pa.int32(), nullable=False),
        pa.field("path", pa.string()),
        pa.field("pixels", pa.binary()),
        pa.field("group", pa.string()),
        pa.field("box", pa.list_(pa.float32())),
        pa.field("landmarks", pa.list_(pa.float32())),
        pa.field("valence", pa.float32()),
        pa.field("arousal", pa.float32()),
        pa.field("votes", pa.list_(pa.int32())),
        pa.field("twin", pa.bool_()),
    ]
)
"""One row a sample.

``id``: row number or path relative to the root, unique and stable. ``label``: position in the dataset's
taxonomy. Exactly one of ``path`` (absolute, an image file) and ``pixels`` (a square gray image, row-major
bytes) is set. ``group``: the photo or identity that must stay on one side of a split. ``box``: the face as x, y, width,
height in pixels of the photo. ``landmarks``: 68 points x, y, x, y, ... in pixels, ordered as in 300-W (Sagonas et al.
2016). ``valence`` and ``arousal`` in -1..1, null where not annotated. ``votes``: annotators' votes for each class.
``twin``: an evaluation sample whose pixels were also trained on; null where pixels were not compared.
"""


HASHED_AT_ONCE = 1 << 16
"""So many ids of a column are Python objects at a time."""


def hash_fraction(sample_id: str, seed: int, purpose: str) -> float:
    """A number in [0, 1) that depends on the id, the seed and the purpose alone: the same on every machine."""
    return int.from_bytes(next(_hashes([sample_id.encode()], seed, purpose)), "big") / 2**64


def hash_fractions(ids: pa.Array | pa.ChunkedArray, seed: int, purpose: str) -> np.ndarray:
    """``hash_fraction`` of a column of ids, float64 (n,); a batch at a time, whatever the number of ids."""
    fractions = np.empty(len(ids), dtype=np.float64)
    for start in range(0, len(ids), HASHED_AT_ONCE):
        batch = ids.slice(start, HASHED_AT_ONCE).cast(pa.binary()).to_numpy(zero_copy_only=False)
        hashes = np.frombuffer(b"".join(_hashes(batch, seed, purpose)), ">u8")
        fractions[start : start + len(batch)] = hashes.astype(np.float64) / 2.0**64
    return fractions


def _hashes(ids: Iterable[bytes], seed: int, purpose: str) -> Iterator[bytes]:
    start = hashlib.blake2b(f"{purpose}\0{seed}\0".encode(), digest_size=8)
    for sample_id in ids:
        # absorbing the common start once saves a third of the time
        hashed = start.copy()
        hashed.update(sample_id)
        yield hashed.digest()


def pixel_digest(pixels: np.ndarray) -> bytes:
    """16 bytes that identify decoded pixels (uint8, any shape), so that re-encoded twins do not hide."""
    digest = hashlib.blake2b(repr(pixels.shape).encode(), digest_size=16)
    digest.update(np.ascontiguousarray(pixels).data)
    return digest.digest()
