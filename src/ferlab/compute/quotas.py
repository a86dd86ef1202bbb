"""How many GPUs a project may use at once on Vertex AI: asked for before anything is paid for."""

from collections.abc import Callable, Iterable
from typing import Any

from ferlab.compute.clients import Clients
from ferlab.config.cloud_nodes import Cloud, Trainer
from ferlab.config.machines import A100, A100_80GB, gpus_of
from ferlab.errors import UserError

VERTEX_METRIC = "aiplatform.googleapis.com/custom_model_training_{}_gpus"
GPU_NAMES = {A100: "nvidia_a100", A100_80GB: "nvidia_a100_80gb"}
SPOT = "preemptible_"
UNLIMITED = -1
CONSOLE = "console.cloud.google.com/iam-admin/quotas"


def check_gpu_quota(
    clients: Clients, cloud: Cloud, trainer: Trainer, trainings: int, warn: Callable[[str], None]
) -> None:
    """UserError when a region does not allow the GPUs that ``trainings`` use at once.

    Machines without GPUs and those waited for (``flex_start``) are left to Vertex AI. Where the quotas cannot be read
    (the Cloud Quotas API is off, or the account may not), that is said, and Vertex AI decides later.
    """
    metric, at_once = gpu_metric(trainer), min(trainings, trainer.at_once)
    if metric is None or not at_once:
        return
    try:
        infos = clients.vertex_quotas()
    except UserError as error:
        warn(f"the quota of GPUs is not checked: {error}")
        return
    _, each = gpus_of(trainer.machine)
    needed = each * trainer.replicas * at_once
    for region in cloud.regions:
        allowed = limit(infos, metric, region)
        if allowed is not None and UNLIMITED < allowed < needed:
            fewer = (
                f", or take compute.trainer.at_once={allowed // (each * trainer.replicas)}"
                if allowed >= each * trainer.replicas
                else ""
            )
            message = (
                f"compute.trainer.machine={trainer.machine}: project {clients.target.project} may use {allowed} of the "
                f"{needed} GPUs in {region} ({metric}). Ask for more at {CONSOLE}{fewer}."
            )
            raise UserError(message)


def gpu_metric(trainer: Trainer) -> str | None:
    """The quota that a training's GPUs count for; None where there is none to ask for beforehand."""
    kind, _ = gpus_of(trainer.machine)
    if kind is None or trainer.strategy == "flex_start":
        return None
    return VERTEX_METRIC.format((SPOT if trainer.strategy == "spot" else "") + GPU_NAMES[kind])


def limit(infos: Iterable[Any], metric: str, region: str) -> int | None:
    """What Cloud Quotas says of a metric in a region, -1 without bounds; None when it says nothing.

    ``infos``: its ``QuotaInfo`` messages. A value for the region itself comes before one for all regions.
    """
    told = [part for info in infos if info.metric == metric for part in info.dimensions_infos]
    own = [part for part in told if part.dimensions.get("region") == region]
    common = [part for part in told if "region" not in part.dimensions]
    listed = [part for part in common if region in part.applicable_locations]
    chosen = own or listed or [part for part in common if not part.applicable_locations]
    return min((part.details.value for part in chosen), default=None)
