"""Requests: the documented fields, messages of the real clients, and the same command in gcloud's words."""

import json
import shlex
from dataclasses import replace
from pathlib import Path

import pytest
from google.cloud import aiplatform_v1 as vertex
from google.cloud import dataproc_v1 as dataproc

from ferlab.compute import gcloud
from ferlab.compute.dataproc import Shipped, batch_request, cluster_name, cluster_request, job_request
from ferlab.compute.target import Target, new_job, owner_of
from ferlab.compute.vertex import custom_job_request
from ferlab.config.cloud_nodes import Cloud, Cluster, Trainer
from ferlab.config.nodes import Compute

SNAPSHOTS = Path(__file__).with_name("snapshots")
CLOUD = Cloud(bucket="ours", regions=["us-central1", "us-east1"], labels=["team=vision"], service_account="a@p.iam")
FIFTY = Cluster(workers=2, secondary_workers=48)
SHIPPED = Shipped("gs://ours/shipped/job.py", "gs://ours/shipped/ferlab.zip", "gs://ours/shipped/setup")
EIGHT = Trainer(image="us-docker.pkg.dev/p/r/ferlab:1", machine="a2-highgpu-8g")


@pytest.fixture
def target(tmp_path) -> Target:
    made = Target.of(Compute(name="gcp", cloud=CLOUD), "our-project", tmp_path)
    return replace(made, owner="0123456789abcdef")


def snapshot(name: str, request: dict) -> None:
    """The request equals the one that was read against the services' reference and kept."""
    assert request == json.loads((SNAPSHOTS / f"{name}.json").read_text())


def parsed(kind, request: dict):
    return kind.from_json(json.dumps(request), ignore_unknown_fields=False)


def test_a_cluster_of_fifty_workers(target):
    request = cluster_request(target, CLOUD, FIFTY, SHIPPED, "prepare-1", "us-central1")
    snapshot("cluster_of_fifty", request)
    message = parsed(dataproc.CreateClusterRequest, request)
    config = message.cluster.config
    assert config.worker_config.num_instances + config.secondary_worker_config.num_instances == 50
    assert config.secondary_worker_config.preemptibility.name == "SPOT"
    assert config.lifecycle_config.idle_delete_ttl.total_seconds() == 600
    assert config.lifecycle_config.auto_delete_ttl.total_seconds() == 6 * 3600


def test_the_job_that_prepares_450_000_images(target):
    request = job_request(target, SHIPPED, "prepare-1", "us-central1", "gs://ours/processed/affectnet7-0123456789ab", 2)
    snapshot("spark_job", request)
    message = parsed(dataproc.SubmitJobRequest, request)
    assert message.job.placement.cluster_name == cluster_name("prepare-1")
    assert message.job.reference.job_id == "prepare-1-2"
    assert len(message.request_id) <= 40


def test_a_serverless_batch(target):
    cluster = replace(FIFTY, serverless=True, serverless_image="us-docker.pkg.dev/p/r/executors:1")
    request = batch_request(target, CLOUD, cluster, SHIPPED, "prepare-1", "us-central1", "gs://ours/processed/x")
    snapshot("batch", request)
    message = parsed(dataproc.CreateBatchRequest, request)
    assert message.batch.runtime_config.container_image == "us-docker.pkg.dev/p/r/executors:1"
    assert message.batch.environment_config.execution_config.ttl.total_seconds() == 6 * 3600


def test_eight_a100_in_one_machine(target):
    request = custom_job_request(target, CLOUD, EIGHT, "train-1", "us-central1", "gs://ours/runs/train-1", "vgg16-s0")
    snapshot("eight_a100", request)
    (pool,) = parsed(vertex.CreateCustomJobRequest, request).custom_job.job_spec.worker_pool_specs
    assert (pool.machine_spec.accelerator_type.name, pool.machine_spec.accelerator_count) == ("NVIDIA_TESLA_A100", 8)
    assert pool.replica_count == 1


def test_replicas_are_a_first_one_and_the_others_and_wait_for_machines_when_asked(target):
    trainer = replace(EIGHT, replicas=4, strategy="flex_start", max_wait_hours=2)
    request = custom_job_request(target, CLOUD, trainer, "t", "us-central1", "gs://ours/runs/t", "n")
    spec = parsed(vertex.CreateCustomJobRequest, request).custom_job.job_spec
    assert [pool.replica_count for pool in spec.worker_pool_specs] == [1, 3]
    assert {variable.value for pool in spec.worker_pool_specs for variable in pool.container_spec.env} == {"jax"}
    assert spec.scheduling.strategy.name == "FLEX_START"
    assert spec.scheduling.max_wait_duration.total_seconds() == 7200


def test_a_machine_without_gpus_asks_for_none(target):
    trainer = replace(EIGHT, machine="n2-standard-16")
    request = custom_job_request(target, CLOUD, trainer, "t", "us-central1", "gs://ours/runs/t", "n")
    machine = request["customJob"]["jobSpec"]["workerPoolSpecs"][0]["machineSpec"]
    assert machine == {"machineType": "n2-standard-16"}


def flags(command: str) -> dict[str, str]:
    words = shlex.split(command)
    return dict(word[2:].split("=", 1) for word in words if word.startswith("--") and "=" in word)


def test_gcloud_says_the_same_as_the_cluster_s_request(target):
    request = cluster_request(target, CLOUD, FIFTY, SHIPPED, "prepare-1", "us-central1")
    told = flags(gcloud.create_cluster(request))
    assert told["num-workers"] == "2"
    assert told["num-secondary-workers"] == "48"
    assert told["secondary-worker-type"] == "spot"
    assert told["max-idle"] == "600s"
    assert told["max-age"] == "21600s"
    assert told["labels"] == "ferlab=0123456789abcdef,ferlab-stage=prepare,ferlab-job=prepare-1,team=vision"
    assert told["service-account"] == "a@p.iam"
    assert "network" not in told


def test_gcloud_gets_the_training_s_specification_whole(target):
    request = custom_job_request(target, CLOUD, EIGHT, "train-1", "us-central1", "gs://ours/runs/train-1", "it's one")
    words = shlex.split(gcloud.create_custom_job(request))
    assert json.loads(words[-1]) == request["customJob"]["jobSpec"]
    assert "--display-name=ferlab it's one" in words


def test_names_differ_and_fit_the_services(target):
    jobs = {new_job("VGG16/fine_tune: s0, a very long name of a run") for _ in range(50)}
    assert len(jobs) == 50
    for job in jobs:
        assert len(cluster_name(f"{job}")) <= 51
        assert all(len(value) <= 63 and value == value.lower() for value in target.labels("prepare", job).values())


def test_an_owner_is_one_home_of_one_machine(tmp_path):
    assert owner_of(tmp_path / "a") == owner_of(tmp_path / "a") != owner_of(tmp_path / "b")
