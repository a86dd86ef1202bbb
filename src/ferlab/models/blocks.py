"""The parts of a built model: base and head apart, which of their layers learn, what an answer costs."""

import math
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

from ferlab.errors import UserError
from ferlab.models.catalog import AFFECT, PROBABILITIES

BASE = "base"
NAMED_BLOCKS = 6
BLOCK_LAYERS = 2


def base_of(model: Any) -> Any:
    """The part of a built model below its head."""
    return model.get_layer(BASE)


def every_layer(model: Any) -> Iterator[Any]:
    """The layers of ``model``, those of models inside it included."""
    for layer in model.layers:
        yield layer
        if hasattr(layer, "layers"):
            yield from every_layer(layer)


def set_trainable(
    model: Any,
    share: float = 1.0,
    top_layers: int | None = None,
    from_block: str | None = None,
    freeze_batch_norm: bool = False,
) -> None:
    """Choose what learns: the head always, of the base its upper layers; earlier choices are forgotten.

    ``share`` (0..1) of the base's layers counted from the top; or their number, ``top_layers`` (all when it has fewer);
    or, when ``from_block`` is given, all layers from the first one whose name starts with it. Frozen
    BatchNormalization layers run in inference mode, as Keras does when ``trainable`` is false; with
    ``freeze_batch_norm`` those of the whole base. Compile the model afterwards.

    Raises:
        UserError: no layer's name starts with ``from_block``.

    """
    import keras

    base = base_of(model)
    model.trainable = True
    # one by one, parents first: on TensorFlow, Keras skips an assignment that changes nothing, and with it the children
    for layer in every_layer(model):
        layer.trainable = True
    first = round(len(base.layers) * (1 - share))
    if from_block is not None:
        first = _first_of(base, from_block)
    elif top_layers is not None:
        first = max(0, len(base.layers) - top_layers)
    if first >= len(base.layers):
        base.trainable = False
    for layer in base.layers[:first]:
        layer.trainable = False
    if freeze_batch_norm:
        for layer in every_layer(base):
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.trainable = False


def check_block(model: Any, block: str) -> None:
    """UserError when no layer of the base has a name that starts with ``block``; the message lists some that do."""
    _first_of(base_of(model), block)


def multiplications(model: Any) -> int:
    """Multiplications of one answer to one sample, those of convolutions and dense layers alone."""
    kernels = ((layer, sum(math.prod(w.shape) for w in layer.weights if len(w.shape) > 1)) for layer in _leaves(model))
    return sum(size * math.prod(layer.output.shape[1:-1]) for layer, size in kernels if size)


def feature_model(model: Any) -> Any:
    """Images to the float32 features (n, d) that the head's dropout is fed; shares the layers of ``model``."""
    import keras

    features = keras.layers.Activation("linear", dtype="float32", name="features")(model.get_layer("dropout").input)
    return keras.Model(model.input, features, name=f"{model.name}_features")


def head_model(model: Any) -> Any:
    """Features of ``feature_model`` to the outputs of ``model``, whose layers it shares and trains."""
    import keras

    dropout = model.get_layer("dropout")
    features = keras.Input(dropout.input.shape[1:], name="features")
    x = dropout(features)
    outputs = model.get_layer(PROBABILITIES)(model.get_layer("logits")(x))
    if isinstance(model.output, dict):
        outputs = {PROBABILITIES: outputs, AFFECT: model.get_layer(AFFECT)(x)}
    return keras.Model(features, outputs, name=f"{model.name}_head")


def logits_model(model: Any, on_features: bool) -> Any:
    """What learns: images (or features of ``feature_model``) to logits (n, classes), on the layers of ``model``.

    A loss on logits keeps its gradient where probabilities round to 0. With a second head the outputs are a dict that
    has the logits under the name of the probabilities.
    """
    import keras

    logits, inputs = model.get_layer("logits"), model.input
    outputs = logits.output
    if on_features:
        dropout = model.get_layer("dropout")
        inputs = keras.Input(dropout.input.shape[1:], name="features")
        outputs = logits(dropout(inputs))
    if isinstance(model.output, dict):
        affect = model.get_layer(AFFECT)
        outputs = {PROBABILITIES: outputs, AFFECT: affect(dropout(inputs)) if on_features else affect.output}
    return keras.Model(inputs, outputs, name=f"{model.name}_logits")


def uses_xla() -> bool:
    """Whether networks are compiled with XLA: on JAX, which has no other compiler, and not on TensorFlow.

    On a CPU it makes TensorFlow's small and depthwise convolutions several times slower; on GPUs it was not measured.
    """
    import keras

    return bool(keras.config.backend() == "jax")


def _leaves(model: Any) -> Iterator[Any]:
    return (layer for layer in every_layer(model) if not hasattr(layer, "layers"))


def _first_of(base: Any, block: str) -> int:
    for position, layer in enumerate(base.layers):
        if layer.name.startswith(block):
            return position
    message = f"from_block={block}: no layer of the network starts so. Blocks: {', '.join(_some_blocks(base))}."
    raise UserError(message)


def _some_blocks(base: Any) -> list[str]:
    """Prefixes that several layers share (a name up to its first number, 2d being none); of many, the upper ones."""
    found = Counter(match.group() for layer in base.layers if (match := re.match(r"[A-Za-z_]*\d+(?!d)", layer.name)))
    blocks = [name for name, count in found.items() if count >= BLOCK_LAYERS]
    return blocks if len(blocks) <= NAMED_BLOCKS else [blocks[0], "...", *blocks[1 - NAMED_BLOCKS :]]
