"""Which run ``ferlab train resume=RUN`` goes on with, and from what."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ferlab.commands.launch import Context
from ferlab.errors import UserError
from ferlab.tracking.records import RunRecord, find_run
from ferlab.training.checkpoint import Checkpoints

CURVES = "epoch/"
"""Before the names of what is measured once an epoch; numbers of the whole run stand without."""


def checkpoints_of(run_id: str, context: Context) -> Checkpoints:
    """Where a run keeps its checkpoints while it trains."""
    return checkpoints_below(context.home, run_id)


def checkpoints_below(home: Path, run_id: str) -> Checkpoints:
    """The same for those of a FERLAB_HOME."""
    return Checkpoints(home / "checkpoints" / run_id)


@contextmanager
def interrupted_run(reference: str, context: Context) -> Iterator[RunRecord]:
    """The interrupted run, its checkpoints held inside the block; ``context`` gets its config, to go on as it began.

    Raises:
        UserError: nothing to resume, other settings are given, or the checkpoints are elsewhere.
        AlreadyRunningError: another process trains it.

    """
    require_no_settings(reference, context)
    _ = context.store
    with held_interrupted(reference, context) as record:
        yield record


def require_no_settings(reference: str, context: Context, besides: Sequence[str] = ()) -> None:
    """UserError when there are settings other than ``resume`` and those below ``besides``."""
    named = ("resume", *besides)
    given = [text for text in context.overrides if text.lstrip("+").partition("=")[0].partition(".")[0] not in named]
    if given:
        message = f"resume={reference}: goes on with the recorded settings; leave out {' '.join(given)}."
        raise UserError(message)


@contextmanager
def held_interrupted(reference: str, context: Context) -> Iterator[RunRecord]:
    """The same for a run of this store that no command line names."""
    run_id = _resumable(reference, context).id
    with checkpoints_of(run_id, context).alone(run_id):
        record = _resumable(run_id, context)  # it may have ended before its checkpoints could be held
        context.raw = {**record.config(), "resume": record.id}
        yield record


def _resumable(reference: str, context: Context) -> RunRecord:
    """The run, if it is a training that did not finish and whose checkpoints, if any, are here.

    One that is still called RUNNING may have died on a machine that is gone; the lock of its checkpoints tells.
    """
    record = find_run(reference)
    if record.stage != "train" or record.status == "FINISHED":
        stage = record.stage or "not one of ferlab"
        message = f"resume={reference}: run {record.id} is {stage} and {record.status}: nothing to resume."
        raise UserError(message)
    checkpoints = checkpoints_of(record.id, context)
    here = checkpoints.current() is not None
    if not here and record.status == "RUNNING":
        where = f"RUNNING on {record.tags.get('ferlab.host')}"
        message = f"resume={reference}: run {record.id} is {where} and has no checkpoint here: nothing to go on from."
        raise UserError(message)
    if not here and any(key.startswith(CURVES) for key in record.metrics):
        place = checkpoints.folder
        message = (
            f"resume={reference}: its checkpoints are not on this machine ({place}). Bring them, or train anew; what "
            "was trained in the cloud goes on with compute=gcp."
        )
        raise UserError(message)
    return record


def startable(raw: dict[str, Any], newest: Path | None) -> dict[str, Any]:
    """``raw`` with a checkpoint in place of the weights that the run began from, which may be gone by now."""
    return raw if newest is None else {**raw, "backbone": {**raw["backbone"], "weights": str(newest)}}
