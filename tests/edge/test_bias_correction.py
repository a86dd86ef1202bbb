"""What rounded weights add to every layer's mean is taken off its bias again."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ferlab.edge import litert
from ferlab.edge.bias_correction import correct_biases
from ferlab.edge.description import Description
from ferlab.edge.export import Target, export_file
from ferlab.edge.runtimes import KerasRuntime, open_model


@pytest.fixture
def coarse(tf: Any, images: np.ndarray) -> Any:
    """A network with one large weight in every channel, beside which the others are rounded to almost nothing."""
    import keras

    rng = np.random.default_rng(0)
    image = keras.Input((48, 48, 1), dtype="uint8")
    x = keras.layers.Rescaling(1 / 255)(image)
    for channels in (16, 16):
        conv = keras.layers.Conv2D(channels, 3, activation="relu")
        x = conv(x)
        kernel = rng.normal(0.01, 0.02, conv.kernel.shape)
        kernel[1, 1, 0] = 4.0
        conv.set_weights([kernel, rng.normal(0, 0.1, channels)])
    x = keras.layers.GlobalAveragePooling2D()(x)
    dense = keras.layers.Dense(7)
    logits = dense(x)
    features = keras.Model(image, x).predict(images, verbose=0)
    kernel = rng.normal(0, 2 / features.std(), dense.kernel.shape)
    dense.set_weights([kernel, -features.mean(axis=0) @ kernel])
    return keras.Model(image, keras.layers.Softmax()(logits), name="coarse")


def test_the_mean_answer_is_that_of_the_network(
    coarse: Any, description: Description, images: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = KerasRuntime(coarse, description).probabilities(images)
    corrected: list[int] = []
    off = []
    for correct in (lambda *_: 0, lambda *given: corrected.append(correct_biases(*given))):
        monkeypatch.setattr(litert, "correct_biases", correct)
        file = export_file(coarse, description, Target("litert", "int8"), tmp_path, images)
        off.append(np.abs(open_model(file).probabilities(images) - expected).mean())
        assert [one.name for one in tmp_path.iterdir()] == [file.name]
    assert corrected == [3]
    assert off[1] < 0.5 * off[0]
