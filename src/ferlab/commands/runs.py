"""``ferlab runs``: what was recorded, as a list or one run on a screen; deleting, tidying up, moving to a server."""

import time
from typing import Any

from ferlab.commands.contestants import OPENINGS
from ferlab.commands.launch import Context, Outcome, launch
from ferlab.commands.run_screen import SHORT, show
from ferlab.commands.terminal import duration
from ferlab.commands.tidying import tidy
from ferlab.config.schema import RunsConfig
from ferlab.errors import UserError
from ferlab.storage.files import exclusive
from ferlab.tracking.copying import copy_runs
from ferlab.tracking.housekeeping import delete, is_active, restore
from ferlab.tracking.lineage import children
from ferlab.tracking.records import RunRecord, find_run, search

ACTIONS = ("show", "delete", "restore", "gc", "copy_to")
COLUMNS = ("run", "name", "study", "stage", "status", "age", "min:s", "val acc", "opened")
"""``opened``: how often the test split was, for this model."""
MINUTE_S, HOUR_S, DAY_S = 60, 3600, 86400


def main() -> list[Outcome]:
    """Entry point of ``ferlab runs``."""
    return launch("runs", RunsConfig, run)


def run(config: RunsConfig, context: Context) -> dict[str, Any]:
    """List runs, or do the one thing that is asked for; the result has ``runs``, or what the action gives.

    Raises:
        UserError: two actions at once, a filter or a run that is not there.

    """
    asked = [name for name in ACTIONS if getattr(config, name)]
    if len(asked) > 1:
        message = f"{' and '.join(asked)}: one thing at a time. Give one of them."
        raise UserError(message)
    _ = context.store
    if config.show:
        return show(find_run(config.show), context)
    if config.delete:
        return _delete(config.delete, context)
    if config.restore:
        return _restore(config.restore, context)
    if config.gc:
        return tidy(context)
    if config.copy_to:
        return _copy(config, context)
    return _list(config, context)


def _list(config: RunsConfig, context: Context) -> dict[str, Any]:
    found = search(_filter(config), config.study, config.limit + 1, config.status == "deleted")
    shown = found[: config.limit]
    if not shown:
        context.terminal.say("no run fits" if _filter(config) or config.study else "no runs yet: ferlab train")
    else:
        now = time.time()
        context.terminal.table("", COLUMNS, [_row(record, now) for record in shown], 5)
        more = f"older ones: limit={2 * config.limit}   " if len(found) > len(shown) else ""
        short = shown[0].id[:SHORT]
        one = f"back again: restore=[{short}]" if config.status == "deleted" else f"all about one: show={short}"
        context.terminal.say(f"{more}{one}")
    return {"runs": [_as_json(record) for record in shown]}


def _filter(config: RunsConfig) -> str:
    parts = []
    if config.stage:
        parts.append(f"tags.`ferlab.stage` = '{config.stage}'")
    if config.status not in (None, "deleted"):
        parts.append(f"attributes.status = '{str(config.status).upper()}'")
    return " and ".join([*parts, *([config.where] if config.where else [])])


def _row(record: RunRecord, now: float) -> list[str]:
    accuracy = record.metrics.get("val_accuracy")
    return [
        record.id[:SHORT],
        record.name,
        record.study,
        record.stage or "-",
        record.status,
        age(now - record.started_s),
        duration(60 * record.minutes) if record.status != "RUNNING" else "-",
        "-" if accuracy is None else f"{100 * accuracy:.1f}",
        record.tags.get(OPENINGS, "-"),
    ]


def age(seconds: float) -> str:
    """How long ago, in the largest unit of which there is one: ``5 s``, ``12 min``, ``3 h``, ``4 d``."""
    for unit, name in ((DAY_S, "d"), (HOUR_S, "h"), (MINUTE_S, "min")):
        if seconds >= unit:
            return f"{seconds // unit:.0f} {name}"
    return f"{max(seconds, 0):.0f} s"


def _as_json(record: RunRecord) -> dict[str, Any]:
    return {
        "run_id": record.id,
        "name": record.name,
        "study": record.study,
        "stage": record.stage,
        "status": record.status,
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.started_s)),
        "minutes": record.minutes,
        "val_accuracy": record.metrics.get("val_accuracy"),
        "test_openings": int(record.tags.get(OPENINGS, "0")),
    }


def _delete(references: list[str], context: Context) -> dict[str, Any]:
    """Mark the runs deleted, and those inside them: without their parent they would stand in MLflow's lists alone."""
    named = [find_run(reference) for reference in references]
    records = {one.id: one for record in named for one in _with_children(record)}
    for record in records.values():
        if is_active(record):
            message = (
                f"delete={record.id}: it ({record.name}) is running on {record.tags.get('ferlab.host')}. End it first."
            )
            raise UserError(message)
    for record in records.values():
        delete(record)
        context.terminal.say(f"deleted {record.id} ({record.name})")
    listed = ",".join(run_id[:SHORT] for run_id in records)
    context.terminal.say(f"back again: ferlab runs restore=[{listed}]   for good: ferlab runs gc=true")
    return {"deleted": list(records)}


def _with_children(record: RunRecord) -> list[RunRecord]:
    return [record, *(one for child in children(record.id) for one in _with_children(child))]


def _restore(references: list[str], context: Context) -> dict[str, Any]:
    restored = [restore(reference) for reference in references]
    for record in restored:
        context.terminal.say(f"restored {record.id} ({record.name})")
    return {"restored": [record.id for record in restored]}


def _copy(config: RunsConfig, context: Context) -> dict[str, Any]:
    records = search(_filter(config), config.study)[::-1]
    if not records:
        message = f"copy_to={config.copy_to}: no run fits, nothing to copy."
        raise UserError(message)
    waiting = [record for record in records if record.status == "RUNNING"]
    for record in waiting:
        context.terminal.warn(f"left out: run {record.id} ({record.name}) is RUNNING; copy again when it has ended")
    ended = [record.id for record in records if record.status != "RUNNING"]
    busy = f"copy_to={config.copy_to}: another process copies from this store now."
    with exclusive(context.home / "copying.lock", busy), context.terminal.progress("copying", "runs") as on_progress:
        done = copy_runs(context.store.uri, str(config.copy_to), ended, on_progress)
    context.terminal.say(
        f"{done.created} runs copied, {done.updated} brought up to date, {done.same} there already, "
        f"{done.versions} model versions: {config.copy_to}"
    )
    return {"created": done.created, "updated": done.updated, "same": done.same, "versions": done.versions,
            "ids": done.ids}  # fmt: skip
