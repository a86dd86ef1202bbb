"""Runs copied into another tracking store: as often as one likes, each time what is new or has changed.

MLflow gives a copy an id of its own; the tag ORIGIN says which run it is a copy of. Ids of copied runs are replaced in
tags, params, predictions and model files, so links and parents lead to the copies.
"""

import contextlib
import hashlib
import io
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ferlab.errors import UserError, first_line
from ferlab.tracking.copied_files import copy_files
from ferlab.tracking.copied_models import copy_models, copy_versions
from ferlab.tracking.ids import ORIGIN, Ids
from ferlab.tracking.store import PASSWORDS

STATE = "ferlab.copied_state"
"""On a copy: a digest of what was copied; it is written last, so an interrupted copy has none, or an older one."""
METRICS_PER_CALL, OTHERS_PER_CALL = 1000, 100
SQLITE = "sqlite:///"


@dataclass
class Copied:
    """What happened: how many runs were new, had changed, or were the same; ``ids`` of the copies by their origins'."""

    created: int = 0
    updated: int = 0
    same: int = 0
    versions: int = 0
    ids: dict[str, str] = field(default_factory=dict)


def copy_runs(
    source_uri: str, target_uri: str, run_ids: Sequence[str], on_progress: Callable[[int, int], None]
) -> Copied:
    """Copy ended runs with params, metrics, tags, datasets, artifacts, models and registered versions.

    ``run_ids`` oldest first; ``on_progress`` is told (done, total).

    Raises:
        UserError: the target is no server and no SQLite file, is the source, or refuses.

    """
    from mlflow.exceptions import MlflowException
    from mlflow.tracking import MlflowClient
    from sqlalchemy.exc import SQLAlchemyError

    if not target_uri.startswith(("http://", "https://", SQLITE)):
        message = f"copy_to={target_uri}: must be a tracking server (http://HOST:PORT) or a file (sqlite:////PATH)."
        raise UserError(message)
    if target_uri.rstrip("/") == source_uri.rstrip("/"):
        message = f"copy_to={target_uri}: that is the store the runs are in."
        raise UserError(message)
    source, target = MlflowClient(source_uri, source_uri), MlflowClient(target_uri, target_uri)
    try:
        return _copy(source, target, run_ids, on_progress)
    except (MlflowException, OSError, SQLAlchemyError) as error:
        hint = PASSWORDS if "code 401" in str(error) else "What is copied is kept; the same command goes on with it."
        message = f"copy_to={target_uri}: {first_line(error, 200).rstrip('.')}. {hint}"
        raise UserError(message) from error


def _copy(source: Any, target: Any, run_ids: Sequence[str], on_progress: Callable[[int, int], None]) -> Copied:
    runs = [source.get_run(run_id) for run_id in run_ids]
    there = {run.data.tags[ORIGIN]: run for run in _copies(target)}
    experiments = _experiments(source, target, runs)
    ids = Ids({origin: run.info.run_id for origin, run in there.items()})
    for run in runs:
        if run.info.run_id not in there:
            tags = {ORIGIN: run.info.run_id}
            made = target.create_run(
                experiments[run.info.experiment_id], run.info.start_time, tags, run_name=run.info.run_name
            )
            ids.runs[run.info.run_id] = made.info.run_id
    done = Copied(ids={run_id: ids.runs[run_id] for run_id in run_ids})
    for position, run in enumerate(runs, start=1):
        origin, state = run.info.run_id, _state(run, ids)
        known = there[origin].data.tags.get(STATE) if origin in there else None
        if known == state:
            done.same += 1
            for output in run.outputs.model_outputs if run.outputs else []:
                ids.note_model(output.model_id, target)
        else:
            _copy_run(run, experiments[run.info.experiment_id], source, target, ids)
            target.set_tag(ids.runs[origin], STATE, state)
            done.created, done.updated = done.created + (known is None), done.updated + (known is not None)
        on_progress(position, len(runs))
    done.versions = copy_versions(source, target, ids)
    return done


def _copies(target: Any) -> Iterator[Any]:
    """Every run of the target that is a copy, not deleted."""
    experiments, token = [item.experiment_id for item in target.search_experiments()], None
    while experiments:
        page = target.search_runs(experiments, f"tags.`{ORIGIN}` LIKE '%'", max_results=1000, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def _experiments(source: Any, target: Any, runs: Sequence[Any]) -> dict[str, str]:
    """Ids of the target's experiments by the source's; they go by their names and are made where they are missing."""
    found = {}
    for experiment_id in dict.fromkeys(run.info.experiment_id for run in runs):
        experiment = source.get_experiment(experiment_id)
        there = target.get_experiment_by_name(experiment.name)
        if there is not None and there.lifecycle_stage == "deleted":
            message = f"study={experiment.name}: is deleted in the target. Restore it there, or remove it for good."
            raise UserError(message)
        found[experiment_id] = (
            there.experiment_id
            if there is not None
            else target.create_experiment(experiment.name, _artifact_root(target), dict(experiment.tags))
        )
    return found


def _artifact_root(target: Any) -> str | None:
    """A server decides where artifacts lie; beside a database file they lie in ``artifacts``, as ferlab has it."""
    uri = target.tracking_uri
    return (Path(uri.removeprefix(SQLITE)).absolute().parent / "artifacts").as_uri() if uri.startswith(SQLITE) else None


def _state(run: Any, ids: Ids) -> str:
    """A digest of everything that can change on an ended run, and of the ids that are put in place of its own."""
    inner = sorted((key, ids.mapped(value)) for key, value in run.data.tags.items())
    what = [run.info.status, run.info.end_time, run.info.run_name, inner, sorted(run.data.metrics.items()),
            sorted(run.data.params.items())]  # fmt: skip
    return hashlib.sha256(json.dumps(what).encode()).hexdigest()[:32]


def _copy_run(run: Any, experiment: str, source: Any, target: Any, ids: Ids) -> None:
    from mlflow.entities import Metric, Param, RunTag

    copy_id = ids.runs[run.info.run_id]
    copy = target.get_run(copy_id)
    params = [Param(key, ids.mapped(value)) for key, value in run.data.params.items()]
    tags = [RunTag(key, ids.mapped(value)) for key, value in run.data.tags.items() if key not in (ORIGIN, STATE)]
    for part in _parts([one for one in params if one.key not in copy.data.params], OTHERS_PER_CALL):
        target.log_batch(copy_id, params=part)
    for part in _parts(tags, OTHERS_PER_CALL):
        target.log_batch(copy_id, tags=part)
    metrics = [
        Metric(one.key, one.value, one.timestamp, one.step)
        for key in run.data.metrics
        for one in source.get_metric_history(run.info.run_id, key)
    ]
    for part in _parts(metrics, METRICS_PER_CALL):
        target.log_batch(copy_id, metrics=part)
    if run.inputs and run.inputs.dataset_inputs:
        target.log_inputs(copy_id, run.inputs.dataset_inputs)
    copy_files(run.info.artifact_uri, source.tracking_uri, copy.info.artifact_uri, target.tracking_uri, ids)
    copy_models(run, copy_id, experiment, source, target, ids)
    with contextlib.redirect_stdout(io.StringIO()):  # MLflow prints the address of every run
        target.set_terminated(copy_id, run.info.status, run.info.end_time)


def _parts(items: list[Any], size: int) -> Iterator[list[Any]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
