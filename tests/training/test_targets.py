"""What counts for a sample follows its pixels: class weights mix with the share that its target has."""

from dataclasses import replace

import numpy as np
import pytest

from ferlab.config.nodes import Augment
from ferlab.models.catalog import AFFECT, PROBABILITIES
from ferlab.preparation.prepare import Prepared
from ferlab.records.load import Annotations
from ferlab.training.augmentation import changer
from ferlab.training.targets import Targets

WEIGHTS = tuple(0.5 + 0.75 * i for i in range(7))
COUNT = 60


@pytest.fixture
def known(prepared: Prepared) -> Annotations:
    made = Annotations.room_for(COUNT, prepared.manifest)
    made.labels[:] = np.arange(COUNT) % 7
    made.affect[:] = np.random.default_rng(1).uniform(-1, 1, (COUNT, 2))
    made.affect[::5] = np.nan
    return made


def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (COUNT, 16, 16, 1), dtype=np.uint8)


@pytest.mark.parametrize("affect", [False, True])
@pytest.mark.parametrize("mix", [{"mixup": 1.0}, {"cutmix": 1.0}], ids=["mixup", "cutmix"])
def test_class_weights_mix_with_the_share_of_their_targets(
    prepared: Prepared, known: Annotations, mix: dict[str, float], affect: bool
) -> None:
    change = changer(replace(Augment("mix"), **mix))
    _, targets, weights = Targets(prepared.manifest, WEIGHTS, affect).batch(
        images(), known, change, np.random.default_rng(2)
    )
    shares = targets[PROBABILITIES] if affect else targets
    assert (shares.max(axis=1) < 0.99).sum() > COUNT / 3
    np.testing.assert_allclose(weights, shares @ np.float32(WEIGHTS), rtol=1e-5)
    assert weights.dtype == np.float32


def test_every_column_goes_to_its_own_place(prepared: Prepared, known: Annotations) -> None:
    inputs, targets, weights = Targets(prepared.manifest, WEIGHTS, affect=True).batch(
        images(), known, None, np.random.default_rng(2)
    )
    np.testing.assert_array_equal(inputs, images())
    np.testing.assert_array_equal(targets[PROBABILITIES], np.eye(7)[known.labels])
    np.testing.assert_array_equal(targets[AFFECT], known.affect)
    np.testing.assert_array_equal(weights, np.float32(WEIGHTS)[known.labels])


def test_pixels_of_a_seed_are_the_same_with_and_without_weights(prepared: Prepared, known: Annotations) -> None:
    change = changer(replace(Augment("mix"), mixup=0.4, flip=True))
    found = [
        Targets(prepared.manifest, weights, affect=False).batch(images(), known, change, np.random.default_rng(2))[:2]
        for weights in (None, WEIGHTS)
    ]
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)
