"""Schedules at their corners, and weight decay where it belongs."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from ferlab.training.optimization import PhaseSpec, learning_rate, optimizer

PHASE = PhaseSpec("all", 10, 0.01, "adamw", "cosine", 0.2, 0.0, 1.0)
STEPS = 200


@pytest.fixture(scope="module", autouse=True)
def _tensorflow(tf: Any) -> None:
    """Imported once."""


def rates(phase: PhaseSpec, steps: int = STEPS) -> np.ndarray:
    """The rate at every step, the one after the last included."""
    made = learning_rate(phase, steps)
    return np.array([float(made(step)) if callable(made) else made for step in range(steps + 1)])


def test_constant_is_constant() -> None:
    assert set(rates(replace(PHASE, schedule="constant"))) == {0.01}


@pytest.mark.parametrize("schedule", ["cosine", "onecycle"])
def test_warm_up_rises_to_the_full_rate_and_the_end_is_zero(schedule: str) -> None:
    found = rates(replace(PHASE, schedule=schedule))
    assert 0 < found[0] <= 0.1 * 0.01
    assert found[40] == pytest.approx(0.01, rel=1e-4)
    assert found.max() == pytest.approx(0.01, rel=1e-4)
    assert (np.diff(found[:41]) > 0).all()
    assert (np.diff(found[40:]) < 0).all()
    assert found[-1] < 1e-3 * 0.01


def test_half_way_down_the_cosine_is_half_the_rate() -> None:
    assert rates(PHASE)[40 + 80] == pytest.approx(0.005, rel=1e-3)


@pytest.mark.parametrize("steps", [1, 2, 7])
@pytest.mark.parametrize("warmup", [0.0, 0.1, 0.9])
def test_a_few_steps_are_enough(steps: int, warmup: float) -> None:
    found = rates(replace(PHASE, warmup=warmup), steps)[:steps]
    assert np.isfinite(found).all()
    assert (found > 0).all()
    assert found.max() <= 0.01 * (1 + 1e-6)


def test_without_warm_up_it_starts_at_the_full_rate() -> None:
    assert rates(replace(PHASE, warmup=0.0))[0] == pytest.approx(0.01)


@pytest.mark.parametrize("kind", ["sgd", "adamw"])
def test_weight_decay_shrinks_kernels_and_spares_biases_and_normalisation(kind: str) -> None:
    import keras

    model = keras.Sequential(
        [keras.Input((6, 6, 1)), keras.layers.Conv2D(3, 3), keras.layers.BatchNormalization(), keras.layers.Flatten(),
         keras.layers.Dense(2)]
    )  # fmt: skip
    for weight in model.trainable_variables:
        weight.assign(np.ones(weight.shape, np.float32))
    phase = replace(PHASE, optimizer=kind, schedule="constant", learning_rate=0.1, weight_decay=0.5)
    made = optimizer(phase, STEPS)
    made.build(model.trainable_variables)
    made.apply([np.zeros(weight.shape, np.float32) for weight in model.trainable_variables])
    for weight in model.trainable_variables:
        expected = 1 - 0.1 * 0.5 if weight.name == "kernel" else 1
        np.testing.assert_allclose(weight.numpy(), expected, atol=1e-6, err_msg=weight.path)


@pytest.mark.parametrize(("kind", "rate"), [("sgd", 0.5), ("adam", 0.05), ("adamw", 0.05)])
def test_every_optimizer_finds_the_minimum_of_a_bowl(kind: str, rate: float) -> None:
    import keras

    place = keras.Variable(np.array([3.0, -2.0], np.float32))
    made = optimizer(replace(PHASE, optimizer=kind, learning_rate=rate, warmup=0.1), 400)
    made.build([place])
    for _ in range(400):
        made.apply([0.2 * place.numpy()])
    np.testing.assert_allclose(place.numpy(), 0, atol=0.02)


def test_an_optimizer_with_its_schedule_loads_without_ferlab(tmp_path: Any) -> None:
    import keras

    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    model.compile(optimizer(PHASE, STEPS), "mse", jit_compile=False)
    model.train_on_batch(np.ones((4, 3)), np.zeros((4, 2)))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert type(loaded.optimizer.get_config()["learning_rate"]) is dict
    assert type(loaded.optimizer).__module__.startswith("keras.")
    assert float(loaded.optimizer.learning_rate) == float(model.optimizer.learning_rate)
