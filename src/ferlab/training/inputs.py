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

SHUFFLE_BUFFER = 4096
OPEN_SHARDS = 4
GROUPS = range(8, 21)
"""Steps that one call into TensorFlow may execute: enough to hide the call, few enough to answer Ctrl-C at once."""


@dataclass(frozen=True)
class BatchSpec:
    """How samples become batches. ``class_weights`` holds one weight per class; None for equal weights."""

    batch_size: int
    seed: int
    class_weights: tuple[float, ...] | None
    max_steps: int
    memory_bytes: float


class Batches:
    """Training and validation batches of a prepared dataset: (images uint8, one-hot labels, sample weights)."""

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

        def finish(epoch: Any, step: Any, images: Any, labels: Any) -> Any:
            seed = tf.stack([tf.cast(self.spec.seed, tf.int64), epoch * 2**32 + step * 2**8])
            return augment(images, seed), *self._targets(labels)

        options = tf.data.Options()
        options.deterministic = True
        return batches.map(finish, num_parallel_calls=tf.data.AUTOTUNE).with_options(options).prefetch(4)

    def validation(self) -> Any:
        """The validation split in order, once, with equal weights."""
        import tensorflow as tf

        if self.in_memory:
            split = load_split(self.folder, self.manifest, VALIDATION)
            rows = tf.data.Dataset.from_tensor_slices((split.images, split.labels))
        else:
            rows = self._parsed(self._shard_files(VALIDATION))
        batches = rows.batch(self.spec.batch_size)
        return batches.map(lambda images, labels: (images, self._one_hot(labels))).prefetch(2)

    def _load_train(self) -> tuple[Any, Any]:
        import tensorflow as tf

        split = load_split(self.folder, self.manifest, TRAIN)
        return tf.constant(split.images), tf.constant(split.labels)

    def _from_memory(self, epoch: Any) -> Any:
        import tensorflow as tf

        images, labels = self._arrays  # type: ignore[misc]  # set whenever in_memory is
        seed = tf.stack([tf.cast(self.spec.seed, tf.int64), epoch])
        order = tf.random.experimental.stateless_shuffle(tf.range(self.train_count), seed)
        steps = self._batched(tf.data.Dataset.from_tensor_slices(order))
        return steps.map(lambda step, rows: (epoch, step, tf.gather(images, rows), tf.gather(labels, rows)))

    def _from_shards(self, epoch: Any) -> Any:
        import tensorflow as tf

        seed = tf.stack([tf.cast(self.spec.seed, tf.int64), epoch])
        files = tf.random.experimental.stateless_shuffle(tf.constant(self._shard_files(TRAIN)), seed)
        # a seed that depends on the epoch fails in TensorFlow when the global seed is 0; the order of files does depend
        rows = self._parsed(files).shuffle(SHUFFLE_BUFFER, seed=self.spec.seed, reshuffle_each_iteration=False)
        return self._batched(rows).map(lambda step, pair: (epoch, step, *pair))

    def _batched(self, rows: Any) -> Any:
        return rows.batch(self.spec.batch_size, drop_remainder=True).take(self.steps_per_epoch).enumerate()

    def _shard_files(self, split: str) -> list[str]:
        return [str(self.folder / shard.name) for shard in self.manifest.split_shards(split)]

    def _parsed(self, files: Any) -> Any:
        """(image, label) of every record of ``files``, decoded by TensorFlow."""
        import tensorflow as tf

        records = tf.data.Dataset.from_tensor_slices(files).interleave(
            tf.data.TFRecordDataset, cycle_length=OPEN_SHARDS, block_length=16
        )
        features = {
            "image": tf.io.FixedLenFeature([], tf.string),
            "label": tf.io.FixedLenFeature([], tf.int64),
        }
        decode = record_decoder(self.manifest)

        def parse(record: Any) -> Any:
            row = tf.io.parse_single_example(record, features)
            return decode(row["image"]), tf.cast(row["label"], tf.int32)

        return records.map(parse, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)

    def _targets(self, labels: Any) -> tuple[Any, ...]:
        import tensorflow as tf

        if self.spec.class_weights is None:
            return (self._one_hot(labels),)
        weights = tf.constant(np.asarray(self.spec.class_weights, np.float32))
        return self._one_hot(labels), tf.gather(weights, labels)

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


def record_decoder(manifest: Manifest) -> Callable[[Any], Any]:
    """TensorFlow's counterpart of ``imaging.decode_record``: bytes to uint8 (size_px, size_px, channels)."""
    import tensorflow as tf

    shape = (manifest.size_px, manifest.size_px, manifest.channels)

    def decode(data: Any) -> Any:
        if manifest.encoding == "raw":
            pixels = tf.io.decode_raw(data, tf.uint8)
        elif manifest.encoding == "float32":
            pixels = tf.cast(tf.round(tf.io.decode_raw(data, tf.float32) * 255), tf.uint8)
        elif manifest.encoding == "jpeg":
            pixels = tf.io.decode_jpeg(data, channels=manifest.channels, dct_method="INTEGER_ACCURATE")
        else:
            pixels = tf.io.decode_png(data, channels=manifest.channels)
        return tf.reshape(pixels, shape)

    return decode
