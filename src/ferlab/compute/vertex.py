"""Requests to Vertex AI as its REST interface has them: pure functions, the same config gives the same request."""

from collections.abc import Sequence
from typing import Any

from ferlab.compute.target import Target
from ferlab.config.cloud_nodes import Cloud, Trainer
from ferlab.config.machines import gpus_of

Request = dict[str, Any]

COMMAND = ("python", "-m", "ferlab.compute.container")
FLEX_START = "FLEX_START"


def custom_job_request(
    target: Target, cloud: Cloud, trainer: Trainer, job: str, region: str, folder: str, name: str
) -> Request:
    """``customJobs.create``: train what lies at ``folder`` of the bucket, on one machine or several replicas."""
    first, others = _pool(trainer, 1, folder), _pool(trainer, trainer.replicas - 1, folder)
    scheduling: Request = {
        "timeout": f"{round(3600 * trainer.max_hours)}s",
        "restartJobOnWorkerRestart": True,
        "strategy": trainer.strategy.upper(),
    }
    if scheduling["strategy"] == FLEX_START:
        scheduling["maxWaitDuration"] = f"{round(3600 * trainer.max_wait_hours)}s"
    spec: Request = {
        "workerPoolSpecs": [first, others] if trainer.replicas > 1 else [first],
        "scheduling": scheduling,
        "baseOutputDirectory": {"outputUriPrefix": folder},
    }
    if cloud.service_account:
        spec["serviceAccount"] = cloud.service_account
    if trainer.network:
        spec["network"] = trainer.network
    return {
        "parent": f"projects/{target.project}/locations/{region}",
        "customJob": {"displayName": f"ferlab {name}"[:128], "labels": target.labels("train", job), "jobSpec": spec},
    }


def _pool(trainer: Trainer, replicas: int, folder: str) -> Request:
    machine: Request = {"machineType": trainer.machine}
    kind, count = gpus_of(trainer.machine)
    if kind:
        machine |= {"acceleratorType": kind, "acceleratorCount": count}
    return {
        "machineSpec": machine,
        "replicaCount": str(replicas),
        "diskSpec": {"bootDiskType": "pd-ssd", "bootDiskSizeGb": trainer.disk_gb},
        "containerSpec": {
            "imageUri": trainer.image or "",
            "command": list(COMMAND),
            "args": [folder],
            "env": _environment(trainer),
        },
    }


def _environment(trainer: Trainer) -> Sequence[dict[str, str]]:
    """No secret belongs here: everyone who may look at the job reads it."""
    return [{"name": "KERAS_BACKEND", "value": "jax" if trainer.replicas > 1 else "tensorflow"}]
