"""A part of a prepared dataset to train on: all of it, a share, or a few batches to learn by heart."""

import math
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np

from ferlab.config.nodes import Debug
from ferlab.manifest import Manifest
from ferlab.records.load import Annotations, SplitArrays, read_samples
from ferlab.samples import TRAIN, VALIDATION
from ferlab.training.inputs import BatchSpec, MemoryBatches, TrainingData, Validation, training_data


def wanted_data(folder: Path, manifest: Manifest, spec: BatchSpec, debug: Debug) -> TrainingData:
    """What ``debug`` leaves of the training and validation splits; all of them without a limit.

    Raises:
        UserError: as ``training_data``.

    """
    if debug.batches:
        return _by_heart(folder, manifest, spec, debug.batches * spec.batch_size)
    if debug.share < 1:
        return _shared(folder, manifest, spec, debug.share)
    return training_data(folder, manifest, spec)


def samples_left(manifest: Manifest, share: float) -> int:
    """Training samples that ``share`` leaves at the least, 1 or more."""
    return max(1, math.floor(share * sum(manifest.counts[TRAIN].values())))


def _by_heart(folder: Path, manifest: Manifest, spec: BatchSpec, count: int) -> TrainingData:
    """The first ``count`` training samples (shards hold them in random order), to train on and to validate on."""
    samples = list(islice(read_samples(folder, manifest, TRAIN), count))
    known = Annotations.room_for(len(samples), manifest)
    for place, sample in enumerate(samples):
        known[place] = sample.annotation
    images = np.stack([sample.pixels for sample in samples])
    held = SplitArrays(tuple(sample.id for sample in samples), images, known)
    train = MemoryBatches([images], known, manifest, spec)
    return TrainingData(manifest, train, Validation(folder, manifest, spec, held))


def _shared(folder: Path, manifest: Manifest, spec: BatchSpec, share: float) -> TrainingData:
    """As many shards as hold the share; of what fits into memory, exactly the share of every class, 1 at the least."""
    splits = [manifest.split_shards(split) for split in (TRAIN, VALIDATION)]
    shards = tuple(shard for split in splits for shard in split[: _shards_for(share, len(split))])
    data = training_data(folder, replace(manifest, shards=shards), spec)
    train, validation = data.train, data.validation
    if isinstance(train, MemoryBatches):
        rows = _rows(train.known.labels, manifest, TRAIN, share)
        train = MemoryBatches([train.copies[0][rows]], train.known[rows], manifest, spec)
    if validation.arrays:
        held = validation.arrays
        rows = _rows(held.labels, manifest, VALIDATION, share)
        left = SplitArrays(tuple(held.ids[row] for row in rows), held.images[rows], held.annotations[rows])
        validation = Validation(folder, manifest, spec, left)
    return TrainingData(manifest, train, validation)


def _shards_for(share: float, shards: int) -> int:
    """So many of ``shards`` that their samples are more than the share, nearly always: one more than on average."""
    return min(shards, math.ceil(share * shards) + 1)


def _rows(labels: np.ndarray, manifest: Manifest, split: str, share: float) -> np.ndarray:
    """The first rows of each class, as many as its share of the split, in their order."""
    wanted = [math.ceil(share * manifest.counts[split][name]) for name in manifest.classes]
    return np.sort(np.concatenate([np.flatnonzero(labels == label)[:count] for label, count in enumerate(wanted)]))
