"""The ``gcloud`` command that asks for the same as a request: for reading, and for trying by hand."""

import json
import shlex
from typing import Any

Request = dict[str, Any]


def create_cluster(request: Request) -> str:
    """The command for a request of ``dataproc.cluster_request``."""
    cluster, config = request["cluster"], request["cluster"]["config"]
    gce, master, workers = config["gceClusterConfig"], config["masterConfig"], config["workerConfig"]
    secondary = config.get("secondaryWorkerConfig")
    words = [
        *("gcloud dataproc clusters create", cluster["clusterName"]),
        _flag("project", request["projectId"]),
        _flag("region", request["region"]),
        _flag("image-version", config["softwareConfig"]["imageVersion"]),
        _flag("master-machine-type", master["machineTypeUri"]),
        _flag("master-boot-disk-size", f"{master['diskConfig']['bootDiskSizeGb']}GB"),
        _flag("num-workers", workers["numInstances"]),
        _flag("worker-machine-type", workers["machineTypeUri"]),
        _flag("worker-boot-disk-size", f"{workers['diskConfig']['bootDiskSizeGb']}GB"),
        *([_flag("num-secondary-workers", secondary["numInstances"]),
           _flag("secondary-worker-type", _secondary_type(secondary)),
           _flag("secondary-worker-boot-disk-size", f"{secondary['diskConfig']['bootDiskSizeGb']}GB")]
          if secondary else []),
        _flag("properties", _pairs(config["softwareConfig"]["properties"])),
        _flag("initialization-actions", config["initializationActions"][0]["executableFile"]),
        _flag("initialization-action-timeout", config["initializationActions"][0]["executionTimeout"]),
        _flag("metadata", _pairs(gce["metadata"])),
        _flag("scopes", ",".join(gce["serviceAccountScopes"])),
        _flag("max-idle", config["lifecycleConfig"]["idleDeleteTtl"]),
        _flag("max-age", config["lifecycleConfig"]["autoDeleteTtl"]),
        _flag("autoscaling-policy", config.get("autoscalingConfig", {}).get("policyUri")),
        _flag("service-account", gce.get("serviceAccount")),
        _flag("network", gce.get("networkUri")),
        _flag("subnet", gce.get("subnetworkUri")),
        _flag("labels", _pairs(cluster["labels"])),
    ]  # fmt: skip
    return _command(words)


def submit_job(request: Request) -> str:
    """The command for a request of ``dataproc.job_request``."""
    job = request["job"]
    spark = job["pysparkJob"]
    words = [
        *("gcloud dataproc jobs submit pyspark", spark["mainPythonFileUri"]),
        _flag("project", request["projectId"]),
        _flag("region", request["region"]),
        _flag("cluster", job["placement"]["clusterName"]),
        _flag("id", job["reference"]["jobId"]),
        _flag("py-files", ",".join(spark["pythonFileUris"])),
        _flag("properties", _pairs(spark["properties"])),
        _flag("labels", _pairs(job["labels"])),
    ]
    return f"{_command(words)} -- {shlex.join(spark['args'])}"


def submit_batch(request: Request) -> str:
    """The command for a request of ``dataproc.batch_request``."""
    batch = request["batch"]
    spark, runtime = batch["pysparkBatch"], batch["runtimeConfig"]
    execution = batch["environmentConfig"]["executionConfig"]
    _, project, _, region = request["parent"].split("/")
    words = [
        *("gcloud dataproc batches submit pyspark", spark["mainPythonFileUri"]),
        _flag("project", project),
        _flag("region", region),
        _flag("batch", request["batchId"]),
        _flag("py-files", ",".join(spark["pythonFileUris"])),
        _flag("version", runtime["version"]),
        _flag("container-image", runtime["containerImage"]),
        _flag("properties", _pairs(runtime["properties"])),
        _flag("ttl", execution["ttl"]),
        _flag("service-account", execution.get("serviceAccount")),
        _flag("network", execution.get("networkUri")),
        _flag("subnet", execution.get("subnetworkUri")),
        _flag("labels", _pairs(batch["labels"])),
    ]
    return f"{_command(words)} -- {shlex.join(spark['args'])}"


def create_custom_job(request: Request) -> str:
    """The command for a request of ``vertex.custom_job_request``; its specification goes in as a file."""
    _, project, _, region = request["parent"].split("/")
    job = request["customJob"]
    words = [
        "gcloud ai custom-jobs create",
        _flag("project", project),
        _flag("region", region),
        _flag("display-name", job["displayName"]),
        _flag("labels", _pairs(job["labels"])),
        "--config=/dev/stdin",
    ]
    return f"{_command(words)} <<< {shlex.quote(json.dumps(job['jobSpec']))}"


def _secondary_type(workers: Request) -> str:
    return str(workers["preemptibility"]).lower().replace("_", "-")


def _command(words: list[str]) -> str:
    return " ".join(word for word in words if word)


def _flag(name: str, value: Any) -> str:
    return f"--{name}={shlex.quote(str(value))}" if value not in (None, "") else ""


def _pairs(mapping: dict[str, str]) -> str:
    return ",".join(f"{key}={value}" for key, value in mapping.items())
