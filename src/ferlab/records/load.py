"""A prepared split as arrays: for sets that fit into memory, without TensorFlow."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ferlab.errors import UserError
from ferlab.imaging.codec import ImageError, decode_record
from ferlab.manifest import Manifest
from ferlab.records.example import decode_example
from ferlab.records.tfrecord import read_records


@dataclass(frozen=True)
class SplitArrays:
    """``images`` uint8 (n, size_px, size_px, channels), ``labels`` int32 (n,), ``ids`` (n,)."""

    ids: tuple[str, ...]
    images: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.ids)


def split_bytes(manifest: Manifest, split: str) -> int:
    """Memory that the decoded images of a split take."""
    return sum(shard.samples for shard in manifest.split_shards(split)) * manifest.size_px**2 * manifest.channels


def load_split(folder: Path, manifest: Manifest, split: str) -> SplitArrays:
    """Read all shards of a split, in order, checksums verified.

    Raises:
        UserError: a shard is missing or damaged, or the split is empty.
    """
    shards = manifest.split_shards(split)
    total = sum(shard.samples for shard in shards)
    if not total:
        message = f"{folder}: its {split} split is empty."
        raise UserError(message)
    images = np.empty((total, manifest.size_px, manifest.size_px, manifest.channels), np.uint8)
    labels = np.empty(total, np.int32)
    ids: list[str] = []
    for shard in shards:
        try:
            for payload in read_records(folder / shard.name):
                features = decode_example(payload)
                images[len(ids)] = decode_record(
                    features["image"], manifest.encoding, manifest.size_px, manifest.colour  # type: ignore[arg-type]
                )
                labels[len(ids)] = features["label"][0]
                ids.append(features["id"].decode())  # type: ignore[union-attr]
        except (OSError, ImageError, IndexError, KeyError) as error:
            message = f"{folder / shard.name}: cannot be read ({error}). Remove the folder and run `ferlab prepare` again."
            raise UserError(message) from error
    return SplitArrays(tuple(ids), images, labels)
