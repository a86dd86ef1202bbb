"""``-m``: a sweep. One run holds its plan and its outcome; each of its jobs has a run below that one."""

import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf

from ferlab.commands.launch import (
    HOME_VARIABLE,
    JOB_VARIABLE,
    PROJECT_RUN_VARIABLE,
    SWEEP_VARIABLE,
    Job,
    Outcome,
    machine_facts,
    study_of,
)
from ferlab.commands.resumption import checkpoints_below
from ferlab.commands.sweep_check import check_jobs
from ferlab.commands.sweep_job import Shared
from ferlab.commands.sweep_record import log_summary, show_summary
from ferlab.commands.terminal import Terminal
from ferlab.commands.trial_jobs import TrialJobs
from ferlab.config.files import config_root
from ferlab.config.nodes import Sweep
from ferlab.config.schema import SweepConfig
from ferlab.config.validate import validate
from ferlab.errors import UserError
from ferlab.storage.files import exclusive
from ferlab.sweeping.children import FAILED, FINISHED, RUNNING, SEED, SWEEP_STAGE, SWEEPS_FOLDER, children_of
from ferlab.sweeping.space import Space, space_of
from ferlab.sweeping.study import is_address, open_study
from ferlab.tracking.processes import HOST, identity
from ferlab.tracking.records import RunRecord, find_run, runs_with_tag
from ferlab.tracking.run import Run
from ferlab.tracking.store import Store, close_run, connect

GRID, OPTUNA = "grid", "optuna"
PLAN, MINUTES = "plan.json", "minutes"
CHANGEABLE = ("trials", "minutes", "storage")
"""Settings of a sweep that may be others when it is gone on with."""
LAZY_LAUNCHERS = ("BasicLauncher", "WorkersLauncher")
"""Launchers that take a job when they are ready for it; others take all at once, before any has an outcome."""
WORKERS_END_S = 60.0
SOME_SEEDS = 3


@dataclass(frozen=True)
class HydraSide:
    """What a Hydra sweeper is given: how to compose a job's config, the job, the command's config, who launches."""

    context: HydraContext
    job: Job
    config: DictConfig
    launcher: Launcher


@dataclass(frozen=True)
class Plan:
    """What a sweep was asked for, as it is kept on its run. ``folder``: where paths in ``overrides`` begin."""

    name: str
    command: str
    strategy: str
    overrides: list[str]
    folder: str
    study: str
    settings: Sweep
    study_place: str | None

    def recorded(self) -> dict[str, Any]:
        """As plain data, without a database's address: it may hold a password."""
        plain = asdict(self)
        if self.settings.storage:
            plain |= {"study_place": None, "settings": {**plain["settings"], "storage": None}}
        return plain


def sweep(strategy: str, overrides: Sequence[str], hydra: HydraSide) -> None:
    """Carry out all jobs, or those that an interrupted sweep lacks; the outcomes go to ``hydra.job``.

    Raises:
        UserError: the sweep is under way elsewhere, cannot be gone on with, or an override names what is not there.

    """
    home = Path(os.environ[HOME_VARIABLE])
    store = connect(home, config_root(), os.environ.pop(PROJECT_RUN_VARIABLE, None), SWEEP_STAGE)
    node = OmegaConf.create({"sweep": hydra.config.get("sweep", {})})
    asked = validate(node, SweepConfig, machine_facts()).sweep
    record = _recorded(asked.resume) if asked.resume else None
    plan = _resumed(record, asked, overrides) if record else _planned(strategy, overrides, asked, hydra, home)
    space = space_of(_parser(hydra).parse_overrides(plan.overrides))
    _check(plan, space, hydra)
    terminal = Terminal()
    folder = home / SWEEPS_FOLDER / plan.name
    with exclusive(folder / "lock", f"sweep {plan.name}: another process carries it out now."):
        if record:
            _await_workers(record, store)
        study = _study(plan, record) if plan.study_place else None
        try:
            with store.run(SWEEP_STAGE, plan.study, plan.name, resume=record.id if record else None) as run:
                _carry_out(plan, space, study, hydra, store, run, terminal, record)
        except _JobsFailedError as error:
            if not any(outcome.error for outcome in hydra.job.outcomes):
                hydra.job.outcomes.append(Outcome(error=error))
            else:
                terminal.warn(str(error))
        except KeyboardInterrupt:
            if "sweep" in hydra.config:
                terminal.say(f"sweep {plan.name} goes on with: ferlab {plan.command} -m sweep.resume={plan.name}")
            raise


class _JobsFailedError(UserError):
    """Some jobs failed: the sweep's run says so, and the jobs' own errors are the command's."""


def _carry_out(
    plan: Plan,
    space: Space,
    study: Any,
    hydra: HydraSide,
    store: Store,
    run: Run,
    terminal: Terminal,
    record: RunRecord | None,
) -> None:
    """Launch the jobs, and write down what came of all of them, also when they are interrupted."""
    run.log_json(plan.recorded(), PLAN)
    if record is None:
        run.log_config({"command": plan.command, "strategy": plan.strategy, "overrides": " ".join(plan.overrides)})
    varied = {axis.name: list(axis.choices or ()) for axis in space.axes}
    shared = Shared(run.id, plan.name, plan.settings, varied, plan.study_place, resumed=record is not None)
    os.environ[SWEEP_VARIABLE] = shared.as_text()
    started, before = time.monotonic(), record.metrics.get(MINUTES, 0.0) if record else 0.0

    def minutes() -> float:
        """Spent so far; on the run each time, which may be killed."""
        spent = before + (time.monotonic() - started) / 60
        run.log_metrics({MINUTES: spent})
        return spent

    try:
        returns = hydra.launcher.launch(_jobs(plan, space, study, terminal, record, minutes), 0)
        hydra.job.outcomes[:] = [_outcome(one) for one in returns]
    finally:
        del os.environ[SWEEP_VARIABLE]
        store.close_orphans()  # of workers that were killed
        children = children_of(run.id)
        minutes()
        log_summary(run, children, space, plan.settings.objectives)
    show_summary(terminal, plan.name, run.id, children, plan.settings.objectives)
    failed = max(
        sum(child.status == FAILED for child in children),
        sum(outcome.error is not None for outcome in hydra.job.outcomes),
    )
    if failed:
        message = f"sweep {plan.name}: {failed} of {len(children)} jobs failed; their runs hold the errors."
        raise _JobsFailedError(message)


def _jobs(
    plan: Plan, space: Space, study: Any, terminal: Terminal, record: RunRecord | None, minutes: Callable[[], float]
) -> Sequence[Sequence[str]]:
    """The overrides of the jobs that are to be done, each with its number."""
    if study is not None:
        return TrialJobs(study, space, plan.settings, numbered, terminal, minutes)
    done = {child.number for child in children_of(record.id) if child.status == FINISHED} if record else set()
    return [numbered(list(job), number) for number, job in enumerate(space.grid()) if number not in done]


def _study(plan: Plan, record: RunRecord | None) -> Any:
    """The study of a plan: a new one, or that of the record, which may have been killed before it had one."""
    place = str(plan.study_place)
    if record is None or (not is_address(place) and not Path(place).exists() and not children_of(record.id)):
        return open_study(plan.name, place, plan.settings, fresh=True)
    return open_study(plan.name, place, plan.settings, fresh=False)


def numbered(overrides: Sequence[str], number: int) -> list[str]:
    """The overrides of a job that is told its number."""
    return [*overrides, f"++hydra.job.env_set.{JOB_VARIABLE}='{number}'"]


def _planned(strategy: str, overrides: Sequence[str], asked: Sweep, hydra: HydraSide, home: Path) -> Plan:
    study = study_of(hydra.config)
    now = f"{datetime.now():%m%d-%H%M%S}"
    name = asked.name or f"{study}-{now}"
    if _named(name):
        message = f"sweep.name={name}: there is a sweep of that name. Go on with it by sweep.resume={name}, or rename."
        raise UserError(message)
    journal = str(home / SWEEPS_FOLDER / name / f"{now}.journal")
    place = (asked.storage or journal) if strategy == OPTUNA else None
    own = [text for text in overrides if not text.startswith("sweep.")]
    return Plan(name, hydra.job.command, strategy, own, str(Path.cwd()), study, asked, place)


def _named(name: str) -> list[RunRecord]:
    found = [one for one in runs_with_tag("mlflow.runName", name, ended_well=False) if one.stage == SWEEP_STAGE]
    return [one for one in found if _begun(one)]


def _begun(record: RunRecord) -> bool:
    """Whether it has a plan or jobs: a sweep that was killed before it had can neither go on nor be in the way."""
    try:
        record.artifact(PLAN)
    except UserError:
        return bool(children_of(record.id))
    return True


def _recorded(name: str) -> RunRecord:
    found = _named(name)
    if not found:
        message = (
            f"sweep.resume={name}: no sweep of that name in this tracking store. `ferlab runs stage=sweep` lists them."
        )
        raise UserError(message)
    return found[-1]


def _resumed(record: RunRecord, asked: Sweep, overrides: Sequence[str]) -> Plan:
    """The recorded plan, with another budget where one is asked for."""
    kept = json.loads(record.artifact(PLAN).read_text(encoding="utf-8"))
    plan = Plan(**kept | {"settings": Sweep(**kept["settings"])})
    allowed = {f"sweep.{key}" for key in (*CHANGEABLE, "resume")}
    other = [text for text in overrides if text.partition("=")[0] not in allowed]
    if other:
        message = f"sweep.resume={plan.name}: goes on with the recorded settings; leave out {' '.join(other)}."
        raise UserError(message)
    given = {text.partition("=")[0].removeprefix("sweep.") for text in overrides}
    changed = {key: getattr(asked, key) for key in CHANGEABLE if key in given}
    place = plan.study_place or asked.storage
    if plan.strategy == OPTUNA and place is None:
        message = f"sweep.resume={plan.name}: its study lies in a database; give its address again: sweep.storage=..."
        raise UserError(message)
    return replace(plan, settings=replace(plan.settings, **changed), study_place=place)


def _check(plan: Plan, space: Space, hydra: HydraSide) -> None:
    """End a sweep before it begins that cannot go well.

    Raises:
        UserError: nothing that varies, for Optuna to choose; a launcher that takes all jobs at once; see check_jobs.

    """
    launcher = type(hydra.launcher).__name__
    if any(text.partition("=")[0] == "resume" for text in plan.overrides):
        message = "resume: goes on with one run, without -m; a sweep goes on with sweep.resume=NAME."
        raise UserError(message)
    if plan.strategy == OPTUNA and any(axis.name == SEED for axis in space.axes):
        message = f"seed: is not searched for; sweep.seeds={SOME_SEEDS} trains every trial with so many in turn."
        raise UserError(message)
    if plan.strategy == OPTUNA and OmegaConf.select(hydra.config, "debug.profile_steps"):
        message = "debug=profile: has no outcome to search by; leave hydra/sweeper=ferlab_optuna out."
        raise UserError(message)
    if plan.strategy == OPTUNA and "sweep" not in hydra.config:
        message = f"hydra/sweeper=ferlab_optuna: `ferlab {plan.command}` has no objective; it is for `ferlab train -m`."
        raise UserError(message)
    if plan.strategy == OPTUNA and not space.axes:
        message = "hydra/sweeper=ferlab_optuna: nothing varies. Give a choice, range or interval: backbone=seq1,seq2."
        raise UserError(message)
    if plan.strategy == OPTUNA and launcher not in LAZY_LAUNCHERS:
        message = (
            f"hydra/launcher: {launcher} takes all trials before the first has an outcome; use hydra/launcher=workers."
        )
        raise UserError(message)
    if plan.strategy == GRID:
        space.grid()
    load = hydra.context.config_loader.load_sweep_config
    relative = check_jobs(space, hydra.job, lambda job: load(hydra.config, list(job)))
    if relative and Path(plan.folder) != Path.cwd():
        message = f"sweep.resume={plan.name}: {relative[0]} begins in {plan.folder}. Go on from there."
        raise UserError(message)


def _await_workers(record: RunRecord, store: Store) -> None:
    """Let jobs end whose sweep was killed; a run whose process is gone is closed, also when its machine is gone.

    Raises:
        UserError: one is still at work.

    """
    until = time.monotonic() + WORKERS_END_S
    while running := [child for child in children_of(record.id) if child.status == RUNNING]:
        if time.monotonic() > until:
            message = f"sweep.resume={record.name}: its job {running[0].name} still runs. End its process, or wait."
            raise UserError(message)
        time.sleep(0.5)
        store.close_orphans()
        for child in running:
            elsewhere = find_run(child.run_id).tags.get(HOST) != identity()[HOST]
            if elsewhere and checkpoints_below(store.home, child.run_id).abandoned():
                close_run(child.run_id)


def _outcome(returned: Any) -> Outcome:
    outcome = returned.return_value
    assert isinstance(outcome, Outcome)
    return outcome


def _parser(hydra: HydraSide) -> OverridesParser:
    return OverridesParser.create(config_loader=hydra.context.config_loader)
