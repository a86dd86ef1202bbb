"""``fit``: a model through its phases, checkpointed every epoch, resumable, best epoch by validation accuracy."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ferlab.errors import UserError
from ferlab.models.build import set_trainable
from ferlab.training.augmentation import AugmentSpec, augmenter
from ferlab.training.checkpoint import Checkpoints, Progress
from ferlab.training.inputs import Batches
from ferlab.training.losses import loss_of
from ferlab.training.optimization import PhaseSpec, optimizer


@dataclass(frozen=True)
class FitSpec:
    """How to train. ``patience`` 0 never stops early; ``max_epochs`` 0 keeps every phase's own number."""

    phases: tuple[PhaseSpec, ...]
    augment: AugmentSpec
    label_smoothing: float
    patience: int
    max_epochs: int
    train_all: bool

    def epochs(self, phase: PhaseSpec) -> int:
        """Epochs of a phase under the debug limit."""
        return min(phase.epochs, self.max_epochs) if self.max_epochs else phase.epochs

    def total_epochs(self) -> int:
        """Epochs over all phases, early stopping aside."""
        return sum(self.epochs(phase) for phase in self.phases)


@dataclass(frozen=True)
class EpochRow:
    """One finished epoch, counted over all phases from 1; ``seconds`` include validation, ``images_per_s`` does not."""

    phase: str
    epoch: int
    total_epochs: int
    metrics: dict[str, float]
    seconds: float
    images_per_s: float
    is_best: bool


def fit(
    model: Any,
    batches: Batches,
    spec: FitSpec,
    checkpoints: Checkpoints,
    on_epoch: Callable[[EpochRow], None],
    resume: bool = False,
) -> Progress:
    """Train ``model`` through all phases; afterwards it holds the weights of the best epoch.

    With ``resume`` it goes on after the newest checkpoint. An epoch is reported once it is safe.

    Raises:
        UserError: the loss is not a number, the disk is full, no checkpoint to resume.

    """
    progress, interrupted = Progress(), None
    if resume:
        loss_of(batches.manifest.targets, spec.label_smoothing)  # Keras must know it to load a checkpoint
        interrupted, progress = checkpoints.load()
        model.set_weights(interrupted.get_weights())
    validation = batches.validation()
    for index in range(progress.phase, len(spec.phases)):
        _start_phase(model, spec, index, batches)
        if interrupted is not None:
            _copy_optimizer(interrupted, model)
            interrupted = None
        else:
            progress.phase, progress.phase_epoch, progress.waited, progress.phase_done = index, 0, 0, False
        if not progress.phase_done:
            _run_phase(model, batches, validation, spec, progress, checkpoints, on_epoch)
        model.set_weights(checkpoints.best_weights())
    # the finished model must load without our code, and needs no loss to predict
    model.compile(loss="categorical_crossentropy", metrics=["accuracy"], jit_compile=False)
    return progress


def _start_phase(model: Any, spec: FitSpec, index: int, batches: Batches) -> None:
    phase = spec.phases[index]
    set_trainable(model, 1.0 if spec.train_all else phase.trainable)
    model.compile(
        optimizer=optimizer(phase, spec.epochs(phase) * batches.steps_per_epoch),
        loss=loss_of(batches.manifest.targets, spec.label_smoothing),
        metrics=["accuracy"],
        steps_per_execution=batches.steps_per_execution,
        # XLA on CPU is several times slower for small and depthwise convolutions
        jit_compile=False,
    )


def _copy_optimizer(source: Any, target: Any) -> None:
    """Moments and step count; a saved optimizer forgets which variables it spares from weight decay, ours does not."""
    target.optimizer.build(target.trainable_variables)
    for mine, saved in zip(target.optimizer.variables, source.optimizer.variables, strict=True):
        mine.assign(saved)


def _run_phase(
    model: Any,
    batches: Batches,
    validation: Any,
    spec: FitSpec,
    progress: Progress,
    checkpoints: Checkpoints,
    on_epoch: Callable[[EpochRow], None],
) -> None:
    import keras

    phase = spec.phases[progress.phase]
    first = progress.epoch
    last = first - progress.phase_epoch + spec.epochs(phase)
    data = batches.training(first, last, augmenter(spec.augment, batches.manifest.size_px))

    class AfterEpoch(keras.callbacks.Callback):
        started = trained = 0.0

        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            self.started = time.monotonic()
            _seed_layers(self.model, batches.spec.seed, epoch)

        def on_test_begin(self, logs: Any = None) -> None:
            self.trained = time.monotonic()

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            training_s, seconds = self.trained - self.started, time.monotonic() - self.started
            metrics = {key: float(value) for key, value in logs.items()}
            if metrics["loss"] != metrics["loss"]:
                message = (
                    f"epoch {epoch + 1}: the loss is not a number. Lower the learning rate of phase {phase.name} "
                    f"(now {phase.learning_rate:g})."
                )
                raise UserError(message)
            metrics["learning_rate"] = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))
            images_per_s = batches.steps_per_epoch * batches.spec.batch_size / training_s
            row = _advance(progress, phase, metrics, seconds, images_per_s, spec)
            checkpoints.save(self.model, progress, row.is_best)
            on_epoch(row)
            self.model.stop_training = progress.phase_done

    model.fit(
        data,
        epochs=last,
        initial_epoch=first,
        steps_per_epoch=batches.steps_per_epoch,
        validation_data=validation,
        shuffle=False,
        verbose=0,
        callbacks=[AfterEpoch()],
    )


def _seed_layers(model: Any, seed: int, epoch: int) -> None:
    """Start the generators of random layers (dropout) from seed and epoch: a saved model does not hold their state."""
    for position, layer in enumerate(model._flatten_layers()):
        generator = getattr(layer, "seed_generator", None)
        if generator is not None:
            generator.state.assign([(seed * 1009 + position) % 2**32, epoch << 20])


def _advance(
    progress: Progress,
    phase: PhaseSpec,
    metrics: dict[str, float],
    seconds: float,
    images_per_s: float,
    spec: FitSpec,
) -> EpochRow:
    """Bring ``progress`` to the end of the epoch and describe it."""
    progress.epoch += 1
    progress.phase_epoch += 1
    score = (metrics["val_accuracy"], -metrics["val_loss"])
    is_best = score > (progress.best_accuracy, -progress.best_loss)
    if is_best:
        progress.best_accuracy, progress.best_loss, progress.best_epoch = score[0], -score[1], progress.epoch
        progress.waited = 0
    else:
        progress.waited += 1
    out_of_patience = bool(spec.patience) and progress.waited >= spec.patience
    progress.phase_done = out_of_patience or progress.phase_epoch >= spec.epochs(phase)
    row = EpochRow(
        phase=phase.name,
        epoch=progress.epoch,
        total_epochs=spec.total_epochs(),
        metrics=metrics,
        seconds=seconds,
        images_per_s=images_per_s,
        is_best=is_best,
    )
    progress.history.append(
        {"phase": phase.name, "epoch": progress.epoch, "images_per_s": images_per_s, "seconds": seconds, **metrics}
    )
    return row
