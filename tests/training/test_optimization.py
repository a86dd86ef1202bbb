"""Schedules at their corners, weight decay where it belongs, averages of weights as their formula says."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from ferlab.config.nodes import Augment, Phase, Recipe
from ferlab.training.checkpoint import Progress
from ferlab.training.fit import advance
from ferlab.training.optimization import epoch_rate, learning_rate, optimizer
from ferlab.training.phases import FitSpec

PHASE = Phase("all", 10, 0.01, optimizer="adamw", schedule="cosine", warmup=0.2)
STEPS = 200


@pytest.fixture(scope="module", autouse=True)
def _tensorflow(tf: Any) -> None:
    """Imported once."""


def rates(phase: Phase, steps: int = STEPS) -> np.ndarray:
    """The rate at every step, the one after the last included."""
    made = learning_rate(phase, steps)
    return np.array([float(made(step)) if callable(made) else made for step in range(steps + 1)])


def test_constant_is_constant() -> None:
    assert set(rates(replace(PHASE, schedule="constant"))) == {0.01}


def test_warm_up_rises_to_the_full_rate_and_the_end_is_zero() -> None:
    found = rates(PHASE)
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


@pytest.mark.parametrize(("kind", "rate"), [("sgd", 0.5), ("adam", 0.1), ("adamw", 0.1)])
def test_every_optimizer_finds_the_minimum_of_a_bowl(kind: str, rate: float) -> None:
    import keras

    place = keras.Variable(np.array([3.0, -2.0], np.float32))
    made = optimizer(replace(PHASE, optimizer=kind, learning_rate=rate, warmup=0.1), 200)
    made.build([place])
    for _ in range(200):
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


def trained_by_hand(made: Any, gradients: list[np.ndarray]) -> list[np.ndarray]:
    """Where a variable of two numbers is after each step."""
    import keras

    place = keras.Variable(np.array([3.0, -2.0], np.float32))
    made.build([place])
    places = []
    for gradient in gradients:
        made.apply([gradient])
        places.append(place.numpy().copy())
    return places


def test_ema_is_the_moving_average_of_the_places_after_each_step() -> None:
    """It starts from the first step's weights and changes nothing of the training itself."""
    gradients = [np.float32([1.0, -0.5]), np.float32([0.2, 0.3]), np.float32([-1.0, 2.0])]
    phase = replace(PHASE, schedule="constant", learning_rate=0.1)
    averaging = optimizer(phase, STEPS, ema=0.75)
    places = trained_by_hand(averaging, gradients)
    np.testing.assert_array_equal(places, trained_by_hand(optimizer(phase, STEPS), gradients))
    expected = places[0]
    for place in places[1:]:
        expected = 0.75 * expected + 0.25 * place
    (average,) = averaging._model_variables_moving_average
    np.testing.assert_allclose(average.numpy(), expected, rtol=1e-5)


def test_long_gradients_are_clipped_and_short_ones_are_not() -> None:
    phase = replace(PHASE, optimizer="sgd", schedule="constant", learning_rate=1.0)
    # 1.9 is the first step of Nesterov's momentum 0.9
    for gradient, expected in (([30.0, 40.0], [0.6, 0.8]), ([0.3, 0.4], [0.3, 0.4])):
        (place,) = trained_by_hand(optimizer(replace(phase, clip_norm=1.0), STEPS), [np.float32(gradient)])
        np.testing.assert_allclose([3.0, -2.0] - place, 1.9 * np.float32(expected), rtol=1e-5)
    (place,) = trained_by_hand(optimizer(phase, STEPS), [np.float32([30.0, 40.0])])
    np.testing.assert_allclose([3.0, -2.0] - place, 1.9 * np.float32([30.0, 40.0]), rtol=1e-5)


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_only_a_plateau_sets_the_rate_epoch_by_epoch(schedule: str) -> None:
    assert epoch_rate(replace(PHASE, schedule=schedule), 10, 3, 0.5) is None


def test_a_plateau_warms_up_by_epochs_and_follows_its_factor() -> None:
    phase = replace(PHASE, schedule="plateau", epochs=20, warmup=0.2)
    found = [epoch_rate(phase, phase.epochs, epoch, 1.0) for epoch in range(6)]
    assert found == pytest.approx([0.0025, 0.005, 0.0075, 0.01, 0.01, 0.01])
    assert epoch_rate(phase, phase.epochs, 10, 0.25) == pytest.approx(0.0025)
    assert epoch_rate(replace(phase, warmup=0.0), 10, 0, 1.0) == 0.01


def test_a_plateau_lowers_the_rate_when_its_patience_is_over() -> None:
    """Validation accuracies of twelve epochs, and the rate that each was trained with, by hand for patience 2."""
    accuracies = [0.2, 0.3, 0.3, 0.3, 0.3, 0.4, 0.4, 0.4, 0.4, 0.4, 0.5, 0.4]
    expected = [1.0, 1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.5, 0.25, 0.25, 0.125, 0.125]
    phase = Phase("all", 12, 1.0, schedule="plateau", plateau_patience=2, plateau_factor=0.5)
    spec = FitSpec(Recipe("r", phases=[phase]), Augment("none"), 0, True)
    progress, rates, best = Progress(), [], []
    for accuracy in accuracies:
        rates.append(epoch_rate(phase, phase.epochs, progress.phase_epoch, progress.rate_factor))
        best.append(advance(progress, phase, {"val_accuracy": accuracy, "val_loss": 1.0}, spec))
    assert rates == expected
    assert [number for number, is_best in enumerate(best, start=1) if is_best] == [1, 2, 6, 11]
    assert progress.phase_done
    assert (progress.best_epoch, progress.waited) == (11, 1)


def test_of_equal_accuracies_the_lower_loss_is_better() -> None:
    phase = Phase("all", 9, 1.0)
    spec, progress = FitSpec(Recipe("r", phases=[phase]), Augment("none"), 0, True), Progress()
    losses = [1.0, 0.9, 0.9, 1.1]
    found = [advance(progress, phase, {"val_accuracy": 0.5, "val_loss": loss}, spec) for loss in losses]
    assert found == [True, True, False, False]
    assert (progress.best_epoch, progress.waited, progress.best_loss) == (2, 2, 0.9)
    assert not progress.phase_done
