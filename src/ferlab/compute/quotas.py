"""How many GPUs and processors a project may use at once: asked for before anything is paid for."""

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from ferlab.compute.clients import Clients
from ferlab.config.cloud_nodes import Cloud, Cluster, Trainer
from ferlab.config.machines import A100, A100_80GB, gpus_of, processors_of
from ferlab.errors import UserError

VERTEX, COMPUTE = "aiplatform.googleapis.com", "compute.googleapis.com"
VERTEX_METRIC = f"{VERTEX}/custom_model_training_{{}}_gpus"
GPU_NAMES = {A100: "nvidia_a100", A100_80GB: "nvidia_a100_80gb"}
SPOT = "preemptible_"
COMMON_FAMILIES = ("n1", "e2")
"""Their processors count for the quota that has no family in its name."""
ALL_REGIONS, GLOBAL = f"{COMPUTE}/cpus_all_regions", "global"
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
        infos = clients.quotas(VERTEX)
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


def check_processor_quota(clients: Clients, cloud: Cloud, cluster: Cluster, warn: Callable[[str], None]) -> None:
    """UserError when a region does not allow the processors of a cluster; what is in use already is not known here.

    Serverless Spark has quotas of another kind, which Dataproc judges, as it does where quotas cannot be read.
    """
    if cluster.serverless:
        return
    try:
        infos = clients.quotas(COMPUTE)
    except UserError as error:
        warn(f"the quota of processors is not checked: {error}")
        return
    for region in cloud.regions:
        for metric, needed in _processors(cluster, infos, region).items():
            allowed = limit(infos, metric, GLOBAL if metric == ALL_REGIONS else region)
            if allowed is not None and UNLIMITED < allowed < needed:
                message = (
                    f"compute.cluster: project {clients.target.project} may use {allowed} of the {needed} processors "
                    f"in {region} ({metric}). Ask for more at {CONSOLE}, or take fewer workers or smaller machines."
                )
                raise UserError(message)


def _processors(cluster: Cluster, infos: Iterable[Any], region: str) -> Counter[str]:
    """How many processors of a cluster count for which quota.

    Machines that may be taken away count for a quota of their own where the project has one, else for the usual.
    """
    spot = f"{COMPUTE}/{SPOT}cpus"
    counted = Counter[str]()
    groups = (
        (cluster.master_machine, 1, False),
        (cluster.worker_machine, cluster.workers, False),
        (cluster.worker_machine, cluster.secondary_workers, cluster.preemptibility != "non_preemptible"),
    )
    for machine, count, is_taken_away in groups:
        family, each = processors_of(machine)
        usual = f"{COMPUTE}/cpus" if family in COMMON_FAMILIES else f"{COMPUTE}/{family}_cpus"
        own = is_taken_away and limit(infos, spot, region)
        counted[spot if own else usual] += each * count
        counted[ALL_REGIONS] += each * count
    return counted


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
