"""Batches for ``fit`` as NumPy arrays: from memory for small sets, streamed from shards for large ones.

A batch depends on the seed, the epoch and its number alone, so a resumed training goes on with exactly the batches it
would have seen. Images are decoded and changed in threads (OpenCV leaves Python's lock), the same for both backends.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import cv2
import numpy as np

from ferlab.errors import UserError
from ferlab.manifest import Manifest
from ferlab.parallel import in_order, taken_ahead, usable_cores
from ferlab.records.load import Annotations, SplitArrays, load_split, read_payloads, split_bytes, stored_annotation
from ferlab.samples import TRAIN, VALIDATION
from ferlab.training.augmentation import Change
from ferlab.training.order import grouped, grouped_steps, interleaved, repeated, shuffled, wanted_shows
from ferlab.training.reading import (
    BLOCK_SIZE,
    READ_AHEAD,
    blocks_of,
    decoded,
    image_bytes,
    stored_label,
    stored_payloads,
)
from ferlab.training.targets import Batch, Targets

SHUFFLE_BUFFER, SHUFFLE_BYTES = 4096, 256e6
"""Records that are shuffled at a time, still encoded: that many, or fewer large ones, so that they fit everywhere."""
OPEN_SHARDS, BLOCK = 4, 16
"""Shards read at a time, and records taken from one before the next has its turn."""
AHEAD_SHARE, AHEAD_BYTES = 1 / 8, 64e6
"""Batches made ahead of their use take that share of the memory, or these bytes where it is said to be very small."""
ORDER, CHANGES, COPIES = range(3)
"""What is drawn at random: each has streams of its own."""
MAKING = 3
"""Times its own size that a batch takes while it is made: decoded, changed, mixed."""


@dataclass(frozen=True)
class BatchSpec:
    """How samples become batches.

    ``balance``: ``none``, ``weights`` (a weight in the loss for each class, from ``class_weights``) or ``sampling``
    (every class equally often). ``process`` of ``processes`` gets its share of every batch of ``batch_size`` images.
    ``affect``: valence and arousal are learned, too. ``cores`` (0 = all that there are) make batches. ``repeats``: how
    often an epoch shows samples that are held in memory.
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
    cores: int = 0
    repeats: int = 1

    @property
    def own_size(self) -> int:
        """Images of a batch that this process gets."""
        return self.batch_size // self.processes

    def rng(self, purpose: int, *where: int) -> np.random.Generator:
        """The generator of one of ORDER, CHANGES, COPIES at a place in the training, the same every time.

        The number of places comes first: NumPy takes missing numbers at the end for zeros.
        """
        return np.random.default_rng([purpose, len(where), self.seed, *where])

    def targets(self, manifest: Manifest) -> Targets:
        """What its batches are trained towards."""
        return Targets(manifest, self.class_weights if self.balance == "weights" else None, self.affect)

    def window(self, size: int) -> tuple[int, int]:
        """Threads that make results of ``size`` bytes, and how many may be made ahead of their use; both at least 1."""
        threads = self.cores or usable_cores()
        room = max(AHEAD_SHARE * self.memory_bytes, AHEAD_BYTES)
        ahead = max(1, min(2 * threads + 2, int(room / (MAKING * size))))
        return min(threads, ahead), ahead


class MemoryBatches:
    """Batches of arrays in memory; ``copies`` are equally long arrays of inputs, epoch e takes number e modulo k.

    ``taught`` float32 (count, classes): what a teacher answers to each sample, None without one.
    """

    def __init__(
        self,
        copies: Sequence[np.ndarray],
        known: Annotations,
        manifest: Manifest,
        spec: BatchSpec,
        taught: np.ndarray | None = None,
    ) -> None:
        self.copies, self.known, self.taught = copies, known, taught
        self.manifest, self.spec, self.targets = manifest, spec, spec.targets(manifest)
        steps = spec.repeats * steps_of([len(known)], manifest, spec)
        self.steps_per_execution, self.steps_per_epoch = grouped_steps(steps)

    def epoch(self, number: int, change: Change | None) -> Iterator[Batch]:
        """The ``steps_per_epoch`` batches of an epoch."""
        order = self._order(self.spec.rng(ORDER, number))
        inputs = self.copies[number % len(self.copies)]
        first = self.spec.process * self.spec.own_size

        def make(step: int) -> Batch:
            rows = order[step * self.spec.batch_size + first :][: self.spec.own_size]
            rng = self.spec.rng(CHANGES, number, step, self.spec.process)
            taught = None if self.taught is None else self.taught[rows]
            return self.targets.batch(inputs[rows], self.known[rows], change, rng, taught)

        window = self.spec.window(self.spec.own_size * inputs[0].nbytes)
        return in_order(make, ((step,) for step in range(self.steps_per_epoch)), *window)

    @property
    def count(self) -> int:
        """Training samples in all."""
        return len(self.known)

    def first(self, count: int) -> np.ndarray:
        """Inputs of the first ``count`` samples."""
        return self.copies[0][:count]

    def blocks(self) -> Iterator[tuple[np.ndarray, Annotations]]:
        """Every sample once, in order: inputs of up to BLOCK_SIZE samples and what is known of them."""
        for first in range(0, self.count, BLOCK_SIZE):
            rows = slice(first, first + BLOCK_SIZE)
            yield self.copies[0][rows], self.known[rows]

    def with_teacher(self, taught: np.ndarray) -> "MemoryBatches":
        """The same with what a teacher answers to each sample, in the order of ``blocks``."""
        return MemoryBatches(self.copies, self.known, self.manifest, self.spec, taught)

    def _order(self, rng: np.random.Generator) -> np.ndarray:
        """Row numbers of an epoch, at least as many as its batches take."""
        labels = self.known.labels
        rows = np.arange(len(labels))
        if self.spec.balance == "sampling":
            counts = np.bincount(labels, minlength=len(self.manifest.classes))
            rows = np.repeat(rows, repeated(labels, wanted_shows(counts), rng))
        return np.resize(rng.permutation(rows), max(len(rows), self.steps_per_epoch * self.spec.batch_size))


Record = tuple[int, bytes]
"""Number of a sample among those of its process, in the order of ``blocks``, and what is stored of it."""


class ShardBatches:
    """Batches streamed from a prepared dataset's shards; each process reads shards of its own.

    ``taught`` as for ``MemoryBatches``, of the samples of this process.
    """

    def __init__(self, folder: Path, manifest: Manifest, spec: BatchSpec, taught: np.ndarray | None = None) -> None:
        self.folder, self.manifest, self.spec, self.targets = folder, manifest, spec, spec.targets(manifest)
        self.taught = taught
        shards = manifest.split_shards(TRAIN)
        held = [sum(s.samples for s in shards[part :: spec.processes]) for part in range(spec.processes)]
        self.own = shards[spec.process :: spec.processes]
        self.steps_per_execution, self.steps_per_epoch = grouped_steps(steps_of(held, manifest, spec))

    def epoch(self, number: int, change: Change | None) -> Iterator[Batch]:
        """The ``steps_per_epoch`` batches of an epoch."""

        def make(step: int, records: list[Record]) -> Batch:
            rng = self.spec.rng(CHANGES, number, step, self.spec.process)
            taught = None if self.taught is None else self.taught[[place for place, _ in records]]
            images, known = decoded([payload for _, payload in records], self.folder, self.manifest)
            return self.targets.batch(images, known, change, rng, taught)

        groups = islice(grouped(self._records(number), self.spec.own_size), self.steps_per_epoch)
        window = self.spec.window(self.spec.own_size * image_bytes(self.manifest))
        return in_order(make, enumerate(taken_ahead(groups, READ_AHEAD)), *window)

    @property
    def count(self) -> int:
        """Training samples that this process holds."""
        return sum(shard.samples for shard in self.own)

    def first(self, count: int) -> np.ndarray:
        """Images of the first ``count`` samples of this process; fewer where there are no more."""
        payloads = list(islice(stored_payloads(self.folder, self.own), count))
        return decoded(payloads, self.folder, self.manifest)[0]

    def blocks(self) -> Iterator[tuple[np.ndarray, Annotations]]:
        """Every sample of this process once, in the order of its shards: images and what is known of them."""
        window = self.spec.window(BLOCK_SIZE * image_bytes(self.manifest))
        return blocks_of(self.folder, self.manifest, self.own, *window)

    def with_teacher(self, taught: np.ndarray) -> "ShardBatches":
        """The same with what a teacher answers to each sample of this process, in the order of ``blocks``."""
        return ShardBatches(self.folder, self.manifest, self.spec, taught)

    def _records(self, epoch: int) -> Iterator[Record]:
        """Records without end; balanced sampling may fall a little short of an epoch and starts over."""
        rng = self.spec.rng(ORDER, epoch, self.spec.process)
        firsts = np.cumsum([0, *(shard.samples for shard in self.own)]).tolist()
        while True:
            shards = [(firsts[place], self.own[place]) for place in rng.permutation(len(self.own))]
            sources = (enumerate(read_payloads(self.folder / shard.name, shard), first) for first, shard in shards)
            records = interleaved(sources, OPEN_SHARDS, BLOCK)
            yield from shuffled(self._shown(records, rng), self._buffer(), rng)

    def _shown(self, records: Iterator[Record], rng: np.random.Generator) -> Iterator[Record]:
        """Each record as often as an epoch shows it."""
        if self.spec.balance != "sampling":
            yield from records
            return
        counts = self.manifest.counts[TRAIN]
        shows = wanted_shows([counts[name] for name in self.manifest.classes])
        for record in records:
            label = np.array([stored_label(record[1], self.folder)])
            yield from [record] * int(repeated(label, shows, rng)[0])

    def _buffer(self) -> int:
        """Records that are shuffled at a time; it follows from the data alone, as the order of samples does."""
        stored, samples = sum(s.bytes for s in self.own), sum(s.samples for s in self.own)
        return max(1, min(SHUFFLE_BUFFER, int(SHUFFLE_BYTES * samples / stored)))


class Validation:
    """The validation split in order: what is ``known`` of it, and its images in blocks, from memory or from shards."""

    def __init__(self, folder: Path, manifest: Manifest, spec: BatchSpec, arrays: SplitArrays | None) -> None:
        self.folder, self.manifest, self.spec, self.arrays = folder, manifest, spec, arrays
        self.known = arrays.annotations if arrays else self._stored_annotations()

    def batches(self) -> Iterator[np.ndarray]:
        """Images uint8 (up to BLOCK_SIZE, s, s, c)."""
        if self.arrays:
            for first in range(0, len(self.known), BLOCK_SIZE):
                yield self.arrays.images[first : first + BLOCK_SIZE]
        else:
            window = self.spec.window(BLOCK_SIZE * image_bytes(self.manifest))
            shards = self.manifest.split_shards(VALIDATION)
            yield from (images for images, _ in blocks_of(self.folder, self.manifest, shards, *window))

    def _stored_annotations(self) -> Annotations:
        shards = self.manifest.split_shards(VALIDATION)
        known = Annotations.room_for(sum(shard.samples for shard in shards), self.manifest)
        for place, payload in enumerate(stored_payloads(self.folder, shards)):
            known[place] = stored_annotation(payload)
        return known


@dataclass(frozen=True)
class TrainingData:
    """A prepared dataset as ``fit`` needs it."""

    manifest: Manifest
    train: MemoryBatches | ShardBatches
    validation: Validation

    def with_teacher(self, taught: np.ndarray) -> "TrainingData":
        """The same; ``taught`` float32 (n, classes): what a teacher answers to the training samples of ``blocks``."""
        return TrainingData(self.manifest, self.train.with_teacher(taught), self.validation)


def training_data(folder: Path, manifest: Manifest, spec: BatchSpec) -> TrainingData:
    """Both splits in memory when they take less than half of ``spec.memory_bytes``, else from shards.

    Raises:
        UserError: the batch is larger than the training split, a shard is missing or damaged, or valence and arousal
            are asked for and not there.

    """
    # each thread that makes batches has a core already; OpenCV's own would only take turns with it
    cv2.setNumThreads(1)
    data = _loaded(folder, manifest, spec)
    if spec.affect and not np.isfinite(data.validation.known.affect).any():
        message = f"recipe.affect: {manifest.protocol} has no valence and arousal. Set it to 0."
        raise UserError(message)
    return data


def _loaded(folder: Path, manifest: Manifest, spec: BatchSpec) -> TrainingData:
    if split_bytes(manifest, TRAIN) + split_bytes(manifest, VALIDATION) > spec.memory_bytes / 2:
        return TrainingData(manifest, ShardBatches(folder, manifest, spec), Validation(folder, manifest, spec, None))
    held = load_split(folder, manifest, TRAIN)
    train = MemoryBatches([held.images], held.annotations, manifest, spec)
    validation = Validation(folder, manifest, spec, load_split(folder, manifest, VALIDATION))
    return TrainingData(manifest, train, validation)


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
