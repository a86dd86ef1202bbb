"""A standalone Spark cluster of separate processes makes the bytes that one machine makes, also when it loses a worker.

The workers' Python has no ferlab but the one that the job brings, and no TensorFlow, Keras, MLflow, Hydra or pandas.
"""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from ferlab.manifest import MANIFEST_NAME
from ferlab.preparation import job
from ferlab.preparation.plan import Plan, lay_out, write_rows
from ferlab.preparation.spark import java_home

from .conftest import SLOW, contents, folder_of, kill_tree, litter, python_below

pytestmark = pytest.mark.slow

REFUSED = ("tensorflow", "keras", "mlflow", "hydra", "pandas", "jax", "torch")
BARE_PYTHON = f"""
import os, sys
from pathlib import Path

notes = Path(os.environ["FERLAB_TEST_NOTES"])
here = len(sys.path)
sys.path[:] = [place for place in sys.path if not (Path(place) / "ferlab" / "preparation").is_dir()]
assert len(sys.path) < here, "there was no ferlab to take away"


class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {REFUSED!r}:
            with (notes / "asked").open("a") as file:
                file.write(name + "\\n")
            raise ModuleNotFoundError(f"{{name}} is not on this worker")


sys.meta_path.insert(0, Refuse())
(notes / f"python-{{os.getpid()}}").touch()
"""
"""Runs at the start of every Python of a worker."""


@dataclass
class Cluster:
    """A master at ``url`` and its workers, which write what their Python was asked for below ``notes``."""

    url: str
    environment: dict[str, str]
    workers: list[subprocess.Popen[bytes]]
    notes: Path


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def spark_class(environment: dict[str, str], log: Path, *arguments: str) -> subprocess.Popen[bytes]:
    command = [f"{environment['SPARK_HOME']}/bin/spark-class", *arguments]
    with log.open("wb") as file:
        return subprocess.Popen(command, env=environment, stdout=file, stderr=subprocess.STDOUT, start_new_session=True)


def wait_for(log: Path, words: str, count: int = 1) -> None:
    until = time.monotonic() + 60
    while log.read_text().count(words) < count:
        assert time.monotonic() < until, log.read_text()[-3000:]
        time.sleep(0.1)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """One master and two workers with a core each."""
    import pyspark

    site, notes, logs = (tmp_path / name for name in ("site", "notes", "logs"))
    for folder in (site, notes, logs):
        folder.mkdir()
    (site / "sitecustomize.py").write_text(BARE_PYTHON)
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("SPARK_", "PYTHON"))}
    environment = plain | {
        "JAVA_HOME": java_home(),
        "SPARK_HOME": str(Path(pyspark.__file__).parent),
        "SPARK_LOCAL_IP": "127.0.0.1",
    }
    bare = environment | {"PYTHONPATH": str(site), "FERLAB_TEST_NOTES": str(notes)}
    port = free_port()
    url, package = f"spark://127.0.0.1:{port}", "org.apache.spark.deploy"
    place = ("--host", "127.0.0.1", "--webui-port", "0")
    master = spark_class(environment, logs / "master", f"{package}.master.Master", *place, "--port", str(port))
    started = [master]
    try:
        wait_for(logs / "master", "I have been elected leader")
        for number in range(2):
            options = ("--cores", "1", "--memory", "1g", "--work-dir", str(tmp_path / f"work-{number}"))
            log = logs / f"worker-{number}"
            started.append(spark_class(bare, log, f"{package}.worker.Worker", url, *place, *options))
        wait_for(logs / "master", "Registering worker", 2)
        driver = {"PYSPARK_PYTHON": sys.executable, "SPARK_LOCAL_IP": "127.0.0.1", "JAVA_HOME": java_home()}
        yield Cluster(url, driver, started[1:], notes)
    finally:
        for process in reversed(started):
            if process.poll() is None:
                kill_tree(process.pid)
            process.wait()


def test_a_cluster_gives_the_bytes_of_one_machine_and_needs_little_of_its_workers(
    cluster, slow_images, tmp_path, start_driver, undisturbed, make_request, run_prepare
):
    driver = start_driver(slow_images, tmp_path / "out", master=cluster.url, environment=cluster.environment, **SLOW)
    made = driver.result()
    assert len(list(cluster.notes.glob("python-*"))) >= 2, "both workers' Python was bare"
    asked = cluster.notes / "asked"
    # Arrow looks whether pandas is there, and does without
    assert not asked.exists() or set(asked.read_text().split()) <= {"pandas"}, asked.read_text()
    alone = run_prepare(make_request(slow_images, **SLOW), tmp_path / "alone", cores=1)
    folder = Path(made["place"])
    assert contents(folder) == contents(alone.folder) == contents(undisturbed.folder)
    assert made["digest"] == alone.manifest.digest == undisturbed.manifest.digest
    assert set(litter(tmp_path / "out")) == {f"{folder.name}/{name}" for name in (*contents(folder), MANIFEST_NAME)}


def test_a_cluster_that_loses_a_worker_gives_the_same_bytes(cluster, slow_images, tmp_path, start_driver, undisturbed):
    driver = start_driver(slow_images, tmp_path / "out", master=cluster.url, environment=cluster.environment, **SLOW)
    driver.wait_for_shards(2)
    lost = cluster.workers[0]
    assert python_below(lost.pid), "it was not at work"
    kill_tree(lost.pid)
    lost.wait()
    assert driver.finished_shards() < len(undisturbed.manifest.shards), "it was killed too late"
    made = driver.result()
    folder = Path(made["place"])
    assert contents(folder) == contents(undisturbed.folder)
    assert made["digest"] == undisturbed.manifest.digest
    assert set(litter(tmp_path / "out")) == {f"{folder.name}/{name}" for name in (*contents(folder), MANIFEST_NAME)}


def test_the_job_file_alone_carries_out_a_plan_and_goes_on_with_it(
    synthetic_csv, tmp_path, prepared, make_request, run_prepare
):
    request = make_request(synthetic_csv)
    table = request.listing(cores=1).table
    layout = lay_out(table, request.settings)
    place = str(folder_of(tmp_path / "out", request))
    plan = Plan(place, request.settings, layout.names, layout.sizes, request.family.exact_px)
    plan.save()
    write_rows(plan, layout.rows(table))
    carry_out(plan)
    first = {outcome.name: outcome for outcome in job.finished(plan)}
    assert list(first) == list(plan.names)
    lost = plan.names[3]
    Path(plan.shard(lost)).unlink()
    carry_out(plan)
    second = {outcome.name: outcome for outcome in job.finished(plan)}
    assert [name for name in plan.names if first[name].ended_s != second[name].ended_s] == [lost]
    made = run_prepare(request, tmp_path / "out")
    assert (made.kept, made.steps["spark start"]) == (len(plan.names), 0)
    assert contents(made.folder) == contents(prepared.folder)


def carry_out(plan: Plan) -> None:
    """Run the job file as spark-submit does, in a place where nothing of ours lies."""
    done = subprocess.run(
        [sys.executable, str(Path(job.__file__)), plan.folder],
        env=dict(os.environ) | {"JAVA_HOME": java_home(), "PYSPARK_PYTHON": sys.executable},
        cwd=plan.folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
