"""Runs as they were recorded: finding them, their artifacts, their model."""

import re
import tempfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from ferlab.errors import UserError, first_line
from ferlab.streams import load_backend
from ferlab.tracking.ids import ORIGIN
from ferlab.tracking.run import MODEL_NAME

ID_LENGTH = 32
PAGE = 1000


@dataclass(frozen=True)
class RunRecord:
    """A recorded run."""

    id: str
    name: str
    stage: str
    status: str
    minutes: float
    study: str
    tags: dict[str, str]
    metrics: dict[str, float]
    params: dict[str, str]
    artifact_uri: str
    started_s: float = 0.0
    """Seconds since 1970."""

    def artifact(self, path: str) -> Path:
        """A local path to an artifact; UserError when the run has none of that name."""
        import mlflow
        from mlflow.exceptions import MlflowException
        from mlflow.utils.file_utils import local_file_uri_to_path

        if self.artifact_uri.startswith(("file:", "/")):
            local = Path(local_file_uri_to_path(self.artifact_uri)) / path
            if local.exists():
                return local
        try:
            return Path(mlflow.artifacts.download_artifacts(run_id=self.id, artifact_path=path))
        except (MlflowException, OSError) as error:
            message = f"run {self.id} ({self.name}): its artifact {path} is not there (deleted, or never made)."
            raise UserError(message) from error

    def config(self) -> dict[str, Any]:
        """The composed config it was made with."""
        loaded = yaml.safe_load(self.artifact("config.yaml").read_text(encoding="utf-8"))
        return dict(loaded)

    def has_config(self) -> bool:
        """Whether its config was written: a run that was killed at once has none."""
        try:
            return bool(self.config())
        except UserError:
            return False

    def model_metadata(self) -> dict[str, Any]:
        """What was stored with its model: classes, image settings, origin; UserError when it has no model."""
        from mlflow.exceptions import MlflowException
        from mlflow.models import get_model_info

        try:
            return dict(get_model_info(f"runs:/{self.id}/{MODEL_NAME}").metadata or {})
        except (MlflowException, OSError) as error:
            message = f"run {self.id} ({self.name}): it has no model ({first_line(error)})."
            raise UserError(message) from error

    def load_model(self) -> Any:
        """Its Keras model."""
        import mlflow
        from mlflow.exceptions import MlflowException

        load_backend()
        import keras

        try:
            with tempfile.TemporaryDirectory() as scratch:
                folder = mlflow.artifacts.download_artifacts(f"runs:/{self.id}/{MODEL_NAME}", dst_path=scratch)
                return keras.saving.load_model(Path(folder) / "data" / "model.keras", compile=False)
        except (MlflowException, OSError, ValueError) as error:
            message = f"run {self.id} ({self.name}): its model cannot be loaded ({first_line(error)})."
            raise UserError(message) from error


def find_run(reference: str, key: str = "run") -> RunRecord:
    """The run with that id, a unique beginning of an id (6 characters or more), or a unique name.

    ``key``: the setting that named it, for errors.

    Raises:
        UserError: none or several fit.

    """
    from mlflow.exceptions import MlflowException
    from mlflow.tracking import MlflowClient

    client = MlflowClient()
    if len(reference) == ID_LENGTH:
        try:
            found = client.get_run(reference)
        except MlflowException:
            found = None
        if found is not None and found.info.lifecycle_stage != "active":
            message = f"{key}={reference}: was deleted. `ferlab runs restore=[{reference}]` brings it back."
            raise UserError(message)
        if found is not None:
            return _record(found, client)
    fitting = [
        run
        for run in _all_runs(client)
        if (len(reference) >= 6 and run.info.run_id.startswith(reference)) or run.info.run_name == reference
    ]
    fitting = fitting or _copies(reference, client)
    if len(fitting) == 1:
        return _record(fitting[0], client)
    if fitting:
        listed = ", ".join(run.info.run_id for run in fitting[:5])
        message = f"{key}={reference}: {len(fitting)} runs fit ({listed}). Name one by its id."
    else:
        message = f"{key}={reference}: no such run in this tracking store. `ferlab runs` lists those there are."
    raise UserError(message)


def runs_of_study(study: str, stages: tuple[str, ...]) -> list[RunRecord]:
    """Finished runs of a study in those stages, oldest first; UserError when there is no such study."""
    from mlflow.tracking import MlflowClient

    client = MlflowClient()
    runs = [_record(run, client) for run in _pages(client, [_experiment(client, study).experiment_id])]
    return [run for run in runs if run.stage in stages and run.status == "FINISHED"]


def runs_with_tag(key: str, value: str, ended_well: bool = True) -> list[RunRecord]:
    """Runs of all studies that carry the tag (a value without quotes), oldest first; only FINISHED ones, or all."""
    from mlflow.tracking import MlflowClient

    client = MlflowClient()
    experiments = [item.experiment_id for item in client.search_experiments()]
    ended = " and attributes.status = 'FINISHED'" if ended_well else ""
    found = _pages(client, experiments, f"tags.`{key}` = '{value}'{ended}")
    return [_record(run, client) for run in found]


def newest_run(stage: str) -> RunRecord | None:
    """The run of a stage that began last, of all studies; None when there is none."""
    found = search(f"tags.`ferlab.stage` = '{stage}'", limit=1)
    return found[0] if found else None


def search(
    where: str = "", study: str | None = None, limit: int | None = None, deleted: bool = False
) -> list[RunRecord]:
    """Runs that fit a filter in MLflow's language, newest first: of a study or of all, those not deleted or deleted.

    Raises:
        UserError: there is no such study, or MLflow does not understand the filter.

    """
    from mlflow.entities import ViewType
    from mlflow.exceptions import MlflowException
    from mlflow.tracking import MlflowClient

    client = MlflowClient()
    experiments = [item.experiment_id for item in client.search_experiments(ViewType.ALL)]
    if study is not None:
        experiments = [_experiment(client, study).experiment_id]
    view = ViewType.DELETED_ONLY if deleted else ViewType.ACTIVE_ONLY
    try:
        return [_record(run, client) for run in _pages(client, experiments, where, view, "DESC", limit)]
    except MlflowException as error:
        message = f"where={where}: MLflow does not understand this filter ({first_line(error)})"
        raise UserError(message) from error


def add_tag(run_id: str, key: str, value: str) -> None:
    """Write a tag on a recorded run."""
    from mlflow.tracking import MlflowClient

    MlflowClient().set_tag(run_id, key, value)


def add_metrics(run_id: str, values: dict[str, float]) -> None:
    """Write metrics on a recorded run."""
    import mlflow

    mlflow.log_metrics(values, run_id=run_id)


def add_file(run_id: str, file: Path, folder: str) -> None:
    """Keep a file as an artifact of a recorded run."""
    from mlflow.tracking import MlflowClient

    MlflowClient().log_artifact(run_id, str(file), folder)


def _all_runs(client: Any) -> list[Any]:
    return _pages(client, [item.experiment_id for item in client.search_experiments()])


def _copies(reference: str, client: Any) -> list[Any]:
    """Runs that were copied here from another store, in which this was their id, or the beginning of it."""
    if not re.fullmatch(f"[0-9a-f]{{6,{ID_LENGTH}}}", reference):
        return []
    return _pages(
        client, [item.experiment_id for item in client.search_experiments()], f"tags.`{ORIGIN}` LIKE '{reference}%'"
    )


def _experiment(client: Any, study: str) -> Any:
    experiment = client.get_experiment_by_name(study)
    if experiment is None:
        known = ", ".join(item.name for item in client.search_experiments()) or "none"
        message = f"study={study}: no such study in this tracking store. There are: {known}."
        raise UserError(message)
    return experiment


def _pages(
    client: Any, experiments: list[str], chosen: str = "", view: int = 1, order: str = "ASC", limit: int | None = None
) -> list[Any]:
    """Runs by start; ``view`` 1 are those not deleted."""
    runs: list[Any] = []
    token = None
    while True:
        size = PAGE if limit is None else min(PAGE, limit - len(runs))
        by = [f"attributes.start_time {order}"]
        page = client.search_runs(experiments, chosen, view, max_results=size, order_by=by, page_token=token)
        runs += page
        token = page.token
        if not token or len(runs) == limit:
            return runs


@lru_cache(maxsize=64)
def _study(client: Any, experiment: str) -> str:
    """The name of a run's study; a client, which lives as long as one search, asks for it once."""
    return str(client.get_experiment(experiment).name)


def _record(run: Any, client: Any) -> RunRecord:
    ended = run.info.end_time or run.info.start_time
    return RunRecord(
        id=run.info.run_id,
        name=run.info.run_name,
        stage=run.data.tags.get("ferlab.stage", ""),
        status=run.info.status,
        minutes=(ended - run.info.start_time) / 60_000,
        study=_study(client, run.info.experiment_id),
        tags=dict(run.data.tags),
        metrics=dict(run.data.metrics),
        params=dict(run.data.params),
        artifact_uri=run.info.artifact_uri,
        started_s=run.info.start_time / 1000,
    )
