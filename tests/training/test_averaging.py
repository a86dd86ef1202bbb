"""Averages of weights: the plain mean of epochs, the optimizer's moving average, and going on after a restart."""

import numpy as np
import pytest

from ferlab.training.averaging import Average, averaged_weights

MOMENTUM = 0.8


def epochs_of_weights(count):
    draw = np.random.default_rng(2)
    return [[draw.normal(size=(3, 2)).astype("float32"), draw.normal(size=2).astype("float32")] for _ in range(count)]


@pytest.fixture
def keras(tf):
    import keras

    keras.utils.set_random_seed(1)
    yield keras
    keras.config.set_dtype_policy("float32")


def test_every_epoch_has_the_same_part_in_the_mean():
    epochs = epochs_of_weights(7)
    average = Average()
    for weights in epochs:
        average.add(weights)
    assert average.count == 7
    for place, got in enumerate(average.weights()):
        assert got.dtype == np.float32
        np.testing.assert_allclose(got, np.mean([weights[place] for weights in epochs], axis=0), atol=1e-6)


def test_what_was_added_may_change_afterwards():
    weights = [np.ones(2, "float32")]
    average = Average()
    average.add(weights)
    weights[0] += 5
    np.testing.assert_array_equal(average.weights()[0], [1, 1])


def test_thousands_of_epochs_do_not_drift():
    average = Average()
    for number in range(20_000):
        average.add([np.full(1, 1e4 + number % 2, "float32")])
    assert average.weights()[0] == pytest.approx(1e4 + 0.5, abs=1e-3)


def test_it_goes_on_from_a_file_to_the_last_bit(tmp_path):
    epochs = epochs_of_weights(6)
    through, interrupted = Average(), Average()
    for weights in epochs:
        through.add(weights)
    for weights in epochs[:3]:
        interrupted.add(weights)
    np.savez(tmp_path / "average.npz", **interrupted.arrays())
    with np.load(tmp_path / "average.npz") as arrays:
        resumed = Average.from_arrays(arrays)
    for weights in epochs[3:]:
        resumed.add(weights)
    assert resumed.count == 6
    for got, wanted in zip(resumed.weights(), through.weights(), strict=True):
        np.testing.assert_array_equal(got, wanted)


def test_nothing_added_is_nothing_kept():
    assert Average().arrays() == {}
    resumed = Average.from_arrays({})
    assert resumed.count == 0
    assert resumed.weights() == []


def test_other_weights_are_refused():
    average = Average()
    average.add([np.zeros(2)])
    with pytest.raises(ValueError, match=r"shorter|longer"):
        average.add([np.zeros(2), np.zeros(3)])


@pytest.mark.parametrize("scaled", [False, True])
def test_the_moving_average_is_the_one_of_the_weights_seen_after_each_step(keras, scaled):
    inputs = keras.Input((3,))
    x = keras.layers.BatchNormalization(momentum=0.5)(keras.layers.Dense(4, use_bias=False)(inputs))
    frozen = keras.layers.Dense(2, trainable=False)
    model = keras.Model(inputs, keras.layers.Dense(2)(frozen(x)))
    optimizer = keras.optimizers.SGD(0.1, use_ema=True, ema_momentum=MOMENTUM)
    if scaled:
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    model.compile(optimizer, loss="mse", jit_compile=False)
    draw = np.random.default_rng(5)
    expected: list[np.ndarray] = []
    for step in range(4):
        batch = draw.normal(size=(8, 3)).astype("float32"), draw.normal(size=(8, 2)).astype("float32")
        model.train_on_batch(*batch)
        seen = [variable.numpy() for variable in model.trainable_variables]
        expected = [MOMENTUM * old + (1 - MOMENTUM) * new for old, new in zip(expected or seen, seen, strict=True)]
        assert int(model.optimizer.iterations) == step + 1
    before = model.get_weights()
    averaged = averaged_weights(model)
    by_path = dict(zip((variable.path for variable in model.weights), averaged, strict=True))
    for variable, wanted in zip(model.trainable_variables, expected, strict=True):
        np.testing.assert_allclose(by_path[variable.path], wanted, atol=1e-6)
        assert not np.allclose(by_path[variable.path], variable.numpy(), atol=1e-4)
    for variable in model.non_trainable_variables:
        np.testing.assert_array_equal(by_path[variable.path], variable.numpy())
    for now, then in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(now, then)
    averaged[0][:] = 7
    assert not np.any(averaged_weights(model)[0] == 7)
