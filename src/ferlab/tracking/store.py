"""The tracking store: one MLflow database and artifact folder under an absolute path, or the server you name."""

import contextlib
import logging
import os
import socket
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ferlab import interrupts
from ferlab.errors import Pruned, UserError, first_line, one_line
from ferlab.storage.files import atomic_path, exclusive, writing_errors
from ferlab.tracking.code_state import CodeState, code_state
from ferlab.tracking.environment import RESUMED
from ferlab.tracking.processes import identity, is_alive
from ferlab.tracking.run import Run

SAMPLING_INTERVAL_S = 5
UNSPECIFIED = "0.0.0.0"
PARENT = "mlflow.parentRunId"
OPEN_STATES = ("RUNNING", "SCHEDULED")
OUTCOME, PRUNED = "ferlab.outcome", "pruned"
"""Tag of a run that was ended because others did better."""
PASSWORDS = "Set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD."
"""For a server that does not let one in."""
DATABASE = "mlflow.db"
"""The store's file below FERLAB_HOME, where no server is named."""


@dataclass(frozen=True)
class Within:
    """A job of a sweep: its runs without another parent belong to ``parent``; that of ``stages`` gets name and tags."""

    parent: str
    stages: tuple[str, ...]
    name: str
    tags: Mapping[str, str]


@dataclass
class Store:
    """A connected store.

    ``project_run`` is the run that ``mlflow run`` made for this process, if any: the first run of the stage
    ``project_stage`` joins it. ``within``: the job of a sweep that writes now.
    """

    uri: str
    home: Path
    code: CodeState
    project_run: str | None = None
    project_stage: str = ""
    within: Within | None = None
    _artifacts: str | None = field(default=None, repr=False)

    @contextlib.contextmanager
    def run(
        self, stage: str, study: str, name: str, *, parent: Run | None = None, resume: str | None = None
    ) -> Iterator[Run]:
        """One MLflow run around the block: FINISHED, KILLED (interrupted or pruned) or FAILED (any other exception)."""
        import mlflow

        interrupts.check()
        run_id = resume
        if run_id is None and stage == self.project_stage:
            run_id, self.project_run = self.project_run, None
        experiment = None if run_id else self._experiment(study)
        # what began a run stays on it; code that goes on with it stands beside
        code = {f"{RESUMED}.{key}": value for key, value in self.code.tags().items()} if resume else self.code.tags()
        name, own = self.named(name, {}, stage, parent)
        parent_id = own.pop(PARENT, None)
        tags = {"ferlab.stage": stage, "mlflow.runName": name, **own, **identity(), **code}
        active = mlflow.start_run(
            run_id=run_id,
            experiment_id=experiment,
            run_name=name,
            nested=parent_id is not None,
            parent_run_id=parent_id,
            tags=tags,
            log_system_metrics=True,
        )
        run = Run(active.info.run_id, name)
        status = "FAILED"
        try:
            if run_id:
                run.set_tags({**tags, "ferlab.error": ""})
            self._log_code(run, f"code/{RESUMED}" if resume else "code")
            yield run
            status = "FINISHED"
        except KeyboardInterrupt:
            status = "KILLED"
            raise
        except Pruned as reason:
            status = "KILLED"
            run.set_tags({OUTCOME: PRUNED, "ferlab.pruned": str(reason)})
            raise
        except BaseException as error:
            with contextlib.suppress(Exception):
                run.set_tags({"ferlab.error": f"{type(error).__name__}: {one_line(error)}"})
            raise
        finally:
            with contextlib.suppress(Exception) if status != "FINISHED" else contextlib.nullcontext():
                mlflow.end_run(status)

    def named(self, name: str, tags: Mapping[str, str], stage: str, parent: Run | None) -> tuple[str, dict[str, str]]:
        """What a run of that stage is called here, and its tags with its parent's: a sweep has names of its own."""
        if parent is not None:
            return name, {**tags, PARENT: parent.id}
        if self.within is None:
            return name, dict(tags)
        own = {**tags, PARENT: self.within.parent}
        return (self.within.name, {**own, **self.within.tags}) if stage in self.within.stages else (name, own)

    def reserve(self, stage: str, study: str, name: str, tags: Mapping[str, str]) -> str:
        """The id of a run that another machine is going to begin; until then it is SCHEDULED."""
        from mlflow.tracking import MlflowClient

        client = MlflowClient()
        with _refusals():
            made = client.create_run(self._experiment(study), tags={"ferlab.stage": stage, **tags}, run_name=name)
            client.update_run(made.info.run_id, status="SCHEDULED")
        return str(made.info.run_id)

    def close_orphans(self) -> None:
        """End runs of this host that are RUNNING although their process is gone."""
        from mlflow.tracking import MlflowClient

        _close_orphans(MlflowClient())

    def _log_code(self, run: Run, folder: str) -> None:
        run.log_text(self.code.packages, f"{folder}/packages.txt")
        if self.code.lock:
            run.log_text(self.code.lock, f"{folder}/requirements.lock")
        if self.code.diff:
            run.log_text(self.code.diff, f"{folder}/diff.patch")

    def _experiment(self, study: str) -> str:
        import mlflow
        from mlflow.exceptions import MlflowException

        found = mlflow.get_experiment_by_name(study)
        if found is None:
            with exclusive(self.home / "mlflow.lock"):
                found = mlflow.get_experiment_by_name(study)
                try:
                    if found is None:
                        return str(mlflow.create_experiment(study, self._artifacts))
                except MlflowException as error:
                    message = f"study={study}: {first_line(error)}"
                    raise UserError(message) from error
        if found.lifecycle_stage == "deleted":
            message = f"study={study}: this MLflow experiment is deleted. Restore it, or choose another study."
            raise UserError(message)
        return str(found.experiment_id)


def connect(
    home: Path,
    checkout: Path,
    project_run: str | None = None,
    project_stage: str = "",
    code: CodeState | None = None,
) -> Store:
    """Open the store: ``MLFLOW_TRACKING_URI`` when set, else SQLite under ``home``. Closes runs left by dead processes.

    Artifacts of a database go under ``home`` too; a server decides for itself. ``code`` is that of ``checkout``,
    read now when it is not given.

    Raises:
        UserError: the store cannot be reached or written.

    """
    quiet()
    import mlflow
    from mlflow.exceptions import MlflowException
    from mlflow.tracking import MlflowClient
    from sqlalchemy.exc import SQLAlchemyError

    chosen = os.environ.get("MLFLOW_TRACKING_URI")
    uri = chosen or f"sqlite:///{home / DATABASE}"
    with writing_errors(home):
        home.mkdir(parents=True, exist_ok=True)
    mlflow.set_tracking_uri(uri)
    mlflow.set_system_metrics_sampling_interval(SAMPLING_INTERVAL_S)
    try:
        with exclusive(home / "mlflow.lock"):
            if not chosen:
                _create_database(home / DATABASE)
            client = MlflowClient()
            client.search_experiments(max_results=1)
        _close_orphans(client)
    except (MlflowException, OSError, SQLAlchemyError) as error:
        hint = f" {PASSWORDS}" if "code 401" in str(error) else ""
        message = f"tracking store {uri}: cannot be opened ({first_line(error, 200)}).{hint}"
        raise UserError(message) from error
    server = uri.startswith(("http://", "https://", "databricks"))
    artifacts = None if server else (home / "artifacts").as_uri()
    return Store(uri, home, code or code_state(checkout), project_run, project_stage, _artifacts=artifacts)


def is_open_server(uri: str, loopback: bool, inside: bool = False) -> bool:
    """Whether another machine may write to the store: a server that asks for no password.

    Passwords are not sent along: whoever may look at a job could read them. ``loopback``: the other machine is this
    very one. ``inside``: it is in the same network, where private addresses mean the same.
    """
    from mlflow.utils.credentials import get_default_host_creds

    address = urlsplit(uri)
    if address.scheme not in ("http", "https") or not address.hostname or "@" in address.netloc:
        return False
    known = get_default_host_creds(uri)  # of the environment, and of MLflow's file of credentials
    if any((known.username, known.password, known.token, known.auth, known.aws_sigv4, known.client_cert_path)):
        return False
    return loopback or all(_is_open(host, inside) for host in _addresses(address.hostname))


def _addresses(host: str) -> list[str]:
    """Where a name leads as seen from here; nowhere when it leads nowhere, or only this machine knows it."""
    try:
        return [str(found[4][0]) for found in socket.getaddrinfo(host, None)]
    except OSError:
        return [UNSPECIFIED]


def _is_open(host: str, inside: bool) -> bool:
    address = ip_address(host.partition("%")[0])
    return not (address.is_loopback or address.is_unspecified) and (inside or not address.is_private)


def close_run(run_id: str) -> None:
    """End a run as KILLED whose process can no longer do it; one that has ended stays as it is."""
    from mlflow.tracking import MlflowClient

    client = MlflowClient()
    with _refusals():
        if client.get_run(run_id).info.status in OPEN_STATES:
            client.set_terminated(run_id, "KILLED")


@contextlib.contextmanager
def _refusals() -> Iterator[None]:
    """What a tracking server refuses, or does not answer, in one line."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        message = f"tracking store: {first_line(error, 200)}"
        raise UserError(message) from error


def ended_runs(uri: str) -> list[str]:
    """Ids of all runs of a store, oldest first, those that are still RUNNING closed as KILLED: nothing writes there."""
    from mlflow.tracking import MlflowClient

    client = MlflowClient(uri)
    experiments = [item.experiment_id for item in client.search_experiments()]
    runs = client.search_runs(experiments, max_results=1000, order_by=["attributes.start_time ASC"])
    for run in runs:
        if run.info.status in OPEN_STATES:
            client.set_terminated(run.info.run_id, "KILLED")
    return [run.info.run_id for run in runs]


def _create_database(path: Path) -> None:
    """Make MLflow's tables beside ``path`` and rename: a creation that is interrupted leaves no half-made store."""
    from mlflow.tracking import MlflowClient

    if not path.exists():
        with atomic_path(path) as partial:
            MlflowClient(f"sqlite:///{partial}").search_experiments(max_results=1)


def quiet() -> None:
    """MLflow and its database layer talk at start-up; keep their warnings only."""
    for name in ("mlflow", "alembic", "mlflow.store.db.utils", "mlflow.system_metrics"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="mlflow")


def _close_orphans(client: Any) -> None:
    """End runs of this host that are RUNNING although their process is gone."""
    host = identity()["ferlab.host"]
    experiments = [item.experiment_id for item in client.search_experiments()]
    running = client.search_runs(
        experiments,
        filter_string=f"attributes.status = 'RUNNING' and tags.\"ferlab.host\" = '{host}'",
        max_results=1000,
    )
    for run in running:
        tags = run.data.tags
        if not is_alive(tags.get("ferlab.pid", ""), tags.get("ferlab.process_started", "")):
            client.set_tag(run.info.run_id, "ferlab.error", "the process was killed; closed by a later command")
            client.set_terminated(run.info.run_id, "KILLED")
