"""Batches: every sample once an epoch, in an order that a restart repeats, from memory and from shards alike."""

from collections import Counter
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ferlab.errors import UserError
from ferlab.preparation.prepare import Prepared
from ferlab.records.load import SplitArrays, load_split
from ferlab.training.inputs import Batches, BatchSpec

SPEC = BatchSpec(batch_size=50, seed=3, balance="none", class_weights=(1.0,) * 7, max_steps=0, memory_bytes=1e9)
MODES = {"memory": 1e9, "shards": 0}


def unchanged(images: Any, seed: Any) -> Any:
    return images


@pytest.fixture(scope="module")
def train(prepared: Prepared) -> SplitArrays:
    return load_split(prepared.folder, prepared.manifest, "train")


@pytest.fixture(scope="module", params=MODES.values(), ids=MODES.keys())
def batches(request: pytest.FixtureRequest, tf: Any, prepared: Prepared) -> Batches:
    made = Batches(prepared.folder, prepared.manifest, replace(SPEC, memory_bytes=request.param))
    assert made.in_memory == (request.param > 0)
    return made


def seen(data: Any) -> list[list[tuple[bytes, int]]]:
    """Batches of (image, label)."""
    found = []
    for images, targets, *_ in data:
        labels = targets.numpy().argmax(axis=1)
        found.append([(image.tobytes(), int(label)) for image, label in zip(images.numpy(), labels, strict=True)])
    return found


def epochs(batches: Batches, first: int, last: int) -> list[list[tuple[bytes, int]]]:
    """Samples of each epoch in order."""
    steps = seen(batches.training(first, last, unchanged))
    assert len(steps) == (last - first) * batches.steps_per_epoch
    assert {len(step) for step in steps} == {batches.spec.batch_size}
    size = batches.steps_per_epoch
    return [list(chain(*steps[start : start + size])) for start in range(0, len(steps), size)]


def test_images_tell_samples_apart(train: SplitArrays) -> None:
    assert len({image.tobytes() for image in train.images}) == len(train.ids)


def test_every_epoch_is_a_permutation_less_the_remainder(batches: Batches, train: SplitArrays) -> None:
    known = {image.tobytes(): int(label) for image, label in zip(train.images, train.labels, strict=True)}
    assert batches.steps_per_epoch == len(known) // 50
    for epoch in epochs(batches, 0, 3):
        assert len({image for image, _ in epoch}) == len(epoch) == batches.steps_per_epoch * 50
        assert all(known[image] == label for image, label in epoch)


def test_epochs_differ_in_order_and_no_sample_is_left_out_for_good(batches: Batches, train: SplitArrays) -> None:
    three = epochs(batches, 0, 6)
    assert len({tuple(epoch) for epoch in three}) == 6
    positions = {image: place for place, (image, _) in enumerate(three[0])}
    moved = [abs(positions[image] - place) for place, (image, _) in enumerate(three[1]) if image in positions]
    assert np.mean(moved) > len(three[0]) / 5  # a random permutation moves by a third
    assert len({image for epoch in three for image, _ in epoch}) == len(train.ids)


def test_a_restart_at_a_later_epoch_repeats_the_same_batches(batches: Batches) -> None:
    whole = epochs(batches, 0, 4)
    assert epochs(batches, 2, 4) == whole[2:]
    assert epochs(batches, 3, 4) == whole[3:]


@pytest.mark.parametrize("memory_bytes", MODES.values(), ids=MODES.keys())
def test_another_object_repeats_and_another_seed_does_not(prepared: Prepared, memory_bytes: float) -> None:
    def first_epoch(seed: int) -> list[tuple[bytes, int]]:
        spec = replace(SPEC, seed=seed, memory_bytes=memory_bytes)
        return epochs(Batches(prepared.folder, prepared.manifest, spec), 0, 1)[0]

    assert first_epoch(3) == first_epoch(3)
    assert first_epoch(3) != first_epoch(4)


@pytest.mark.parametrize("memory_bytes", MODES.values(), ids=MODES.keys())
def test_both_modes_see_the_same_samples(prepared: Prepared, train: SplitArrays, memory_bytes: float) -> None:
    """With a batch size that leaves no remainder the multiset is the training split itself."""
    count = len(train.ids)

    def made(size: int, memory: float) -> Batches:
        return Batches(prepared.folder, prepared.manifest, replace(SPEC, batch_size=size, memory_bytes=memory))

    size = next(n for n in range(count // 2, 0, -1) if n * made(n, 0).steps_per_epoch == count)
    batches = made(size, memory_bytes)
    expected = Counter((image.tobytes(), int(label)) for image, label in zip(train.images, train.labels, strict=True))
    assert Counter(epochs(batches, 0, 1)[0]) == expected


@pytest.mark.parametrize("memory_bytes", MODES.values(), ids=MODES.keys())
def test_each_sample_carries_the_weight_of_its_class(prepared: Prepared, memory_bytes: float) -> None:
    weights = tuple(0.5 + 0.25 * i for i in range(7))
    spec = replace(SPEC, balance="weights", class_weights=weights, memory_bytes=memory_bytes)
    for _, targets, sample_weights in Batches(prepared.folder, prepared.manifest, spec).training(0, 1, unchanged):
        assert targets.dtype == sample_weights.dtype == np.float32
        np.testing.assert_array_equal(sample_weights, np.float32(weights)[targets.numpy().argmax(axis=1)])


@pytest.mark.parametrize("balance", ["none", "sampling"])
def test_without_class_weights_there_are_none(prepared: Prepared, balance: str) -> None:
    spec = replace(SPEC, balance=balance, class_weights=tuple(0.5 + 0.25 * i for i in range(7)))
    batches = Batches(prepared.folder, prepared.manifest, spec)
    assert len(next(iter(batches.training(0, 1, unchanged)))) == 2


def test_targets_are_one_hot_over_all_classes(batches: Batches) -> None:
    _, targets = next(iter(batches.training(0, 1, unchanged)))
    assert targets.shape == (50, 7)
    np.testing.assert_array_equal(targets.numpy().sum(axis=1), 1)
    assert set(np.unique(targets)) == {0, 1}


def test_validation_comes_whole_and_in_order(batches: Batches, prepared: Prepared) -> None:
    split = load_split(prepared.folder, prepared.manifest, "validation")
    expected = [(image.tobytes(), int(label)) for image, label in zip(split.images, split.labels, strict=True)]
    validation = batches.validation()
    rows = list(chain(*seen(validation)))
    assert len(rows) == len(expected)
    if batches.in_memory:
        assert rows == expected
    assert sorted(rows) == sorted(expected)
    assert list(chain(*seen(validation))) == rows


def test_the_augmentation_sees_each_epoch_and_step_once(tf: Any, prepared: Prepared) -> None:
    """Seeds must differ, and be the same again after a restart."""

    def write_seed(images: Any, seed: Any) -> Any:
        return tf.bitcast(seed, tf.uint8)

    batches = Batches(prepared.folder, prepared.manifest, SPEC)
    seeds = [images.numpy().tobytes() for images, _ in batches.training(0, 3, write_seed)]
    assert len(set(seeds)) == len(seeds)
    later = [images.numpy().tobytes() for images, _ in batches.training(2, 3, write_seed)]
    assert later == seeds[2 * batches.steps_per_epoch :]


def test_debug_limit_cuts_an_epoch_short(prepared: Prepared) -> None:
    batches = Batches(prepared.folder, prepared.manifest, replace(SPEC, max_steps=2))
    assert batches.steps_per_epoch == 2
    assert [len(epoch) for epoch in epochs(batches, 0, 2)] == [100, 100]


def test_a_batch_larger_than_the_split_is_refused(prepared: Prepared) -> None:
    with pytest.raises(UserError, match=r"recipe\.batch_size=100000: larger than"):
        Batches(prepared.folder, prepared.manifest, replace(SPEC, batch_size=100_000))


@pytest.mark.parametrize("memory_bytes", MODES.values(), ids=MODES.keys())
def test_test_shards_are_not_touched(prepared: Prepared, tmp_path: Path, memory_bytes: float) -> None:
    for shard in prepared.manifest.shards:
        if shard.split != "test":
            (tmp_path / shard.name).symlink_to(prepared.folder / shard.name)
    batches = Batches(tmp_path, prepared.manifest, replace(SPEC, memory_bytes=memory_bytes))
    assert len(epochs(batches, 0, 1)[0]) == batches.steps_per_epoch * 50
    assert sum(len(step) for step in seen(batches.validation())) == sum(prepared.manifest.counts["validation"].values())
