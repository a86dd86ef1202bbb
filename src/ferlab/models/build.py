"""From a catalog row to a Keras model: raw uint8 pixels in, class probabilities out, nothing of ours inside."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Any

from ferlab.errors import UserError
from ferlab.models.applications import application_base
from ferlab.models.blocks import every_layer, uses_xla
from ferlab.models.catalog import AFFECT, PROBABILITIES, Backbone, backbone
from ferlab.models.layers import BATCH_NORM_MOMENTUM
from ferlab.models.preprocessing import cropped, enlarged, normalised
from ferlab.models.weights import load_weights


@dataclass(frozen=True)
class ModelSpec:
    """What a model is built from.

    ``working_px`` None keeps the size of the images, or of their centre ``crop_px`` when that is given. ``affect``
    adds a second output.
    """

    backbone: str
    classes: tuple[str, ...]
    size_px: int
    channels: int
    working_px: int | None
    weights: str
    weights_required: bool
    dropout: float
    width: float
    crop_px: int | None = None
    affect: bool = False


@dataclass(frozen=True)
class BuiltModel:
    """A model and whether its base holds pretrained weights; ``warning`` says why not when they were wanted."""

    model: Any
    pretrained: bool
    warning: str = ""


def build_model(spec: ModelSpec) -> BuiltModel:
    """Build the network of ``spec``.

    Input uint8 (n, size_px, size_px, channels), pixels 0..255; output float32 (n, classes), rows sum to 1. With
    ``affect`` the outputs are a dict: ``probabilities``, and ``affect`` float32 (n, 2), valence and arousal in -1..1.

    Raises:
        UserError: weights that are required cannot be had, or do not fit; images too small; a width that is not there.

    """
    import keras

    row = backbone(spec.backbone)
    _check(spec, row)
    image = keras.Input((spec.size_px, spec.size_px, spec.channels), dtype="uint8", name="image")
    x = normalised(cropped(image, spec.crop_px), row.preprocessing, row.needs_rgb)
    x = enlarged(x, spec.working_px)
    base = _builder(row)(tuple(x.shape[1:]), spec.width)
    pretrained, warning = load_weights(base, row, spec.weights, spec.weights_required, spec.width)
    _quicken_batch_norm(base)
    model = keras.Model(image, _head(base(x), spec), name=spec.backbone)
    model.jit_compile = uses_xla()
    return BuiltModel(model, pretrained, warning)


def _head(features: Any, spec: ModelSpec) -> Any:
    import keras

    x = keras.layers.Dropout(spec.dropout, dtype="float32", name="dropout")(features)
    logits = keras.layers.Dense(len(spec.classes), dtype="float32", name="logits")(x)
    probabilities = keras.layers.Softmax(dtype="float32", name=PROBABILITIES)(logits)
    if not spec.affect:
        return probabilities
    affect = keras.layers.Dense(2, activation="tanh", dtype="float32", name=AFFECT)(x)
    return {PROBABILITIES: probabilities, AFFECT: affect}


def _check(spec: ModelSpec, row: Backbone) -> None:
    if spec.crop_px is not None and spec.crop_px > spec.size_px:
        message = f"backbone.crop_px={spec.crop_px}: the images have only {spec.size_px} px; crop less, or null."
        raise UserError(message)
    size = spec.working_px or spec.crop_px or spec.size_px
    if size < row.smallest_px:
        message = f"backbone={row.name}: needs images of at least {row.smallest_px} px, got {size}; set working_px."
        raise UserError(message)
    if spec.width != 1 and not row.any_width:
        message = f"backbone.width={spec.width:g}: {row.name} comes in one width only; use 1.0."
        raise UserError(message)


def _builder(row: Backbone) -> Callable[[tuple[int, ...], float], Any]:
    if row.application is not None:
        return partial(application_base, row.application)
    module, function = str(row.builder).split(":")
    return getattr(import_module(module), function)


def _quicken_batch_norm(base: Any) -> None:
    """Let moving averages follow within an epoch, also those of pretrained networks.

    With keras.applications' .99 to .999 a fine-tuning of a few hundred steps ends with weights of the new images and
    averages that are still half ImageNet's: it learns in training mode and fails in inference.
    """
    import keras

    for layer in every_layer(base):
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = min(layer.momentum, BATCH_NORM_MOMENTUM)
