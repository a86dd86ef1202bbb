"""Losses by what is trained on, and the count of steps that gave numbers."""

from collections.abc import Callable
from typing import Any

from ferlab.config.nodes import Recipe
from ferlab.models.catalog import AFFECT, PROBABILITIES
from ferlab.training.targets import TEACHER

IMPOSSIBLE = -1e9
FINITE = "finite"
"""Name of the metric that ``finite_share`` computes."""


def losses_of(targets: str, recipe: Recipe) -> tuple[Any, dict[str, float] | None]:
    """Keras's ``loss`` and ``loss_weights``: of the classes alone, or by output where more is learned.

    A teacher's share of the loss is ``distill`` times the cross-entropy of both sides softened by the temperature,
    times its square, so that its gradients stay as large as the labels' (Hinton et al. 2015, arXiv:1503.02531).
    """
    import keras

    labels = loss_of(targets, recipe)
    losses: dict[str, Any] = {PROBABILITIES: labels}
    weights = {PROBABILITIES: 1.0 - recipe.distill}
    if recipe.affect:
        losses[AFFECT], weights[AFFECT] = affect_error, recipe.affect
    if recipe.distill:
        losses[TEACHER] = keras.losses.CategoricalCrossentropy(from_logits=True)
        weights[TEACHER] = recipe.distill * recipe.distill_temperature**2
    return (losses, weights) if len(losses) > 1 else (labels, None)


def loss_of(targets: str, recipe: Recipe) -> Callable[[Any, Any], Any]:
    """A loss of (targets float32 (n, classes), logits (n, classes)): cross-entropy or focal, with smoothed labels.

    For ``multi_target`` minus the log of the most probable valid answer.
    """
    import keras

    if targets == "multi_target":
        return best_valid_answer
    if recipe.loss == "focal":
        return focal(recipe.focal_gamma, recipe.label_smoothing)
    return keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=recipe.label_smoothing)


def focal(gamma: float, label_smoothing: float) -> Callable[[Any, Any], Any]:
    """Focal loss (Lin et al. 2017) from logits, (n,): Keras's own clips probabilities, and with them the gradient."""
    import keras

    def focal_loss(wanted: Any, logits: Any) -> Any:
        likelihood = keras.ops.log_softmax(logits, axis=-1)
        smooth = wanted * (1 - label_smoothing) + label_smoothing / wanted.shape[-1]
        return -keras.ops.sum(smooth * (1 - keras.ops.exp(likelihood)) ** gamma * likelihood, axis=-1)

    return focal_loss


def best_valid_answer(valid: Any, logits: Any) -> Any:
    """-log(max over valid answers of p) (Barsoum et al. 2016), (n,); ``valid`` (n, classes) is 1 for those, else 0."""
    import keras

    likelihood = keras.ops.log_softmax(logits, axis=-1)
    return -keras.ops.max(keras.ops.where(valid > 0, likelihood, IMPOSSIBLE), axis=-1)


def affect_error(wanted: Any, found: Any) -> Any:
    """Squared error of valence and arousal (n, 2), mean over both, (n,); NaN in ``wanted`` (not annotated) counts 0."""
    import keras

    annotated = keras.ops.isfinite(wanted)
    # the difference itself must be finite, or the gradient of what is left out is not
    error = keras.ops.where(annotated, wanted, found) - found
    return keras.ops.mean(keras.ops.square(error), axis=-1)


def finite_share(targets: Any, answers: Any) -> Any:
    """1 for every sample whose answers (n, k) are numbers, else 0, (n,): its mean tells at which step that ended."""
    import keras

    return keras.ops.cast(keras.ops.all(keras.ops.isfinite(answers), axis=-1), "float32")


finite_share.__name__ = FINITE
