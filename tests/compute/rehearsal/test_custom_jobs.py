"""Vertex AI's stand-in and the real client: trainings run, are refused, preempted and cancelled as there."""

import json
import os
from pathlib import Path

import pytest
import requests
from google.api_core.exceptions import BadRequest, NotFound, TooManyRequests

from ferlab.compute.rehearsal.faults import Faults

from .conftest import PARENT, pool, wait_until

SHOW = "import os, json; print('ENV' + json.dumps(dict(os.environ)), flush=True)"
SLEEP = f"{SHOW}; import time; time.sleep(60)"
# a training that keeps what it did elsewhere: it works on, attempt after attempt
COUNT = """
import os, pathlib, time
file = pathlib.Path(os.environ["OWN_FILE"])
before = file.read_text() if file.exists() else ""
file.write_text(before + "x")
fresh = not pathlib.Path.home().joinpath("left").exists()
pathlib.Path.home().joinpath("left").touch()
print("fresh", fresh, os.environ.get("AIP_CHECKPOINT_DIR"), flush=True)
time.sleep(0 if before else 60)
"""


def environments(log: str) -> list[dict[str, str]]:
    return [json.loads(line[3:]) for line in log.splitlines() if line.startswith("ENV")]


def counting(file: Path) -> dict:
    made = pool(COUNT)
    made["container_spec"]["env"] = [{"name": "OWN_FILE", "value": str(file)}]
    return made


def test_a_container_runs_with_what_the_service_tells_it_and_nothing_of_the_user(cloud, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "of the user")
    machine = {"machine_type": "a2-highgpu-4g", "accelerator_type": "NVIDIA_TESLA_A100", "accelerator_count": 4}
    output = {"output_uri_prefix": "gs://rehearsed-bucket/runs/one"}
    made = cloud.create_training("", pools=[pool(SHOW, **machine)], base_output_directory=output)
    assert made.name.startswith(f"{PARENT}/customJobs/")
    job = cloud.ended(made.name)
    assert job.state.name == "JOB_STATE_SUCCEEDED"
    assert job.create_time <= job.start_time <= job.end_time
    (told,) = environments(cloud.log(made.name))
    assert told["AIP_MODEL_DIR"] == "gs://rehearsed-bucket/runs/one/model/"
    assert told["AIP_CHECKPOINT_DIR"] == "gs://rehearsed-bucket/runs/one/checkpoints/"
    assert told["AIP_TENSORBOARD_LOG_DIR"] == "gs://rehearsed-bucket/runs/one/logs/"
    assert told["CLOUD_ML_JOB_ID"] == made.name.rpartition("/")[2]
    assert (told["OWN"], told["FERLAB_LOGICAL_DEVICES"]) == ("set", "4")
    assert told["STORAGE_EMULATOR_HOST"] == cloud.endpoints.storage
    assert told["HOME"] != os.environ["HOME"]
    assert told["FERLAB_HOME"].startswith(told["HOME"])
    assert "MLFLOW_TRACKING_URI" not in told
    assert not Path(told["HOME"]).exists(), "the machine is given back"


def test_replicas_know_each_other(cloud):
    made = cloud.create_training("", pools=[pool(SHOW), pool(SHOW, replicas=2)])
    assert cloud.ended(made.name).state.name == "JOB_STATE_SUCCEEDED"
    folder = cloud.folder / "jobs" / made.name.rpartition("/")[2]
    told = {file.stem: environments(file.read_text())[0]["CLUSTER_SPEC"] for file in folder.glob("*.log")}
    specs = {name: json.loads(text) for name, text in told.items()}
    assert {name: spec["task"] for name, spec in specs.items()} == {
        "workerpool0-0": {"type": "workerpool0", "index": 0},
        "workerpool1-0": {"type": "workerpool1", "index": 0},
        "workerpool1-1": {"type": "workerpool1", "index": 1},
    }
    (cluster,) = {json.dumps(spec["cluster"]) for spec in specs.values()}
    addresses = [address for group in json.loads(cluster).values() for address in group]
    assert {name: len(group) for name, group in json.loads(cluster).items()} == {"workerpool0": 1, "workerpool1": 2}
    assert len(set(addresses)) == 3


def test_a_container_that_fails_fails_its_job_in_the_words_of_the_service(cloud):
    job = cloud.ended(cloud.create_training("raise SystemExit(3)").name)
    assert job.state.name == "JOB_STATE_FAILED"
    assert "The replica workerpool0-0 exited with a non-zero status of 3." in job.error.message


@pytest.mark.parametrize("scheduling", [{"restart_job_on_worker_restart": True}, {"strategy": "SPOT"}])
def test_a_preempted_job_is_restarted_on_a_fresh_machine_with_its_environment(rehearse, tmp_path, scheduling):
    cloud = rehearse(Faults(preempt_after_s=(1.0,)))
    output = {"output_uri_prefix": "gs://rehearsed-bucket/runs/one"}
    made = cloud.create_training("", scheduling, [counting(tmp_path / "count")], base_output_directory=output)
    assert cloud.ended(made.name).state.name == "JOB_STATE_SUCCEEDED"
    assert (tmp_path / "count").read_text() == "xx"
    log = cloud.log(made.name)
    assert log.count("fresh True gs://rehearsed-bucket/runs/one/checkpoints/") == 2
    assert "terminated by a preemption; the job is restarted" in log


@pytest.mark.parametrize(
    "scheduling", [{}, {"restart_job_on_worker_restart": True, "disable_retries": True}], ids=["plain", "no retries"]
)
def test_a_preempted_job_that_is_not_restarted_fails(rehearse, tmp_path, scheduling):
    cloud = rehearse(Faults(preempt_after_s=(0.5,)))
    job = cloud.ended(cloud.create_training("", scheduling, [counting(tmp_path / "count")]).name)
    assert job.state.name == "JOB_STATE_FAILED"
    assert "preempted" in job.error.message
    assert (tmp_path / "count").read_text() == "x"


def test_a_preemption_is_announced_by_sigterm_and_does_not_wait_for_long(rehearse):
    cloud = rehearse(Faults(preempt_after_s=(1.0,)))
    code = (
        "import signal, time; signal.signal(15, lambda *_: print('heard', flush=True)); time.sleep(20); time.sleep(20)"
    )
    job = cloud.ended(cloud.create_training(code).name)
    assert "heard" in cloud.log(job.name)
    assert 5 < (job.end_time - job.start_time).total_seconds() < 12


def test_a_region_without_machines_fails_the_job_and_another_runs_it(rehearse):
    cloud = rehearse(Faults(no_capacity=("us-central1",)))
    job = cloud.ended(cloud.create_training(SHOW).name)
    assert (job.state.name, job.error.code) == ("JOB_STATE_FAILED", 8)
    assert job.error.message.startswith("Resources are insufficient in region: us-central1.")
    spec = {"worker_pool_specs": [pool(SHOW)]}
    other = cloud.vertex.create_custom_job(
        parent=PARENT.replace("us-central1", "europe-west4"), custom_job={"display_name": "x", "job_spec": spec}
    )
    assert cloud.ended(other.name).state.name == "JOB_STATE_SUCCEEDED"


def test_a_service_that_gives_up_after_so_many_restarts_counts_attempts_over_jobs(rehearse):
    cloud = rehearse(Faults(preempt_after_s=(0.3, 0.3), restarts=0))
    again, ended = {"scheduling": {"restart_job_on_worker_restart": True}}, []
    for number in range(3):
        output = {"output_uri_prefix": "gs://rehearsed-bucket/runs/one"}
        job = cloud.create_training(
            "import time; time.sleep(4)", label=f"one-{number}", base_output_directory=output, **again
        )
        ended.append(cloud.ended(job.name))
    assert [job.state.name for job in ended] == ["JOB_STATE_FAILED"] * 2 + ["JOB_STATE_SUCCEEDED"]
    assert "was preempted" in ended[0].error.message


def test_without_quota_a_job_is_refused(rehearse):
    cloud = rehearse(Faults(no_quota=("vertex",)))
    machine = {"machine_type": "a2-ultragpu-1g", "accelerator_type": "NVIDIA_A100_80GB", "accelerator_count": 1}
    with pytest.raises(TooManyRequests, match="custom_model_training_nvidia_a100_80gb_gpus"):
        cloud.create_training("", pools=[pool(SHOW, **machine)])
    assert list(cloud.vertex.list_custom_jobs(parent=PARENT)) == []


@pytest.mark.parametrize(
    ("machine", "kind", "count", "words"),
    [
        ("a2-highgpu-2g", "NVIDIA_TESLA_A100", 1, "count 1"),
        ("a2-ultragpu-1g", "NVIDIA_TESLA_A100", 1, "is not supported for machine type"),
        ("a2-megagpu-16g", "NVIDIA_TESLA_A100", 8, "it has 16"),
        ("n1-standard-4", "NVIDIA_TESLA_A100", 1, "is not supported for machine type"),
        ("a2-highgpu-1g", None, 0, "must be specified"),
        ("a2-highgpu-3g", "NVIDIA_TESLA_A100", 3, "is not supported"),
        ("n1-standard-4", "NVIDIA_TESLA_T4", 0, "set together"),
    ],
)
def test_accelerators_must_go_with_the_machine(cloud, machine, kind, count, words):
    spec = {"machine_type": machine} | ({"accelerator_type": kind, "accelerator_count": count} if kind else {})
    with pytest.raises(BadRequest, match=words):
        cloud.create_training("", pools=[pool(SHOW, **spec)])


def test_a_field_that_the_message_lacks_is_refused(cloud):
    body = {"displayName": "x", "jobSpec": {"workerPoolSpecs": [{"replicas": 1}]}}
    answer = requests.post(f"{cloud.endpoints.vertex}/v1/{PARENT}/customJobs", json=body, timeout=10)
    assert answer.status_code == 400
    assert answer.json()["error"]["status"] == "INVALID_ARGUMENT"
    assert 'Unknown name "replicas"' in answer.json()["error"]["message"]


def test_what_a_rehearsal_cannot_run_is_said_before_it_begins(cloud):
    with pytest.raises(BadRequest, match="mounts no bucket below /gcs"):
        cloud.create_training("open('/gcs/rehearsed-bucket/x')")
    entry = pool("")
    del entry["container_spec"]["command"]
    with pytest.raises(BadRequest, match=r"containerSpec\.command is needed"):
        cloud.create_training("", pools=[entry])


def test_jobs_are_found_by_their_labels(cloud):
    made = cloud.create_training("pass", label="found")

    def found(wanted: str) -> list[str]:
        return [job.name for job in cloud.vertex.list_custom_jobs(request={"parent": PARENT, "filter": wanted})]

    assert found('labels.run="found"') == found('labels.run:f* AND display_name:"a *"') == [made.name]
    assert made.name in found("labels.run:*")
    assert found('labels.run="two"') == found('labels.run="found" AND labels.other="x"') == []
    with pytest.raises(BadRequest, match="Invalid list filter"):
        found("colour=red")


def test_a_job_is_cancelled_and_then_deleted(cloud):
    made = cloud.create_training(SLEEP)
    wait_until(lambda: cloud.training(made.name).state.name == "JOB_STATE_RUNNING")
    with pytest.raises(BadRequest, match="cancel it first"):
        cloud.vertex.delete_custom_job(name=made.name)
    cloud.vertex.cancel_custom_job(name=made.name)
    assert cloud.ended(made.name).state.name == "JOB_STATE_CANCELLED"
    cloud.vertex.delete_custom_job(name=made.name).result(timeout=10)
    with pytest.raises(NotFound):
        cloud.training(made.name)


def test_a_job_ends_at_its_timeout(cloud):
    job = cloud.ended(cloud.create_training(SLEEP, {"timeout": {"seconds": 1}}).name)
    assert (job.state.name, job.error.code) == ("JOB_STATE_FAILED", 4)
