"""Losses by what is trained on."""

from typing import Any


def loss_of(targets: str, label_smoothing: float) -> Any:
    """Cross-entropy; for ``multi_target`` minus the log of the most probable valid answer (Barsoum et al. 2016)."""
    import keras

    if targets == "multi_target":
        return best_answer()
    return keras.losses.CategoricalCrossentropy(label_smoothing=label_smoothing)


def best_answer() -> Any:
    """The loss -log(max over valid answers of p); targets (n, classes) hold 1 for every valid answer, else 0."""
    import keras

    @keras.saving.register_keras_serializable(package="ferlab")
    def best_valid_answer(valid: Any, probabilities: Any) -> Any:
        largest = keras.ops.max(valid * probabilities, axis=-1)
        return -keras.ops.log(keras.ops.maximum(largest, keras.config.epsilon()))

    return best_valid_answer
