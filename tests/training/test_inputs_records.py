"""Batches streamed from shards: every encoding gives back its pixels, damage is an error, the shuffle stays small."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ferlab.errors import UserError
from ferlab.imaging.codec import encode
from ferlab.manifest import ENCODINGS, Manifest, Shard
from ferlab.preparation.prepare import Prepared
from ferlab.records.example import encode_example
from ferlab.records.load import load_split
from ferlab.records.tfrecord import ShardWriter
from ferlab.training import inputs
from ferlab.training.inputs import BatchSpec, TrainingData, training_data

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
    """``store(encoding, channels, side, parts)`` writes train shards of 300 and a validation shard of 35 pictures."""

    def write(encoding: str, channels: int = 1, side: int = SIZE_PX, parts: int = 1) -> tuple[Path, Manifest]:
        shards, classes = [], prepared.manifest.classes
        members = {f"train-{part}": range(part, COUNT, parts) for part in range(parts)} | {"validation": range(35)}
        for name, numbers in members.items():
            with ShardWriter(tmp_path / name) as writer:
                for i in numbers:
                    pixels = smooth_picture(i, side, channels)
                    image = encode(pixels[:, :, 0] if channels == 1 else pixels, encoding)
                    writer.write(encode_example({"id": str(i).encode(), "image": image, "label": [i % len(classes)]}))
            shards.append(Shard(name, name.partition("-")[0], len(numbers), writer.bytes, writer.sha256))
        counts = {
            split: {name: len(range(k, count, len(classes))) for k, name in enumerate(classes)}
            for split, count in (("train", COUNT), ("validation", 35))
        }
        colour = "gray" if channels == 1 else "rgb"
        changes = {"encoding": encoding, "colour": colour, "size_px": SIZE_PX, "counts": counts}
        return tmp_path, replace(prepared.manifest, shards=tuple(shards), **changes)

    return write


def trained_on(data: TrainingData, epoch: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """All images and labels of an epoch in order."""
    batches = list(data.train.epoch(epoch, lambda images, targets, rng: (images, targets)))
    return np.concatenate([b[0] for b in batches]), np.concatenate([b[1].argmax(axis=1) for b in batches])


def streamed(folder: Path, manifest: Manifest, **changes: Any) -> TrainingData:
    return training_data(folder, manifest, replace(SPEC, **changes))


def places(data: TrainingData, epoch: int = 0) -> list[int]:
    """Numbers of the pictures of an epoch, of a store that keeps every pixel."""
    known = {smooth_picture(i, SIZE_PX, 1).tobytes(): i for i in range(COUNT)}
    return [known[image.tobytes()] for image in trained_on(data, epoch)[0]]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_streamed_images_are_those_of_the_records(store: Store, encoding: str, channels: int) -> None:
    folder, manifest = store(encoding, channels)
    data = streamed(folder, manifest)
    split = load_split(folder, manifest, "validation")
    (images,) = data.validation.batches()
    assert (images.shape, images.dtype) == ((35, SIZE_PX, SIZE_PX, channels), np.uint8)
    np.testing.assert_array_equal(images, split.images)
    np.testing.assert_array_equal(data.validation.known.labels, split.labels)
    images, labels = trained_on(data)
    assert len(images) == COUNT
    split = load_split(folder, manifest, "train")
    rows = {image.tobytes(): row for row, image in enumerate(split.images)}
    order = [rows[image.tobytes()] for image in images]
    assert sorted(order) == list(range(COUNT))
    np.testing.assert_array_equal(labels, split.labels[order])


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_pixels_survive_their_encoding(store: Store, encoding: str) -> None:
    images, known = next(streamed(*store(encoding, 3)).train.blocks())
    originals = np.stack([smooth_picture(i, SIZE_PX, 3) for i in range(len(images))]).astype(int)
    assert np.abs(images - originals).mean() <= (2 if encoding == "jpeg" else 0)
    np.testing.assert_array_equal(known.labels, np.arange(len(images)) % 7)


def test_the_order_is_the_same_for_every_encoding(store: Store) -> None:
    orders = [trained_on(streamed(*store(encoding)))[1].tolist() for encoding in ENCODINGS]
    assert orders.count(orders[0]) == len(ENCODINGS)


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("split", ["train", "validation"])
def test_an_image_of_another_size_is_one_clear_line(store: Store, encoding: str, split: str) -> None:
    data = streamed(*store(encoding, side=SIZE_PX // 2))
    with pytest.raises(UserError, match="cannot be read"):
        trained_on(data) if split == "train" else list(data.validation.batches())


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_damaged_shard_is_one_clear_line(store: Store, encoding: str) -> None:
    folder, manifest = store(encoding)
    content = bytearray((folder / "train-0").read_bytes())
    content[len(content) // 2] ^= 1
    (folder / "train-0").write_bytes(content)
    with pytest.raises(UserError, match=r"train-0: damaged record"):
        trained_on(streamed(folder, manifest))


@pytest.mark.parametrize("name", ["train-0", "validation"])
def test_a_missing_shard_is_one_clear_line(store: Store, name: str) -> None:
    folder, manifest = store("raw")
    (folder / name).unlink()
    with pytest.raises(UserError, match=rf"{name}: cannot be read"):
        trained_on(streamed(folder, manifest))


@pytest.mark.parametrize(("limit", "value"), [("SHUFFLE_BYTES", "20 records"), ("SHUFFLE_BUFFER", 20), (None, None)])
def test_the_shuffle_holds_few_records_when_they_are_large(
    store: Store, monkeypatch: pytest.MonkeyPatch, limit: str | None, value: Any
) -> None:
    """No sample can come earlier than its place in the only shard, less the records that are held."""
    folder, manifest = store("raw")
    if limit:
        size = (folder / "train-0").stat().st_size / COUNT
        monkeypatch.setattr(inputs, limit, 20.5 * size if value == "20 records" else value)
    order = places(streamed(folder, manifest))
    assert sorted(order) == list(range(COUNT))
    earliest = max(place - position for position, place in enumerate(order))
    assert earliest <= 20 if limit else earliest > 100
    assert earliest > 10


def test_shards_take_turns_also_when_little_is_shuffled(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inputs, "SHUFFLE_BUFFER", 20)
    order = places(streamed(*store("raw", parts=3)))
    assert sorted(order) == list(range(COUNT))
    for first in range(0, 240, 60):
        assert {place % 3 for place in order[first : first + 60]} == {0, 1, 2}


def test_processes_stream_disjoint_shards_and_equally_many_steps(store: Store) -> None:
    """Three shards of 100 for two processes: the second holds 100, so both take six steps of 15 of their own."""
    folder, manifest = store("raw", parts=3)
    both = [streamed(folder, manifest, processes=2, process=process) for process in (0, 1)]
    assert [data.train.count for data in both] == [200, 100]
    assert [data.train.steps_per_epoch for data in both] == [100 // 15] * 2
    first, second = ({place for epoch in range(25) for place in places(data, epoch)} for data in both)
    assert {place % 3 for place in first} == {0, 2}
    assert {place % 3 for place in second} == {1}
    assert len(first | second) == COUNT
    for data in both:
        assert [len(step[0]) for step in data.train.epoch(0, lambda images, targets, rng: (images, targets))] == [
            15
        ] * 6


def test_blocks_of_a_process_are_its_own_shards_in_order(store: Store) -> None:
    folder, manifest = store("raw", parts=3)
    blocks = streamed(folder, manifest, processes=3, process=2).train.blocks()
    np.testing.assert_array_equal(np.concatenate([known.labels for _, known in blocks]), np.arange(2, COUNT, 3) % 7)


def test_blocks_are_full_whatever_shards_they_come_from(store: Store) -> None:
    sizes = [len(images) for images, _ in streamed(*store("raw", parts=3)).train.blocks()]
    assert sizes == [256, 44]


def test_shards_are_read_in_a_thread_of_their_own(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    readers: list[int] = []
    read = inputs.read_payloads

    def noted(file: Path, shard: Shard) -> Iterator[bytes]:
        for payload in read(file, shard):
            readers.append(threading.get_ident())
            yield payload

    data = streamed(*store("raw", parts=3))
    monkeypatch.setattr(inputs, "read_payloads", noted)
    assert sorted(places(data)) == list(range(COUNT))
    assert len(readers) == COUNT
    assert len(set(readers)) == 1
    assert threading.get_ident() not in readers


def test_a_record_without_a_label_is_one_clear_line(store: Store) -> None:
    """As balanced sampling meets it, which reads labels before anything is decoded."""
    folder, manifest = store("raw")
    with ShardWriter(folder / "train-0") as writer:
        for number in range(COUNT):
            writer.write(encode_example({"id": str(number).encode(), "image": bytes(SIZE_PX**2)}))
    with pytest.raises(UserError, match="cannot be read") as refusal:
        trained_on(streamed(folder, manifest, balance="sampling"))
    assert "\n" not in str(refusal.value)


def test_fewer_shards_than_processes_are_refused(store: Store) -> None:
    folder, manifest = store("raw", parts=2)
    with pytest.raises(UserError):
        streamed(folder, manifest, processes=3)
