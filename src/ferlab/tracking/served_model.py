"""What MLflow runs to serve a registered model: images in, class names with probabilities out. Needs no ferlab."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel

MOST_IMAGES = 256
"""Of one call."""


class Expressions(PythonModel):
    """uint8 images (n, size_px, size_px, channels) to a table: ``label``, and the probability of every class."""

    def load_context(self, context: Any) -> None:
        """Read the Keras model (in safe mode) and the names of its classes."""
        import keras

        self.model = keras.saving.load_model(context.artifacts["model"], compile=False, safe_mode=True)
        self.classes = json.loads(Path(context.artifacts["classes"]).read_text(encoding="utf-8"))

    # MLflow takes type hints here for a schema and complains of those that it cannot check against
    def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]
        """One row an image; ValueError for other shapes, more than MOST_IMAGES, and pixels that are not in 0..255."""
        import pandas as pd

        images = np.asarray(model_input)
        expected = tuple(self.model.input_shape[1:])
        if images.ndim != 4 or images.shape[1:] != expected:
            message = f"images must have the shape (n, {', '.join(map(str, expected))}), got {images.shape}"
            raise ValueError(message)
        if len(images) > MOST_IMAGES:
            message = f"{len(images)} images, at most {MOST_IMAGES} a call are taken"
            raise ValueError(message)
        if images.size and images.max() <= 1:  # MLflow has made whole numbers of them
            raise ValueError("images are uint8 0..255, not 0..1")
        answers = self.model.predict(images.astype(np.uint8), verbose=0)
        if isinstance(answers, dict):
            answers = answers["probabilities"]
        table = pd.DataFrame(np.asarray(answers, np.float64), columns=self.classes)
        table.insert(0, "label", [self.classes[best] for best in np.argmax(answers, axis=1)])
        return table


set_model(Expressions())
