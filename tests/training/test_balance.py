"""Balanced sampling: classes of very unequal size are shown equally often, and no sample is forgotten."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from itertools import chain
from pathlib import Path

import numpy as np
import pytest

from ferlab.manifest import Manifest, Shard
from ferlab.records.example import encode_example
from ferlab.records.tfrecord import ShardWriter
from ferlab.training import inputs
from ferlab.training.inputs import BatchSpec, MemoryBatches, ShardBatches, training_data

COUNTS = {"often": 1200, "now and then": 240, "never": 0, "rarely": 60}
CLASSES, PRESENT, TOTAL = tuple(COUNTS), 3, 1500
SIDE_PX, SHARDS = 16, 5
SPEC = BatchSpec(batch_size=50, seed=3, balance="sampling", class_weights=(1.0,) * 4, max_steps=0, memory_bytes=1e9)
MODES = {"memory": (1e9, 4096), "shards": (0, 4096), "shards larger than the buffer": (0, 200)}

Epoch = list[tuple[int, int]]
"""Number and label of every sample shown, in order."""


@pytest.fixture(scope="module")
def labels() -> np.ndarray:
    ordered = np.repeat(np.arange(len(CLASSES)), list(COUNTS.values()))
    return np.random.default_rng(0).permutation(ordered)


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory, labels: np.ndarray) -> tuple[Path, Manifest]:
    """1500 raw images, the first pixels of each spell its number."""
    folder = tmp_path_factory.mktemp("unequal")
    shards = []
    parts = {f"train-{number}": range(number, TOTAL, SHARDS) for number in range(SHARDS)} | {"validation": range(1)}
    for name, members in parts.items():
        with ShardWriter(folder / name) as writer:
            for i in members:
                image = i.to_bytes(SIDE_PX**2, "little")
                writer.write(encode_example({"id": str(i).encode(), "image": image, "label": [int(labels[i])]}))
        shards.append(Shard(name, name.partition("-")[0], len(members), writer.bytes, writer.sha256))
    manifest = Manifest(
        dataset="d", protocol="d/p", taxonomy="t", classes=CLASSES, size_px=SIDE_PX, colour="gray", encoding="raw",
        margin=0.0, align=False, targets="majority", has_votes=False, weighting="none",
        counts={"train": COUNTS, "validation": dict.fromkeys(CLASSES, 0)},
        class_weights=dict.fromkeys(CLASSES, 1.0), shards=tuple(shards), rejected={}, excluded={}, policy={},
        twins=None, verdict="", alarms=(), digest="", request_key="", code_version="",
    )  # fmt: skip
    return folder, manifest


@pytest.fixture(params=MODES.values(), ids=MODES.keys())
def make(
    request: pytest.FixtureRequest, stored: tuple[Path, Manifest], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., MemoryBatches | ShardBatches]:
    memory_bytes, buffer = request.param
    monkeypatch.setattr(inputs, "SHUFFLE_BUFFER", buffer)
    return lambda **changes: training_data(*stored, replace(SPEC, memory_bytes=memory_bytes, **changes)).train


def shown(batches: MemoryBatches | ShardBatches, first: int, last: int) -> list[Epoch]:
    epochs = []
    for epoch in range(first, last):
        steps = list(batches.epoch(epoch, lambda images, targets, rng: (images, targets)))
        assert [len(images) for images, _ in steps] == [batches.spec.own_size] * batches.steps_per_epoch
        samples = [(image, int(target.argmax())) for step in steps for image, target in zip(*step, strict=True)]
        epochs.append([(int.from_bytes(image.tobytes(), "little"), label) for image, label in samples])
    return epochs


def numbers(epoch: Epoch) -> list[int]:
    return [number for number, _ in epoch]


def test_every_class_is_shown_equally_often_within_sampling_error(make, labels):
    """Four standard errors of an honest draw, for single epochs and for their mean; absent classes take no share."""
    epochs = shown(make(), 0, 8)
    found = np.array([[Counter(label for _, label in epoch)[position] for position in (0, 1, 3)] for epoch in epochs])
    size = found[0].sum()
    error = np.sqrt(size * (1 / PRESENT) * (1 - 1 / PRESENT))
    np.testing.assert_allclose(found, size / PRESENT, atol=4 * error)
    np.testing.assert_allclose(found.mean(axis=0), size / PRESENT, atol=4 * error / np.sqrt(len(epochs)))


def test_without_balance_classes_are_shown_as_often_as_they_occur(make):
    (epoch,) = shown(make(balance="none"), 0, 1)
    assert Counter(label for _, label in epoch) == {0: 1200, 1: 240, 3: 60}


def test_every_image_comes_with_its_own_label_in_epochs_of_the_usual_length(make, labels):
    batches = make()
    assert batches.steps_per_epoch == make(balance="none").steps_per_epoch == TOTAL // 50
    for number, label in chain(*shown(batches, 0, 2)):
        assert labels[number] == label


def test_no_sample_is_forgotten_for_good(make):
    """A sample of the large class is left out of an epoch with probability 0.58, out of 30 with 1e-7."""
    epochs = shown(make(), 0, 30)
    seen = set(chain.from_iterable(numbers(epoch) for epoch in epochs))
    assert seen == set(range(TOTAL))
    often = Counter(chain.from_iterable(numbers(epoch) for epoch in epochs))
    assert max(often.values()) < 15 * 30


def test_rare_samples_are_repeated_evenly_in_every_epoch(make, labels):
    """60 samples for 500 places: 8 or 9 times each, less what the end of an epoch cuts off or starts over."""
    for epoch in shown(make(), 0, 3):
        times = Counter(numbers(epoch))
        rare = [times[number] for number in np.flatnonzero(labels == 3).tolist()]
        assert 8 <= np.mean(rare) <= 9
        assert min(rare) >= 4
        assert max(rare) <= 13


def test_epochs_differ_in_what_they_show_of_the_large_class(make, labels):
    frequent = set(np.flatnonzero(labels == 0).tolist())
    epochs = [frequent & set(numbers(epoch)) for epoch in shown(make(), 0, 3)]
    for one, other in ((0, 1), (1, 2), (0, 2)):
        # two independent draws of 5 in 12 have a quarter of their union in common
        assert 0.15 < len(epochs[one] & epochs[other]) / len(epochs[one] | epochs[other]) < 0.4


def test_seed_and_epoch_decide_what_is_shown(make):
    whole = shown(make(), 0, 4)
    assert shown(make(), 0, 4) == whole
    assert shown(make(), 2, 4) == whole[2:]
    assert sorted(shown(make(seed=4), 0, 1)[0]) != sorted(whole[0])


def test_a_debug_limit_cuts_a_balanced_epoch_short(make):
    batches = make(max_steps=3)
    assert [len(epoch) for epoch in shown(batches, 0, 2)] == [150, 150]


def test_all_processes_together_show_every_class_equally_often(make, labels):
    """From memory they share the batches of one process; streamed, each balances its own shards."""
    epochs = [shown(make(processes=2, process=process), 0, 4) for process in (0, 1)]
    together = Counter(label for process in epochs for epoch in process for _, label in epoch)
    size = sum(together.values())
    assert size == 4 * 50 * make(processes=2).steps_per_epoch
    for label in (0, 1, 3):
        assert together[label] == pytest.approx(size / PRESENT, abs=4 * np.sqrt(size * 2 / 9))
