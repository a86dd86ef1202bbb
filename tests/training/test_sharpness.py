"""Sharpness-aware minimisation: its step against the formula worked by hand, and what it must leave alone."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ferlab.errors import UserError
from ferlab.training.sharpness import sharpness_aware

SCRIPT = Path(__file__).with_name("sharp_step.py")


def linear_model(keras):
    inputs = keras.Input((3,))
    return keras.Model(inputs, keras.layers.Dense(1)(inputs))


def image_model(keras, dropout=0.0, activity=0.0):
    inputs = keras.Input((6, 6, 1), dtype="uint8")
    x = keras.layers.Rescaling(1 / 255)(inputs)
    x = keras.layers.Conv2D(4, 3, kernel_regularizer=keras.regularizers.L2(0.01))(x)
    x = keras.layers.BatchNormalization(momentum=0.5)(x)
    regularizer = keras.regularizers.L2(activity) if activity else None  # Keras cannot mix its dtype with float32
    x = keras.layers.Activation("relu", activity_regularizer=regularizer)(x)
    x = keras.layers.Dropout(dropout, seed=3)(keras.layers.GlobalAveragePooling2D()(x))
    return keras.Model(inputs, keras.layers.Dense(3, activation="softmax", dtype="float32")(x))


def image_batches(count, rows=8):
    draw = np.random.default_rng(9)
    for _ in range(count):
        images = draw.integers(0, 256, size=(rows, 6, 6, 1), dtype=np.uint8)
        yield images, np.eye(3, dtype="float32")[draw.integers(0, 3, rows)], np.ones(rows, "float32")


@pytest.fixture
def keras(tf):
    import keras

    keras.utils.set_random_seed(1)
    yield keras
    keras.config.set_dtype_policy("float32")


@pytest.mark.parametrize("jit_compile", [False, True])
def test_a_step_is_the_formula_worked_by_hand(jit_compile):
    done = subprocess.run(
        [sys.executable, str(SCRIPT), json.dumps({"jit_compile": jit_compile})],
        env=os.environ | {"KERAS_BACKEND": "tensorflow"}, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    outcome = json.loads(done.stdout.splitlines()[-1])
    for got, wanted in zip(outcome["weights"], outcome["weights_by_hand"], strict=True):
        np.testing.assert_allclose(got, wanted, atol=1e-5)
    assert outcome["loss"] == pytest.approx(outcome["loss_by_hand"], abs=1e-5)


def test_without_a_neighbourhood_it_is_the_plain_step_with_every_layer_and_regularizer(keras):
    plain = image_model(keras, dropout=0.5, activity=0.01)
    sharp = keras.models.clone_model(plain)
    sharp.set_weights(plain.get_weights())
    trainer = sharpness_aware(sharp, 1e-9)
    for model in (plain, trainer):
        model.compile(
            keras.optimizers.SGD(0.5, momentum=0.9), loss="categorical_crossentropy", metrics=["accuracy"],
            jit_compile=False,
        )  # fmt: skip
    wanted = plain.fit(image_batches(6), epochs=2, steps_per_epoch=3, shuffle=False, verbose=0).history
    got = trainer.fit(image_batches(6), epochs=2, steps_per_epoch=3, shuffle=False, verbose=0).history
    for name in ("loss", "accuracy"):
        np.testing.assert_allclose(got[name], wanted[name], atol=1e-5)
    for mine, theirs in zip(sharp.get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-5)


def test_moving_averages_see_the_first_pass_only(keras):
    plain = image_model(keras)
    sharp = keras.models.clone_model(plain)
    sharp.set_weights(plain.get_weights())
    trainer = sharpness_aware(sharp, 2.0)
    for model in (plain, trainer):
        model.compile(keras.optimizers.SGD(0.1), loss="categorical_crossentropy", jit_compile=False)
        model.fit(image_batches(1), epochs=1, steps_per_epoch=1, shuffle=False, verbose=0)
    for mine, theirs in zip(sharp.non_trainable_weights, plain.non_trainable_weights, strict=True):
        np.testing.assert_allclose(mine.numpy(), theirs.numpy(), atol=1e-6)
    assert not np.allclose(sharp.get_weights()[0], plain.get_weights()[0], atol=1e-6)


def test_several_steps_in_one_execution_are_the_same_steps(keras):
    first = image_model(keras)
    second = keras.models.clone_model(first)
    second.set_weights(first.get_weights())
    for model, steps in ((first, 1), (second, 3)):
        trainer = sharpness_aware(model, 0.1)
        trainer.compile(
            keras.optimizers.SGD(0.2), loss="categorical_crossentropy", steps_per_execution=steps, jit_compile=False
        )
        trainer.fit(image_batches(6), epochs=1, steps_per_epoch=6, shuffle=False, verbose=0)
        assert int(trainer.optimizer.iterations) == 6
    for one, other in zip(first.get_weights(), second.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_follows_float32(keras, policy):
    exact = image_model(keras)
    keras.config.set_dtype_policy(policy)
    mixed = image_model(keras)
    mixed.set_weights(exact.get_weights())
    start = [weight.copy() for weight in exact.get_weights()]
    for model in (exact, mixed):
        trainer = sharpness_aware(model, 0.1)
        optimizer = keras.optimizers.SGD(0.2)
        if policy == "mixed_float16" and model is mixed:
            optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
        trainer.compile(optimizer, loss="categorical_crossentropy", jit_compile=False)
        trainer.fit(image_batches(3), epochs=1, steps_per_epoch=3, shuffle=False, verbose=0)
    moved = [np.abs(end - begin).max() for end, begin in zip(exact.get_weights(), start, strict=True)]
    for one, other, step in zip(exact.get_weights(), mixed.get_weights(), moved, strict=True):
        assert one.dtype == other.dtype == np.float32
        assert np.abs(one - other).max() <= 0.1 * step + 1e-4


def test_frozen_layers_stay_and_the_trained_model_saves_without_us(keras, tmp_path):
    model = image_model(keras)
    model.layers[2].trainable = False
    frozen = model.layers[2].get_weights()
    trainer = sharpness_aware(model, 0.1)
    trainer.compile(keras.optimizers.SGD(0.2), loss="categorical_crossentropy", jit_compile=False)
    head = model.layers[-1].get_weights()
    trainer.fit(image_batches(2), epochs=1, steps_per_epoch=2, shuffle=False, verbose=0)
    for before, after in zip(frozen, model.layers[2].get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)
    assert not np.allclose(head[0], model.layers[-1].get_weights()[0])
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    ((images, _, _),) = image_batches(1)
    np.testing.assert_allclose(again.predict(images, verbose=0), trainer.predict(images, verbose=0), atol=1e-6)


def test_several_named_outputs_keep_their_losses(keras):
    inputs = keras.Input((3,))
    outputs = {name: keras.layers.Dense(1, name=name)(inputs) for name in ("valence", "arousal")}
    trainer = sharpness_aware(keras.Model(inputs, outputs), 0.1)
    trainer.compile(keras.optimizers.SGD(0.1), loss={"valence": "mse", "arousal": "mae"}, jit_compile=False)
    draw = np.random.default_rng(4)
    x, y = draw.normal(size=(8, 3)).astype("float32"), draw.normal(size=(8, 1)).astype("float32")
    logs = [trainer.train_on_batch(x, {"valence": y, "arousal": y}, return_dict=True) for _ in range(10)]
    assert logs[-1]["loss"] < logs[0]["loss"]
    assert set(logs[0]) == {"loss", "valence_loss", "arousal_loss"}


@pytest.mark.parametrize("rho", [0.0, -1.0, float("nan")])
def test_a_radius_of_nothing_is_refused(keras, rho):
    with pytest.raises(UserError, match="above 0"):
        sharpness_aware(linear_model(keras), rho)
