"""What a phase trains: the whole network, or its head alone on features that the base gave once; compiled for it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ferlab.config.schema import Augment, Phase, Recipe
from ferlab.models.blocks import feature_model, head_model, logits_model, set_trainable
from ferlab.records.load import Annotations
from ferlab.training.augmentation import Change, changer, scaled
from ferlab.training.distribution import predicted, steps_at_once
from ferlab.training.inputs import AFFECT, PROBABILITIES, MemoryBatches, ShardBatches, TrainingData
from ferlab.training.losses import affect_error, finite_share, loss_of
from ferlab.training.optimization import optimizer
from ferlab.training.sharpness import sharpness_aware

COPY_SEED = 2**31
"""Keeps the draws of cached copies apart from those of epochs."""


@dataclass(frozen=True)
class FitSpec:
    """How to train. ``max_epochs`` 0 keeps every phase's own number; ``train_all`` ignores what phases freeze."""

    recipe: Recipe
    augment: Augment
    max_epochs: int
    train_all: bool

    def phase(self, index: int) -> Phase:
        """A phase with the rate for this batch size: ``recipe.rate_batch`` scales it linearly (Goyal et al. 2017)."""
        phase, usual = self.recipe.phases[index], self.recipe.rate_batch
        scale = self.recipe.batch_size / usual if usual else 1.0
        return replace(phase, learning_rate=phase.learning_rate * scale)

    def epochs(self, phase: Phase) -> int:
        """Epochs of a phase under the debug limit."""
        return min(phase.epochs, self.max_epochs) if self.max_epochs else phase.epochs

    def total_epochs(self) -> int:
        """Epochs over all phases, early stopping aside."""
        return sum(self.epochs(phase) for phase in self.recipe.phases)


@dataclass(frozen=True)
class Stage:
    """A phase ready to run: ``trainee`` is what learns, ``network`` what answers, both on the same inputs."""

    trainee: Any
    network: Any
    batches: MemoryBatches | ShardBatches
    change: Change | None
    validation: Callable[[], Iterator[np.ndarray]]


def stage_of(model: Any, data: TrainingData, spec: FitSpec, phase: Phase, workspace: Path) -> Stage:
    """Freeze, cache features where asked, compile. ``workspace`` takes features that are too large for memory."""
    head_only = phase.head_only and not spec.train_all
    set_trainable(
        model,
        share=1.0 if spec.train_all else phase.trainable,
        from_block=None if spec.train_all else phase.from_block,
        freeze_batch_norm=phase.freeze_batch_norm and not spec.train_all,
    )
    augment = scaled(spec.augment, phase.augment)
    shared = data.train.spec.processes > 1  # each process holds other samples, and all must answer the same ones
    cached = head_only and phase.features == "cached" and not shared
    if cached:
        stage = _on_features(model, data, augment, phase, workspace)
    else:
        stage = Stage(model, model, data.train, changer(augment), data.validation.batches)
    trainee = logits_model(model, on_features=cached)
    if spec.recipe.sharpness:
        trainee = sharpness_aware(trainee, spec.recipe.sharpness)
    stage = replace(stage, trainee=trainee)
    _compile(stage, spec, phase, data)
    return stage


def _compile(stage: Stage, spec: FitSpec, phase: Phase, data: TrainingData) -> None:
    import keras

    # XLA on CPU is several times slower for small and depthwise convolutions; JAX has no other compiler
    xla = keras.backend.backend() == "jax"
    loss: Any = loss_of(data.manifest.targets, spec.recipe)
    metrics: Any = ["accuracy", finite_share]
    if spec.recipe.affect:
        loss, metrics = {PROBABILITIES: loss, AFFECT: affect_error}, {PROBABILITIES: metrics}
    stage.trainee.compile(
        optimizer=optimizer(phase, spec.epochs(phase) * stage.batches.steps_per_epoch, spec.recipe.ema),
        loss=loss,
        loss_weights={PROBABILITIES: 1.0, AFFECT: spec.recipe.affect} if spec.recipe.affect else None,
        metrics=metrics,
        steps_per_execution=steps_at_once(stage.batches.steps_per_execution),
        jit_compile=xla,
    )
    stage.network.jit_compile = xla
    # where several devices share the work, JAX's function for answers goes with the variables that learn
    stage.network.make_predict_function(force=True)


def _on_features(model: Any, data: TrainingData, augment: Augment, phase: Phase, workspace: Path) -> Stage:
    """The base runs once over the validation images and over each copy of the training images."""
    base = feature_model(model)
    base.jit_compile = model.jit_compile
    pure = changer(replace(augment, mixup=0.0, cutmix=0.0))  # mixed images would need mixed targets beside them
    count, width, versions = data.train.count, base.output_shape[-1], max(1, phase.copies)
    copies = _room_for((versions, count, width), data.train.spec.memory_bytes / 2, workspace)
    known = Annotations.room_for(count, data.manifest)
    for version in range(versions):
        first = 0
        for images, block in data.train.blocks():
            rows = slice(first, first + len(images))
            if phase.copies:
                rng = np.random.default_rng([data.train.spec.seed, COPY_SEED + version, first])
                images, _ = pure(images, np.empty((len(images), 0), np.float32), rng)
            copies[version, rows] = predicted(base, images)
            known[rows] = block
            first = rows.stop
    validation = [predicted(base, images).astype(np.float32) for images in data.validation.batches()]
    head = head_model(model)
    batches = MemoryBatches(list(copies), known, data.manifest, data.train.spec)
    return Stage(head, head, batches, None, lambda: iter(validation))


def _room_for(shape: tuple[int, ...], memory_bytes: float, workspace: Path) -> np.ndarray:
    """An empty float32 array, in a file when it takes more than ``memory_bytes``."""
    if 4 * np.prod(shape) <= memory_bytes:
        return np.empty(shape, np.float32)
    workspace.mkdir(parents=True, exist_ok=True)
    return np.lib.format.open_memmap(workspace / "features.npy", "w+", np.float32, shape)
