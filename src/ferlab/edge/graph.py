"""The part of a Keras model that is exported: images in, class probabilities out."""

from typing import Any

from ferlab.errors import UserError
from ferlab.models.catalog import PROBABILITIES


def answer_only(model: Any) -> Any:
    """The model without a second head for valence and arousal; itself when it has none."""
    import keras

    if not isinstance(model.output, dict):
        return model
    return keras.Model(model.input, model.output[PROBABILITIES], name=model.name)


def require_tensorflow(what: str) -> None:
    """UserError when Keras runs on another backend."""
    import keras

    if keras.config.backend() != "tensorflow":
        message = f"KERAS_BACKEND={keras.config.backend()}: {what} files are made with TensorFlow. Unset KERAS_BACKEND."
        raise UserError(message)
