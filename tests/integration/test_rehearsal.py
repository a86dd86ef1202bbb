"""``compute=rehearsal``: whole commands against the stand-ins, with and without faults; nothing is left behind."""

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from mlflow.tracking import MlflowClient

from ferlab.compute.container import ORDER
from ferlab.compute.rehearsal.faults import Faults
from ferlab.compute.rehearsal.service import start, stop
from ferlab.compute.wheelhouse import LOCK_NAME, make_wheelhouse
from ferlab.config.files import config_root
from ferlab.datasets.synthetic.layouts import write_synthetic
from ferlab.storage.places import names_below

from .conftest import Workplace
from .mlflow_servers import mlflow_server

DATA = ("dataset.accept_alarms=true", "preparation.size_px=48")
PIPELINE = (
    "pipeline",
    "experiments=rehearsed",
    *DATA,
    "compute=rehearsal",
    "compute.trainer.machine=a2-highgpu-2g",
    "debug.max_epochs=2",
)
STUDY = """# @package _global_
defaults:
  - affectnet_two_phase
deterministic: true
compute:
  trainer: {at_once: 1}
pipeline:
  weights: none
  members:
    - {backbone: seq1, recipe: quick}
    - {backbone: mobilenetv2, recipe: affectnet_two_phase, overrides: [backbone.working_px=32]}
"""
"""AffectNet's two phases with small images and networks: what is shown is the way, not the accuracy."""
TRAIN = ("train", "dataset=affectnet7", *DATA, "backbone=seq1", "recipe=quick", "backbone.weights=none")
STATE = "rehearsal"
PAIR = """# @package _global_
defaults:
  - override /dataset: affectnet7
compute:
  trainer: {at_once: 2}
pipeline:
  weights: none
  members:
    - backbone: seq1
      recipe: quick
      overrides: [recipe.phases.0.learning_rate=10, recipe.phases.0.weight_decay=1, recipe.rate_batch=1]
    - {backbone: seq1, recipe: quick, seed: 1}
"""
"""Two trainings at once: the rate of the first is meant for a batch of one, its answers are soon no numbers."""
NOBODY = "http://127.0.0.1:9"
"""A server that does not answer."""


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("affectnet") / "faces"
    write_synthetic("affectnet-2021", folder, 240, 5)
    return folder


@pytest.fixture
def place(tmp_path: Path, store_template: Path, wheels: Path) -> Iterator[Workplace]:
    """A FERLAB_HOME whose stand-ins end with the test."""
    yield from _place(tmp_path / "home", store_template, wheels)


@pytest.fixture(scope="module")
def clean(
    tmp_path_factory: pytest.TempPathFactory, store_template: Path, wheels: Path, faces: Path
) -> Iterator[tuple[Workplace, Any]]:
    """The pipeline in a rehearsal where nothing goes wrong."""
    for place in _place(tmp_path_factory.mktemp("clean") / "home", store_template, wheels):
        done = place.ferlab(*PIPELINE, f"dataset.root={faces}")
        assert done.code == 0, done.err
        yield place, done


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The executors' wheels, downloaded once for all homes."""
    folder = tmp_path_factory.mktemp("wheels")
    make_wheelhouse(config_root() / LOCK_NAME, folder)
    return folder


def _place(home: Path, store_template: Path, wheels: Path) -> Iterator[Workplace]:
    home.mkdir()
    shutil.copy(store_template / "mlflow.db", home / "mlflow.db")
    (home / "wheelhouse").symlink_to(wheels)
    (home / "experiments").mkdir()
    (home / "experiments" / "rehearsed.yaml").write_text(STUDY)
    (home / "experiments" / "pair.yaml").write_text(PAIR)
    yield Workplace(home)
    stop(home / STATE)


def shards(folder: Path) -> dict[str, str]:
    """SHA-256 of every shard of the prepared dataset below a folder."""
    (manifest,) = folder.rglob("manifest.json")
    return {shard["name"]: shard["sha256"] for shard in json.loads(manifest.read_text())["shards"]}


def nothing_is_left(place: Workplace) -> None:
    """No resource in the services, no entry that is open, no run that is RUNNING."""
    done = place.ferlab("cloud", "status", "compute=rehearsal")
    assert done.code == 0, done.err
    assert done.result == {"jobs": []}
    assert place.ferlab("cloud", "clean", "compute=rehearsal").result == {"cleaned": []}
    assert {run.info.status for run in place.runs()} <= {"FINISHED", "FAILED", "KILLED"}


def objects(place: Workplace, prefix: str, ending: str = ".tfrecord") -> list[str]:
    """Names of the objects below a prefix of the rehearsed bucket that end so."""
    told = json.loads((place.home / STATE / "endpoints.json").read_text())["endpoints"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STORAGE_EMULATOR_HOST", told["storage"])
        return sorted(name for name in names_below(f"gs://rehearsal/{prefix}") if name.endswith(ending))


def interrupt(process: subprocess.Popen[str], said: str, times: int = 1) -> None:
    """Ctrl-C once it has said that so often; it ends as a command does that was interrupted."""
    try:
        lines = (line for line in process.stdout if said in line)
        assert len(list(islice(lines, times))) == times, process.stderr.read()
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=300)
        assert process.returncode == 130
    finally:
        process.kill()


def scores(result: dict[str, Any]) -> dict[str, Any]:
    return {"ensemble": result["metrics"], **{one["name"]: one["metrics"] for one in result["members"]}}


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_a_pipeline_prepares_the_shards_of_this_machine_and_its_runs_come_home(clean, faces, tmp_path, store_template):
    place, done = clean
    shutil.copy(store_template / "mlflow.db", tmp_path / "mlflow.db")
    local = Workplace(tmp_path)
    assert local.ferlab("prepare", "dataset=affectnet7", *DATA, f"dataset.root={faces}").code == 0
    staged = place.home / "staged"
    assert shards(staged) == shards(tmp_path / "prepared")
    for one in done.result["members"]:
        run = place.run(one["run_id"])
        assert run.info.status == "FINISHED"
        assert run.data.tags["devices"] == "2"
        assert run.data.tags["mlflow.parentRunId"] == done.result["run_id"]
        assert run.data.params["compute.trainer.machine"] == "a2-highgpu-2g"
        assert run.inputs.dataset_inputs[0].dataset.digest
        kept = {file.name for file in place.artifacts(one["run_id"]).rglob("*") if file.is_file()}
        assert {"config.yaml", "history.json", "validation.parquet", "model_summary.txt", "last.npz"} <= kept
        curve = place.curve(one["run_id"], "epoch/val_accuracy")
        assert [point.step for point in curve] == list(range(1, one["epochs"] + 1))
        assert run.info.start_time <= curve[0].timestamp < curve[-1].timestamp <= run.info.end_time
    nothing_is_left(place)


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_whatever_goes_wrong_the_result_is_the_same(clean, faces, place):
    faults = (
        "compute.faults.preempt_after_s=[12,25]",
        "compute.faults.lost_workers=1",
        "compute.faults.no_capacity=[us-east1]",
        "compute.faults.unavailable=30",
        "compute.cloud.regions=[us-east1,us-central1]",
    )
    done = place.ferlab(*PIPELINE, *faults, f"dataset.root={faces}")
    assert done.code == 0, done.err + done.out
    assert "no machines in us-east1" in done.out
    assert scores(done.result) == scores(clean[1].result)
    assert shards(place.home / "staged") == shards(clean[0].home / "staged")
    used = json.loads((place.home / STATE / "faults-used.json").read_text())
    assert sum(count for name, count in used.items() if name.endswith("refused")) == 30, used
    assert used["lost"] == 1, used
    logs = (place.home / STATE / "jobs").glob("*/workerpool0-0.log")
    assert sum(log.read_text().count("The machine is preempted.") for log in logs) >= 2
    assert objects(place, "processed") == objects(clean[0], "processed")
    assert len(objects(place, "runs", ORDER)) == len(objects(clean[0], "runs", ORDER)) == len(done.result["members"])
    nothing_is_left(place)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_training_that_the_service_gives_up_is_sent_again_and_goes_on(place, faces):
    process = place.start(
        *TRAIN, "compute=rehearsal", "recipe.phases.0.epochs=6", f"dataset.root={faces}",
        "compute.faults.preempt_after_s=[12,12]", "compute.faults.restarts=0",
    )  # fmt: skip
    out, err = process.communicate(timeout=800)
    assert process.returncode == 0, err
    assert out.count("was taken away") == 2
    assert "attempt 3" in out
    (run,) = [run for run in place.runs() if run.data.tags["ferlab.stage"] == "train"]
    assert (run.info.status, run.data.metrics["epochs"]) == ("FINISHED", 6)
    nothing_is_left(place)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_of_two_trainings_at_once_one_fails_and_the_other_comes_home(place, faces):
    done = place.ferlab("pipeline", "experiments=pair", *DATA, "compute=rehearsal", f"dataset.root={faces}")
    assert "answers are not numbers any more" in done.complaint
    sent = [line for line in done.out.splitlines() if "training projects/" in line or "epoch  1 " in line]
    assert [("projects/" in line) for line in sent[:2]] == [True, True], "they were not under way together"
    trained = {run.data.tags["seed"]: run.info for run in place.runs() if run.data.tags["ferlab.stage"] == "train"}
    assert {seed: run.status for seed, run in trained.items()} == {"0": "FAILED", "1": "FINISHED"}
    assert (place.artifacts(trained["1"].run_id) / "predictions").is_dir()
    nothing_is_left(place)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_ctrl_c_ends_all_trainings_of_a_sweep(place, faces):
    both = ("-m", "seed=0,1", "hydra/launcher=workers", "hydra.launcher.n_jobs=2", "recipe.phases.0.epochs=60")
    process = place.start(*TRAIN, *both, "compute=rehearsal", f"dataset.root={faces}")
    interrupt(process, "training projects/", times=2)
    nothing_is_left(place)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_training_writes_its_run_on_a_server_that_it_reaches(place, faces, tmp_path, monkeypatch):
    with mlflow_server(f"sqlite:///{tmp_path / 'server.db'}", tmp_path / "kept") as url:
        monkeypatch.setattr(Workplace, "environment", property(lambda self: _with_server(self.home, url)))
        process = place.start(*TRAIN, "compute=rehearsal", "recipe.phases.0.epochs=4", f"dataset.root={faces}")
        try:
            assert any("  epoch  1 " in line for line in process.stdout), process.stderr.read()
        finally:
            process.kill()  # nobody is left who could bring it home
            process.communicate(timeout=60)
        there = MlflowClient(url, url)
        until = time.monotonic() + 300
        while (run := _training(there)).info.status == "RUNNING":
            assert time.monotonic() < until
            time.sleep(2)
        assert run.info.status == "FINISHED"
        assert [point.step for point in there.get_metric_history(run.info.run_id, "epoch/val_loss")] == [1, 2, 3, 4]
        assert "validation.parquet" in there.download_artifacts(run.info.run_id, "predictions/validation.parquet")
        (synced,) = place.ferlab("cloud", "sync", "compute=rehearsal").result["synced"]
        assert synced["run_id"] == run.info.run_id == _training(there).info.run_id
        assert place.runs() == [], "the file of this machine"
        assert place.ferlab("cloud", "clean", "compute=rehearsal").result == {"cleaned": []}


def _training(client: MlflowClient) -> Any:
    """The one training run of a store."""
    everywhere = [one.experiment_id for one in client.search_experiments()]
    (found,) = client.search_runs(everywhere, "tags.`ferlab.stage` = 'train'")
    return found


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_serverless_spark_makes_the_same_shards(place, faces, tmp_path, store_template):
    serverless = ("compute.cluster.serverless=true", "compute.cluster.serverless_image=executors:1")
    done = place.ferlab(
        "prepare", "dataset=affectnet7", *DATA, "compute=rehearsal", *serverless, f"dataset.root={faces}"
    )
    assert done.code == 0, done.err
    shutil.copy(store_template / "mlflow.db", tmp_path / "mlflow.db")
    local = Workplace(tmp_path)
    there = local.ferlab("prepare", "dataset=affectnet7", *DATA, f"dataset.root={faces}")
    assert done.result["digest"] == there.result["digest"]
    nothing_is_left(place)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("said", ["uploaded", "cluster ferlab-", "Spark job", "training projects/"])
def test_ctrl_c_leaves_nothing_billable(place, faces, said):
    interrupt(place.start(*TRAIN, "compute=rehearsal", f"dataset.root={faces}"), said)
    nothing_is_left(place)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_an_interrupted_training_goes_on_in_the_cloud_as_the_same_run(place, faces):
    process = place.start(*TRAIN, "compute=rehearsal", "recipe.phases.0.epochs=6", f"dataset.root={faces}")
    interrupt(process, "  epoch  1 ")
    (run,) = [run for run in place.runs() if run.data.tags["ferlab.stage"] == "train"]
    assert run.info.status in ("KILLED", "FAILED")
    changed = place.ferlab("train", f"resume={run.info.run_id}", "compute=rehearsal", "seed=3")
    assert "leave out seed=3" in changed.complaint
    done = place.ferlab("train", f"resume={run.info.run_id}", "compute=rehearsal")
    assert done.code == 0, done.err
    assert done.result["run_id"] == run.info.run_id
    (whole,) = [run for run in place.runs() if run.data.tags["ferlab.stage"] == "train"]
    assert whole.info.status == "FINISHED"
    assert whole.data.metrics["epochs"] == 6
    again = place.ferlab("train", f"resume={run.info.run_id}", "compute=rehearsal")
    assert "is FINISHED: nothing to resume" in again.complaint
    nothing_is_left(place)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_laptop_that_was_closed_gets_its_run_later_and_once(place, faces):
    process = place.start(*TRAIN, "compute=rehearsal", "debug.max_epochs=1", f"dataset.root={faces}")
    assert any("training projects/" in line for line in process.stdout), process.stderr.read()
    process.kill()
    process.communicate(timeout=60)
    (job,) = place.ferlab("cloud", "status", "compute=rehearsal").result["jobs"]
    assert job["kind"] == "training"
    assert job["state"] != "gone"
    until = time.monotonic() + 300
    while not (synced := place.ferlab("cloud", "sync", "compute=rehearsal").result["synced"]):
        assert time.monotonic() < until
        time.sleep(2)
    (training,) = [run for run in place.runs() if run.data.tags["ferlab.stage"] == "train"]
    assert training.info.run_id == synced[0]["run_id"]
    assert training.info.status == "FINISHED"
    assert place.ferlab("cloud", "sync", "compute=rehearsal").result == {"synced": []}
    nothing_is_left(place)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["compute.cloud.regions=[europe-west4]"], "is not where gs://rehearsal lies (US)"),
        (["compute.faults.no_quota=[dataproc]"], "may use 0 of the 20 processors in us-central1"),
        (["compute.faults.no_quota=[vertex]"], "may use 0 of the 1 GPUs in us-central1"),
        (["compute.faults.wrong_project=true"], "this account may not (Permission denied on resource project"),
        (["compute.trainer.machine=a2-highgpu-2g", "compute.trainer.accelerators=4"], "has 2, not 4"),
        (["compute.prepared=gs://rehearsal/raw/x"], "overlap"),
        (["backbone.weights=/nowhere/w.weights.h5"], "no such file"),
    ],
)
def test_a_mistake_is_one_line_and_creates_nothing(place, faces, settings, words):
    done = place.ferlab(*TRAIN[:-1], "compute=rehearsal", *settings, f"dataset.root={faces}")
    assert words in done.complaint
    start(place.home / STATE, Faults())  # they would also refuse to say what is left
    nothing_is_left(place)


@pytest.mark.slow
def test_a_server_that_does_not_answer_is_said_before_anything_is_created(place, faces, monkeypatch):
    monkeypatch.setattr(Workplace, "environment", property(lambda self: _with_server(self.home, NOBODY)))
    done = place.ferlab(*TRAIN, "compute=rehearsal", f"dataset.root={faces}")
    assert f"tracking store {NOBODY}" in done.complaint
    assert not list((place.home / STATE).glob("clusters/*"))


def _with_server(home: Path, url: str) -> dict[str, str]:
    return os.environ | {"FERLAB_HOME": str(home), "MLFLOW_TRACKING_URI": url}


def test_without_credentials_nothing_is_asked_of_google(tmp_path, store_template, faces):
    shutil.copy(store_template / "mlflow.db", tmp_path / "mlflow.db")
    place = Workplace(tmp_path)
    done = place.ferlab(
        *TRAIN, "compute=gcp", "compute.cloud.bucket=ours", "compute.trainer.image=x", f"dataset.root={faces}"
    )
    assert "no credentials for Google Cloud" in done.complaint
    assert "gcloud auth application-default login" in done.complaint


def test_a_dry_run_prints_requests_and_sends_nothing(tmp_path, store_template):
    place = Workplace(tmp_path)
    done = place.ferlab(
        *TRAIN, "compute=gcp", "compute.cloud.bucket=ours", "compute.dry_run=true", "dataset.root=/none"
    )
    assert done.code == 0, done.err
    methods = [one["method"] for one in done.result["requests"]]
    assert methods == ["dataproc clusters.create", "dataproc jobs.submit", "aiplatform customJobs.create"]
    assert "gcloud dataproc clusters create" in done.out
    assert not (tmp_path / "mlflow.db").exists()
