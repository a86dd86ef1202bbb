"""Losses by what is trained on, and the count of steps that gave numbers."""

from typing import Any

from ferlab.config.schema import Recipe

FINITE = "finite"
"""Name of the metric that ``finite_share`` computes."""


def loss_of(targets: str, recipe: Recipe) -> Any:
    """Cross-entropy or focal loss (Lin et al. 2017), smoothed labels.

    For ``multi_target`` minus the log of the most probable valid answer (Barsoum et al. 2016).
    """
    import keras

    if targets == "multi_target":
        return best_valid_answer
    if recipe.loss == "focal":
        # class weights come with the samples, so alpha is the same for all
        return keras.losses.CategoricalFocalCrossentropy(
            alpha=1.0, gamma=recipe.focal_gamma, label_smoothing=recipe.label_smoothing
        )
    return keras.losses.CategoricalCrossentropy(label_smoothing=recipe.label_smoothing)


def best_valid_answer(valid: Any, probabilities: Any) -> Any:
    """-log(max over valid answers of p), (n,); ``valid`` (n, classes) holds 1 for every valid answer, else 0."""
    import keras

    largest = keras.ops.max(valid * probabilities, axis=-1)
    return -keras.ops.log(keras.ops.maximum(largest, keras.config.epsilon()))


def affect_error(wanted: Any, found: Any) -> Any:
    """Squared error of valence and arousal (n, 2), mean over both, (n,); NaN in ``wanted`` (not annotated) counts 0."""
    import keras

    annotated = keras.ops.isfinite(wanted)
    # the difference itself must be finite, or the gradient of what is left out is not
    error = keras.ops.where(annotated, wanted, found) - found
    return keras.ops.mean(keras.ops.square(error), axis=-1)


def finite_share(targets: Any, probabilities: Any) -> Any:
    """1 for every sample whose probabilities are numbers, else 0, (n,): its mean tells at which step they ceased to be.

    The loss itself cannot tell: Keras clips probabilities before the logarithm.
    """
    import keras

    return keras.ops.cast(keras.ops.all(keras.ops.isfinite(probabilities), axis=-1), "float32")


finite_share.__name__ = FINITE
