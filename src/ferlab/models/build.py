"""From a catalog row to a Keras model: raw uint8 pixels in, class probabilities out, nothing of ours inside."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from ferlab.errors import UserError
from ferlab.models.catalog import PREPROCESSINGS, backbone

BASE = "base"
SCRATCH_MOMENTUM = 0.9


@dataclass(frozen=True)
class ModelSpec:
    """What a model is built from. ``working_px`` None keeps the size of the images."""

    backbone: str
    classes: tuple[str, ...]
    size_px: int
    channels: int
    working_px: int | None
    weights: str
    weights_required: bool
    dropout: float
    width: float


@dataclass(frozen=True)
class BuiltModel:
    """A model and whether its base holds pretrained weights; ``warning`` says why not when they were wanted."""

    model: Any
    pretrained: bool
    warning: str = ""


def build_model(spec: ModelSpec) -> BuiltModel:
    """Build the network of ``spec``.

    Input uint8 (n, size_px, size_px, channels), pixels 0..255; output float32 (n, classes), rows sum to 1.

    Raises:
        UserError: weights that are required cannot be had, or do not fit.

    """
    import keras

    row = backbone(spec.backbone)
    builder = _load(row.builder)
    image = keras.Input((spec.size_px, spec.size_px, spec.channels), dtype="uint8", name="image")
    scale, offset = PREPROCESSINGS[row.preprocessing]
    x = keras.layers.Rescaling(scale, offset, name="normalise")(image)
    if row.needs_rgb and spec.channels == 1:
        x = keras.layers.Concatenate(name="gray_to_rgb")([x, x, x])
    size = spec.working_px or spec.size_px
    if size != spec.size_px:
        x = keras.layers.Resizing(size, size, name="enlarge")(x)
    base = builder((size, size, x.shape[-1]), spec.width)
    pretrained, warning = _load_weights(base, spec, size)
    if not pretrained:
        _quicken_batch_norm(base)
    x = base(x)
    x = keras.layers.Dropout(spec.dropout, name="dropout")(x)
    x = keras.layers.Dense(len(spec.classes), dtype="float32", name="logits")(x)
    probabilities = keras.layers.Softmax(dtype="float32", name="probabilities")(x)
    return BuiltModel(keras.Model(image, probabilities, name=spec.backbone), pretrained, warning)


def base_of(model: Any) -> Any:
    """The part of a built model below its head."""
    return model.get_layer(BASE)


def set_trainable(model: Any, share: float) -> None:
    """Let the upper ``share`` (0..1) of the base's layers learn, the head always.

    Frozen BatchNormalization layers run in inference mode, as Keras does when ``trainable`` is false.
    """
    layers = base_of(model).layers
    base_of(model).trainable = True
    first = round(len(layers) * (1 - share))
    for position, layer in enumerate(layers):
        layer.trainable = position >= first
    if share == 0:
        base_of(model).trainable = False


def _load(builder: str) -> Callable[[tuple[int, int, int], float], Any]:
    module, function = builder.split(":")
    return getattr(import_module(module), function)


def _quicken_batch_norm(base: Any) -> None:
    """Let moving averages follow within an epoch; keras.applications' .999 takes thousands of steps from scratch."""
    import keras

    for layer in base.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = min(layer.momentum, SCRATCH_MOMENTUM)


def _load_weights(base: Any, spec: ModelSpec, size_px: int) -> tuple[bool, str]:
    if spec.weights == "none":
        return False, ""
    if spec.weights == "imagenet":
        problem = _load_imagenet(base, spec, size_px)
        if not problem:
            return True, ""
        if spec.weights_required:
            message = f"backbone.weights=imagenet: {problem}. Give a file, or backbone.weights_required=false."
            raise UserError(message)
        return False, f"no ImageNet weights ({problem}): {spec.backbone} is trained from scratch"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Keras warns once for every layer of a file that does not fit
            base.load_weights(Path(spec.weights).expanduser())
    except (OSError, ValueError, KeyError) as error:
        message = f"backbone.weights={spec.weights}: does not fit {spec.backbone} ({str(error).splitlines()[0][:150]})."
        raise UserError(message) from error
    return True, ""


def _load_imagenet(base: Any, spec: ModelSpec, size_px: int) -> str:
    """Copy Keras's own ImageNet weights (cache, else download) into ``base``; the reason when that fails."""
    import keras

    application = getattr(keras.applications, str(backbone(spec.backbone).application))
    try:
        source = application(
            include_top=False,
            weights="imagenet",
            alpha=spec.width,
            input_shape=(size_px, size_px, 3),
            pooling="avg",
        )
    except Exception as error:
        return str(error).splitlines()[0][:120]
    base.set_weights(source.get_weights())
    return ""
