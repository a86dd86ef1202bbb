"""Samples of a prepared split, decoded, without TensorFlow: one by one, or as arrays."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ferlab.errors import UserError
from ferlab.imaging.codec import ImageError, decode_record
from ferlab.manifest import Manifest, Shard
from ferlab.records.example import decode_example
from ferlab.records.tfrecord import read_records
from ferlab.sealed import Opening

UNREADABLE = (ImageError, IndexError, KeyError, ValueError)
"""What reading a damaged record raises."""


Annotation = tuple[int, tuple[int, ...], tuple[float, float]]
"""Label, votes and affect of one sample, as in ``StoredSample``."""


@dataclass(frozen=True)
class StoredSample:
    """``pixels`` uint8 (size_px, size_px, channels); ``label`` is a position in the manifest's classes.

    ``votes`` holds one number a class, or nothing; ``twin`` says whether the pixels also stand in train (or None);
    ``affect`` is valence and arousal in -1..1, NaN where they were not annotated.
    """

    id: str
    label: int
    pixels: np.ndarray
    votes: tuple[int, ...]
    twin: bool | None
    affect: tuple[float, float]

    @property
    def annotation(self) -> Annotation:
        """Label, votes and affect."""
        return self.label, self.votes, self.affect


@dataclass(frozen=True)
class Annotations:
    """What is known of n samples.

    ``labels`` int32 (n,); ``votes`` float32 (n, classes), or (n, 0) in data without votes; ``affect`` float32 (n, 2):
    valence and arousal in -1..1, NaN where they were not annotated.
    """

    labels: np.ndarray
    votes: np.ndarray
    affect: np.ndarray

    @classmethod
    def room_for(cls, count: int, manifest: Manifest) -> "Annotations":
        """Arrays for ``count`` samples, to be filled."""
        votes = np.zeros((count, len(manifest.classes) if manifest.has_votes else 0), np.float32)
        return cls(np.empty(count, np.int32), votes, np.empty((count, 2), np.float32))

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, rows: Any) -> "Annotations":
        return Annotations(self.labels[rows], self.votes[rows], self.affect[rows])

    def __setitem__(self, rows: Any, other: "Annotations | Annotation") -> None:
        self.labels[rows], self.votes[rows], self.affect[rows] = (
            (other.labels, other.votes, other.affect) if isinstance(other, Annotations) else other
        )


@dataclass(frozen=True)
class SplitArrays:
    """``images`` uint8 (n, size_px, size_px, channels), their ``ids`` and ``annotations`` in the same order."""

    ids: tuple[str, ...]
    images: np.ndarray
    annotations: Annotations

    @property
    def labels(self) -> np.ndarray:
        """Positions in the manifest's classes, int32 (n,)."""
        return self.annotations.labels


def read_samples(
    folder: Path, manifest: Manifest, split: str, opening: Opening | None = None
) -> Iterator[StoredSample]:
    """Every sample of a split in the order of its shards, checksums verified.

    Raises:
        SealedSplitError: the test split, without an ``opening``.
        UserError: the split is empty, or a shard is missing or damaged.

    """
    shards = manifest.split_shards(split, opening)
    if not sum(shard.samples for shard in shards):
        message = f"{folder}: its {split} split is empty."
        raise UserError(message)
    for shard in shards:
        yield from read_shard(folder / shard.name, manifest, shard)


def read_shard(file: Path, manifest: Manifest, shard: Shard) -> Iterator[StoredSample]:
    """Every sample of one shard in order, checksums verified; UserError when it is missing or damaged."""
    for payload in read_payloads(file, shard):
        try:
            yield stored_sample(payload, manifest)
        except UNREADABLE as error:
            raise damaged(file, str(error)) from error


def read_payloads(file: Path, shard: Shard) -> Iterator[bytes]:
    """Every serialised record of one shard in order, checksums verified; UserError when it is missing or damaged."""
    found = 0
    try:
        for payload in read_records(file):
            found += 1
            yield payload
    except OSError as error:
        raise damaged(file, str(error)) from error
    if found != shard.samples:
        raise damaged(file, f"{found} records, the manifest says {shard.samples}")


def stored_sample(payload: bytes, manifest: Manifest) -> StoredSample:
    """The sample in a serialised record; one of UNREADABLE when it is damaged."""
    row: dict[str, Any] = decode_example(payload)
    label, votes, affect = _annotation(row)
    return StoredSample(
        id=row["id"].decode(),
        label=label,
        pixels=decode_record(row["image"], manifest.encoding, manifest.size_px, manifest.colour),
        votes=votes,
        twin=bool(row["twin"][0]) if "twin" in row else None,
        affect=affect,
    )


def stored_annotation(payload: bytes) -> Annotation:
    """What is known of the sample in a serialised record, its picture left as it is."""
    return _annotation(decode_example(payload))


def _annotation(row: dict[str, Any]) -> Annotation:
    votes = tuple(int(vote) for vote in row.get("votes", ()))
    return int(row["label"][0]), votes, (_number(row, "valence"), _number(row, "arousal"))


def _number(row: dict[str, Any], name: str) -> float:
    return float(row[name][0]) if name in row else math.nan


def damaged(file: Path, reason: str) -> UserError:
    """What is said of a shard, or of the folder of one, that cannot be read."""
    return UserError(f"{file}: cannot be read ({reason}). Remove the folder and run `ferlab prepare` again.")


def split_bytes(manifest: Manifest, split: str) -> int:
    """Memory that the decoded images of a split take."""
    return sum(shard.samples for shard in manifest.split_shards(split)) * manifest.size_px**2 * manifest.channels


def load_split(folder: Path, manifest: Manifest, split: str) -> SplitArrays:
    """All samples of the train or validation split in memory; errors as ``read_samples``."""
    total = sum(shard.samples for shard in manifest.split_shards(split))
    images = np.empty((total, manifest.size_px, manifest.size_px, manifest.channels), np.uint8)
    annotations = Annotations.room_for(total, manifest)
    ids = []
    # one shard too long must not write past the end before its count is checked
    for position, sample in enumerate(read_samples(folder, manifest, split)):
        if position < total:
            images[position], annotations[position] = sample.pixels, sample.annotation
        ids.append(sample.id)
    return SplitArrays(tuple(ids), images, annotations)
