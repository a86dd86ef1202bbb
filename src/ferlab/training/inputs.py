"""Batches for ``fit`` as NumPy arrays: from memory for small sets, streamed from shards for large ones.

A batch depends on the seed, the epoch and its number alone, so a resumed training goes on with exactly the batches it
would have seen. Images are decoded and changed in threads (OpenCV leaves Python's lock), the same for both backends.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ferlab.errors import UserError
from ferlab.manifest import Manifest, Shard
from ferlab.parallel import in_order
from ferlab.records.load import (
    UNREADABLE,
    Annotations,
    SplitArrays,
    damaged,
    load_split,
    read_payloads,
    split_bytes,
    stored_annotation,
    stored_sample,
)
from ferlab.samples import TRAIN, VALIDATION
from ferlab.training.augmentation import Change
from ferlab.training.order import grouped, grouped_steps, interleaved, repeated, shuffled, wanted_shows

SHUFFLE_BUFFER, SHUFFLE_BYTES = 4096, 256e6
"""Records that are shuffled at a time, still encoded: that many, or fewer large ones, so that they fit everywhere."""
OPEN_SHARDS, BLOCK = 4, 16
"""Shards read at a time, and records taken from one before the next has its turn."""
ACCEPTED = 0.3
"""Share of the votes from which a class is a valid answer of ``multi_target`` (Barsoum et al. 2016)."""
BLOCK_SIZE = 256
"""Samples that a network answers at a time where nothing is learned."""

PROBABILITIES, AFFECT = "probabilities", "affect"
"""Outputs of a model with a second head for valence and arousal, and the targets of each."""

Batch = tuple[Any, ...]
"""Inputs, targets float32 (n, classes) (with affect a dict of both) and, when asked for, a weight of each sample."""


@dataclass(frozen=True)
class BatchSpec:
    """How samples become batches.

    ``balance``: ``none``, ``weights`` (a weight in the loss for each class, from ``class_weights``) or ``sampling``
    (every class equally often). ``process`` of ``processes`` gets its share of every batch of ``batch_size`` images.
    ``affect``: valence and arousal are learned, too.
    """

    batch_size: int
    seed: int
    balance: str
    class_weights: tuple[float, ...]
    max_steps: int
    memory_bytes: float
    process: int = 0
    processes: int = 1
    affect: bool = False

    @property
    def own_size(self) -> int:
        """Images of a batch that this process gets."""
        return self.batch_size // self.processes


class Targets:
    """What a batch is trained towards: one-hot labels, or what the manifest's ``targets`` makes of the votes.

    That is a label drawn anew in every epoch, the votes' distribution, or all classes with at least ACCEPTED of them.
    """

    def __init__(self, manifest: Manifest, spec: BatchSpec) -> None:
        self.kind, self.spec = manifest.targets, spec
        self.identity = np.eye(len(manifest.classes), dtype=np.float32)
        self.weights = np.asarray(spec.class_weights, np.float32)

    def of(self, known: Annotations, rng: np.random.Generator) -> np.ndarray:
        """Targets float32 (n, classes)."""
        if self.kind == "majority":
            return self.identity[known.labels]
        shares = known.votes / known.votes.sum(axis=1, keepdims=True)
        if self.kind == "cross_entropy":
            return shares
        if self.kind == "probability":
            drawn = (rng.random((len(known), 1)) > shares.cumsum(axis=1)).sum(axis=1)
            return self.identity[np.minimum(drawn, len(self.identity) - 1)]
        return np.maximum((shares >= ACCEPTED).astype(np.float32), self.identity[known.labels])

    def batch(self, inputs: np.ndarray, known: Annotations, change: Change | None, rng: np.random.Generator) -> Batch:
        """One batch, changed by ``change`` where it is given: valence and arousal mix as the classes do."""
        targets: Any = self.of(known, rng)
        if self.spec.affect:
            targets = np.concatenate([targets, known.affect], axis=1)
        if change is not None:
            inputs, targets = change(inputs, targets, rng)
        if self.spec.affect:
            targets = {PROBABILITIES: targets[:, :-2], AFFECT: targets[:, -2:]}
        return (inputs, targets, self.weights[known.labels]) if self.spec.balance == "weights" else (inputs, targets)


class MemoryBatches:
    """Batches of arrays in memory; ``copies`` are equally long arrays of inputs, epoch e takes number e modulo k."""

    def __init__(self, copies: Sequence[np.ndarray], known: Annotations, manifest: Manifest, spec: BatchSpec) -> None:
        self.copies, self.known = copies, known
        self.manifest, self.spec, self.targets = manifest, spec, Targets(manifest, spec)
        self.steps_per_execution, self.steps_per_epoch = grouped_steps(steps_of([len(known)], manifest, spec))

    def epoch(self, number: int, change: Change | None) -> Iterator[Batch]:
        """The ``steps_per_epoch`` batches of an epoch."""
        order = self._order(np.random.default_rng([self.spec.seed, number]))
        inputs = self.copies[number % len(self.copies)]
        first = self.spec.process * self.spec.own_size

        def make(step: int) -> Batch:
            rows = order[step * self.spec.batch_size + first :][: self.spec.own_size]
            rng = np.random.default_rng([self.spec.seed, number, step, self.spec.process])
            return self.targets.batch(inputs[rows], self.known[rows], change, rng)

        return in_threads(make, ((step,) for step in range(self.steps_per_epoch)))

    @property
    def count(self) -> int:
        """Training samples in all."""
        return len(self.known)

    def blocks(self) -> Iterator[tuple[np.ndarray, Annotations]]:
        """Every sample once, in order: inputs of up to BLOCK_SIZE samples and what is known of them."""
        for first in range(0, self.count, BLOCK_SIZE):
            rows = slice(first, first + BLOCK_SIZE)
            yield self.copies[0][rows], self.known[rows]

    def _order(self, rng: np.random.Generator) -> np.ndarray:
        """Row numbers of an epoch, at least as many as its batches take."""
        labels = self.known.labels
        rows = np.arange(len(labels))
        if self.spec.balance == "sampling":
            counts = np.bincount(labels, minlength=len(self.manifest.classes))
            rows = np.repeat(rows, repeated(labels, wanted_shows(counts), rng))
        return np.resize(rng.permutation(rows), max(len(rows), self.steps_per_epoch * self.spec.batch_size))


class ShardBatches:
    """Batches streamed from a prepared dataset's shards; each process reads shards of its own."""

    def __init__(self, folder: Path, manifest: Manifest, spec: BatchSpec) -> None:
        self.folder, self.manifest, self.spec, self.targets = folder, manifest, spec, Targets(manifest, spec)
        shards = manifest.split_shards(TRAIN)
        held = [sum(s.samples for s in shards[part :: spec.processes]) for part in range(spec.processes)]
        self.shards = shards[spec.process :: spec.processes]
        self.steps_per_execution, self.steps_per_epoch = grouped_steps(steps_of(held, manifest, spec))

    def epoch(self, number: int, change: Change | None) -> Iterator[Batch]:
        """The ``steps_per_epoch`` batches of an epoch."""

        def make(step: int, payloads: list[bytes]) -> Batch:
            rng = np.random.default_rng([self.spec.seed, number, step, self.spec.process])
            return self.targets.batch(*decoded(payloads, self.folder, self.manifest), change, rng)

        groups = grouped(self._payloads(number), self.spec.own_size)
        return in_threads(make, zip(range(self.steps_per_epoch), groups, strict=False))

    @property
    def count(self) -> int:
        """Training samples that this process holds."""
        return sum(shard.samples for shard in self.shards)

    def blocks(self) -> Iterator[tuple[np.ndarray, Annotations]]:
        """Every sample of this process once, in the order of its shards: images and what is known of them."""
        return blocks_of(self.folder, self.manifest, self.shards)

    def _payloads(self, epoch: int) -> Iterator[bytes]:
        """Serialised records without end; balanced sampling may fall a little short of an epoch and starts over."""
        rng = np.random.default_rng([self.spec.seed, epoch, self.spec.process])
        while True:
            shards = [self.shards[place] for place in rng.permutation(len(self.shards))]
            sources = (read_payloads(self.folder / shard.name, shard) for shard in shards)
            records = interleaved(sources, OPEN_SHARDS, BLOCK)
            yield from shuffled(self._shown(records, rng), self._buffer(), rng)

    def _shown(self, records: Iterator[bytes], rng: np.random.Generator) -> Iterator[bytes]:
        """Each record as often as an epoch shows it."""
        if self.spec.balance != "sampling":
            yield from records
            return
        counts = self.manifest.counts[TRAIN]
        shows = wanted_shows([counts[name] for name in self.manifest.classes])
        for record in records:
            label = np.array([stored_annotation(record)[0]])
            yield from [record] * int(repeated(label, shows, rng)[0])

    def _buffer(self) -> int:
        """Records that are shuffled at a time; it follows from the data alone, as the order of samples does."""
        stored, samples = sum(s.bytes for s in self.shards), sum(s.samples for s in self.shards)
        return max(1, min(SHUFFLE_BUFFER, int(SHUFFLE_BYTES * samples / stored)))


class Validation:
    """The validation split in order: what is ``known`` of it, and its images in blocks, from memory or from shards."""

    def __init__(self, folder: Path, manifest: Manifest, arrays: SplitArrays | None) -> None:
        self.folder, self.manifest, self.arrays = folder, manifest, arrays
        self.known = arrays.annotations if arrays else self._stored_annotations()

    def batches(self) -> Iterator[np.ndarray]:
        """Images uint8 (up to BLOCK_SIZE, s, s, c)."""
        if self.arrays:
            for first in range(0, len(self.known), BLOCK_SIZE):
                yield self.arrays.images[first : first + BLOCK_SIZE]
        else:
            shards = self.manifest.split_shards(VALIDATION)
            yield from (images for images, _ in blocks_of(self.folder, self.manifest, shards))

    def _stored_annotations(self) -> Annotations:
        shards = self.manifest.split_shards(VALIDATION)
        known = Annotations.room_for(sum(shard.samples for shard in shards), self.manifest)
        payloads = (row for shard in shards for row in read_payloads(self.folder / shard.name, shard))
        for place, payload in enumerate(payloads):
            known[place] = stored_annotation(payload)
        return known


@dataclass(frozen=True)
class TrainingData:
    """A prepared dataset as ``fit`` needs it."""

    manifest: Manifest
    train: MemoryBatches | ShardBatches
    validation: Validation


def training_data(folder: Path, manifest: Manifest, spec: BatchSpec) -> TrainingData:
    """Both splits in memory when they take less than half of ``spec.memory_bytes``, else from shards.

    Raises:
        UserError: the batch is larger than the training split, a shard is missing or damaged, or valence and arousal
            are asked for and not there.

    """
    data = _loaded(folder, manifest, spec)
    if spec.affect and not np.isfinite(data.validation.known.affect).any():
        message = f"recipe.affect: {manifest.protocol} has no valence and arousal. Set it to 0."
        raise UserError(message)
    return data


def _loaded(folder: Path, manifest: Manifest, spec: BatchSpec) -> TrainingData:
    if split_bytes(manifest, TRAIN) + split_bytes(manifest, VALIDATION) > spec.memory_bytes / 2:
        return TrainingData(manifest, ShardBatches(folder, manifest, spec), Validation(folder, manifest, None))
    held = load_split(folder, manifest, TRAIN)
    train = MemoryBatches([held.images], held.annotations, manifest, spec)
    return TrainingData(manifest, train, Validation(folder, manifest, load_split(folder, manifest, VALIDATION)))


def steps_of(held: Sequence[int], manifest: Manifest, spec: BatchSpec) -> int:
    """Whole batches that every process can fill from the samples it holds; UserError when there is none."""
    if not min(held):
        message = f"{manifest.protocol}: fewer shards than the {len(held)} processes. Prepare with preparation.shards."
        raise UserError(message)
    steps = min(held) // (spec.batch_size // len(held))
    if not steps:
        message = (
            f"recipe.batch_size={spec.batch_size}: larger than the {sum(held)} training images of "
            f"{manifest.protocol}. Choose a smaller batch."
        )
        raise UserError(message)
    return min(steps, spec.max_steps or steps)


def in_threads(work: Any, items: Any) -> Iterator[Any]:
    """Results of ``work`` in order, made ahead of their use by as many threads as there are cores."""
    threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return in_order(work, items, threads, ahead=2 * threads + 2)


def blocks_of(folder: Path, manifest: Manifest, shards: Sequence[Shard]) -> Iterator[tuple[np.ndarray, Annotations]]:
    """Images and annotations of every sample of ``shards`` in order, up to BLOCK_SIZE at a time."""

    def groups() -> Iterator[tuple[list[bytes], Path, Manifest]]:
        for shard in shards:
            payloads = list(read_payloads(folder / shard.name, shard))
            for first in range(0, len(payloads), BLOCK_SIZE):
                yield payloads[first : first + BLOCK_SIZE], folder, manifest

    return in_threads(decoded, groups())


def decoded(payloads: Sequence[bytes], folder: Path, manifest: Manifest) -> tuple[np.ndarray, Annotations]:
    """Images uint8 (n, s, s, c) of records in ``folder``, and what is known of them; UserError when one is damaged."""
    images = np.empty((len(payloads), manifest.size_px, manifest.size_px, manifest.channels), np.uint8)
    known = Annotations.room_for(len(payloads), manifest)
    for place, payload in enumerate(payloads):
        try:
            sample = stored_sample(payload, manifest)
            images[place], known[place] = sample.pixels, sample.annotation
        except UNREADABLE as error:
            raise damaged(folder, str(error)) from error
    return images, known
