"""Batches streamed from shards: every encoding gives back its pixels, damage is an error, the shuffle stays small."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ferlab.imaging.codec import encode
from ferlab.manifest import ENCODINGS, Manifest, Shard
from ferlab.preparation.prepare import Prepared
from ferlab.records.example import encode_example
from ferlab.records.load import load_split
from ferlab.records.tfrecord import ShardWriter
from ferlab.training import inputs
from ferlab.training.inputs import Batches, BatchSpec

SIZE_PX, COUNT = 32, 300
SPEC = BatchSpec(batch_size=30, seed=3, balance="none", class_weights=(1.0,) * 7, max_steps=0, memory_bytes=0)

Store = Callable[..., tuple[Path, Manifest]]


def smooth_picture(number: int, side: int, channels: int) -> np.ndarray:
    """A picture of its own for every number, smooth enough for JPEG."""
    across, down = np.meshgrid(np.linspace(0, 1, side), np.linspace(0, 1, side))
    turned = [np.sin(3 * across + number * 0.7 + c) * np.cos(2 * down + number * 0.3 - c) for c in range(channels)]
    return (127.5 + 120 * np.stack(turned, axis=2)).round().astype(np.uint8)


@pytest.fixture
def store(tmp_path: Path, prepared: Prepared) -> Store:
    """``store(encoding, channels, side)`` writes a train and a validation shard of 300 and 35 pictures."""

    def write(encoding: str, channels: int = 1, side: int = SIZE_PX) -> tuple[Path, Manifest]:
        shards, classes = [], prepared.manifest.classes
        for split, count in (("train", COUNT), ("validation", 35)):
            with ShardWriter(tmp_path / split) as writer:
                for i in range(count):
                    pixels = smooth_picture(i, side, channels)
                    image = encode(pixels[:, :, 0] if channels == 1 else pixels, encoding)
                    writer.write(encode_example({"id": str(i).encode(), "image": image, "label": [i % len(classes)]}))
            shards.append(Shard(split, split, count, writer.bytes, writer.sha256))
        counts = {
            shard.split: {name: len(range(k, shard.samples, len(classes))) for k, name in enumerate(classes)}
            for shard in shards
        }
        colour = "gray" if channels == 1 else "rgb"
        changes = {"encoding": encoding, "colour": colour, "size_px": SIZE_PX, "counts": counts}
        return tmp_path, replace(prepared.manifest, shards=tuple(shards), **changes)

    return write


def labelled(data: Any) -> tuple[np.ndarray, np.ndarray]:
    """All images and labels in order."""
    batches = [(images.numpy(), targets.numpy().argmax(axis=1)) for images, targets in data]
    return np.concatenate([images for images, _ in batches]), np.concatenate([labels for _, labels in batches])


def training(batches: Batches) -> Any:
    return batches.training(0, 1, lambda images, seed: images)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_streamed_images_are_those_of_the_records(tf: Any, store: Store, encoding: str, channels: int) -> None:
    folder, manifest = store(encoding, channels)
    batches = Batches(folder, manifest, SPEC)
    split = load_split(folder, manifest, "validation")
    images, labels = labelled(batches.validation())
    assert images.dtype == np.uint8
    assert images.shape == (35, SIZE_PX, SIZE_PX, channels)
    tolerance = 3 if encoding == "jpeg" else 0
    assert np.abs(images.astype(int) - split.images).max() <= tolerance
    np.testing.assert_array_equal(labels, split.labels)
    images, labels = labelled(training(batches))
    assert len(images) == COUNT
    split = load_split(folder, manifest, "train")
    originals = split.images.reshape(COUNT, -1).astype(int)
    nearest = [int(np.abs(originals - image.reshape(-1)).max(axis=1).argmin()) for image in images]
    assert sorted(nearest) == list(range(COUNT))
    assert np.abs(images.astype(int) - split.images[nearest]).max() <= tolerance
    np.testing.assert_array_equal(labels, split.labels[nearest])


def test_the_order_is_the_same_for_every_encoding(tf: Any, store: Store) -> None:
    orders = [labelled(training(Batches(*store(encoding), SPEC)))[1].tolist() for encoding in ENCODINGS]
    assert orders.count(orders[0]) == len(ENCODINGS)


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("split", ["train", "validation"])
def test_an_image_of_another_size_is_an_error(tf: Any, store: Store, encoding: str, split: str) -> None:
    batches = Batches(*store(encoding, side=SIZE_PX // 2), SPEC)
    with pytest.raises(tf.errors.InvalidArgumentError):
        labelled(training(batches) if split == "train" else batches.validation())


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_damaged_shard_is_an_error(tf: Any, store: Store, encoding: str) -> None:
    folder, manifest = store(encoding)
    data = bytearray((folder / "train").read_bytes())
    data[len(data) // 2] ^= 1
    (folder / "train").write_bytes(data)
    with pytest.raises(tf.errors.DataLossError):
        labelled(training(Batches(folder, manifest, SPEC)))


@pytest.mark.parametrize(("limit", "value"), [("SHUFFLE_BYTES", "20 records"), ("SHUFFLE_BUFFER", 20), (None, None)])
def test_the_shuffle_holds_few_records_when_they_are_large(
    tf: Any, store: Store, monkeypatch: pytest.MonkeyPatch, limit: str | None, value: Any
) -> None:
    """No sample can come earlier than its place in the only shard, less the records that are held."""
    folder, manifest = store("raw")
    if limit:
        size = (folder / "train").stat().st_size / COUNT
        monkeypatch.setattr(inputs, limit, 20.5 * size if value == "20 records" else value)
    images, _ = labelled(training(Batches(folder, manifest, SPEC)))
    places = {smooth_picture(i, SIZE_PX, 1).tobytes(): i for i in range(COUNT)}
    order = [places[image.tobytes()] for image in images]
    assert sorted(order) == list(range(COUNT))
    earliest = max(place - position for position, place in enumerate(order))
    assert earliest <= 20 if limit else earliest > 100
    assert earliest > 10
