"""Grad-CAM points where the evidence is, with the weights that finite differences give, in every kind of network."""

from typing import Any

import numpy as np
import pytest

from ferlab.ensembling.combination import Combination
from ferlab.ensembling.fitting import Plan, fit
from ferlab.errors import UserError
from ferlab.models.build import ModelSpec, build_model
from ferlab.models.ensemble import ensemble_model, members_inside
from ferlab.scoring import gradcam
from ferlab.scoring.gradcam import class_activation, logit_gradients, weighted_activation

SIDE = 32
CORNERS = {0: (0, 0), 1: (0, 1), 2: (1, 0), 3: (1, 1)}


@pytest.fixture(scope="module")
def corner_model(tf: Any) -> Any:
    """Two channels, four classes: class k adds up the bright (channel 0) pixels of its own quarter of the image."""
    import keras

    image = keras.Input((SIDE, SIDE, 1), dtype="uint8")
    light = keras.layers.Conv2D(2, 1, activation="relu", name="light")
    mean = keras.layers.AveragePooling2D(SIDE // 2)
    base = keras.Sequential([keras.Input((SIDE, SIDE, 1)), light, mean, keras.layers.Flatten()], name="base")
    features = base(keras.layers.Rescaling(1 / 255)(image))
    dense = keras.layers.Dense(4, name="logits")
    model = keras.Model(image, keras.layers.Softmax()(dense(keras.layers.Dropout(0.5)(features))))
    light.set_weights([np.array([1.0, -1.0]).reshape(1, 1, 1, 2), np.array([0.0, 1.0])])
    weights = np.zeros((8, 4))
    weights[[0, 2, 4, 6], [0, 1, 2, 3]] = 5
    dense.set_weights([weights, np.zeros(4)])
    return model


@pytest.mark.parametrize("corner", sorted(CORNERS))
def test_the_map_peaks_where_the_evidence_lies(corner_model: Any, corner: int) -> None:
    row, column = (SIDE // 2 * place for place in CORNERS[corner])
    image = np.full((1, SIDE, SIDE, 1), 5, np.uint8)
    image[0, row + 4 : row + 8, column + 6 : column + 10] = 255
    assert corner_model.predict(image, verbose=0).argmax() == corner
    found = class_activation(corner_model, image, np.array([corner]))[0]
    assert found.shape == (SIDE, SIDE)
    assert found.dtype == np.float32
    assert found.max() == 1
    assert found[row + 5 : row + 7, column + 7 : column + 9].min() > 0.99
    assert found[: row + 3].max(initial=0) < 0.1
    assert found[row + 9 :].max(initial=0) < 0.1
    assert found[:, : column + 5].max(initial=0) < 0.1
    assert found[:, column + 11 :].max(initial=0) < 0.1


def test_each_image_has_the_map_of_its_own_class(corner_model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    images = np.random.default_rng(0).integers(0, 256, (5, SIDE, SIDE, 1), dtype=np.uint8)
    classes = np.array([3, 0, 2, 2, 1])
    whole = class_activation(corner_model, images, classes)
    alone = [class_activation(corner_model, images[i : i + 1], classes[i : i + 1])[0] for i in range(5)]
    np.testing.assert_allclose(whole, alone, atol=1e-6)
    monkeypatch.setattr(gradcam, "BATCH", 2)
    np.testing.assert_allclose(class_activation(corner_model, images, classes), whole, atol=1e-6)


def test_nothing_that_speaks_for_a_class_is_a_map_of_zeros(corner_model: Any) -> None:
    dark = np.zeros((2, SIDE, SIDE, 1), np.uint8)
    np.testing.assert_array_equal(class_activation(corner_model, dark, np.array([0, 1])), np.zeros((2, SIDE, SIDE)))


def test_no_images_are_no_maps(corner_model: Any) -> None:
    empty = np.zeros((0, SIDE, SIDE, 1), np.uint8)
    assert class_activation(corner_model, empty, np.zeros(0, int)).shape == (0, SIDE, SIDE)


def test_gradients_agree_with_finite_differences(tf: Any) -> None:
    import keras

    keras.utils.set_random_seed(5)
    maps = keras.Input((3, 3, 4))
    x = keras.layers.Dense(6, activation="tanh")(keras.layers.Flatten()(maps))
    top = keras.Model(maps, keras.layers.Dense(3)(keras.layers.Dropout(0.5)(x)))
    features = np.random.default_rng(2).normal(size=(2, 3, 3, 4)).astype(np.float32)
    classes = np.array([2, 0])
    found = logit_gradients(top, features, classes)
    step, expected = 1e-2, np.zeros_like(found)
    for place in np.ndindex(features.shape):
        sides = []
        for sign in (1, -1):
            moved = features.copy()
            moved[place] += sign * step
            sides.append(top.predict_on_batch(moved)[place[0], classes[place[0]]])
        expected[place] = (sides[0] - sides[1]) / (2 * step)
    np.testing.assert_allclose(found, expected, atol=2e-3)
    assert np.abs(expected).max() > 0.1


NETWORKS = {
    "seq1": ("seq1", 1, 32, 0.25),
    "seq2, Flatten": ("seq2", 1, 32, 0.25),
    "MobileNetV2, gray enlarged to RGB": ("mobilenetv2", 1, 64, 0.35),
    "VGG16, BGR": ("vgg16", 3, 48, 1.0),
    "residual sums": ("resnet18_small", 1, 32, 0.125),
}


def network(name: str, channels: int, working_px: int, width: float) -> Any:
    import keras

    keras.utils.set_random_seed(7)
    spec = ModelSpec(name, tuple("abcdefg"), 48, channels, working_px, "none", False, 0.3, width)
    return build_model(spec).model


@pytest.mark.parametrize("which", NETWORKS)
def test_both_halves_together_are_the_network(tf: Any, which: str) -> None:
    import keras

    name, channels, working_px, width = NETWORKS[which]
    model = network(name, channels, working_px, width)
    images = np.random.default_rng(0).integers(0, 256, (3, 48, 48, channels), dtype=np.uint8)
    body, top = gradcam._halves(model)
    features = body.predict_on_batch(images)
    assert features.ndim == 4
    assert features.shape[1] > 1
    probabilities = np.asarray(keras.ops.softmax(top.predict_on_batch(features)))
    np.testing.assert_allclose(probabilities, model.predict_on_batch(images), atol=1e-5)
    maps = class_activation(model, images, np.array([0, 3, 6]))
    assert maps.shape == (3, 48, 48)
    assert np.isfinite(maps).all()
    assert maps.min() >= 0
    assert maps.max() == 1


@pytest.mark.parametrize("which", ["seq1", "residual sums"])
def test_the_model_is_left_as_it_was_and_a_loaded_one_gives_the_same_map(tf: Any, tmp_path: Any, which: str) -> None:
    import keras

    model = network(*NETWORKS[which])
    images = np.random.default_rng(0).integers(0, 256, (4, 48, 48, 1), dtype=np.uint8)
    model.save(tmp_path / "model.keras")
    before = [weight.copy() for weight in model.get_weights()]
    classes = np.arange(4)
    maps = class_activation(model, images, classes)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    loaded = keras.saving.load_model(tmp_path / "model.keras", compile=False)
    np.testing.assert_allclose(class_activation(loaded, images, classes), maps, atol=1e-5)


def test_mixed_precision_gives_nearly_the_same_map(tf: Any) -> None:
    import keras

    exact = network("seq1", 1, 32, 0.25)
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        mixed = network("seq1", 1, 32, 0.25)
    finally:
        keras.config.set_dtype_policy("float32")
    mixed.set_weights(exact.get_weights())
    images = np.random.default_rng(0).integers(0, 256, (4, 48, 48, 1), dtype=np.uint8)
    classes = exact.predict_on_batch(images).argmax(axis=1)
    first, second = (class_activation(model, images, classes) for model in (exact, mixed))
    assert second.dtype == np.float32
    assert np.corrcoef(first.ravel(), second.ravel())[0, 1] > 0.95


def test_a_base_without_a_feature_map_is_refused(tf: Any) -> None:
    import keras

    image = keras.Input((8, 8, 1), dtype="uint8")
    base = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(3)], name="base")
    x = keras.layers.Dropout(0.1)(base(keras.layers.Rescaling(1 / 255)(image)))
    model = keras.Model(image, keras.layers.Softmax()(keras.layers.Dense(2, name="logits")(x)))
    with pytest.raises(UserError, match="layer base: Grad-CAM needs a feature map"):
        class_activation(model, np.zeros((1, 8, 8, 1), np.uint8), np.array([0]))


def test_an_ensemble_is_refused_by_name(tf: Any) -> None:
    members = [network("seq1", 1, 32, 0.25), network("seq2", 1, 32, 0.25)]
    mean = fit(Plan("mean"), ["a", "b"], "1234567", np.full((2, 1, 7), 1 / 7), np.zeros(1, np.int64))
    combined = ensemble_model(members, mean)
    with pytest.raises(UserError, match="model ensemble: Grad-CAM needs its layers base and logits"):
        class_activation(combined, np.zeros((1, 48, 48, 1), np.uint8), np.array([0]))


@pytest.mark.parametrize("method", ["mean", "weighted"])
def test_maps_of_members_inside_an_ensemble_mix_by_their_weights(tf: Any, tmp_path: Any, method: str) -> None:
    import keras

    members = [network("seq1", 1, 32, 0.25), network("resnet18_small", 1, 32, 0.125)]
    images = np.random.default_rng(0).integers(0, 256, (6, 48, 48, 1), dtype=np.uint8)
    classes = np.arange(6)
    weights = np.random.default_rng(1).dirichlet([1, 1], 7).T if method == "weighted" else np.full((2, 7), 0.5)
    combination = Combination(method, tuple("1234567"), ("a", "b"), weights, np.ones(2))
    ensemble_model(members, combination).save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", compile=False)
    inside = [(one, weights[place]) for place, one in members_inside(loaded).items()]
    found = weighted_activation(inside, images, classes)
    first, second = (class_activation(one, images, classes) for one in members)
    mixed = np.stack([weights[0, i] * first[i] + weights[1, i] * second[i] for i in range(6)])
    np.testing.assert_allclose(found, mixed / mixed.max(axis=(1, 2), keepdims=True), atol=1e-5)
    assert np.abs(found - first).max() > 0.1
    assert np.abs(found - second).max() > 0.1
