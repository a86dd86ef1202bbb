"""Batches: every sample once an epoch, in an order that a restart repeats, from memory and from shards alike."""

import threading
from collections import Counter
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from ferlab.errors import UserError
from ferlab.preparation.prepare import Prepared
from ferlab.records.load import Annotations, SplitArrays, load_split
from ferlab.training.inputs import BatchSpec, MemoryBatches, ShardBatches, TrainingData, training_data
from ferlab.training.reading import BLOCK_SIZE

SPEC = BatchSpec(batch_size=50, seed=3, balance="none", class_weights=(1.0,) * 7, max_steps=0, memory_bytes=1e9)
MODES = {"memory": 1e9, "shards": 0}

Step = list[tuple[bytes, int]]


def unchanged(images: np.ndarray, targets: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    return images, targets


@pytest.fixture(scope="module")
def train(prepared: Prepared) -> SplitArrays:
    return load_split(prepared.folder, prepared.manifest, "train")


@pytest.fixture(scope="module", params=MODES.values(), ids=MODES.keys())
def memory_bytes(request: pytest.FixtureRequest) -> float:
    return request.param


@pytest.fixture(scope="module")
def data(prepared: Prepared, memory_bytes: float) -> TrainingData:
    made = data_of(prepared, memory_bytes=memory_bytes)
    assert isinstance(made.train, MemoryBatches if memory_bytes else ShardBatches)
    return made


def data_of(prepared: Prepared, **changes: Any) -> TrainingData:
    return training_data(prepared.folder, prepared.manifest, replace(SPEC, **changes))


def steps_of(data: TrainingData, epoch: int) -> list[Step]:
    """Image and label of every sample of an epoch, step by step."""
    found = []
    for images, targets, *_ in data.train.epoch(epoch, unchanged):
        labels = targets.argmax(axis=1).tolist()
        found.append([(image.tobytes(), label) for image, label in zip(images, labels, strict=True)])
    assert [len(step) for step in found] == [data.train.spec.own_size] * data.train.steps_per_epoch
    return found


def epochs(data: TrainingData, first: int, last: int) -> list[Step]:
    """Samples of each epoch in order."""
    return [list(chain(*steps_of(data, epoch))) for epoch in range(first, last)]


def test_images_tell_samples_apart(train: SplitArrays) -> None:
    assert len({image.tobytes() for image in train.images}) == len(train.ids)


def test_every_epoch_is_a_permutation_less_the_remainder(data: TrainingData, train: SplitArrays) -> None:
    known = {image.tobytes(): int(label) for image, label in zip(train.images, train.labels, strict=True)}
    assert data.train.count == len(known)
    assert data.train.steps_per_epoch == len(known) // 50
    for epoch in epochs(data, 0, 3):
        assert len({image for image, _ in epoch}) == len(epoch) == data.train.steps_per_epoch * 50
        assert all(known[image] == label for image, label in epoch)


def test_epochs_differ_in_order_and_no_sample_is_left_out_for_good(data: TrainingData, train: SplitArrays) -> None:
    found = epochs(data, 0, 6)
    assert len({tuple(epoch) for epoch in found}) == 6
    positions = {image: place for place, (image, _) in enumerate(found[0])}
    moved = [abs(positions[image] - place) for place, (image, _) in enumerate(found[1]) if image in positions]
    assert np.mean(moved) > len(found[0]) / 5  # a random permutation moves by a third
    assert len({image for epoch in found for image, _ in epoch}) == len(train.ids)


def test_an_epoch_is_the_same_whichever_came_before_it(prepared: Prepared, data: TrainingData) -> None:
    whole = epochs(data, 0, 4)
    again = data_of(prepared, memory_bytes=data.train.spec.memory_bytes)
    assert epochs(again, 3, 4) == whole[3:]
    assert epochs(again, 1, 3) == whole[1:3]


def test_another_seed_is_another_order(prepared: Prepared, data: TrainingData) -> None:
    other = data_of(prepared, seed=4, memory_bytes=data.train.spec.memory_bytes)
    assert epochs(other, 0, 1) != epochs(data, 0, 1)


def test_an_epoch_may_be_left_early(data: TrainingData) -> None:
    """As a training does that patience or Ctrl-C ends."""
    batches = data.train.epoch(0, unchanged)
    first = next(batches)[0]
    batches.close()
    np.testing.assert_array_equal(first, next(data.train.epoch(0, unchanged))[0])


def test_both_modes_see_the_same_samples(prepared: Prepared, train: SplitArrays, memory_bytes: float) -> None:
    """With a batch size that leaves no remainder the multiset is the training split itself."""
    count = len(train.ids)
    divisors = (size for size in range(count // 2, 0, -1) if count % size == 0)
    size = next(size for size in divisors if data_of(prepared, batch_size=size).train.steps_per_epoch * size == count)
    data = data_of(prepared, batch_size=size, memory_bytes=memory_bytes)
    expected = Counter((image.tobytes(), int(label)) for image, label in zip(train.images, train.labels, strict=True))
    assert Counter(epochs(data, 0, 1)[0]) == expected


def test_each_sample_carries_the_weight_of_its_class(prepared: Prepared, memory_bytes: float) -> None:
    weights = tuple(0.5 + 0.25 * i for i in range(7))
    data = data_of(prepared, balance="weights", class_weights=weights, memory_bytes=memory_bytes)
    for _, targets, sample_weights in data.train.epoch(0, unchanged):
        assert targets.dtype == sample_weights.dtype == np.float32
        np.testing.assert_array_equal(sample_weights, np.float32(weights)[targets.argmax(axis=1)])


@pytest.mark.parametrize("balance", ["none", "sampling"])
def test_without_class_weights_there_are_none(prepared: Prepared, balance: str) -> None:
    data = data_of(prepared, balance=balance, class_weights=tuple(0.5 + 0.25 * i for i in range(7)))
    assert len(next(data.train.epoch(0, unchanged))) == 2


def test_batches_are_pixels_and_one_hot_targets_over_all_classes(data: TrainingData) -> None:
    images, targets = next(data.train.epoch(0, unchanged))
    assert (images.shape, images.dtype) == ((50, 48, 48, 1), np.uint8)
    assert targets.shape == (50, 7)
    np.testing.assert_array_equal(targets.sum(axis=1), 1)
    assert set(np.unique(targets)) == {0, 1}


def test_blocks_are_every_training_sample_once_in_the_order_of_the_shards(
    data: TrainingData, train: SplitArrays
) -> None:
    blocks = list(data.train.blocks())
    assert all(len(images) <= BLOCK_SIZE for images, _ in blocks)
    np.testing.assert_array_equal(np.concatenate([images for images, _ in blocks]), train.images)
    np.testing.assert_array_equal(np.concatenate([known.labels for _, known in blocks]), train.labels)
    assert {known.votes.shape[1] for _, known in blocks} == {0}
    assert all(np.isnan(known.affect).all() for _, known in blocks)


def test_the_first_samples_are_those_of_the_first_shard(data: TrainingData, train: SplitArrays) -> None:
    np.testing.assert_array_equal(data.train.first(7), train.images[:7])
    np.testing.assert_array_equal(data.train.first(10**6), train.images)


@pytest.mark.parametrize(
    ("cores", "memory_bytes", "size", "expected"),
    [
        (2, 1e9, 1000, (2, 6)),
        (64, 1e9, 1000, (64, 130)),
        (64, 2e9, 38_535_168, (2, 2)),  # 256 RGB images of 224 px
        (2, 2e9, 38_535_168, (2, 2)),
        (64, 64e9, 38_535_168, (64, 69)),
        (64, 8e9, 10**9, (1, 1)),
        (4, 0, 1_000_000, (4, 10)),
    ],
)
def test_batches_made_ahead_fit_into_a_share_of_the_memory(
    cores: int, memory_bytes: float, size: int, expected: tuple[int, int]
) -> None:
    assert replace(SPEC, cores=cores, memory_bytes=memory_bytes).window(size) == expected


def test_no_more_threads_than_asked_for_make_batches_and_opencv_adds_none(
    prepared: Prepared, memory_bytes: float
) -> None:
    names = set()

    def noted(images: np.ndarray, targets: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        names.add(threading.get_ident())
        return images, targets

    cv2.setNumThreads(3)
    data = data_of(prepared, cores=1, memory_bytes=memory_bytes)
    assert cv2.getNumThreads() == 1
    for epoch in range(3):
        names.clear()
        assert len(list(data.train.epoch(epoch, noted))) == data.train.steps_per_epoch
        assert len(names) == 1
        assert threading.get_ident() not in names


def test_validation_comes_whole_and_in_order(data: TrainingData, prepared: Prepared) -> None:
    split = load_split(prepared.folder, prepared.manifest, "validation")
    for _ in range(2):
        np.testing.assert_array_equal(np.concatenate(list(data.validation.batches())), split.images)
    np.testing.assert_array_equal(data.validation.known.labels, split.labels)


def test_the_change_gets_a_generator_of_its_own_for_every_epoch_and_step(data: TrainingData) -> None:
    """They must differ, and be the same again after a restart."""

    def draw(images: np.ndarray, targets: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        return rng.integers(0, 2**62, 2), targets

    drawn = [[tuple(numbers.tolist()) for numbers, _ in data.train.epoch(epoch, draw)] for epoch in range(3)]
    assert len(set(chain(*drawn))) == 3 * data.train.steps_per_epoch
    assert [tuple(numbers.tolist()) for numbers, _ in data.train.epoch(2, draw)] == drawn[2]


def test_what_the_change_makes_is_what_is_trained_on(data: TrainingData) -> None:
    def darken(images: np.ndarray, targets: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        return images // 2, targets * np.float32(0.5)

    for plain, changed in zip(data.train.epoch(1, unchanged), data.train.epoch(1, darken), strict=True):
        np.testing.assert_array_equal(changed[0], plain[0] // 2)
        np.testing.assert_array_equal(changed[1], plain[1] / 2)


def test_copies_take_turns_epoch_by_epoch_in_one_order(prepared: Prepared) -> None:
    """The same rows of another array: what cached features of several augmentations are."""
    count = 120
    known = Annotations.room_for(count, prepared.manifest)
    known.labels[:] = np.arange(count) % 7
    copies = [np.stack([np.arange(count), np.full(count, copy)], axis=1).astype(np.float32) for copy in range(3)]
    batches = MemoryBatches(copies, known, prepared.manifest, SPEC)
    for epoch in range(5):
        rows = np.concatenate([inputs for inputs, _ in batches.epoch(epoch, None)])
        targets = np.concatenate([targets for _, targets in batches.epoch(epoch, None)])
        assert set(rows[:, 1]) == {epoch % 3}
        assert len(set(rows[:, 0])) == len(rows) == 100
        np.testing.assert_array_equal(targets.argmax(axis=1), known.labels[rows[:, 0].astype(int)])


def test_debug_limit_cuts_an_epoch_short(prepared: Prepared, memory_bytes: float) -> None:
    data = data_of(prepared, max_steps=2, memory_bytes=memory_bytes)
    assert data.train.steps_per_epoch == data.train.steps_per_execution == 2
    assert [len(epoch) for epoch in epochs(data, 0, 2)] == [100, 100]


def test_epochs_are_whole_groups_of_steps(prepared: Prepared, memory_bytes: float) -> None:
    data = data_of(prepared, batch_size=5, memory_bytes=memory_bytes)
    assert data.train.steps_per_epoch % data.train.steps_per_execution == 0
    assert data.train.steps_per_epoch > 80
    assert len(steps_of(data, 0)) == data.train.steps_per_epoch


def test_a_batch_larger_than_the_split_is_refused(prepared: Prepared, memory_bytes: float) -> None:
    with pytest.raises(UserError, match=r"recipe\.batch_size=100000: larger than"):
        data_of(prepared, batch_size=100_000, memory_bytes=memory_bytes)


def test_test_shards_are_not_touched(prepared: Prepared, tmp_path: Path, memory_bytes: float) -> None:
    for shard in prepared.manifest.shards:
        if shard.split != "test":
            (tmp_path / shard.name).symlink_to(prepared.folder / shard.name)
    data = training_data(tmp_path, prepared.manifest, replace(SPEC, memory_bytes=memory_bytes))
    assert len(epochs(data, 0, 1)[0]) == data.train.steps_per_epoch * 50
    assert sum(map(len, data.validation.batches())) == sum(prepared.manifest.counts["validation"].values())


def test_from_memory_processes_share_the_batches_of_one(prepared: Prepared) -> None:
    whole = steps_of(data_of(prepared), 1)
    shares = [steps_of(data_of(prepared, processes=2, process=process), 1) for process in (0, 1)]
    assert [first + second for first, second in zip(*shares, strict=True)] == whole


def test_processes_change_their_images_independently(prepared: Prepared) -> None:
    def draw(images: np.ndarray, targets: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        return rng.integers(0, 2**62, 2), targets

    drawn = {
        tuple(numbers.tolist())
        for process in (0, 1)
        for numbers, _ in data_of(prepared, processes=2, process=process).train.epoch(0, draw)
    }
    assert len(drawn) == 2 * data_of(prepared).train.steps_per_epoch
