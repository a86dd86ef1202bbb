"""Dataproc's stand-in runs PySpark: with what was shipped, on workers that can be lost, on a cluster or without."""

import json
import zipfile
from pathlib import Path

import pytest
from google.api_core.exceptions import BadRequest, GoogleAPICallError

from ferlab.compute.rehearsal import service
from ferlab.compute.rehearsal.faults import Faults
from ferlab.compute.wheelhouse import METADATA_KEY, NODE_PYTHON, SETUP, make_wheelhouse
from ferlab.storage import objects, places

from .conftest import BUCKET, PARENT, PROJECT, REGION, wait_until

pytestmark = pytest.mark.slow

JOB = """
import json, os, sys, time
from pyspark import SparkConf, SparkContext

context = SparkContext.getOrCreate(SparkConf().setAppName("a job"))

def work(number):
    import beside, shipped_probe
    time.sleep(1)
    return [beside.doubled(number), shipped_probe.NAME, sys.executable]

rows = context.parallelize(range(10), 10).map(work).collect()
settings = dict(context.getConf().getAll())
told = {"rows": rows, "arguments": sys.argv[1:], "tries": settings["spark.task.maxFailures"], "driver": sys.executable}
with open(os.environ["HOME"] + "/../../../told.json", "w") as file:
    json.dump(told, file)
"""


@pytest.fixture
def shipped(probe_folder, tmp_path, monkeypatch) -> Path:
    """A wheelhouse of one wheel, with the real initialization action."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(probe_folder))
    return make_wheelhouse(probe_folder / "lock", tmp_path / "wheelhouse")


def spark_cluster(cloud, shipped: Path) -> None:
    """A cluster set up by what lies in ``shipped``."""
    objects.put_all((file, f"gs://{BUCKET}/shipped/{file.name}") for file in shipped.iterdir())
    cloud.create_cluster(
        gce_cluster_config={"metadata": {METADATA_KEY: f"gs://{BUCKET}/shipped"}},
        initialization_actions=[{"executable_file": f"gs://{BUCKET}/shipped/{SETUP.name}"}],
        software_config={"properties": {"spark:spark.pyspark.python": NODE_PYTHON, "hdfs:dfs.replication": "1"}},
    ).result(timeout=120)


def beside(cloud, tmp_path: Path) -> str:
    """A zip file of code that the job imports."""
    with zipfile.ZipFile(tmp_path / "beside.zip", "w") as packed:
        packed.writestr("beside.py", "def doubled(number): return 2 * number\n")
    objects.put(tmp_path / "beside.zip", f"gs://{BUCKET}/beside.zip")
    return f"gs://{BUCKET}/beside.zip"


def test_a_job_runs_with_what_was_shipped_and_survives_the_loss_of_a_worker(rehearse, shipped, tmp_path):
    cloud = rehearse(Faults(lost_workers=1))
    spark_cluster(cloud, shipped)
    spark = {
        "main_python_file_uri": cloud.write("job.py", JOB),
        "python_file_uris": [beside(cloud, tmp_path)],
        "args": ["gs://a/folder", "with space"],
        "properties": {"spark.task.maxFailures": "7", "spark.executor.memory": "64g"},
    }
    job = {"placement": {"cluster_name": "one"}, "reference": {"job_id": "first"}, "pyspark_job": spark}
    asked = {"project_id": PROJECT, "region": REGION, "job": job, "request_id": "first"}
    operation = cloud.jobs.submit_job_as_operation(request=asked)
    assert cloud.jobs.submit_job(request=asked).reference.job_id == "first", "the same request is the same job"
    done = operation.result(timeout=180)
    assert (done.status.state.name, done.done) == ("DONE", True)
    (environment,) = (cloud.folder / "environments").glob("*/bin/python")
    told = json.loads((cloud.folder / "jobs" / "told.json").read_text())
    assert told["arguments"] == ["gs://a/folder", "with space"]
    assert (told["tries"], told["driver"]) == ("7", str(environment))
    assert told["rows"] == [[2 * number, "from the wheelhouse", str(environment)] for number in range(10)]
    log = service.logs(cloud.folder, "first").read_text()
    assert "Lost executor" in log
    assert "Command exited with code 137" in log
    assert places.read_bytes(f"{done.driver_output_resource_uri}.000000000").decode() == log


def test_a_job_that_fails_says_why_and_one_that_is_cancelled_ends(cloud):
    cloud.create_cluster("failing").result(timeout=60)

    def submit(job_id: str, code: str, **scheduling: int) -> None:
        job = {
            "placement": {"cluster_name": "failing"},
            "reference": {"job_id": job_id},
            "pyspark_job": {"main_python_file_uri": cloud.write(f"{job_id}.py", code)},
            "scheduling": scheduling,
        }
        cloud.jobs.submit_job(project_id=PROJECT, region=REGION, job=job)

    def job(job_id: str):
        return cloud.jobs.get_job(project_id=PROJECT, region=REGION, job_id=job_id)

    submit("wrong", "raise ValueError('no such plan')", max_failures_per_hour=1)
    submit("long", "import time; time.sleep(60)")
    wait_until(lambda: job("long").status.state.name == "RUNNING")
    wait_until(lambda: job("wrong").done, 60)
    assert job("wrong").status.state.name == "ERROR"
    assert "ValueError: no such plan" in job("wrong").status.details
    assert [past.state.name for past in job("wrong").status_history] == [
        "PENDING", "RUNNING", "ATTEMPT_FAILURE", "RUNNING",
    ]  # fmt: skip
    cloud.jobs.cancel_job(project_id=PROJECT, region=REGION, job_id="long")
    wait_until(lambda: job("long").done)
    assert job("long").status.state.name == "CANCELLED"


def test_a_job_ends_with_its_cluster_and_none_is_taken_without_its_files(cloud):
    cloud.create_cluster("brief").result(timeout=60)
    spark = {"main_python_file_uri": cloud.write("long.py", "import time; time.sleep(60)")}
    job = {"placement": {"cluster_name": "brief"}, "reference": {"job_id": "orphan"}, "pyspark_job": spark}
    cloud.jobs.submit_job(project_id=PROJECT, region=REGION, job=job)
    absent = job | {"pyspark_job": {"main_python_file_uri": f"gs://{BUCKET}/absent.py"}, "reference": {"job_id": "x"}}
    with pytest.raises(BadRequest, match=r"does not exist 'gs://rehearsed-bucket/absent\.py'"):
        cloud.jobs.submit_job(project_id=PROJECT, region=REGION, job=absent)
    cloud.clusters.delete_cluster(project_id=PROJECT, region=REGION, cluster_name="brief").result(timeout=60)
    ended = cloud.jobs.get_job(project_id=PROJECT, region=REGION, job_id="orphan")
    assert ended.status.state.name == "ERROR"


def test_a_serverless_batch_runs_is_found_and_deleted(cloud, tmp_path):
    code = "import sys; from pyspark import SparkContext; print(SparkContext.getOrCreate().range(5).sum(), sys.argv)"
    batch = {
        "labels": {"owner": "me"},
        "pyspark_batch": {"main_python_file_uri": cloud.write("batch.py", code), "args": ["x"]},
        "runtime_config": {"version": "2.3", "properties": {"spark.task.maxFailures": "8"}},
    }
    asked = {"parent": PARENT, "batch": batch, "batch_id": "a-batch", "request_id": "a-batch"}
    operation = cloud.batches.create_batch(request=asked)
    assert cloud.batches.create_batch(request=asked).operation.name == operation.operation.name
    name = f"{PARENT}/batches/a-batch"
    with pytest.raises(BadRequest, match="has not ended"):
        cloud.batches.delete_batch(name=name)
    assert operation.result(timeout=120).state.name == "SUCCEEDED"
    assert "10 [" in service.logs(cloud.folder, name).read_text()
    listed = cloud.batches.list_batches(request={"parent": PARENT, "filter": "labels.owner = me AND state = SUCCEEDED"})
    assert [batch.name for batch in listed] == [name]
    cloud.batches.delete_batch(name=name)
    assert list(cloud.batches.list_batches(parent=PARENT)) == []

    failing = batch | {"pyspark_batch": {"main_python_file_uri": cloud.write("bad.py", "raise KeyError('plan')")}}
    with pytest.raises(GoogleAPICallError, match="KeyError: 'plan'"):
        cloud.batches.create_batch(
            request=asked | {"batch": failing, "batch_id": "bad-batch", "request_id": ""}
        ).result(60)
    operation = cloud.batches.create_batch(request=asked | {"batch_id": "cancelled", "request_id": ""})
    cloud.batches.cancel_operation({"name": operation.operation.name})
    wait_until(lambda: cloud.batches.get_batch(name=f"{PARENT}/batches/cancelled").state.name == "CANCELLED")
