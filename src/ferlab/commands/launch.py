"""From the command line to a command's plain function: compose, validate, run, collect the outcome."""

import os
import shutil
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from ferlab.commands.terminal import Terminal
from ferlab.config.cloud_rules import REHEARSAL
from ferlab.config.files import conf_folder, config_root, options
from ferlab.config.nodes import Compute
from ferlab.config.rules import Facts
from ferlab.config.validate import validate
from ferlab.datasets.catalog import DATASETS, FAMILIES, LAYOUTS
from ferlab.errors import UserError
from ferlab.storage.objects import is_remote
from ferlab.tracking.code_state import code_state
from ferlab.tracking.store import Store, connect

if TYPE_CHECKING:
    from ferlab.commands.cloud_session import Session
    from ferlab.commands.sweep_job import SweepJob

USUAL_STUDY = "ferlab"
HOME_VARIABLE = "FERLAB_HOME"
PROJECT_RUN_VARIABLE = "FERLAB_PROJECT_RUN"
"""Set by the command line from MLFLOW_RUN_ID: the run that ``mlflow run`` made for this process."""
SWEEP_VARIABLE, JOB_VARIABLE = "FERLAB_SWEEP", "FERLAB_JOB"
"""Environment of a sweep's jobs: what they share, and the number of the one under way."""

_code_of_process = cache(code_state)
"""What a process runs is the code that it began with: read once for all jobs of a sweep."""


@dataclass
class Context:
    """What a command needs beside its config. ``raw`` is the composed config as plain data.

    ``on_epoch`` is told of every epoch that is over, counted from 1, and the best validation accuracy until then; it
    may end the training (``Pruned``). ``overrides``: what somebody asked for, empty for a job of a sweep.
    """

    command: str
    home: Path
    raw: dict[str, Any]
    terminal: Terminal = field(default_factory=Terminal)
    on_epoch: Callable[[int, float], None] = lambda epoch, best_accuracy: None
    overrides: Sequence[str] = ()
    cloud: "Session | None" = None
    _store: Store | None = None

    @property
    def store(self) -> Store:
        """The tracking store, connected on first use."""
        if self._store is None:
            project_run = os.environ.pop(PROJECT_RUN_VARIABLE, None)  # of a sweep, the first job joins it
            self._store = connect(self.home, config_root(), project_run, self.command, _code_of_process(config_root()))
        return self._store

    def begin_cloud(self, compute: Compute, trainings: int | None) -> None:
        """Connect to the cloud, as checked as it can be; the store is looked at first, as nothing would be recorded."""
        from ferlab.commands.cloud_session import begin

        _ = self.store
        self.cloud = begin(compute, self.home, self.terminal, trainings)

    @property
    def prepared_root(self) -> str:
        """Where prepared datasets live: a folder of this machine, or ``gs://``."""
        compute = self.raw.get("compute", {})
        given = compute.get("prepared")
        if not given and compute.get("cloud", {}).get("bucket") and compute["name"] != "local":
            return f"gs://{compute['cloud']['bucket']}/processed"
        return (
            given if given and is_remote(given) else str(Path(given or self.home / "prepared").expanduser().resolve())
        )


@dataclass(frozen=True)
class Outcome:
    """What one job ended with: its result for ``--json`` with its exit code, or the error it raised."""

    result: dict[str, Any] | None = None
    error: Exception | None = None
    code: int = 0


def machine_facts() -> Facts:
    """What the config rules need to know of this machine and of the config folder."""
    gpu = shutil.which("nvidia-smi") is not None and any(Path("/dev").glob("nvidia[0-9]*"))
    return Facts(
        families=FAMILIES,
        datasets={name: item.family for name, item in DATASETS.items()},
        taxonomies={name: item.taxonomies for name, item in DATASETS.items()},
        drawn=LAYOUTS,
        gpu_present=gpu,
        backbones=options("backbone"),
        recipes=options("recipe"),
    )


PATHS = ("dataset.root", "dataset.votes", "backbone.weights", "pipeline.weights", "compute.prepared")
"""Settings that may be a path, and are recorded absolute: a run is resumed, or repeated, from any folder."""
NO_PATHS = ("imagenet", "none")


def with_absolute_paths(cfg: DictConfig) -> None:
    """Make the PATHS of a composed config absolute, in place."""
    for key, path in _paths(cfg):
        OmegaConf.update(cfg, key, str(path.absolute()))


def relative_paths(cfg: DictConfig) -> list[str]:
    """The PATHS of a composed config that begin in the working folder, as ``key=path``."""
    return [f"{key}={path}" for key, path in _paths(cfg) if not path.is_absolute()]


def _paths(cfg: DictConfig) -> Iterator[tuple[str, Path]]:
    for key in PATHS:
        value = OmegaConf.select(cfg, key)
        if isinstance(value, str) and value and value not in NO_PATHS and not is_remote(value):
            yield key, Path(value).expanduser()


class JobError(Exception):
    """A bug in a job of a sweep, which may have been in another process: the message is its traceback."""


def study_of(cfg: DictConfig) -> str:
    """The study that a command's config names, or the usual one."""
    return str(OmegaConf.select(cfg, "study") or USUAL_STUDY)


def _traceback_of(error: Exception) -> str:
    return "".join(traceback.format_exception(error))


class Job:
    """What Hydra carries out: once, or once per job of a sweep. Can be sent to other processes; ``outcomes`` stay.

    ``overrides``: what the config was composed of, None where Hydra was started by the command line and knows it.
    """

    def __init__(
        self,
        command: str,
        schema: type[Any],
        work: Callable[[Any, Context], dict[str, Any]],
        overrides: Sequence[str] | None = None,
    ) -> None:
        self.command, self.schema, self.work, self.overrides = command, schema, work, overrides
        self.outcomes: list[Outcome] = []

    def __call__(self, cfg: DictConfig) -> Outcome:
        """Carry out ``work`` with a composed config. Its errors become the outcome; interrupts pass."""
        sweep_job = _job_of_sweep()
        asked = () if sweep_job else _asked() if self.overrides is None else self.overrides
        context = Context(self.command, Path(os.environ[HOME_VARIABLE]), {}, overrides=asked)
        try:
            config = self.typed(cfg)
            context.raw = OmegaConf.to_container(cfg, resolve=True)  # type: ignore[assignment]
            context.raw.pop("sweep", None)  # it stands on the sweep's own run
            _reach(config, context)
            try:
                result = sweep_job.carry_out(self.work, config, context) if sweep_job else self.work(config, context)
            finally:
                if context.cloud and self.command != "cloud":
                    context.cloud.account()
            outcome = Outcome(result)
        except Exception as error:
            outcome = Outcome(error=error)
            if sweep_job:
                outcome = Outcome(error=error if isinstance(error, UserError) else JobError(_traceback_of(error)))
                sweep_job.fail(error, context, study_of(cfg))
        self.outcomes.append(outcome)
        return outcome

    def typed(self, cfg: DictConfig) -> Any:
        """The validated config; paths in ``cfg`` become absolute."""
        with_absolute_paths(cfg)
        return validate(cfg, self.schema, machine_facts())


def _asked() -> Sequence[str]:
    from hydra.core.hydra_config import HydraConfig

    return list(HydraConfig.get().overrides.task)


def _job_of_sweep() -> "SweepJob | None":
    """The job of a sweep that this process carries out now; outside of sweeps what they need is not even imported."""
    if SWEEP_VARIABLE not in os.environ:
        return None
    from ferlab.commands.sweep_job import SweepJob

    return SweepJob.from_environment(os.environ)


def _reach(config: Any, context: Context) -> None:
    """Start the stand-ins of a rehearsal, or find them: its bucket may hold what the command reads."""
    compute = getattr(config, "compute", None)
    if compute is not None and compute.name == REHEARSAL and not compute.dry_run:
        from ferlab.commands.cloud_session import stand_in

        stand_in(compute, context.home, with_faults=False)


def launch(command: str, schema: type[Any], work: Callable[[Any, Context], dict[str, Any]]) -> list[Outcome]:
    """Run ``work`` once, or once per job under ``-m``, through Hydra; jobs after a failed one still run."""
    import hydra

    job = Job(command, schema, work)
    hydra.main(version_base="1.3", config_path=str(conf_folder()), config_name=command)(job)()
    return job.outcomes
