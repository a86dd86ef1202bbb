"""A small network of faces with what it says of itself, and images of it."""

from typing import Any

import numpy as np
import pytest

from ferlab.edge.description import Description
from ferlab.emotions import FER2013
from ferlab.models.build import ModelSpec, build_model

SIZE_PX = 48


@pytest.fixture(scope="session")
def description() -> Description:
    return Description(
        classes=FER2013.classes, taxonomy="fer2013", run_id="0" * 32, size_px=SIZE_PX, colour="gray", margin=0.1,
        align=False, licence="drawn", name="tiny", protocol="synthetic/carved", dataset_digest="d" * 64,
    )  # fmt: skip


@pytest.fixture(scope="session")
def network(tf: Any, images: np.ndarray) -> Any:
    """``network("seq1", seed=0, ...)``: an untrained one whose answers differ between images as a trained one's do."""
    import keras

    def make(
        backbone: str = "seq1", seed: int = 0, working_px: int | None = None, affect: bool = False, width: float = 0.25
    ) -> Any:
        keras.utils.set_random_seed(seed)
        spec = ModelSpec(backbone, FER2013.classes, SIZE_PX, 1, working_px, "none", False, 0.0, width, affect=affect)
        model = build_model(spec).model
        _spread_answers(model, images)
        return model

    return make


@pytest.fixture(scope="session")
def images() -> np.ndarray:
    """70 smooth gray images, uint8 (70, 48, 48, 1), which a network tells apart better than noise."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (70, 6, 6, 1)).repeat(8, axis=1).repeat(8, axis=2)
    return (0.8 * coarse + 0.2 * rng.integers(0, 256, (70, SIZE_PX, SIZE_PX, 1))).astype(np.uint8)


def _spread_answers(model: Any, images: np.ndarray) -> None:
    """Give every class's logits over ``images`` the mean 0 and the deviation 3."""
    import keras

    layer = model.get_layer("logits")
    logits = keras.Model(model.input, layer.output).predict(images, verbose=0)
    scale = 3 / logits.std(axis=0)
    layer.kernel.assign(layer.kernel * scale)
    layer.bias.assign(-logits.mean(axis=0) * scale)
