"""Grad-CAM (Selvaraju et al. 2017): where in an image a network saw a category."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ferlab.errors import UserError
from ferlab.models.blocks import BASE

BATCH = 64
LOGITS = "logits"


def class_activation(model: Any, images: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """What in each image speaks for its class: float32 (n, s, s) in 0..1, the strongest place 1.

    ``images`` uint8 (n, s, s, c), ``classes`` int (n,): indices of the model's outputs. ``model`` is one that
    ``build_model`` made. The map is that of the base's last feature map before its pooling, enlarged; all zero where
    nothing speaks for the class.

    Raises:
        UserError: the model has no base with such a feature map, as an ensemble has none.

    """
    import cv2

    body, top = _halves(model)
    size_px = images.shape[1]
    maps = [np.empty((0, size_px, size_px), np.float32)]
    for start in range(0, len(images), BATCH):
        batch = slice(start, start + BATCH)
        features = np.asarray(body.predict_on_batch(images[batch]), np.float32)
        weights = logit_gradients(top, features, classes[batch]).mean(axis=(1, 2), keepdims=True)
        coarse = np.maximum((weights * features).sum(axis=-1), 0)
        enlarged = np.stack([cv2.resize(one, (size_px, size_px), interpolation=cv2.INTER_LINEAR) for one in coarse])
        maps.append(_to_one(enlarged))
    return np.concatenate(maps)


def weighted_activation(
    members: Sequence[tuple[Any, np.ndarray]], images: np.ndarray, classes: np.ndarray
) -> np.ndarray:
    """The mean of the members' maps, as ``class_activation`` gives them, the strongest place 1 again.

    ``members``: models, each with its weights (classes,): that of the image's class counts.
    """
    maps = [
        weights[classes].astype(np.float32)[:, None, None] * class_activation(model, images, classes)
        for model, weights in members
    ]
    return _to_one(np.sum(maps, axis=0))


def _to_one(maps: np.ndarray) -> np.ndarray:
    strongest = maps.max(axis=(1, 2), keepdims=True)
    scaled: np.ndarray = np.divide(maps, strongest, out=np.zeros_like(maps), where=strongest > 0)
    return scaled


def can_explain(model: Any) -> bool:
    """Whether ``model`` has the one base and the logits that ``class_activation`` needs; an ensemble has not."""
    return {BASE, LOGITS} <= {operation.name for operation in model.operations}


def logit_gradients(top: Any, features: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Gradient of each sample's logit of its class by its feature map: float32, the shape (n, h, w, k) of ``features``.

    ``top`` is a Keras model from feature maps to logits (n, classes).
    """
    import keras

    chosen = keras.ops.one_hot(classes, top.output_shape[-1])

    def total(maps: Any) -> Any:
        return keras.ops.sum(keras.ops.cast(top(maps, training=False), "float32") * chosen)

    if keras.backend.backend() == "jax":
        import jax

        return np.asarray(jax.grad(total)(keras.ops.convert_to_tensor(features)), np.float32)
    import tensorflow as tf

    maps = tf.convert_to_tensor(features)
    with tf.GradientTape() as tape:
        tape.watch(maps)
        value = total(maps)
    return np.asarray(tape.gradient(value, maps), np.float32)


def _halves(model: Any) -> tuple[Any, Any]:
    """The model from its image to the last feature map, and from there to the logits."""
    import keras

    names = [operation.name for operation in model.operations]
    if not can_explain(model):
        message = f"model {model.name}: Grad-CAM needs its layers {BASE} and {LOGITS}; it has {', '.join(names)}."
        raise UserError(message)
    position = names.index(BASE)
    base = _outputs_inside(model.operations[position])
    start, last, end = base[0][1], _last_feature_map(base), base[-1][1]
    shown = model.operations[position - 1].output
    body = keras.Model(model.input, keras.Model(start, last)(shown))
    features = keras.Input(last.shape[1:], dtype=last.dtype)
    pooled = keras.Model(last, end)(features)
    after = keras.Model(model.operations[position + 1].input, model.get_layer(LOGITS).output)
    return body, keras.Model(features, after(pooled))


def _outputs_inside(base: Any) -> list[tuple[Any, Any]]:
    """Every operation of the base with its output, from its input to its features, all of one graph."""
    import keras

    if not isinstance(base, keras.Sequential):
        # not base.layers: a sum of two tensors is an operation and no layer
        return [(operation, operation.output) for operation in base.operations]
    # layers of a loaded Sequential keep the outputs of graphs that are no longer its own: they are called anew
    image = keras.Input(base.input_shape[1:])
    found = [(None, image)]
    for layer in base.layers:
        found.append((layer, layer(found[-1][1])))
    return found


def _last_feature_map(base: list[tuple[Any, Any]]) -> Any:
    """The last tensor (n, h, w, k) inside the base that is not a pooling's result."""
    import keras

    pooling = keras.layers.MaxPooling2D, keras.layers.AveragePooling2D
    for operation, output in reversed(base[1:]):
        if not isinstance(operation, pooling) and len(getattr(output, "shape", ())) == 4:
            return output
    message = f"layer {BASE}: Grad-CAM needs a feature map with height and width inside it; there is none."
    raise UserError(message)
