"""What a phase trains: the whole network, or its head alone on features that the base gave once; compiled for it."""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ferlab.config.nodes import Augment, Phase, Recipe
from ferlab.models.blocks import check_block, head_model, logits_model, multiplications, set_trainable, uses_xla
from ferlab.models.catalog import AFFECT, PROBABILITIES
from ferlab.storage.files import remove_folder
from ferlab.training.augmentation import Change, changer, weakened
from ferlab.training.distillation import student
from ferlab.training.distribution import steps_at_once
from ferlab.training.features import OnFeatures, features_of
from ferlab.training.inputs import MemoryBatches, ShardBatches, TrainingData
from ferlab.training.losses import finite_share, losses_of
from ferlab.training.optimization import optimizer
from ferlab.training.order import answerable
from ferlab.training.sharpness import sharpness_aware


@dataclass(frozen=True)
class FitSpec:
    """How to train. ``max_epochs`` 0 keeps every phase's own number; ``train_all`` ignores what phases freeze.

    A phase ends once the accuracy on validation is ``enough``.
    """

    recipe: Recipe
    augment: Augment
    max_epochs: int
    train_all: bool
    enough: float = math.inf

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


def check_blocks(model: Any, phases: Iterable[Phase]) -> None:
    """UserError when one of ``phases`` trains from a block on that the network does not have."""
    for phase in phases:
        if phase.from_block is not None:
            check_block(model, phase.from_block)


def stage_of(
    model: Any,
    data: TrainingData,
    spec: FitSpec,
    phase: Phase,
    workspace: Path,
    on_features: OnFeatures = lambda done, total: None,
) -> Stage:
    """Freeze, cache features where asked, compile.

    ``workspace`` takes features that are too large for memory, and gives them back to a resumed phase; other phases
    remove it. ``on_features`` is told how many images the base has answered, of how many.

    Raises:
        UserError: the network has no such block, or the disk is full.

    """
    head_only = phase.head_only and not spec.train_all
    set_trainable(
        model,
        share=1.0 if spec.train_all else phase.trainable,
        top_layers=None if spec.train_all else phase.top_layers,
        from_block=None if spec.train_all else phase.from_block,
        freeze_batch_norm=phase.freeze_batch_norm and not spec.train_all,
    )
    augment = weakened(spec.augment, phase.augment)
    shared = data.train.spec.processes > 1  # each process holds other samples, and all must answer the same ones
    cached = head_only and phase.features == "cached" and not shared
    if cached:
        features = features_of(model, data, augment, phase.copies, workspace, on_features)
        head = head_model(model)
        stage = Stage(head, head, features.batches, None, features.validation_blocks)
    else:
        remove_folder(workspace)
        stage = Stage(model, model, data.train, changer(augment), data.validation.batches)
    trainee = logits_model(model, on_features=cached)
    if spec.recipe.distill:
        trainee = student(trainee, spec.recipe.distill_temperature)
    if spec.recipe.sharpness:
        trainee = sharpness_aware(trainee, spec.recipe.sharpness)
    stage = replace(stage, trainee=trainee)
    _compile(stage, spec, phase, data)
    return stage


def _compile(stage: Stage, spec: FitSpec, phase: Phase, data: TrainingData) -> None:
    loss, loss_weights = losses_of(data.manifest.targets, spec.recipe)
    metrics: Any = ["accuracy", finite_share]
    if loss_weights:
        metrics = {PROBABILITIES: metrics} | ({AFFECT: [finite_share]} if spec.recipe.affect else {})
    # learning takes about three times what answering takes
    work = 3 * stage.batches.spec.own_size * multiplications(stage.network)
    stage.trainee.compile(
        optimizer=optimizer(phase, spec.epochs(phase) * stage.batches.steps_per_epoch, spec.recipe.ema),
        loss=loss,
        loss_weights=loss_weights,
        metrics=metrics,
        steps_per_execution=steps_at_once(answerable(stage.batches.steps_per_execution, work)),
        jit_compile=uses_xla(),
    )
    stage.network.jit_compile = uses_xla()
    # where several devices share the work, JAX's function for answers goes with the variables that learn
    stage.network.make_predict_function(force=True)
