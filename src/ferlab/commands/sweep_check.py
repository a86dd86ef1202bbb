"""Jobs of a sweep looked at before it begins: a value that no job can have ends it then, and not job by job."""

from collections.abc import Callable, Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict

from ferlab.commands.launch import Job, relative_paths
from ferlab.errors import UserError
from ferlab.sweeping.space import Space

OF_PROCESS = ("deterministic", "compute.cores", "compute.device", "compute.logical_devices")
"""Settings that a backend takes once in the life of a process, and a process carries out many jobs."""


def check_jobs(space: Space, job: Job, composed: Callable[[Sequence[str]], DictConfig]) -> list[str]:
    """Compose and validate jobs in which every choice, and both ends of every interval, occur.

    Gives the paths among their settings that begin in the working folder, as ``key=path``.

    Raises:
        UserError: a value is none of its setting or of its group, does not go with the others, or is one that all jobs
            must share.

    """
    first: dict[str, Any] | None = None
    relative: list[str] = []
    for overrides in space.samples():
        config = composed(overrides)
        with open_dict(config):
            del config["hydra"]
        shared = {key: OmegaConf.select(config, key) for key in OF_PROCESS}
        first = first or shared
        for key, value in shared.items():
            if value != first[key]:
                message = (
                    f"{key}: {first[key]} and {value} in one sweep, whose jobs share processes that take it once. "
                    "Give each a sweep of its own."
                )
                raise UserError(message)
        relative += relative_paths(config)
        try:
            job.typed(config)
        except UserError as error:
            varied = " ".join(overrides[len(space.fixed) :])
            raise UserError(f"{error} (job {varied})" if varied else str(error)) from error
    return relative
