"""Rows of the catalog as small untrained models, each built once a file, and pixels to feed them."""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
import pytest

from ferlab.ensembling.combination import Combination
from ferlab.models.blocks import base_of, every_layer
from ferlab.models.build import ModelSpec, build_model
from ferlab.models.catalog import CATALOG

HEAVY = ("densenet121", "resnet50", "resnet50v2", "efficientnetv2_b0", "convnext_tiny", "mobilenetv3_large")
"""Rows whose tests take more than three seconds each."""
CLASSES = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")


def weighted_mean(weights: Sequence[float]) -> Combination:
    """Members mixed by ``weights``."""
    table = np.repeat(np.array(weights, float)[:, None], len(CLASSES), axis=1)
    return Combination("weighted", CLASSES, tuple(f"run{i}" for i in range(len(weights))), table, np.ones(len(weights)))


@pytest.fixture(scope="session")
def make_spec() -> Callable[..., ModelSpec]:
    """``make_spec(name, channels=1, **changed)``: seven classes at the row's smallest size, without weights."""

    def make(name: str, channels: int = 1, **changed: Any) -> ModelSpec:
        standard = {
            "backbone": name,
            "classes": CLASSES,
            "size_px": CATALOG[name].smallest_px,
            "channels": channels,
            "working_px": None,
            "weights": "none",
            "weights_required": False,
            "dropout": 0.3,
            "width": 1.0,
        }
        return ModelSpec(**(standard | changed))

    return make


@pytest.fixture(scope="session")
def pixels() -> Callable[..., np.ndarray]:
    """``pixels(count, size_px, channels=1, seed=0)``: uint8 noise."""

    def draw(count: int, size_px: int, channels: int = 1, seed: int = 0) -> np.ndarray:
        return np.random.default_rng(seed).integers(0, 256, (count, size_px, size_px, channels), dtype=np.uint8)

    return draw


@pytest.fixture(scope="module")
def untrained(tf: Any, make_spec: Callable[..., ModelSpec]) -> Callable[..., Any]:
    """``untrained(name, channels=1)``: the model of that row at its smallest size, the same object every time."""
    import keras

    built: dict[tuple[str, int], Any] = {}

    def model(name: str, channels: int = 1) -> Any:
        if (name, channels) not in built:
            keras.utils.set_random_seed(0)
            built[name, channels] = build_model(make_spec(name, channels)).model
        return built[name, channels]

    return model


@pytest.fixture(scope="session")
def new_settled(tf: Any, make_spec: Callable[..., ModelSpec], pixels: Callable[..., np.ndarray]) -> Callable[..., Any]:
    """``new_settled(name, channels=1, seed=0)``: an untrained model that answers different images differently.

    With its first averages a deep network answers all alike: it takes those of one batch of noise.
    """
    import keras

    def build(name: str, channels: int = 1, seed: int = 0) -> Any:
        keras.utils.set_random_seed(seed)
        model = build_model(make_spec(name, channels)).model
        for layer in every_layer(base_of(model)):
            if hasattr(layer, "momentum"):
                layer.momentum = 0.0
        model(pixels(16, *model.input_shape[2:]), training=True)
        return model

    return build


@pytest.fixture(scope="module")
def settled(new_settled: Callable[..., Any]) -> Callable[..., Any]:
    """``settled(name, channels=1)``: the same such model every time."""
    return cache(new_settled)
