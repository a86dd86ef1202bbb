"""Batches for ``fit``: from memory for small sets, streamed from shards for large ones.

The order of samples depends on the seed and the epoch alone. One dataset runs over all epochs of a phase, so a
resumed phase goes on with exactly the batches it would have seen.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ferlab.errors import UserError
from ferlab.manifest import Manifest
from ferlab.records.load import load_split, split_bytes
from ferlab.samples import TRAIN, VALIDATION

SHUFFLE_BUFFER, SHUFFLE_BYTES = 4096, 256e6
"""Records that are shuffled at a time, still encoded: that many, or fewer large ones, so that they fit everywhere."""
OPEN_SHARDS, BLOCK = 4, 16
"""Shards read at a time, and records taken from one before the next has its turn."""
ACCEPTED = 0.3
"""Share of the votes from which a class is a valid answer of ``multi_target`` (Barsoum et al. 2016)."""
GROUPS = range(8, 21)
"""Steps that one call into TensorFlow may execute: enough to hide the call, few enough to answer Ctrl-C at once."""


@dataclass(frozen=True)
class BatchSpec:
    """How samples become batches.

    ``balance``: ``none``, ``weights`` (a weight in the loss for each class, from ``class_weights``) or ``sampling``
    (every class equally often).
    """

    batch_size: int
    seed: int
    balance: str
    class_weights: tuple[float, ...]
    max_steps: int
    memory_bytes: float


class Batches:
    """Training and validation batches of a prepared dataset: (images uint8, targets, sample weights).

    Targets are one-hot labels, or in training what the manifest's ``targets`` makes of the votes: a label drawn anew in
    every epoch, their distribution, or all classes with at least ACCEPTED of them.
    """

    def __init__(self, folder: Path, manifest: Manifest, spec: BatchSpec) -> None:
        self.folder, self.manifest, self.spec = folder, manifest, spec
        self.train_count = sum(manifest.counts[TRAIN].values())
        self.in_memory = split_bytes(manifest, TRAIN) + split_bytes(manifest, VALIDATION) <= spec.memory_bytes / 2
        steps = self.train_count // spec.batch_size
        if not steps:
            message = (
                f"recipe.batch_size={spec.batch_size}: larger than the {self.train_count} training images of "
                f"{manifest.protocol}. Choose a smaller batch."
            )
            raise UserError(message)
        self.steps_per_execution, self.steps_per_epoch = grouped_steps(min(steps, spec.max_steps or steps))
        self._arrays = self._load_train() if self.in_memory else None

    def training(self, first_epoch: int, last_epoch: int, augment: Callable[[Any, Any], Any]) -> Any:
        """A dataset of epochs ``first_epoch`` to ``last_epoch`` (exclusive), ``steps_per_epoch`` batches each."""
        import tensorflow as tf

        epochs = tf.data.Dataset.range(first_epoch, last_epoch)
        source = self._from_memory if self.in_memory else self._from_shards
        batches = epochs.flat_map(source)

        def finish(epoch: Any, step: Any, *rows: Any) -> Any:
            images, labels, votes = rows if self.in_memory else self._decoded(*rows)
            seed = tf.stack([tf.cast(self.spec.seed, tf.int64), epoch * 2**32 + step * 2**8])
            targets = self._targets(labels, votes, seed)
            if self.spec.balance != "weights":
                return augment(images, seed), targets
            return augment(images, seed), targets, tf.gather(tf.constant(self.spec.class_weights), labels)

        options = tf.data.Options()
        options.deterministic = True
        return batches.map(finish, num_parallel_calls=tf.data.AUTOTUNE).with_options(options).prefetch(4)

    def validation(self) -> Any:
        """The validation split in order, once, with equal weights."""
        import tensorflow as tf

        if self.in_memory:
            split = load_split(self.folder, self.manifest, VALIDATION)
            batches = tf.data.Dataset.from_tensor_slices((split.images, split.labels)).batch(self.spec.batch_size)
        else:
            records = self._records(self._shard_files(VALIDATION)).batch(self.spec.batch_size)
            batches = records.map(lambda rows: self._decoded(rows)[:2], tf.data.AUTOTUNE, deterministic=True)
        return batches.map(lambda images, labels: (images, self._one_hot(labels))).prefetch(2)

    def _load_train(self) -> tuple[Any, Any, Any]:
        import tensorflow as tf

        split = load_split(self.folder, self.manifest, TRAIN)
        return tf.constant(split.images), tf.constant(split.labels), tf.constant(split.votes)

    def _from_memory(self, epoch: Any) -> Any:
        import tensorflow as tf

        arrays = self._arrays
        assert arrays is not None
        seed = tf.stack([tf.cast(self.spec.seed, tf.int64), epoch])
        rows = tf.range(self.train_count)
        if self.spec.balance == "sampling":
            rows = tf.repeat(rows, self._repeats(arrays[1], rows, epoch))
        order = tf.random.experimental.stateless_shuffle(rows, seed)
        steps = self._batched(tf.data.Dataset.from_tensor_slices(order))
        return steps.map(lambda step, rows: (epoch, step, *(tf.gather(array, rows) for array in arrays)))

    def _from_shards(self, epoch: Any) -> Any:
        """Batches of serialised records: they are small to shuffle, and ``training`` decodes them side by side."""
        import tensorflow as tf

        seed = tf.stack([tf.cast(self.spec.seed, tf.int64), epoch])
        files = tf.random.experimental.stateless_shuffle(tf.constant(self._shard_files(TRAIN)), seed)
        records = self._records(files)
        if self.spec.balance == "sampling":
            records = (
                records.batch(BLOCK)
                .enumerate()
                .flat_map(
                    lambda block, rows: tf.data.Dataset.from_tensor_slices(self._balanced(rows, block * BLOCK, epoch))
                )
            )
        # a seed that depends on the epoch fails in TensorFlow when the global seed is 0; the order of files does depend
        records = records.shuffle(self._shuffled(), seed=self.spec.seed, reshuffle_each_iteration=False)
        return self._batched(records).map(lambda step, rows: (epoch, step, rows))

    def _shuffled(self) -> int:
        """Records in the shuffle buffer; it follows from the data alone, as the order of samples does."""
        stored = sum(shard.bytes for shard in self.manifest.split_shards(TRAIN))
        return max(1, min(SHUFFLE_BUFFER, int(SHUFFLE_BYTES * self.train_count / stored)))

    def _balanced(self, records: Any, first: Any, epoch: Any) -> Any:
        """Serialised records in order, each as often as it is shown; ``first`` is the place of the first one."""
        import tensorflow as tf

        label = {"label": tf.io.FixedLenFeature([], tf.int64)}
        places = first + tf.range(tf.size(records, tf.int64))
        return tf.repeat(records, self._repeats(tf.io.parse_example(records, label)["label"], places, epoch))

    def _repeats(self, labels: Any, places: Any, epoch: Any) -> Any:
        """How often each sample is shown in an epoch, int32: on average N / (K * n_c), drawn anew in every epoch."""
        import tensorflow as tf

        counts = np.array([self.manifest.counts[TRAIN][name] for name in self.manifest.classes])
        wanted = self.train_count / (np.count_nonzero(counts) * np.maximum(counts, 1))
        # a hash of place and epoch, so that a streamed sample needs nothing but itself
        keys = tf.strings.as_string(tf.cast(places, tf.int64) * 2**20 + epoch + self.spec.seed * 2**10)
        luck = tf.cast(tf.strings.to_hash_bucket_fast(keys, 2**20), tf.float32) / 2**20
        return tf.cast(tf.floor(tf.gather(tf.constant(wanted, tf.float32), labels) + luck), tf.int32)

    def _batched(self, rows: Any) -> Any:
        """``steps_per_epoch`` batches, numbered; balanced sampling may fall a little short of them and starts over."""
        if self.spec.balance == "sampling":
            rows = rows.repeat()
        return rows.batch(self.spec.batch_size, drop_remainder=True).take(self.steps_per_epoch).enumerate()

    def _shard_files(self, split: str) -> list[str]:
        return [str(self.folder / shard.name) for shard in self.manifest.split_shards(split)]

    def _records(self, files: Any) -> Any:
        """Every serialised record of ``files``, in an order that depends on theirs alone."""
        import tensorflow as tf

        return tf.data.Dataset.from_tensor_slices(files).interleave(
            tf.data.TFRecordDataset,
            cycle_length=OPEN_SHARDS,
            block_length=BLOCK,
            num_parallel_calls=OPEN_SHARDS,
            deterministic=True,
        )

    def _decoded(self, records: Any) -> tuple[Any, Any, Any]:
        """Images, labels and votes, as from memory, of serialised records (n,)."""
        import tensorflow as tf

        features = {
            "image": tf.io.FixedLenFeature([], tf.string),
            "label": tf.io.FixedLenFeature([], tf.int64),
        }
        if self.manifest.has_votes:
            features["votes"] = tf.io.FixedLenFeature([len(self.manifest.classes)], tf.int64)
        rows = tf.io.parse_example(records, features)
        votes = tf.cast(rows["votes"], tf.float32) if self.manifest.has_votes else tf.zeros([tf.size(records), 0])
        return decode_images(rows["image"], self.manifest), tf.cast(rows["label"], tf.int32), votes

    def _targets(self, labels: Any, votes: Any, seed: Any) -> Any:
        """What a batch is trained towards, float32 (n, classes)."""
        import tensorflow as tf

        if self.manifest.targets == "majority":
            return self._one_hot(labels)
        shares = votes / tf.reduce_sum(votes, axis=1, keepdims=True)
        if self.manifest.targets == "cross_entropy":
            return shares
        if self.manifest.targets == "probability":
            return self._one_hot(tf.random.stateless_categorical(tf.math.log(shares), 1, seed + 1)[:, 0])
        accepted = tf.cast(shares >= ACCEPTED, tf.float32)
        return tf.maximum(accepted, self._one_hot(labels))

    def _one_hot(self, labels: Any) -> Any:
        import tensorflow as tf

        return tf.one_hot(labels, len(self.manifest.classes))


def grouped_steps(steps: int) -> tuple[int, int]:
    """How many of ``steps`` batches one call executes, and how many an epoch then has.

    Keras runs whole groups only, so an epoch must be a multiple of the group. The group in GROUPS that leaves out the
    fewest batches is taken; those left out differ from epoch to epoch.
    """
    fitting = [group for group in GROUPS if group <= steps] or [steps]
    group = max(fitting, key=lambda size: (steps // size * size, size))
    return group, steps // group * group


def decode_images(data: Any, manifest: Manifest) -> Any:
    """TensorFlow's counterpart of ``imaging.decode_record``: bytes (n,) to uint8 (n, size_px, size_px, channels)."""
    import tensorflow as tf

    shape = (manifest.size_px, manifest.size_px, manifest.channels)

    def decode(image: Any) -> Any:
        if manifest.encoding == "jpeg":
            return tf.io.decode_jpeg(image, channels=manifest.channels, dct_method="INTEGER_ACCURATE")
        return tf.io.decode_png(image, channels=manifest.channels)

    if manifest.encoding == "raw":
        pixels = tf.io.decode_raw(data, tf.uint8)
    elif manifest.encoding == "float32":
        pixels = tf.cast(tf.round(tf.io.decode_raw(data, tf.float32) * 255), tf.uint8)
    else:
        pixels = tf.map_fn(decode, data, fn_output_signature=tf.TensorSpec(shape, tf.uint8))
    return tf.reshape(pixels, (-1, *shape))
