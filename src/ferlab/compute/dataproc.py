"""Requests to Dataproc as its REST interface has them: pure functions, the same config gives the same request."""

import uuid
from dataclasses import dataclass
from typing import Any

from ferlab.compute.target import Target
from ferlab.compute.wheelhouse import METADATA_KEY, NODE_PYTHON, SETUP
from ferlab.config.cloud_nodes import Cloud, Cluster

Request = dict[str, Any]

SETUP_TIMEOUT_S = 900
FULL_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
TASK_TRIES = 8
"""Workers that may be taken away lose tasks; Spark tries each so often."""


@dataclass(frozen=True)
class Shipped:
    """What lies in the bucket for a cluster: the job's file, the code it imports, and a folder for its set-up."""

    main: str
    code: str
    setup: str


def cluster_request(target: Target, cloud: Cloud, cluster: Cluster, shipped: Shipped, job: str, region: str) -> Request:
    """``clusters.create``: a cluster that deletes itself whatever becomes of this machine."""
    gce: Request = {"serviceAccountScopes": [FULL_SCOPE], "metadata": {METADATA_KEY: shipped.setup}}
    _add(gce, "serviceAccount", cloud.service_account)
    _add(gce, "networkUri", cloud.network)
    _add(gce, "subnetworkUri", cloud.subnetwork)
    config: Request = {
        "gceClusterConfig": gce,
        "masterConfig": _nodes(1, cluster.master_machine, cluster.disk_gb),
        "workerConfig": _nodes(cluster.workers, cluster.worker_machine, cluster.disk_gb),
        "softwareConfig": {"imageVersion": cluster.image_version, "properties": cluster_properties()},
        "initializationActions": [
            {"executableFile": f"{shipped.setup}/{SETUP.name}", "executionTimeout": f"{SETUP_TIMEOUT_S}s"}
        ],
        "lifecycleConfig": {
            "idleDeleteTtl": f"{round(60 * cluster.idle_minutes)}s",
            "autoDeleteTtl": f"{round(3600 * cluster.max_hours)}s",
        },
    }
    if cluster.secondary_workers:
        config["secondaryWorkerConfig"] = {
            **_nodes(cluster.secondary_workers, cluster.worker_machine, cluster.disk_gb),
            "preemptibility": cluster.preemptibility.upper(),
        }
    if cluster.autoscaling_policy:
        config["autoscalingConfig"] = {"policyUri": cluster.autoscaling_policy}
    return {
        "projectId": target.project,
        "region": region,
        "requestId": _request_id(region, job),
        "cluster": {
            "projectId": target.project,
            "clusterName": cluster_name(job),
            "labels": target.labels("prepare", job),
            "config": config,
        },
    }


def job_request(target: Target, shipped: Shipped, job: str, region: str, folder: str, attempt: int = 1) -> Request:
    """``jobs.submit``: make the shards of the preparation that was begun at ``folder``."""
    job_id = f"{job}-{attempt}"
    return {
        "projectId": target.project,
        "region": region,
        "requestId": _request_id(region, job_id),
        "job": {
            "reference": {"projectId": target.project, "jobId": job_id},
            "placement": {"clusterName": cluster_name(job)},
            "labels": target.labels("prepare", job),
            "pysparkJob": {
                "mainPythonFileUri": shipped.main,
                "pythonFileUris": [shipped.code],
                "args": [folder],
                "properties": job_properties(),
            },
        },
    }


def batch_request(target: Target, cloud: Cloud, cluster: Cluster, shipped: Shipped, job: str, region: str,
                  folder: str, attempt: int = 1) -> Request:  # fmt: skip
    """``batches.create``: the same job on a Spark that Google keeps, in a container with the executors' packages."""
    execution: Request = {"ttl": f"{round(3600 * cluster.max_hours)}s"}
    _add(execution, "serviceAccount", cloud.service_account)
    _add(execution, "networkUri", cloud.network)
    _add(execution, "subnetworkUri", cloud.subnetwork)
    most = cluster.workers + cluster.secondary_workers
    return {
        "parent": f"projects/{target.project}/locations/{region}",
        "batchId": f"{job}-{attempt}",
        "requestId": _request_id(region, f"{job}-{attempt}"),
        "batch": {
            "labels": target.labels("prepare", job),
            "pysparkBatch": {
                "mainPythonFileUri": shipped.main,
                "pythonFileUris": [shipped.code],
                "args": [folder],
            },
            "runtimeConfig": {
                "version": cluster.image_version,
                "containerImage": cluster.serverless_image,
                "properties": {
                    "spark.task.maxFailures": str(TASK_TRIES),
                    "spark.dynamicAllocation.maxExecutors": str(max(2, most)),
                },
            },
            "environmentConfig": {"executionConfig": execution},
        },
    }


def cluster_properties() -> dict[str, str]:
    """Settings of the whole cluster."""
    return {"spark:spark.pyspark.python": NODE_PYTHON, "spark:spark.pyspark.driver.python": NODE_PYTHON}


def job_properties() -> dict[str, str]:
    """Settings of one job."""
    return {"spark.task.maxFailures": str(TASK_TRIES)}


def cluster_name(job: str) -> str:
    """The name of the cluster that a job has to itself (at most 51 characters)."""
    return f"ferlab-{job}"


def _request_id(region: str, job: str) -> str:
    """The same for the same piece of work, so that a repeated request does nothing; a service takes 40 characters."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"{region}/{job}"))


def _nodes(count: int, machine: str, disk_gb: int) -> Request:
    return {"numInstances": count, "machineTypeUri": machine, "diskConfig": {"bootDiskSizeGb": disk_gb}}


def _add(node: Request, key: str, value: str | None) -> None:
    if value:
        node[key] = value
