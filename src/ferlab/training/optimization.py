"""Optimizers and learning-rate schedules of a phase, all Keras's own."""

from typing import Any

from ferlab.config.nodes import Phase

NESTEROV_MOMENTUM = 0.9
START_SHARE = 0.05


def learning_rate(phase: Phase, total_steps: int) -> Any:
    """The rate, or a cosine down to zero after a linear warm-up over the share ``warmup`` of the steps."""
    import keras

    if phase.schedule != "cosine":
        return phase.learning_rate
    warm = round(phase.warmup * total_steps)
    return keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=phase.learning_rate * START_SHARE if warm else phase.learning_rate,
        decay_steps=max(1, total_steps - warm),
        warmup_target=phase.learning_rate if warm else None,
        warmup_steps=warm,
    )


def optimizer(phase: Phase, total_steps: int, ema: float = 0.0) -> Any:
    """SGD with Nesterov momentum, Adam or AdamW; ``ema`` > 0 keeps an exponential moving average of the weights.

    Weight decay is decoupled; biases and BatchNorm are left out of it.
    """
    import keras

    common: dict[str, Any] = {
        "learning_rate": learning_rate(phase, total_steps),
        "global_clipnorm": phase.clip_norm or None,
    }
    if ema:
        common |= {"use_ema": True, "ema_momentum": ema}
    if phase.optimizer == "adam":
        return keras.optimizers.Adam(**common)
    if phase.optimizer == "adamw":
        made = keras.optimizers.AdamW(weight_decay=phase.weight_decay, **common)
    else:
        decay = phase.weight_decay or None
        made = keras.optimizers.SGD(momentum=NESTEROV_MOMENTUM, nesterov=True, weight_decay=decay, **common)
    if phase.weight_decay:
        made.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return made


def epoch_rate(phase: Phase, epochs: int, phase_epoch: int, factor: float) -> float | None:
    """The rate of a ``plateau`` phase of ``epochs`` in one of them (from 0); None for other schedules.

    It is warmed up by epochs, and ``factor`` is how far it has fallen.
    """
    if phase.schedule != "plateau":
        return None
    warm_epochs = phase.warmup * epochs
    warmed = min(1.0, (phase_epoch + 1) / warm_epochs) if warm_epochs else 1.0
    return phase.learning_rate * warmed * factor
