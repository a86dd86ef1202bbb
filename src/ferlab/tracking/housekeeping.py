"""Deleting runs, bringing them back, and removing what the deleted ones left for good."""

import contextlib
from collections.abc import Iterator
from typing import Any

from ferlab.errors import AlreadyRunningError, UserError, first_line
from ferlab.tracking.processes import identity, is_alive
from ferlab.tracking.records import RunRecord, search


def delete(record: RunRecord) -> None:
    """Mark a run as deleted; it can be restored until it is erased."""
    from mlflow.tracking import MlflowClient

    MlflowClient().delete_run(record.id)


def restore(reference: str) -> RunRecord:
    """Bring a deleted run back, by its id, the beginning of it (6 characters or more), or its name.

    Raises:
        UserError: no deleted run fits, or several do.

    """
    from mlflow.tracking import MlflowClient

    fitting = [
        run
        for run in search(deleted=True)
        if (len(reference) >= 6 and run.id.startswith(reference)) or run.name == reference
    ]
    if len(fitting) != 1:
        found = ", ".join(run.id for run in fitting[:5]) or "none"
        message = (
            f"restore={reference}: must be one deleted run, found {found}. `ferlab runs status=deleted` lists them."
        )
        raise UserError(message)
    MlflowClient().restore_run(fitting[0].id)
    return fitting[0]


def is_active(record: RunRecord) -> bool:
    """Whether a process may still write to it: it is RUNNING here and lives, or runs on another host."""
    if record.status != "RUNNING":
        return False
    tags = record.tags
    elsewhere = tags.get("ferlab.host") != identity()["ferlab.host"]
    return elsewhere or is_alive(tags.get("ferlab.pid", ""), tags.get("ferlab.process_started", ""))


def can_erase() -> bool:
    """Whether this store lets its runs be removed for good: a database does, a server does not."""
    return hasattr(_database(), "_hard_delete_run")


def registered_versions(run_id: str) -> list[str]:
    """Versions in the registry (``NAME/2``) whose files are those of the run."""
    from mlflow.tracking import MlflowClient

    return [f"{item.name}/{item.version}" for item in MlflowClient().search_model_versions(f"run_id='{run_id}'")]


def file_places(run_id: str) -> list[str]:
    """Folders (paths, or addresses elsewhere) with a run's artifacts, then those of its models."""
    from mlflow.tracking import MlflowClient
    from mlflow.utils.file_utils import local_file_uri_to_path

    run = MlflowClient().get_run(run_id)
    places = [run.info.artifact_uri, *(model.artifact_location for model in _models(run))]
    return [local_file_uri_to_path(place) if place.startswith("file:") else place for place in places]


def erase(run_id: str) -> None:
    """Remove a deleted run for good: its files, its models, then its row.

    Raises:
        AlreadyRunningError: it is not deleted any more.
        UserError: the files cannot be removed.

    """
    from mlflow.exceptions import MlflowException
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
    from mlflow.tracking import MlflowClient

    database, run = _database(), MlflowClient().get_run(run_id)
    if run.info.lifecycle_stage != "deleted":
        message = f"run {run_id}: was restored."
        raise AlreadyRunningError(message)
    try:
        for place in file_places(run_id):
            with contextlib.suppress(FileNotFoundError):
                get_artifact_repository(place).delete_artifacts()
        for model in _models(run):
            with contextlib.suppress(MlflowException):  # marked before
                database.delete_logged_model(model.model_id)
            database._hard_delete_logged_model(model.model_id)
        database._hard_delete_run(run_id)
    except (MlflowException, OSError) as error:
        message = f"run {run_id}: cannot be removed ({first_line(error)}). What is left of it stays marked as deleted."
        raise UserError(message) from error


def _database() -> Any:
    """The store behind MLflow's client; what ``mlflow gc`` calls, too, which also takes experiments with it."""
    from mlflow.tracking import MlflowClient

    return MlflowClient()._tracking_client.store


def _models(run: Any) -> Iterator[Any]:
    from mlflow.exceptions import MlflowException

    for output in run.outputs.model_outputs if run.outputs else []:
        with contextlib.suppress(MlflowException):  # deleted by hand
            yield _database().get_logged_model(output.model_id, allow_deleted=True)
