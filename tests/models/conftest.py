"""Rows of the catalog as small untrained models, each built once a file, and pixels to feed them."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from ferlab.models.build import ModelSpec, build_model
from ferlab.models.catalog import CATALOG

CLASSES = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")


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
