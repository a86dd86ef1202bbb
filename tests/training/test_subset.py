"""A share keeps every class's share; a few batches are the ones that are validated; what is streamed loses shards."""

from typing import Any

import numpy as np
import pytest

from ferlab.config.nodes import Debug
from ferlab.preparation.prepare import Prepared
from ferlab.records.load import load_split
from ferlab.training.inputs import BatchSpec, MemoryBatches, ShardBatches
from ferlab.training.subset import samples_left, wanted_data

ALL_IN_MEMORY, ALL_STREAMED = 1e9, 1e3


def spec(batch_size: int = 16, memory: float = ALL_IN_MEMORY, repeats: int = 1, balance: str = "none") -> BatchSpec:
    return BatchSpec(batch_size, 0, balance, (1.0,) * 7, 0, memory, repeats=repeats)


def data(prepared: Prepared, debug: Debug, **settings: Any) -> Any:
    return wanted_data(prepared.folder, prepared.manifest, spec(**settings), debug)


def counts(labels: np.ndarray) -> list[int]:
    return np.bincount(labels, minlength=7).tolist()


def test_without_a_limit_all_is_taken(prepared: Prepared) -> None:
    found = data(prepared, Debug("none"))
    assert found.train.count == sum(prepared.manifest.counts["train"].values())


@pytest.mark.parametrize("share", [0.05, 0.1, 0.5, 0.99])
def test_every_class_keeps_its_share(prepared: Prepared, share: float) -> None:
    found = data(prepared, Debug("limit", share=share))
    for labels, split in ((found.train.known.labels, "train"), (found.validation.known.labels, "validation")):
        whole = prepared.manifest.counts[split]
        wanted = [int(np.ceil(share * whole[name])) for name in prepared.manifest.classes]
        # shards hold random samples, so a class may have fewer in those that were read
        assert all(got <= want for got, want in zip(counts(labels), wanted, strict=True))
        assert sum(counts(labels)) >= 0.9 * share * sum(whole.values())
    assert found.manifest.digest == prepared.manifest.digest
    assert found.train.count >= samples_left(prepared.manifest, share) * 0.9


def test_the_images_of_a_share_belong_to_their_labels(prepared: Prepared) -> None:
    found = data(prepared, Debug("limit", share=0.2))
    whole = load_split(prepared.folder, prepared.manifest, "train")
    label_of = {image.tobytes(): label for image, label in zip(whole.images, whole.labels, strict=True)}
    for image, label in zip(found.train.copies[0], found.train.known.labels, strict=True):
        assert label_of[image.tobytes()] == label


def test_a_share_of_streamed_shards_is_fewer_shards(prepared: Prepared) -> None:
    found = data(prepared, Debug("limit", share=0.25), memory=ALL_STREAMED)
    assert isinstance(found.train, ShardBatches)
    assert len(found.train.own) == 5  # a quarter of 16, and one more
    assert len(found.validation.known) == sum(len(block) for block in found.validation.batches())
    assert len(found.validation.known) < sum(prepared.manifest.counts["validation"].values()) / 2
    assert sum(len(images) for images, _ in found.train.epoch(0, None)) <= found.train.count


def test_a_few_batches_are_trained_on_and_validated_on(prepared: Prepared) -> None:
    for memory in (ALL_IN_MEMORY, ALL_STREAMED):
        found = data(prepared, Debug("overfit", batches=3, repeats=4), memory=memory, repeats=4)
        assert isinstance(found.train, MemoryBatches)
        assert found.train.count == 48
        np.testing.assert_array_equal(np.concatenate(list(found.validation.batches())), found.train.copies[0])
        np.testing.assert_array_equal(found.validation.known.labels, found.train.known.labels)
        shown = np.concatenate([images for images, _ in found.train.epoch(0, None)])
        assert found.train.steps_per_epoch == 12
        times = {image.tobytes(): 0 for image in found.train.copies[0]}
        for image in shown:
            times[image.tobytes()] += 1
        assert set(times.values()) == {4}, "each of them four times an epoch"


def test_fewer_images_than_the_batches_ask_for_are_all_taken(prepared: Prepared) -> None:
    found = data(prepared, Debug("overfit", batches=1000))
    assert found.train.count == sum(prepared.manifest.counts["train"].values())


@pytest.mark.parametrize(
    ("debug", "level"),
    [
        (Debug("none"), ""),
        (Debug("fast", max_steps=2), "fast"),
        (Debug("none", share=0.5), "custom"),
        (Debug("none", max_epochs=1), "custom"),
        (Debug("none", batches=1), "custom"),
        (Debug("none", pretrained=False), "custom"),
    ],
)
def test_limits_without_a_name_are_a_level_too(debug: Debug, level: str) -> None:
    assert debug.level == level
