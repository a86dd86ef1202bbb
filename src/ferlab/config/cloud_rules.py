"""Rules across the settings of ``compute``: what cannot work on Google Cloud is said before anything is created."""

import re
from collections.abc import Iterator

from ferlab.config.cloud_nodes import Cloud, Cluster, Trainer
from ferlab.config.machines import GPU_MACHINES, gpus_of, is_known
from ferlab.config.nodes import Compute, Dataset, Recipe, Sweep
from ferlab.storage.objects import SCHEME, is_remote

Problem = tuple[str, str]

LOCAL, REHEARSAL = "local", "rehearsal"
LABEL = re.compile(r"[a-z][a-z0-9_-]{0,62}=[a-z0-9_-]{0,63}")
PROJECT = re.compile(r"[a-z][a-z0-9-]{4,28}[a-z0-9]")
REGION = re.compile(r"[a-z]+-[a-z]+[0-9]+")
NETWORK = re.compile(r"projects/[^/]+/global/networks/[^/]+")
BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]")
OWN_LABELS = ("ferlab", "ferlab-job", "ferlab-stage")


def cloud_target(_: object, compute: Compute) -> Iterator[Problem]:
    """A target in the cloud has all that it needs, and asks for nothing that does not exist; ``local`` has no rules."""
    if compute.name == LOCAL:
        return
    yield from _names(compute.cloud)
    yield from _places(compute)
    yield from _cluster(compute.cluster)
    yield from _machine(compute.trainer)
    if compute.spark_master is not None:
        yield "compute.spark_master", "prepares on a cluster of your own; choose compute=local for it"


def _names(cloud: Cloud) -> Iterator[Problem]:
    if cloud.project is not None and not PROJECT.fullmatch(cloud.project):
        yield "compute.cloud.project", f"{cloud.project!r} is no project id (6 to 30 of a-z, 0-9 and -)"
    if not cloud.regions:
        yield "compute.cloud.regions", "must name one region at least, as [us-central1]"
    for region in cloud.regions:
        if not REGION.fullmatch(region):
            yield "compute.cloud.regions", f"{region!r} is no region like us-central1"
    if cloud.network and cloud.subnetwork:
        yield "compute.cloud.subnetwork", "give network or subnetwork, not both: a subnetwork belongs to a network"
    for label in cloud.labels:
        if not LABEL.fullmatch(label):
            yield "compute.cloud.labels", f"{label!r} is no label like team=vision (lower case, digits, - and _)"
        elif label.partition("=")[0] in OWN_LABELS:
            yield "compute.cloud.labels", f"{label!r}: ferlab sets {label.partition('=')[0]} itself"


def _places(compute: Compute) -> Iterator[Problem]:
    cloud = compute.cloud
    if not cloud.bucket:
        yield "compute.cloud.bucket", "must name a bucket for raw images, prepared data and results"
        return
    if not BUCKET.fullmatch(cloud.bucket):
        yield "compute.cloud.bucket", f"{cloud.bucket!r} is no bucket name (without gs://)"
        return
    for key, place in (("compute.prepared", compute.prepared), ("compute.cloud.raw", cloud.raw)):
        if place is not None and (not is_remote(place) or not place.removeprefix(SCHEME).strip("/")):
            yield key, f"{place!r} must be a gs://BUCKET/FOLDER: workers do not see this machine"
            return
    raw, (processed, *others) = cloud.raw or f"gs://{cloud.bucket}/raw", _written(compute)
    if _overlap(raw, processed):
        yield "compute.prepared", f"{processed} and the raw images in {raw} overlap: raw images are never written to"
    for other in others:
        for key, place in (("compute.cloud.raw", raw), ("compute.prepared", processed)):
            if _overlap(place, other):
                yield key, f"{place} and {other}, where trainings and code lie, overlap"


def raw_images_apart(_: object, dataset: Dataset, compute: Compute) -> Iterator[Problem]:
    """Raw images that lie in a bucket already lie apart from what is made of them."""
    root = str(dataset.root)
    if compute.name == LOCAL or not compute.cloud.bucket or not is_remote(root):
        return
    for place in _written(compute):
        if _overlap(root, place):
            yield "dataset.root", f"{root} overlaps {place}, which is written to: raw images never are"
            return


def trainable_in_cloud(
    _: object, recipe: Recipe, teacher: str | None, resume: str | None, compute: Compute
) -> Iterator[Problem]:
    """What a training would otherwise find out on a paid machine; what is gone on with has a recipe of its own."""
    if compute.name == LOCAL or resume is not None:
        return
    if teacher is not None:
        yield "teacher", "lies in this machine's store, which a training in the cloud cannot ask; use compute=local"
    devices = max(1, gpus_of(compute.trainer.machine)[1]) * compute.trainer.replicas
    if recipe.batch_size % devices:
        fitting = recipe.batch_size // devices * devices or devices
        yield "recipe.batch_size", f"{recipe.batch_size} cannot be shared by {devices} devices; take {fitting}"


def sweep_in_cloud(_: object, sweep: Sweep, compute: Compute) -> Iterator[Problem]:
    """A pruner follows the epochs of a training, which runs elsewhere."""
    if compute.name != LOCAL and sweep.pruner != "none":
        yield "sweep.pruner", f"{sweep.pruner} cannot end a training in the cloud early; use none"


def _written(compute: Compute) -> tuple[str, str, str]:
    """Where prepared data, trainings and code go."""
    bucket = f"gs://{compute.cloud.bucket}"
    return compute.prepared or f"{bucket}/processed", f"{bucket}/runs", f"{bucket}/shipped"


def _overlap(first: str, second: str) -> bool:
    first, second = (f"{place.rstrip('/')}/" for place in (first, second))
    return first.startswith(second) or second.startswith(first)


def _cluster(cluster: Cluster) -> Iterator[Problem]:
    if cluster.serverless and not cluster.serverless_image:
        yield "compute.cluster.serverless_image", "must name a container with the executors' packages (docs/cloud.md)"
    if cluster.idle_minutes > 60 * cluster.max_hours:
        yield "compute.cluster.idle_minutes", f"longer than compute.cluster.max_hours={cluster.max_hours:g}"


def _machine(trainer: Trainer) -> Iterator[Problem]:
    if not is_known(trainer.machine):
        yield "compute.trainer.machine", f"{trainer.machine!r} is not known; with A100s: {', '.join(GPU_MACHINES)}"
        return
    if trainer.network is not None and not NETWORK.fullmatch(trainer.network):
        yield "compute.trainer.network", f"{trainer.network!r} must be projects/NUMBER/global/networks/NAME"
    kind, count = gpus_of(trainer.machine)
    if trainer.accelerator not in (None, kind):
        yield "compute.trainer.accelerator", f"{trainer.machine} has {kind or 'no GPU'}, not {trainer.accelerator}"
    if trainer.accelerators not in (None, count):
        fitting = ", ".join(name for name, (_, gpus) in GPU_MACHINES.items() if gpus == trainer.accelerators)
        hint = f"; that many have {fitting}" if fitting else ""
        yield "compute.trainer.accelerators", f"{trainer.machine} has {count}, not {trainer.accelerators}{hint}"
