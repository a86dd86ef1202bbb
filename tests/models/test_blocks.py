"""Base and head apart, and which layers of the base learn."""

from typing import Any

import numpy as np
import pytest

from ferlab.errors import UserError
from ferlab.models.blocks import (
    base_of,
    check_block,
    every_layer,
    feature_model,
    head_model,
    multiplications,
    set_trainable,
)
from ferlab.models.build import build_model
from ferlab.models.catalog import CATALOG
from ferlab.training.precision import precision_policy

from .conftest import HEAVY

ROWS = [pytest.param(name, marks=pytest.mark.slow) if name in HEAVY else name for name in CATALOG]
LABELS = np.eye(7, dtype=np.float32)[np.arange(8) % 7]


def weights_by_layer(model: Any) -> dict[str, list[np.ndarray]]:
    layers = [*base_of(model).layers, model.get_layer("logits")]
    return {layer.name: [np.array(weight) for weight in layer.get_weights()] for layer in layers}


def changed_by_a_step(model: Any, images: np.ndarray) -> set[str]:
    """Names of the layers whose arrays, moving averages included, one training step changes."""
    import keras

    model.compile(keras.optimizers.Adam(1e-2), "categorical_crossentropy", run_eagerly=True)
    before = weights_by_layer(model)
    model.train_on_batch(images, LABELS)
    after = weights_by_layer(model)
    return {name for name in before if any((a != b).any() for a, b in zip(before[name], after[name], strict=True))}


def batch_norms(model: Any) -> set[str]:
    import keras

    return {layer.name for layer in every_layer(model) if isinstance(layer, keras.layers.BatchNormalization)}


def count_trainable(model: Any) -> int:
    return sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)


@pytest.fixture
def slim(tf: Any, make_spec: Any) -> Any:
    return build_model(make_spec("mobilenetv2", 3, width=0.35)).model


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_a_training_step_changes_the_upper_share_of_layers_only(slim: Any, pixels: Any, share: float) -> None:
    set_trainable(slim, share)
    layers = [layer.name for layer in base_of(slim).layers]
    with_weights = {layer.name for layer in base_of(slim).layers if layer.weights}
    changed = changed_by_a_step(slim, pixels(8, 32, 3))
    frozen = set(layers[: round(len(layers) * (1 - share))])
    upper = with_weights - frozen
    assert "logits" in changed
    assert not changed & frozen
    assert len(changed & upper) >= 0.9 * len(upper)


def test_learning_begins_at_a_block(slim: Any, pixels: Any) -> None:
    set_trainable(slim, from_block="block_14")
    with_weights = [layer.name for layer in base_of(slim).layers if layer.weights]
    first = with_weights.index("block_14_expand")
    changed = changed_by_a_step(slim, pixels(8, 32, 3))
    assert changed <= {*with_weights[first:], "logits"}
    assert {"block_14_expand", "block_16_project", "Conv_1", "logits"} <= changed


@pytest.mark.parametrize(("count", "lowest"), [(4, "Conv_1"), (7, "block_16_project"), (10**6, "Conv1")])
def test_learning_begins_a_number_of_layers_below_the_top(slim: Any, pixels: Any, count: int, lowest: str) -> None:
    set_trainable(slim, top_layers=count)
    layers = base_of(slim).layers
    assert next(layer.name for layer in layers[-count:] if layer.weights) == lowest
    changed = changed_by_a_step(slim, pixels(8, 32, 3))
    assert {lowest, "logits"} <= changed
    assert not changed & {layer.name for layer in layers[:-count]}


def test_frozen_batch_norm_keeps_its_averages_and_scales(slim: Any, pixels: Any) -> None:
    set_trainable(slim, freeze_batch_norm=True)
    changed = changed_by_a_step(slim, pixels(8, 32, 3))
    assert not changed & batch_norms(slim)
    assert {"Conv1", "block_3_expand", "Conv_1", "logits"} <= changed


def test_later_choices_replace_earlier_ones(slim: Any) -> None:
    everything = count_trainable(slim)
    head = 1280 * 7 + 7
    set_trainable(slim, 0.5)
    half = count_trainable(slim)
    set_trainable(slim, from_block="block_16", freeze_batch_norm=True)
    block = count_trainable(slim)
    set_trainable(slim, 0)
    assert count_trainable(slim) == head
    assert head < block < half < everything
    set_trainable(slim, freeze_batch_norm=True)
    normalisation = sum(
        int(np.prod(weight.shape)) for layer in every_layer(slim) for weight in layer.weights[:2] if "_BN" in layer.name
    )
    assert 0 < normalisation <= everything - count_trainable(slim)
    set_trainable(slim)
    assert count_trainable(slim) == everything
    assert all(layer.trainable for layer in every_layer(slim))


def test_models_inside_the_base_are_reached(tf: Any, pixels: Any) -> None:
    """Two levels down: frozen with their block, their BatchNorm on demand, and learning again."""
    import keras

    def block(name: str) -> Any:
        inner = keras.Sequential([keras.layers.Conv2D(4, 3), keras.layers.BatchNormalization()], name=f"{name}_inner")
        return keras.Sequential([inner, keras.layers.Activation("relu")], name=name)

    inside = keras.Sequential(
        [keras.Input((16, 16, 1)), block("stage1"), block("stage2"), keras.layers.GlobalAveragePooling2D()], name="base"
    )
    image = keras.Input((16, 16, 1), dtype="uint8")
    model = keras.Model(image, keras.layers.Dense(7, "softmax", name="logits")(inside(image)))
    set_trainable(model, from_block="stage2")
    assert changed_by_a_step(model, pixels(8, 16)) == {"stage2", "logits"}
    set_trainable(model, freeze_batch_norm=True)
    inner = inside.get_layer("stage1").get_layer("stage1_inner")
    assert len(inner.trainable_weights) == 2
    averages = [np.array(weight) for weight in inner.layers[1].weights]
    assert {"stage1", "stage2"} <= changed_by_a_step(model, pixels(8, 16))
    for before, after in zip(averages, inner.layers[1].weights, strict=True):
        np.testing.assert_array_equal(before, np.array(after))
    set_trainable(model)
    assert len(inner.trainable_weights) == 4


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("vgg16", "block1, block2, block3, block4, block5"),
        ("resnet18_small", "stage1, stage2, stage3, stage4"),
        ("mobilenetv2", "block_16"),
        ("convnext_tiny", "convnext_tiny_stage_3"),
        ("seq1", "block2, block4, block6"),
    ],
)
def test_an_unknown_block_is_refused_with_the_known(untrained: Any, name: str, known: str) -> None:
    model = untrained(name)
    with pytest.raises(UserError, match=f"from_block=layer99: .*{known}") as refusal:
        set_trainable(model, from_block="layer99")
    assert "\n" not in str(refusal.value)
    with pytest.raises(UserError, match=f"from_block=layer99: .*{known}"):
        check_block(model, "layer99")
    for block in known.split(", "):
        check_block(model, block)
        set_trainable(model, from_block=block)
        assert 0 < count_trainable(model) <= model.count_params()


@pytest.mark.parametrize("name", ROWS)
def test_features_and_head_make_the_whole(untrained: Any, pixels: Any, name: str) -> None:
    model, images = untrained(name), pixels(3, CATALOG[name].smallest_px)
    features = feature_model(model)(images, training=False)
    assert len(features.shape) == 2
    answer = head_model(model)(features, training=False)
    np.testing.assert_allclose(np.asarray(answer), np.asarray(model(images, training=False)), atol=1e-6)


def test_features_of_a_mixed_model_are_float32_and_the_head_agrees(tf: Any, make_spec: Any, pixels: Any) -> None:
    with precision_policy("mixed_bfloat16"):
        model = build_model(make_spec("seq1", affect=True)).model
    features = np.asarray(feature_model(model)(pixels(4, 32), training=False))
    assert features.dtype == np.float32
    whole, parts = model(pixels(4, 32), training=False), head_model(model)(features, training=False)
    for name in ("probabilities", "affect"):
        np.testing.assert_allclose(np.asarray(parts[name]), np.asarray(whole[name]), atol=1e-6)


def test_training_the_head_trains_the_model_and_leaves_the_base(tf: Any, make_spec: Any, pixels: Any) -> None:
    import keras

    model = build_model(make_spec("seq2", width=0.25, dropout=0.0)).model
    images = pixels(8, 32)
    features = np.asarray(feature_model(model)(images, training=False))
    before, base = np.asarray(model(images, training=False)), [np.array(w) for w in base_of(model).get_weights()]
    head = head_model(model)
    head.compile(keras.optimizers.Adam(1e-2), "categorical_crossentropy", run_eagerly=True)
    for _ in range(3):
        head.train_on_batch(features, LABELS)
    after = np.asarray(model(images, training=False))
    assert np.log(after[LABELS == 1]).mean() > np.log(before[LABELS == 1]).mean()
    for mine, theirs in zip(base, base_of(model).get_weights(), strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_a_loaded_model_comes_apart_as_well(tf: Any, make_spec: Any, pixels: Any, tmp_path: Any) -> None:
    import keras

    built = build_model(make_spec("vgg16", width=1.0)).model
    built.save(tmp_path / "vgg.keras")
    model = keras.saving.load_model(tmp_path / "vgg.keras", compile=False)
    images = pixels(2, 32)
    for _ in range(2):
        parts = head_model(model)(feature_model(model)(images, training=False), training=False)
        np.testing.assert_allclose(np.asarray(parts), np.asarray(built(images, training=False)), atol=1e-6)
    set_trainable(model, from_block="block5")
    assert len(model.trainable_weights) == 8


def test_multiplications_by_hand(tf: Any) -> None:
    """Convolution and depthwise convolution at every place of their output, also in a model inside, and the head."""
    import keras
    from keras import layers

    inside = keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            layers.Conv2D(4, 3, padding="same"),
            layers.BatchNormalization(),
            layers.DepthwiseConv2D(3, strides=2, padding="same"),
            layers.GlobalAveragePooling2D(),
        ]
    )
    image = keras.Input((8, 8, 3))
    model = keras.Model(image, layers.Dense(7)(inside(image)))
    assert multiplications(model) == 8 * 8 * 3 * 3 * 3 * 4 + 4 * 4 * 3 * 3 * 4 + 4 * 7


def test_multiplications_of_a_network_are_those_of_its_parts(slim: Any) -> None:
    whole = multiplications(slim)
    head = multiplications(head_model(slim))
    assert head == 1280 * 7
    assert whole == multiplications(feature_model(slim)) + head
