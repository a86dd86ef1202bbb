"""The debug ladder: what a level changes, when it ends well, and how runs of a level are kept out of results."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from ferlab.commands.launch import Context
from ferlab.config.nodes import Augment, Debug
from ferlab.config.schema import TrainConfig
from ferlab.errors import UserError
from ferlab.tracking.records import RunRecord
from ferlab.tracking.run import Run
from ferlab.training.checkpoint import Progress

DEBUG = "debug"
"""Tag of a run of a debug level: the level."""
BY_HEART = 0.99
"""Share of the images that are known by heart from which on a few batches count as learned."""


def debug_tags(debug: Debug) -> dict[str, str]:
    """What a run of that level carries."""
    return {DEBUG: debug.level} if debug.level else {}


def inherited_tags(records: Sequence[RunRecord]) -> dict[str, str]:
    """What a run made of ``records`` carries: the level of the first that has one."""
    levels = [record.tags[DEBUG] for record in records if record.tags.get(DEBUG)]
    return {DEBUG: levels[0]} if levels else {}


def nothing_in_the_way(config: TrainConfig) -> TrainConfig:
    """``config`` as a few batches are learned by heart: images as they are, labels alone, no dropout.

    Network, weights, phases, optimizers, rates and the loss stay.
    """
    recipe = replace(
        config.recipe, label_smoothing=0.0, balance="none", patience=0, ema=0.0, swa=0, sharpness=0.0, distill=0.0
    )
    backbone, augment = replace(config.backbone, dropout=0.0), Augment(name="none")
    return replace(config, recipe=recipe, backbone=backbone, augment=augment, teacher=None)


def raw_settings(config: TrainConfig) -> Mapping[str, Any]:
    """The nodes that ``nothing_in_the_way`` changes, as they are recorded."""
    return {
        "recipe": asdict(config.recipe),
        "backbone": asdict(config.backbone),
        "augment": asdict(config.augment),
        "teacher": config.teacher,
    }


def check_by_heart(run: Run, progress: Progress, context: Context) -> None:
    """Say how many of the images are known by heart.

    Raises:
        UserError: fewer than BY_HEART of them.

    """
    share = progress.best_accuracy
    run.log_metrics({"by_heart_accuracy": share})
    found = f"{run.name}: {100 * share:.1f} % of the images known by heart after {progress.epoch} epochs"
    if share < BY_HEART:
        message = (
            f"{found}, {100 * BY_HEART:.0f} % are wanted. Look at the labels, the loss and the learning rate, or give "
            "it longer with debug.repeats or debug.max_epochs."
        )
        raise UserError(message)
    context.terminal.say(found)


def without_debug(records: Sequence[RunRecord], study: str, context: Context) -> list[RunRecord]:
    """Those of a study that count; where all are of a debug level, all of them. Either is said."""
    counting = [record for record in records if not record.tags.get(DEBUG)]
    left_out = len(records) - len(counting)
    if left_out and counting:
        context.terminal.warn(
            f"left out: {left_out} runs of a debug level in study={study}. Name them by id to take them."
        )
    elif left_out:
        context.terminal.warn(f"study={study}: all {left_out} runs are of a debug level. Their numbers are no results.")
    return counting or list(records)


def warn_of_debug(records: Sequence[RunRecord], context: Context) -> None:
    """Say which of the runs that somebody named are of a debug level."""
    for record in records:
        if record.tags.get(DEBUG):
            level = record.tags[DEBUG]
            context.terminal.warn(f"run {record.id} ({record.name}) is of debug={level}: its numbers are no results.")
