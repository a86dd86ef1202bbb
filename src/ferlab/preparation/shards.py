"""The executors' work: raw samples in, finished shards out. No TensorFlow, no Spark imports."""

import hashlib
import json
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from ferlab.imaging.codec import ImageError, decode, encode, resize, square_pixels
from ferlab.imaging.geometry import align, crop
from ferlab.records.example import encode_example
from ferlab.records.tfrecord import ShardWriter
from ferlab.samples import SPLITS, hash_fraction, pixel_digest

SHARDS_PER_SPLIT = 16
SMALL_PX, SMALL_IMAGES_PER_SHARD, LARGE_IMAGES_PER_SHARD = 96, 20_000, 4_000
ORDER_BITS = 52

RESULT_SCHEMA = pa.schema(
    [
        ("name", pa.string()),
        ("split", pa.string()),
        ("samples", pa.int64()),
        ("bytes", pa.int64()),
        ("sha256", pa.string()),
        ("content", pa.string()),
        ("counts", pa.string()),
        ("twins", pa.int64()),
        ("rejected", pa.string()),
        ("started_s", pa.float64()),
        ("ended_s", pa.float64()),
    ]
)
"""One row a shard; ``counts`` (label -> samples) and ``rejected`` ([id, reason] pairs) are JSON."""


@dataclass(frozen=True)
class ImageSettings:
    """What every record of a prepared dataset has in common; ``margin`` and ``align`` as in ``imaging.geometry``."""

    size_px: int
    colour: str
    encoding: str
    margin: float = 0.0
    align: bool = False


@dataclass(frozen=True)
class ShardJob:
    """Called by Spark on the sorted samples of some shards.

    ``folder`` is where the shards go; ``weights`` holds a sample's weight for each class; ``exact_px`` is the side that
    every source image must have, None when they vary.
    """

    folder: str
    settings: ImageSettings
    weights: tuple[float, ...]
    exact_px: int | None = None

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Write each shard that the sorted rows belong to; yield one result row a shard."""
        rows = (row for batch in batches for row in batch.to_pylist())
        for name, samples in groupby(rows, key=lambda row: row["shard"]):
            yield pa.RecordBatch.from_pylist([self._write(name, samples)], schema=RESULT_SCHEMA)

    def _write(self, name: str, samples: Iterator[dict[str, Any]]) -> dict[str, Any]:
        started = time.time()
        counts: Counter[int] = Counter()
        twins = 0
        rejected: list[tuple[str, str]] = []
        content = hashlib.sha256()
        split = name.split("-")[0]
        with ShardWriter(Path(self.folder) / name) as writer:
            for sample in samples:
                try:
                    payload, digest = make_record(sample, self)
                except ImageError as error:
                    rejected.append((sample["id"], str(error)))
                    continue
                writer.write(payload)
                counts[sample["label"]] += 1
                twins += bool(sample["twin"])
                marks = [sample[name] for name in ("votes", "box", "landmarks") if sample[name] is not None]
                line = f"{sample['id']}\t{split}\t{sample['label']}\t{digest.hex()}\t{json.dumps(marks)}\n"
                content.update(line.encode())
        return {
            "name": name,
            "split": split,
            "samples": writer.samples,
            "bytes": writer.bytes,
            "sha256": writer.sha256,
            "content": content.hexdigest(),
            "counts": json.dumps(counts),
            "twins": twins,
            "rejected": json.dumps(rejected),
            "started_s": started,
            "ended_s": time.time(),
        }


def make_record(sample: dict[str, Any], job: ShardJob) -> tuple[bytes, bytes]:
    """The serialised ``tf.train.Example`` of one sample, and the digest of its source pixels.

    Raises:
        ImageError: the image cannot be read or decoded, or is not what the release has.

    """
    pixels = _source_pixels(sample, job.settings.colour)
    if job.exact_px and pixels.shape[:2] != (job.exact_px, job.exact_px):
        message = f"{pixels.shape[1]}x{pixels.shape[0]} px, the release has {job.exact_px}x{job.exact_px} px"
        raise ImageError(message)
    digest = pixel_digest(pixels)
    features: dict[str, Any] = {
        "id": sample["id"].encode(),
        "image": encode(_face(pixels, sample, job.settings), job.settings.encoding),
        "label": [sample["label"]],
        "pixel_digest": digest,
        "weight": [job.weights[sample["label"]]],
    }
    for name in ("valence", "arousal"):
        if sample[name] is not None:
            features[name] = [float(sample[name])]
    if sample["votes"] is not None:
        features["votes"] = sample["votes"]
    if sample["twin"] is not None:
        features["twin"] = [int(sample["twin"])]
    return encode_example(features), digest


def _face(pixels: np.ndarray, sample: dict[str, Any], settings: ImageSettings) -> np.ndarray:
    """The face upright by its landmarks, or cut by its box, or the whole picture, at the size of the records."""
    if settings.align:
        if sample["landmarks"] is None:
            raise ImageError("no landmarks to align by")
        points = np.array(sample["landmarks"], np.float64).reshape(-1, 2)
        return align(pixels, points, settings.size_px, settings.margin)
    if sample["box"] is not None:
        pixels = crop(pixels, sample["box"], settings.margin)
    return resize(pixels, settings.size_px)


def _source_pixels(sample: dict[str, Any], colour: str) -> Any:
    if sample["pixels"] is not None:
        return square_pixels(sample["pixels"], colour)
    try:
        data = Path(sample["path"]).read_bytes()
    except OSError as error:
        message = f"cannot be read ({error.strerror})"
        raise ImageError(message) from error
    return decode(data, colour)


def assign_shards(table: pa.Table, size_px: int) -> pa.Table:
    """Add columns ``shard`` (file name) and ``order`` to a sample table: both from hashes of the ids alone.

    The number of shards of a split depends on its number of samples and their size, and is at least 16.
    """
    ids, splits = table["id"].to_pylist(), table["split"].to_pylist()
    per_shard = SMALL_IMAGES_PER_SHARD if size_px <= SMALL_PX else LARGE_IMAGES_PER_SHARD
    totals = Counter(splits)
    shards = {split: max(SHARDS_PER_SPLIT, -(-totals[split] // per_shard)) for split in SPLITS}
    places = [hash_fraction(sample_id, 0, "shard") for sample_id in ids]
    names = [
        f"{split}-{int(place * shards[split]):05d}-of-{shards[split]:05d}.tfrecord"
        for split, place in zip(splits, places, strict=True)
    ]
    order = pa.array([int(place * 2**ORDER_BITS) for place in places], pa.int64())
    return table.append_column("shard", pa.array(names)).append_column("order", order)
