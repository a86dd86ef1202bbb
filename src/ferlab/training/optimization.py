"""Optimizers and learning-rate schedules of a phase, all Keras's own, so that a saved model loads anywhere."""

from dataclasses import dataclass
from typing import Any

NESTEROV_MOMENTUM = 0.9
START_SHARE = 0.05


@dataclass(frozen=True)
class PhaseSpec:
    """One stage: ``trainable`` is the share of the base's layers, from the top, that learn (0 = head only)."""

    name: str
    epochs: int
    learning_rate: float
    optimizer: str
    schedule: str
    warmup: float
    weight_decay: float
    trainable: float


def learning_rate(phase: PhaseSpec, total_steps: int) -> Any:
    """A constant, or a cosine down to zero after a linear warm-up over the share ``warmup`` of the steps."""
    import keras

    if phase.schedule == "constant":
        return phase.learning_rate
    warm = round(phase.warmup * total_steps)
    return keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=phase.learning_rate * START_SHARE if warm else phase.learning_rate,
        decay_steps=max(1, total_steps - warm),
        warmup_target=phase.learning_rate if warm else None,
        warmup_steps=warm,
    )


def optimizer(phase: PhaseSpec, total_steps: int) -> Any:
    """SGD with Nesterov momentum, Adam or AdamW. Weight decay is decoupled; biases and BatchNorm are left out of it."""
    import keras

    rate = learning_rate(phase, total_steps)
    decay = phase.weight_decay or None
    if phase.optimizer == "sgd":
        made = keras.optimizers.SGD(rate, momentum=NESTEROV_MOMENTUM, nesterov=True, weight_decay=decay)
    elif phase.optimizer == "adam":
        made = keras.optimizers.Adam(rate)
    else:
        made = keras.optimizers.AdamW(rate, weight_decay=phase.weight_decay)
    if decay and phase.optimizer != "adam":
        made.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return made
