"""Jobs of a sweep in worker processes: Hydra's composition is done anew in each, as its own launchers do."""

from collections.abc import Sequence

import cloudpickle
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus, run_job, setup_globals
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict

from ferlab.commands.launch import Outcome
from ferlab.errors import UserError
from ferlab.sweeping.workers import in_workers, visible_gpus

WITHOUT_GPU = 2


def launch_in_workers(
    jobs: Sequence[Sequence[str]],
    first_number: int,
    count: int | None,
    context: HydraContext,
    task: TaskFunction,
    config: DictConfig,
) -> list[JobReturn]:
    """What came of the jobs, in their order; a job is taken when one of ``count`` workers is free for it.

    Raises:
        UserError: no worker.

    """
    count = count if count is not None else len(visible_gpus()) or WITHOUT_GPU
    if count < 1:
        message = f"hydra.launcher.n_jobs={count}: at least one worker must carry the jobs out."
        raise UserError(message)
    setup_globals()
    composer = cloudpickle.dumps((context, task, config, Singleton.get_state()))  # resolvers are local functions
    numbered = ((composer, number, list(overrides)) for number, overrides in enumerate(jobs, first_number))
    returned = {}
    for position, outcome in in_workers(_carry_out, numbered, count):
        returned[position] = Outcome(error=outcome) if isinstance(outcome, Exception) else outcome
    return [JobReturn(status=JobStatus.COMPLETED, _return_value=returned[position]) for position in sorted(returned)]


def _carry_out(composer: bytes, number: int, overrides: list[str]) -> Outcome:
    """In the worker: one job; of its outcome what can be sent back."""
    setup_globals()
    context, task, config, singletons = cloudpickle.loads(composer)
    Singleton.set_state(singletons)
    config = context.config_loader.load_sweep_config(config, overrides)
    with open_dict(config):
        config.hydra.job.id = config.hydra.job.num = number
    outcome: Outcome = run_job(task, config, "hydra.sweep.dir", "hydra.sweep.subdir", context).return_value
    return outcome
