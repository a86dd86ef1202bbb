"""Gradients of filters over small maps: equal to Keras's own, where they are taken and where not."""

import keras
import numpy as np
import pytest
from keras import layers

from ferlab.models.catalog import CPU, CPU_BF16, GPU
from ferlab.training.precision import precision_policy
from ferlab.training.small_maps import convolved, quicken_small_maps

BFLOAT16 = "mixed_bfloat16"


def network(policy: str, side: int = 6, **options):
    """A convolution with a bias between two others, on maps of ``side`` x ``side``."""
    keras.utils.set_random_seed(3)
    with precision_policy(policy):
        image = keras.Input((side, side, 3))
        x = layers.Conv2D(8, 1, activation="relu")(image)
        x = layers.Conv2D(**{"filters": 6, "kernel_size": 3, "padding": "same", "name": "looked_at"} | options)(x)
        x = layers.Conv2D(4, 1, activation="relu")(x)
        return keras.Model(image, layers.Dense(2, dtype="float32")(layers.Flatten()(x)))


def gradients(model, images):
    """Of the sum of squares of the answers, by every weight; the answers in front."""
    import tensorflow as tf

    with tf.GradientTape() as tape:
        answers = model(images, training=True)
        loss = tf.reduce_sum(answers**2)
    return [answers.numpy(), *(found.numpy() for found in tape.gradient(loss, model.trainable_variables))]


@pytest.fixture
def images():
    return np.random.default_rng(0).normal(size=(16, 6, 6, 3)).astype(np.float32)


@pytest.mark.parametrize("kernel", [(3, 3), (5, 3)])
def test_gradients_are_those_of_the_operation_itself(images, kernel):
    import tensorflow as tf

    rng = np.random.default_rng(1)
    filters = tf.constant(rng.normal(size=(*kernel, 3, 7)), "float32")
    wanted = tf.constant(rng.normal(size=(16, 6, 6, 7)), "float32")

    def found(operation):
        maps = tf.constant(images)
        with tf.GradientTape() as tape:
            tape.watch([maps, filters])
            answers = operation(maps, filters)
            loss = tf.reduce_sum((answers - wanted) ** 2)
        return [answers, *tape.gradient(loss, [maps, filters])]

    own = found(lambda maps, filters: keras.ops.conv(maps, filters, padding="same"))
    for mine, theirs in zip(found(convolved), own, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-3)


def test_in_bfloat16_they_are_as_near_to_float32_as_the_layers(images):
    exact, model = gradients(network("float32"), images), network(BFLOAT16)
    own = gradients(model, images)
    assert quicken_small_maps(model, CPU_BF16) == 1
    mine = gradients(model, images)
    np.testing.assert_array_equal(mine[0], own[0])
    for place, theirs in enumerate(exact):
        off, before = (np.abs(one[place] - theirs).max() for one in (mine, own))
        assert off <= 1.5 * before + 1e-3 * np.abs(theirs).max()


@pytest.mark.parametrize(
    ("policy", "side", "options", "expected"),
    [
        (BFLOAT16, 6, {}, 1),
        (BFLOAT16, 6, {"dtype": "float32"}, 0),
        ("float32", 6, {}, 0),
        (BFLOAT16, 7, {}, 0),
        (BFLOAT16, 6, {"strides": 2}, 0),
        (BFLOAT16, 6, {"dilation_rate": 2}, 0),
        (BFLOAT16, 6, {"groups": 2}, 0),
        (BFLOAT16, 6, {"padding": "valid"}, 0),
        (BFLOAT16, 6, {"kernel_size": 2}, 0),
        (BFLOAT16, 6, {"kernel_size": 1}, 0),
    ],
)
def test_only_layers_that_gain_are_changed(policy, side, options, expected):
    assert quicken_small_maps(network(policy, side, **options), CPU_BF16) == expected


@pytest.mark.parametrize("device", [CPU, GPU])
def test_other_devices_keep_their_own(device):
    assert quicken_small_maps(network(BFLOAT16), device) == 0


def test_a_changed_model_is_saved_as_keras_saves_it(images, tmp_path):
    model = network(BFLOAT16)
    assert quicken_small_maps(model, CPU_BF16) == 1
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    np.testing.assert_array_equal(loaded(images), model(images))
    assert loaded.get_layer("looked_at").convolution_op.__func__ is layers.Conv2D.convolution_op
