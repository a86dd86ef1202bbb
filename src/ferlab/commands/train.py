"""``ferlab train``: one network, tracked from the config to the validation predictions; resumable."""

import contextlib
import math
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from ferlab import interrupts
from ferlab.commands.backend import logical_devices, set_up_backend
from ferlab.commands.cloud_training import Order, resume_in_cloud, train_in_cloud
from ferlab.commands.debugging import BY_HEART, check_by_heart, debug_tags, nothing_in_the_way, raw_settings
from ferlab.commands.dry_run import show_requests
from ferlab.commands.launch import Context, Outcome, launch, machine_facts
from ferlab.commands.opening import file_here
from ferlab.commands.prepared_data import ensure_prepared, on_this_machine
from ferlab.commands.resumption import CURVES, checkpoints_of, interrupted_run, require_no_settings, startable
from ferlab.commands.teacher import teacher_of, teachers_answers
from ferlab.commands.training_record import (
    Trained,
    log_augmented_sample,
    log_history,
    log_model_facts,
    log_settings,
    log_trained_model,
    log_validation,
)
from ferlab.commands.training_specs import NO_WEIGHTS, batch_spec, model_spec, with_fitting_batches
from ferlab.commands.variant import link_origin
from ferlab.config.schema import TrainConfig
from ferlab.config.validate import validate
from ferlab.errors import Pruned, UserError
from ferlab.evaluation.table_formats import percent
from ferlab.manifest import Manifest
from ferlab.models.build import BuiltModel, build_model
from ferlab.models.catalog import backbone
from ferlab.preparation.prepare import Prepared
from ferlab.storage.objects import is_remote
from ferlab.tracking.records import RunRecord
from ferlab.tracking.run import Run
from ferlab.training.checkpoint import Checkpoints, Progress
from ferlab.training.distribution import all_gpus, check_shares
from ferlab.training.fit import NOT_FINITE, EpochRow, Watch, fit
from ferlab.training.inputs import TrainingData
from ferlab.training.phases import FitSpec
from ferlab.training.precision import choose_precision, precision_policy
from ferlab.training.profile import OPERATION_COLUMNS, STEP_COLUMNS, markdown, profiled
from ferlab.training.small_maps import quicken_small_maps
from ferlab.training.subset import wanted_data

PROFILE_IN_CLOUD = "debug=profile: measures the machine at hand. Use compute=local."


def main() -> list[Outcome]:
    """Entry point of ``ferlab train``."""
    return launch("train", TrainConfig, run)


def run(config: TrainConfig, context: Context) -> dict[str, Any]:
    """Train one network; the result has run_id and the validation metrics."""
    if not config.compute.is_local:
        return _in_cloud(config, context)
    if not config.resume:
        return _trained(config, context)
    with interrupted_run(config.resume, context) as interrupted:
        newest = checkpoints_of(interrupted.id, context).current()
        going_on = validate(OmegaConf.create(startable(context.raw, newest)), TrainConfig, machine_facts())
        return _trained(going_on, context, interrupted)


def _in_cloud(config: TrainConfig, context: Context) -> dict[str, Any]:
    if config.compute.dry_run and config.resume:
        message = f"resume={config.resume}: the requests of what goes on were shown before it began; leave out dry_run."
        raise UserError(message)
    if config.compute.dry_run:
        return show_requests(config.compute, context.home, [run_name(config)], context.terminal)
    if config.debug.profile_steps:
        raise UserError(PROFILE_IN_CLOUD)
    if config.resume:
        require_no_settings(config.resume, context, besides=("compute",))
    context.begin_cloud(config.compute, trainings=1)
    if config.resume:
        return _told(resume_in_cloud(config.resume, context), context)
    return _trained(config, context)


def _trained(config: TrainConfig, context: Context, interrupted: RunRecord | None = None) -> dict[str, Any]:
    prepared, prepare_run = ensure_prepared(config, context)
    if context.cloud:
        order = Order(run_name(config), context.raw, config.study, debug_tags(config.debug))
        return _told(train_in_cloud([order], prepared.place, prepare_run, None, context)[0], context)
    prepared = on_this_machine(prepared, context)
    if config.debug.profile_steps:
        return profile(config, context, prepared, prepare_run)
    return _told(train(config, context, prepared, prepare_run, interrupted=interrupted), context)


def _told(trained: Trained, context: Context) -> dict[str, Any]:
    context.terminal.say(f"{trained.name}: validation accuracy {percent(trained.scores.estimates['accuracy'])}")
    context.terminal.say(f"run {trained.run_id}")
    return {"run_id": trained.run_id, "metrics": trained.scores.as_json()}


def train(
    config: TrainConfig,
    context: Context,
    prepared: Prepared,
    prepare_run: str | None,
    parent: Run | None = None,
    interrupted: RunRecord | None = None,
    name: str = "",
    tags: Mapping[str, str] | None = None,
) -> Trained:
    """Train on prepared data, score on validation and record everything in one MLflow run.

    ``name`` of the run; usually backbone, recipe and seed. ``tags`` of it beside the usual ones. ``interrupted`` is
    gone on with; its checkpoints are held by the caller.

    Raises:
        UserError: ``interrupted`` or the teacher was trained on other data, or images were not learned by heart that
            should have been.

    """
    manifest = prepared.manifest
    if config.debug.batches:
        config = nothing_in_the_way(config)
        context.raw = {**context.raw, **raw_settings(config)}
    config = with_fitting_batches(config, manifest)
    if not interrupted:
        config = with_teacher(config, context, manifest)
    if interrupted and interrupted.tags.get("dataset.digest") != manifest.digest:
        message = f"resume={interrupted.id}: the data has changed since that run began. Train anew."
        raise UserError(message)
    resumed = interrupted.id if interrupted else None
    name = interrupted.name if interrupted else name or run_name(config)
    with (
        contextlib.ExitStack() as held,
        context.store.run("train", config.study, name, parent=parent, resume=resumed) as run,
    ):
        checkpoints = checkpoints_of(run.id, context)
        if not resumed:
            held.enter_context(checkpoints.alone(run.id))
            log_settings(run, config, context.raw)
        # after the run has ended: one that is killed before that still needs them
        held.push(lambda kind, *_: checkpoints.remove() if kind in (None, Pruned) else None)
        _describe(run, config, context, prepared, prepare_run)
        run.set_tags(tags or {})
        earlier_s = sum(row["seconds"] for row in checkpoints.history())
        started = time.monotonic()
        # a run that was stopped before its first epoch ended begins anew, as the same run
        going_on = interrupted if checkpoints.current() else None
        model, progress = _fit(config, context, prepared, run, checkpoints, going_on)
        minutes = (time.monotonic() - started + earlier_s) / 60
        run.log_metrics({"train_minutes": minutes})
        scores = log_validation(run, prepared, model)
        images_per_s = log_history(run, progress)
        log_trained_model(run, config, manifest, model)
        for file in checkpoints.files():
            run.log_file(file, "checkpoints")
        if config.debug.batches:
            check_by_heart(run, progress, context)
    return Trained(run.id, run.name, scores, minutes, progress.epoch, images_per_s, model.count_params())


def with_teacher(config: TrainConfig, context: Context, manifest: Manifest) -> TrainConfig:
    """The config with the teacher's id, whatever it was called by, and so recorded; UserError for a wrong one."""
    if not config.teacher:
        return config
    teacher = teacher_of(config.teacher, context, manifest)
    context.raw = {**context.raw, "teacher": teacher.id}
    return replace(config, teacher=teacher.id)


def run_name(config: TrainConfig) -> str:
    """What a run is called when nobody says otherwise."""
    return f"{config.backbone.name}-{config.recipe.name}-s{config.seed}"


def profile(config: TrainConfig, context: Context, prepared: Prepared, prepare_run: str | None) -> dict[str, Any]:
    """Where a step spends its time, in a run that ends with that: it holds no model, no scores."""
    config = with_teacher(with_fitting_batches(config, prepared.manifest), context, prepared.manifest)
    with (
        context.store.run("profile", config.study, f"profile-{run_name(config)}") as run,
        tempfile.TemporaryDirectory() as scratch,
    ):
        _describe(run, config, context, prepared, prepare_run)
        folder = Path(scratch)
        data = _data(config, context, prepared, run, folder)
        with _network(config, data, _weights(config, context)) as (built, policy, devices):
            log_model_facts(run, built, policy, devices)
            spec = FitSpec(config.recipe, config.augment, config.debug.max_epochs, train_all=not built.pretrained)
            found = profiled(built.model, data, spec, config.debug.profile_steps, folder)
        run.log_metrics(found.metrics())
        run.log_json(found.as_json(), "profile/profile.json")
        run.log_text(markdown(found), "profile/profile.md")
        for file in sorted(folder.glob("*.*")):
            run.log_file(file, "profile")
    if built.warning:
        context.terminal.warn(built.warning)
    context.terminal.table(found.title(), STEP_COLUMNS, found.step_rows())
    context.terminal.table("Costliest operations", OPERATION_COLUMNS, found.operation_rows())
    context.terminal.say(f"run {run.id}")
    return {"run_id": run.id, "profile": found.as_json()}


def _describe(run: Run, config: TrainConfig, context: Context, prepared: Prepared, prepare_run: str | None) -> None:
    run.log_dataset(prepared.manifest, prepared.folder, "train")
    run.log_config({**context.raw, "resume": None, "from_run": None})
    if config.from_run:
        link_origin(run, config.from_run, context.raw)
    run.set_tags({"backbone": config.backbone.name, "recipe": config.recipe.name, "seed": str(config.seed)})
    run.set_tags(debug_tags(config.debug))
    if prepare_run:
        run.link("prepare", [prepare_run])
    if config.teacher:
        run.link("teacher", [config.teacher])


def _fit(
    config: TrainConfig,
    context: Context,
    prepared: Prepared,
    run: Run,
    checkpoints: Checkpoints,
    interrupted: RunRecord | None,
) -> tuple[Any, Progress]:
    """The trained network in float32 on one device, holding the weights of its best epoch."""
    data = _data(config, context, prepared, run, checkpoints.folder)
    weights = _weights(config, context) if interrupted is None else NO_WEIGHTS
    with _network(config, data, weights) as (built, policy, devices):
        if interrupted is None:
            log_model_facts(run, built, policy, devices)
            log_augmented_sample(run, data, config)
            if built.warning:
                context.terminal.warn(built.warning)
        pretrained = interrupted.tags.get("pretrained") == "true" if interrupted else built.pretrained
        enough = BY_HEART if config.debug.batches else math.inf
        spec = FitSpec(config.recipe, config.augment, config.debug.max_epochs, not pretrained, enough)
        progress = _watched_fit(built.model, data, spec, checkpoints, run, context, resume=interrupted is not None)
    if policy == "float32" and devices == 1:
        return built.model, progress
    portable = build_model(model_spec(config, prepared.manifest, NO_WEIGHTS)).model
    portable.set_weights(built.model.get_weights())
    return portable, progress


def _data(config: TrainConfig, context: Context, prepared: Prepared, run: Run, folder: Path) -> TrainingData:
    """The prepared data in batches, with the teacher's answers, which ``folder`` keeps, where there is one."""
    spec = batch_spec(config, prepared.manifest)
    data = wanted_data(prepared.folder, prepared.manifest, spec, config.debug)
    if not config.teacher:
        return data
    answers = teachers_answers(config, context, data, folder)
    run.log_metrics({"teacher_agreement": answers.agreement})
    return data.with_teacher(answers.tempered(config.recipe.distill_temperature))


@contextlib.contextmanager
def _network(config: TrainConfig, data: TrainingData, weights: str) -> Iterator[tuple[BuiltModel, str, int]]:
    """The network, the precision policy and the number of devices, which share the network inside the block."""
    device = set_up_backend(config.compute, config.seed, config.deterministic)
    policy = choose_precision(config.recipe.precision, backbone(config.backbone.name).bfloat16, device)
    with all_gpus(logical_devices(config.compute)) as devices:
        check_shares(config.recipe.batch_size, devices)
        with precision_policy(policy):
            built = build_model(model_spec(config, data.manifest, weights))
        quicken_small_maps(built.model, device)
        yield built, policy, devices


def _watched_fit(
    model: Any,
    data: TrainingData,
    spec: FitSpec,
    checkpoints: Checkpoints,
    run: Run,
    context: Context,
    resume: bool,
) -> Progress:
    """``fit`` with every epoch's numbers on the run and on the terminal."""
    phases = [phase.name for phase in spec.recipe.phases]

    def log(row: Mapping[str, Any]) -> None:
        numbers = {key: value for key, value in row.items() if key not in ("phase", "epoch")}
        numbers["phase"] = 1 + phases.index(row["phase"])
        run.log_metrics({f"{CURVES}{key}": value for key, value in numbers.items()}, row["epoch"])

    for last in checkpoints.history()[-1:]:  # it may have been saved and not yet logged
        log(last)
    with context.terminal.epochs(run.name, spec.recipe.batch_size) as show:

        def on_epoch(row: EpochRow) -> None:
            log(row.numbers())
            show.on_epoch(row)
            interrupts.check()
            context.on_epoch(row.epoch, row.best_accuracy)

        try:
            return fit(model, data, spec, checkpoints, Watch(show.on_step, on_epoch, show.on_features), resume)
        except KeyboardInterrupt:
            if checkpoints.current():
                context.terminal.say(f"{run.name} goes on with: ferlab train resume={run.id}")
            raise
        except Pruned:
            run.log_metrics({"epochs": len(checkpoints.history())})
            raise
        except UserError:
            for file in checkpoints.folder.glob(NOT_FINITE):
                run.log_file(file, "checkpoints")
            raise


def _weights(config: TrainConfig, context: Context) -> str:
    """What the network starts from: a name, or a file of this machine."""
    wanted = config.backbone.weights if config.debug.pretrained else NO_WEIGHTS
    return str(file_here(wanted, context)) if is_remote(wanted) else wanted
