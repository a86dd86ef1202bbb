"""Sharpness-aware minimisation (SAM, Foret et al. 2021, arXiv:2010.01412) around any functional model."""

import functools
from typing import Any

from ferlab.errors import UserError

SMALLEST_NORM = 1e-12


def sharpness_aware(model: Any, rho: float) -> Any:
    """A ``keras.Model`` that trains ``model`` with SAM: each step follows the gradient at ``w + rho * g / ||g||``.

    It shares every layer and variable with ``model``, in the same order: compile and fit it, then save ``model``,
    which needs no class of ours to load. Loss and metrics are those at ``w``. BatchNormalization's moving averages
    and the dropout masks come from the first of the two passes. The norm runs over all trainable variables and
    over the global batch, so that several devices take the step that one would take. A step costs two.

    Args:
        model: a functional Keras model, whose ``trainable`` flags are as they shall be at compile.
        rho: radius of the neighbourhood, > 0; the paper uses 0.05 to 0.1.

    Raises:
        UserError: ``rho`` is not above 0, or Keras runs on a backend other than TensorFlow or JAX.

    """
    if not rho > 0:
        message = f"rho={rho:g}: sharpness-aware minimisation needs a radius above 0, such as 0.05."
        raise UserError(message)
    trainer = _trainer_class()(inputs=model._inputs_struct, outputs=model._outputs_struct, name=model.name)
    trainer.rho = float(rho)
    return trainer


@functools.cache
def _trainer_class() -> type:
    """The class for the backend at hand; made on demand, so that importing this file does not import Keras."""
    import keras

    backend = keras.config.backend()
    if backend not in ("tensorflow", "jax"):
        message = f"KERAS_BACKEND={backend}: sharpness-aware minimisation runs on tensorflow or jax."
        raise UserError(message)
    train_step = _tensorflow_step if backend == "tensorflow" else _jax_step

    class SharpnessAware(keras.Model):
        rho = 0.0

        def train_step(self, *arguments: Any) -> Any:
            return train_step(self, *arguments)

    return SharpnessAware


def _tensorflow_step(trainer: Any, data: Any) -> dict[str, Any]:
    import keras
    import tensorflow as tf

    x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
    variables = trainer.trainable_variables
    replicas = tf.distribute.get_strategy().num_replicas_in_sync
    before = [(variable, tf.identity(variable.value)) for variable in trainer.non_trainable_variables]
    with tf.GradientTape() as tape:
        y_pred = trainer(x, training=True)
        loss = trainer.compute_loss(x=x, y=y, y_pred=y_pred, sample_weight=sample_weight, training=True)
        scaled = trainer.optimizer.scale_loss(loss)
    gradients = tape.gradient(scaled, [variable.value for variable in variables], unconnected_gradients="zero")
    # Keras divides the loss by the number of replicas, so the sum is the gradient of the global batch
    gradients = tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, gradients)
    shifted = _ascended([tf.convert_to_tensor(variable.value) for variable in variables], gradients, trainer.rho)
    with tf.GradientTape() as tape:
        tape.watch(shifted)
        ascended_loss = _loss_at(trainer, [*zip(variables, shifted, strict=True), *before], x, y, sample_weight)
    gradients = tape.gradient(ascended_loss, shifted, unconnected_gradients="zero")
    trainer.optimizer.apply_gradients(zip(gradients, variables, strict=True))
    trainer._loss_tracker.update_state(loss * replicas, sample_weight=tf.shape(keras.tree.flatten(x)[0])[0])
    return trainer.compute_metrics(x, y, y_pred, sample_weight=sample_weight)


def _jax_step(trainer: Any, state: Any, data: Any) -> tuple[dict[str, Any], Any]:
    import jax
    import keras

    x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
    trainable, states, optimizer_variables, metrics_variables = state
    before = [
        *zip(trainer.non_trainable_variables, states, strict=True),
        *zip(trainer.optimizer.variables, optimizer_variables, strict=True),
        *zip(trainer.metrics_variables, metrics_variables, strict=True),
    ]
    gradient = jax.value_and_grad(trainer.compute_loss_and_updates, has_aux=True)
    (_, (loss, y_pred, new_states, metrics_variables)), gradients = gradient(
        trainable,
        states,
        metrics_variables,
        x,
        y,
        sample_weight,
        training=True,
        optimizer_variables=optimizer_variables,
    )

    def ascended_loss(shifted: Any) -> Any:
        values = [*zip(trainer.trainable_variables, shifted, strict=True), *before]
        return _loss_at(trainer, values, x, y, sample_weight)

    gradients = jax.grad(ascended_loss)(_ascended(trainable, gradients, trainer.rho))
    trainable, optimizer_variables = trainer.optimizer.stateless_apply(optimizer_variables, gradients, trainable)
    logs, metrics_variables = trainer._update_metrics_variables(metrics_variables, loss, x, y, y_pred, sample_weight)
    return logs, (trainable, new_states, optimizer_variables, metrics_variables)


def _ascended(weights: list[Any], gradients: list[Any], rho: float) -> list[Any]:
    """``w + rho * g / ||g||`` with one norm over all variables; a scale on the loss cancels out."""
    from keras import ops

    norm = ops.sqrt(sum(ops.sum(ops.square(ops.cast(gradient, "float32"))) for gradient in gradients))
    step = rho / (norm + SMALLEST_NORM)
    return [
        weight + ops.cast(step * ops.cast(gradient, "float32"), weight.dtype)
        for weight, gradient in zip(weights, gradients, strict=True)
    ]


def _loss_at(trainer: Any, values: list[tuple[Any, Any]], x: Any, y: Any, sample_weight: Any) -> Any:
    """Scaled training loss where variables have the given ``values``; no variable of the model changes."""
    import keras

    with keras.StatelessScope(state_mapping=values, collect_losses=True):
        y_pred = trainer(x, training=True)
        loss = trainer.compute_loss(x=x, y=y, y_pred=y_pred, sample_weight=sample_weight, training=True)
        return trainer.optimizer.scale_loss(loss)
