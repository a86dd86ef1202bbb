"""``fit``: a model through its phases, checkpointed every epoch, resumable, best epoch by validation accuracy."""

import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any, NoReturn

import numpy as np

from ferlab.config.nodes import Phase
from ferlab.errors import UserError
from ferlab.training.averaging import Average, averaged_weights
from ferlab.training.checkpoint import Checkpoints, Progress, Saved
from ferlab.training.distribution import fed, of_first_process
from ferlab.training.features import OnFeatures
from ferlab.training.inputs import Batch, TrainingData
from ferlab.training.losses import FINITE
from ferlab.training.measures import measured, named
from ferlab.training.optimization import epoch_rate
from ferlab.training.phases import FitSpec, Stage, check_blocks, stage_of

NOT_FINITE = "not-finite.npz"


@dataclass(frozen=True)
class EpochRow:
    """One finished epoch, counted over all phases from 1; ``seconds`` include validation, ``images_per_s`` does not.

    ``left_in_phase``: epochs until the phase ends; ``best_accuracy`` on validation until now.
    """

    phase: str
    epoch: int
    total_epochs: int
    left_in_phase: int
    metrics: dict[str, float]
    seconds: float
    images_per_s: float
    is_best: bool
    best_accuracy: float

    def numbers(self) -> dict[str, Any]:
        """What is kept of it: phase, epoch, speed, time and metrics."""
        kept = {"phase": self.phase, "epoch": self.epoch, "images_per_s": self.images_per_s, "seconds": self.seconds}
        return kept | self.metrics


@dataclass(frozen=True)
class Watch:
    """Who is told: ``on_step(epoch, step, steps)`` as an epoch goes on, ``on_epoch(row)`` once it is safe.

    ``on_features(done, total)``: how many images a frozen base has answered, before the epochs of its head.
    """

    on_step: Callable[[int, int, int], None]
    on_epoch: Callable[[EpochRow], None]
    on_features: OnFeatures = lambda done, total: None


def fit(
    model: Any, data: TrainingData, spec: FitSpec, checkpoints: Checkpoints, watch: Watch, resume: bool = False
) -> Progress:
    """Train ``model`` through all phases; afterwards it holds the weights of the best epoch.

    With ``resume`` it goes on after the newest checkpoint. Of several processes that train together, the first one
    alone reads and writes checkpoints.

    Raises:
        UserError: the network's answers are not numbers, the disk is full, no checkpoint to resume.

    """
    if not spec.train_all:
        check_blocks(model, spec.recipe.phases)
    saved, progress = of_first_process(checkpoints.load) if resume else (None, Progress())
    for index in range(progress.phase, len(spec.recipe.phases)):
        if saved:
            model.set_weights(saved.weights)
        else:
            progress.begin_phase(index)
        if not progress.phase_done:
            stage = stage_of(model, data, spec, spec.phase(index), checkpoints.folder / "features", watch.on_features)
            _PhaseRun(model, data, stage, spec, progress, checkpoints).run(saved, watch)
        saved = None
        model.set_weights(of_first_process(checkpoints.best_weights))
    return progress


class _PhaseRun:
    """One phase from where ``progress`` stands to its end: what happens after each step and each epoch."""

    def __init__(
        self, model: Any, data: TrainingData, stage: Stage, spec: FitSpec, progress: Progress, folder: Checkpoints
    ) -> None:
        self.model, self.stage, self.spec, self.progress, self.checkpoints = model, stage, spec, progress, folder
        self.known = data.validation.known
        self.phase = spec.phase(progress.phase)
        self.average = Average()
        self.broken: UserError | None = None

    def run(self, saved: Saved | None, watch: Watch) -> None:
        """Train; with ``saved``, optimizer and averages go on from there."""
        trainee, batches = self.stage.trainee, self.stage.batches
        trainee.optimizer.build(trainee.trainable_variables)
        if saved:
            for mine, kept in zip(trainee.optimizer.variables, saved.optimizer, strict=True):
                mine.assign(kept)
            self.average = Average.from_arrays(saved.average)
        first = self.progress.epoch
        last = first - self.progress.phase_epoch + self.spec.epochs(self.phase)
        try:
            trainee.fit(
                fed(lambda: self._batches(first, last)),
                epochs=last,
                initial_epoch=first,
                steps_per_epoch=batches.steps_per_epoch,
                shuffle=False,
                verbose=0,
                callbacks=[_between_steps(self, watch)],
            )
        except Exception as error:
            if self.broken is None:
                raise
            raise self.broken from error  # TensorFlow wraps it in a traceback of its own

    def _batches(self, first: int, last: int) -> Generator[Batch, None, None]:
        """The batches of epochs ``first`` to ``last`` (exclusive, from 0)."""
        try:
            for epoch in range(first, last):
                yield from self.stage.batches.epoch(epoch, self.stage.change)
        except UserError as error:
            self.broken = error
            raise

    def begin_epoch(self, epoch: int) -> None:
        """Seed the random layers and set the rate of the epoch, counted from 0."""
        _seed_layers(self.stage.network, self.stage.batches.spec.seed, epoch)
        epochs, done = self.spec.epochs(self.phase), self.progress.phase_epoch
        rate = epoch_rate(self.phase, epochs, done, self.progress.rate_factor)
        if rate is not None:
            self.stage.trainee.optimizer.learning_rate = rate

    def check_finite(self, epoch: int, done: int, logs: dict[str, float]) -> None:
        """Stop when an answer of the epoch's first ``done`` steps was no number; the batch and the one before are kept.

        Raises:
            UserError: the share of the samples with numbers as answers is not 1, of any head.

        """
        share = min(float(value) for key, value in logs.items() if key.endswith(FINITE))
        if share != 1:
            self._stop(epoch, int(share * done + 1e-3))

    def _stop(self, epoch: int, step: int) -> NoReturn:
        """Keep the batch of ``step`` (from 0) and the one before, and say that something in them is no number."""
        batches = list(islice(self.stage.batches.epoch(epoch, self.stage.change), max(0, step - 1), step + 1))
        file = self.checkpoints.keep_batches(NOT_FINITE, batches)
        message = (
            f"epoch {epoch + 1}, step {step + 1}: the network's answers are not numbers any more. Lower the learning "
            f"rate of phase {self.phase.name} (now {self.phase.learning_rate:g}), or look at its batch and the one "
            f"before in {file}."
        )
        raise UserError(message)

    def end_epoch(self, logs: dict[str, float], training_s: float, started: float) -> EpochRow:
        """Measure on validation, with averaged weights where they are asked for, save, and describe the epoch."""
        weights = self.model.get_weights()
        shown = self._shown(weights)
        if shown is not weights:
            self.model.set_weights(shown)
        metrics = {"loss": float(logs["loss"]), "accuracy": named(logs, "accuracy")}
        metrics |= measured(self.stage.network, self.stage.validation(), self.known)
        if shown is not weights:
            self.model.set_weights(weights)
        # TensorFlow's ReLU makes 0 of what is no number, so answers alone do not show broken weights
        if not np.isfinite([metrics["val_loss"], *(array.sum() for array in weights)]).all():
            self._stop(self.progress.epoch, self.stage.batches.steps_per_epoch - 1)
        optimizer = self.stage.trainee.optimizer
        metrics["learning_rate"] = float(np.asarray(optimizer.learning_rate))
        # another machine may round otherwise, and all must stop at the same epoch
        metrics = of_first_process(partial(dict, metrics))
        is_best = advance(self.progress, self.phase, metrics, self.spec)
        row = EpochRow(
            phase=self.phase.name,
            epoch=self.progress.epoch,
            total_epochs=self.spec.total_epochs(),
            left_in_phase=0 if self.progress.phase_done else self.spec.epochs(self.phase) - self.progress.phase_epoch,
            metrics=metrics,
            seconds=time.monotonic() - started,
            images_per_s=self.stage.batches.steps_per_epoch * self.stage.batches.spec.batch_size / training_s,
            is_best=is_best,
            best_accuracy=self.progress.best_accuracy,
        )
        self.progress.history.append(row.numbers())
        state = Saved(weights, [np.asarray(variable) for variable in optimizer.variables], self.average.arrays())
        of_first_process(partial(self.checkpoints.save, state, self.progress, shown if is_best else None))
        return row

    def _shown(self, weights: list[np.ndarray]) -> list[np.ndarray]:
        """The weights that are validated and kept: averaged ones where the recipe asks for them, else ``weights``."""
        recipe = self.spec.recipe
        if recipe.ema:
            trainee = self.stage.trainee
            averaged = dict(zip(map(id, trainee.weights), averaged_weights(trainee), strict=True))
            return [averaged.get(id(mine), now) for mine, now in zip(self.model.weights, weights, strict=True)]
        left = self.spec.epochs(self.phase) - self.progress.phase_epoch
        if self.progress.phase + 1 == len(recipe.phases) and left <= recipe.swa:
            self.average.add(weights)
            return self.average.weights()
        return weights


def _between_steps(running: _PhaseRun, watch: Watch) -> Any:
    """Keras's callback around the phase."""
    import keras

    class BetweenSteps(keras.callbacks.Callback):
        epoch, started = 0, 0.0

        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            self.epoch, self.started = epoch, time.monotonic()
            running.begin_epoch(epoch)

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            running.check_finite(self.epoch, batch + 1, logs)
            watch.on_step(self.epoch + 1, batch + 1, running.stage.batches.steps_per_epoch)

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            watch.on_epoch(running.end_epoch(logs, time.monotonic() - self.started, self.started))
            self.model.stop_training = running.progress.phase_done

    return BetweenSteps()


def _seed_layers(model: Any, seed: int, epoch: int) -> None:
    """Start the generators of random layers (dropout) from seed and epoch: a checkpoint does not hold their state."""
    for position, layer in enumerate(model._flatten_layers()):
        generator = getattr(layer, "seed_generator", None)
        if generator is not None:
            generator.state.assign(np.random.SeedSequence([seed, position, epoch]).generate_state(2))


def advance(progress: Progress, phase: Phase, metrics: dict[str, float], spec: FitSpec) -> bool:
    """Bring ``progress`` to the end of an epoch with ``metrics``; whether it is the best so far."""
    progress.epoch += 1
    progress.phase_epoch += 1
    score = (metrics["val_accuracy"], -metrics["val_loss"])
    is_best = score > (progress.best_accuracy, -progress.best_loss)
    if is_best:
        progress.best_accuracy, progress.best_loss, progress.best_epoch = score[0], -score[1], progress.epoch
    # a phase that starts below the one before must be let climb
    if score > (progress.phase_accuracy, -progress.phase_loss):
        progress.phase_accuracy, progress.phase_loss = score[0], -score[1]
        progress.waited = progress.flat = 0
    else:
        progress.waited += 1
        progress.flat += 1
    if phase.schedule == "plateau" and progress.flat >= phase.plateau_patience:
        progress.flat, progress.rate_factor = 0, progress.rate_factor * phase.plateau_factor
    out_of_patience = bool(spec.recipe.patience) and progress.waited >= spec.recipe.patience
    enough = progress.best_accuracy >= spec.enough
    progress.phase_done = enough or out_of_patience or progress.phase_epoch >= spec.epochs(phase)
    return is_best
