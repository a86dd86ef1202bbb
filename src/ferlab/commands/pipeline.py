"""``ferlab pipeline``: preparation, several networks, their ensemble and its evaluation in one go."""

from collections.abc import Sequence
from typing import Any

from omegaconf import OmegaConf

from ferlab.commands.cloud_training import Order, train_in_cloud
from ferlab.commands.dry_run import show_requests
from ferlab.commands.ensemble import ensemble
from ferlab.commands.evaluate import Evaluated, evaluate
from ferlab.commands.evaluation_record import say_augmented, say_twin_free
from ferlab.commands.launch import Context, Outcome, launch, machine_facts, with_absolute_paths
from ferlab.commands.prepared_data import ensure_prepared, on_this_machine
from ferlab.commands.teacher import finished_teacher
from ferlab.commands.terminal import duration
from ferlab.commands.train import run_name, train, with_teacher
from ferlab.commands.training_record import Trained
from ferlab.config.nodes import Member
from ferlab.config.overrides import shortened
from ferlab.config.schema import EnsembleConfig, EvaluateConfig, PipelineConfig, TrainConfig
from ferlab.config.validate import validate
from ferlab.errors import UserError
from ferlab.evaluation.table_formats import percent
from ferlab.manifest import Manifest
from ferlab.preparation.prepare import Prepared
from ferlab.samples import TEST
from ferlab.tracking.run import Run

SHARED = ("dataset", "preparation", "compute", "debug", "study")
"""Nodes that all members have from the pipeline; of ``augment`` and ``deterministic`` they may have their own."""


def main() -> list[Outcome]:
    """Entry point of ``ferlab pipeline``."""
    return launch("pipeline", PipelineConfig, run)


def run(config: PipelineConfig, context: Context) -> dict[str, Any]:
    """Run all stages; the result has run_id and the ensemble's test metrics, and the members' beside them."""
    members = member_configs(config.pipeline.members, context)
    if config.compute.dry_run:
        return show_requests(config.compute, context.home, [name for name, _, _ in members], context.terminal)
    if not config.compute.is_local:
        context.begin_cloud(config.compute, trainings=len(members))
    with context.store.run("pipeline", config.study, f"pipeline-{config.dataset.name}") as parent:
        parent.log_config(context.raw)
        prepared, prepare_run = ensure_prepared(config, context, parent)
        if prepared.reused:
            context.terminal.say(f"prepared data reused: {prepared.place}")
        trained = _trained(members, prepared, prepare_run, parent, context)
        chosen = EnsembleConfig(config.study, [one.run_id for one in trained], config.ensemble, config.compute)
        combined = ensemble(chosen, context, parent)
        parent.link("train", [one.run_id for one in trained])
        parent.link("ensemble", [combined.run_id])
        alone = [evaluate(_evaluation(one.run_id, config), context, parent) for one in trained]
        final = evaluate(_evaluation(combined.run_id, config), context, parent, alone)
        parent.log_metrics(dict(final.findings.flat()))
        parent.log_file(final.report)
    _show(trained, alone, combined.weights, final, context)
    return {
        **say_augmented(final.findings, context),
        **say_twin_free(final.findings, context),
        "run_id": parent.id,
        "metrics": final.findings.scores.as_json(),
        "ensemble_run_id": combined.run_id,
        "members": [{"run_id": one.run_id, "name": one.name, "metrics": done.findings.scores.as_json(),
                     "epochs": one.epochs, "minutes": one.minutes, "images_per_s": one.images_per_s,
                     "parameters": one.parameters} for one, done in zip(trained, alone, strict=True)],
        "report": str(final.report),
    }  # fmt: skip


def _trained(
    members: Sequence[tuple[str, TrainConfig, dict[str, Any]]],
    prepared: Prepared,
    prepare_run: str | None,
    parent: Run,
    context: Context,
) -> list[Trained]:
    """All members, trained here one after the other, or in the cloud some at a time."""
    if context.cloud:
        orders = [Order(name, raw, config.study) for name, config, raw in members]
        return train_in_cloud(orders, prepared.place, prepare_run, parent, context)
    prepared = on_this_machine(prepared, context)
    ready = with_teachers(members, context, prepared.manifest)
    return [train(own, its, prepared, prepare_run, parent, name=name) for name, own, its in ready]


def member_configs(members: list[Member], context: Context) -> list[tuple[str, TrainConfig, dict[str, Any]]]:
    """Every member's run name, typed train config, and that as plain data; UserError with the problems of all.

    A teacher that is not there is one of them; whether it fits the data is seen when they are prepared.
    """
    configs, problems = [], []
    for member in members:
        try:
            raw = _member_raw(member, context)
            config = validate(OmegaConf.create(raw), TrainConfig, machine_facts())
            if config.teacher:
                finished_teacher(config.teacher, context)
            configs.append(("-".join((run_name(config), *map(shortened, member.overrides))), config, raw))
        except UserError as error:
            problems.append(f"member {member.backbone}, {member.recipe}, seed {member.seed}: {error}")
    if problems:
        raise UserError("\n".join(problems))
    return configs


def with_teachers(
    members: Sequence[tuple[str, TrainConfig, dict[str, Any]]], context: Context, manifest: Manifest
) -> list[tuple[str, TrainConfig, Context]]:
    """Every member's run name, config and context; UserError with the problems of all whose teacher does not fit.

    Teachers are named by their ids from here on: a member that trains may take the name of a later one's teacher.
    """
    ready, problems = [], []
    for name, config, raw in members:
        its = _member_context(raw, context)
        try:
            ready.append((name, with_teacher(config, its, manifest), its))
        except UserError as error:
            problems.append(f"member {name}: {error}")
    if problems:
        raise UserError("\n".join(problems))
    return ready


def _member_raw(member: Member, context: Context) -> dict[str, Any]:
    """The member composed as a train config of its own, with the pipeline's settings where it has no others.

    Raises:
        UserError: its overrides touch what all members share.

    """
    from hydra import compose

    own = [override.lstrip("+~").partition("=")[0] for override in member.overrides]
    for key in own:
        if key.partition(".")[0] in SHARED:
            message = f"overrides: members share {key.partition('.')[0]}; set {key} for the whole pipeline"
            raise UserError(message)
    choices = [f"backbone={member.backbone}", f"recipe={member.recipe}", f"seed={member.seed}", *member.overrides]
    composed = compose("train", overrides=choices)
    with_absolute_paths(composed)
    raw: Any = OmegaConf.to_container(composed, resolve=True)
    if raw["backbone"]["weights"] == "imagenet":
        raw["backbone"]["weights"] = context.raw["pipeline"]["weights"]
    if "augment" not in own:
        changed = [key.partition(".")[2] for key in own if key.startswith("augment.")]
        raw["augment"] = context.raw["augment"] | {key: raw["augment"][key] for key in changed}
    if "deterministic" not in own:
        raw["deterministic"] = context.raw["deterministic"]
    return raw | {key: context.raw[key] for key in SHARED}


def _member_context(raw: dict[str, Any], context: Context) -> Context:
    return Context(context.command, context.home, raw, context.terminal, _store=context.store)


def _evaluation(run_id: str, config: PipelineConfig) -> EvaluateConfig:
    return EvaluateConfig(config.study, run_id, TEST, config.evaluation, config.compute)


def _show(
    trained: list[Trained],
    alone: list[Evaluated],
    weights: dict[str, float],
    final: Evaluated,
    context: Context,
) -> None:
    rows = [
        [
            done.subject.name,
            percent(one.scores.estimates["accuracy"]),
            percent(done.findings.scores.estimates["accuracy"]),
            f"{100 * done.findings.scores.estimates['macro_f1'].value:.1f}",
            f"{weights[one.run_id]:.2f}",
        ]
        for one, done in zip(trained, alone, strict=True)
    ]
    estimates = final.findings.scores.estimates
    rows.append(
        [
            final.subject.name,
            "",
            percent(estimates["accuracy"]),
            f"{100 * estimates['macro_f1'].value:.1f}",
            "",
        ]
    )
    context.terminal.table(
        f"Members and ensemble: accuracy with 95 % interval, test n = {final.findings.scores.n:,}",
        ["run", "validation", "test", "macro F1", "weight"],
        rows,
    )
    took = [
        [one.name, f"{one.parameters:,}", str(one.epochs), f"{one.images_per_s:,.0f}", duration(60 * one.minutes)]
        for one in trained
    ]
    context.terminal.table("What they took", ["run", "parameters", "epochs", "img/s", "min:s"], took)
    context.terminal.say(f"report: {final.report}")
    context.terminal.say("runs:   ferlab ui   (MLflow in the browser)")
