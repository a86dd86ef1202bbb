"""Hydra's doors to ferlab's sweeps: ``hydra/sweeper=ferlab_grid|ferlab_optuna``, ``hydra/launcher=workers``."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class FerlabSweeper(Sweeper):
    """Every combination (``grid``), or trials that Optuna chooses (``optuna``).

    ``params``: settings that vary, as an experiment's file may name them; those on the command line win.
    """

    def __init__(self, strategy: str, params: dict[str, str] | None) -> None:
        self.strategy, self.params = strategy, params or {}

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Keep what Hydra gives, and who launches."""
        from ferlab.commands.sweep import HydraSide

        launcher = Plugins.instance().instantiate_launcher(hydra_context, task_function, config)
        self.given = HydraSide(hydra_context, task_function, config, launcher)  # type: ignore[arg-type]  # our Job

    def sweep(self, arguments: list[str]) -> Any:
        """Carry out the sweep; its outcomes go to the task function."""
        from ferlab.commands.sweep import sweep

        sweep(self.strategy, [*(f"{key}={value}" for key, value in self.params.items()), *arguments], self.given)


class WorkersLauncher(Launcher):
    """Jobs side by side in ``n_jobs`` processes; None: one for each GPU, two without a GPU."""

    def __init__(self, n_jobs: int | None) -> None:
        self.n_jobs = n_jobs

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Keep what Hydra gives."""
        self.given = hydra_context, task_function, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Take each job when a worker is free for it; give what came of them in their order."""
        from ferlab.commands.sweep_workers import launch_in_workers

        return launch_in_workers(job_overrides, initial_job_idx, self.n_jobs, *self.given)


@dataclass
class _GridConf:
    _target_: str = "hydra_plugins.ferlab_sweeps.FerlabSweeper"
    strategy: str = "grid"
    params: dict[str, str] | None = None


@dataclass
class _OptunaConf:
    _target_: str = "hydra_plugins.ferlab_sweeps.FerlabSweeper"
    strategy: str = "optuna"
    params: dict[str, str] | None = None


@dataclass
class _WorkersConf:
    _target_: str = "hydra_plugins.ferlab_sweeps.WorkersLauncher"
    n_jobs: int | None = None


ConfigStore.instance().store(group="hydra/sweeper", name="ferlab_grid", node=_GridConf, provider="ferlab")
ConfigStore.instance().store(group="hydra/sweeper", name="ferlab_optuna", node=_OptunaConf, provider="ferlab")
ConfigStore.instance().store(group="hydra/launcher", name="workers", node=_WorkersConf, provider="ferlab")
