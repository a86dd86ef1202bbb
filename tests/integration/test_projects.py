"""`mlflow run` for every entry point, from a folder and from a git address: it joins the run that MLflow made."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from .conftest import REPOSITORY, checked_out, commit, free_port

SCRIPTS = Path(sys.executable).parent
SMALL = {"debug": "fast", "backbone.width": "0.25", "recipe": "quick", "deterministic": "true"}
STUDY = "ferlab"
COVERED: set[str] = set()
"""Entry points that a test of this module has run."""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@dataclass(frozen=True)
class Projects:
    """A store, a FERLAB_HOME, and a project to run there: a folder, or a git address."""

    home: Path
    project: str

    @property
    def store(self) -> str:
        return f"sqlite:///{self.home / 'mlflow.db'}"

    @property
    def environment(self) -> dict[str, str]:
        dropped = ("FERLAB", "MLFLOW", "PYTHONPATH", "HYDRA")
        clean = {key: value for key, value in os.environ.items() if not key.startswith(dropped)}
        return clean | {
            "MLFLOW_TRACKING_URI": self.store,
            "MLFLOW_ENV_ROOT": str(self.home / "envs"),
            "FERLAB_HOME": str(self.home),
            "PATH": f"{SCRIPTS}:{os.environ['PATH']}",
        }

    def command(self, entry: str, *options: str, manager: str = "local", **parameters: str) -> list[str]:
        COVERED.add(entry)
        given = [f"-P{key}={value}" for key, value in parameters.items()]
        chosen = ["-e", entry, "--experiment-name", STUDY, "--env-manager", manager]
        return [str(SCRIPTS / "mlflow"), "run", self.project, *chosen, *options, *given]

    def run(self, entry: str, *options: str, manager: str = "local", **parameters: str) -> Any:
        """The MLflow run that `mlflow run` made, after it ended well."""
        command = self.command(entry, *options, manager=manager, **parameters)
        done = subprocess.run(
            command, cwd=self.home, env=self.environment, capture_output=True, text=True, timeout=1500, check=False
        )
        assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        (run_id,) = re.findall(r"Run \(ID '(\w+)'\) succeeded", done.stdout + done.stderr)
        found = self.client.get_run(run_id)
        assert found.info.status == "FINISHED"
        assert found.data.tags["mlflow.project.entryPoint"] == entry
        return found

    @property
    def client(self) -> Any:
        import mlflow

        return mlflow.tracking.MlflowClient(self.store)

    def stages(self) -> list[str]:
        """Of all runs; empty for one that ferlab did not write."""
        experiments = [item.experiment_id for item in self.client.search_experiments()]
        return [run.data.tags.get("ferlab.stage", "") for run in self.client.search_runs(experiments)]


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checked_out(tmp_path_factory.mktemp("project") / "ferlab")


@pytest.fixture(scope="module")
def projects(clone: Path, tmp_path_factory: pytest.TempPathFactory, store_template: Path) -> Projects:
    home = tmp_path_factory.mktemp("projects-home")
    shutil.copy(store_template / "mlflow.db", home / "mlflow.db")
    made = Projects(home, str(clone))
    made.client.create_experiment(STUDY, (home / "artifacts").as_uri())
    return made


@pytest.fixture(scope="module")
def first(projects: Projects) -> Any:
    return projects.run("train", **SMALL, seed="1")


def test_trainings_and_all_that_is_made_of_them_join(projects: Projects, first: Any) -> None:
    assert first.data.tags["ferlab.stage"] == "train"
    assert first.data.params["seed"] == "1"
    second = projects.run("train", from_run=first.info.run_id, seed="2")
    assert second.data.tags["ferlab.changes"] == "seed=2"
    runs = f"[{first.info.run_id},{second.info.run_id}]"
    before = projects.stages().count("ensemble")
    ensemble = projects.run("ensemble", **{"runs": runs, "ensemble.method": "mean"})
    assert ensemble.data.tags["ferlab.stage"] == "ensemble"
    assert projects.stages().count("ensemble") == before + 1, "no second run was opened"
    evaluation = projects.run("evaluate", run=ensemble.info.run_id)
    assert evaluation.data.tags["ferlab.from.model"] == ensemble.info.run_id
    assert projects.run("compare", runs=runs).data.tags["ferlab.stage"] == "compare"
    assert projects.run("register", run=first.info.run_id, model="fer-small").data.tags["ferlab.stage"] == "register"
    again = projects.run("reproduce", run=first.info.run_id)
    assert again.data.tags["ferlab.reproduces"] == first.info.run_id
    assert again.data.tags["ferlab.reproduced"] == "bit-equal"


def test_a_sweep_joins_with_its_parent(projects: Projects, first: Any) -> None:
    sweep = projects.run("sweep", **SMALL, seed="range(2)", augment="none,light")
    assert sweep.data.tags["ferlab.stage"] == "sweep"
    experiments = [item.experiment_id for item in projects.client.search_experiments()]
    below = f"tags.`mlflow.parentRunId` = '{sweep.info.run_id}'"
    children = projects.client.search_runs(experiments, below)
    assert {(run.data.params["seed"], run.data.params["augment.name"]) for run in children} == {
        ("0", "none"), ("0", "light"), ("1", "none"), ("1", "light"),
    }  # fmt: skip


def test_data_joins(projects: Projects) -> None:
    prepared = projects.run("prepare", **{"dataset.synthesize.count": "150"})
    assert prepared.data.tags["ferlab.stage"] == "prepare"
    assert prepared.data.params["dataset.synthesize.count"] == "150"
    assert projects.run("verify", **{"dataset.synthesize.count": "150"}).data.tags["ferlab.stage"] == "verify"


@pytest.mark.parametrize("entry", ["pipeline", "main"])
def test_pipelines_join(projects: Projects, entry: str) -> None:
    chosen = {"experiments": "quickstart"} if entry == "pipeline" else {}
    run = projects.run(entry, debug="fast", **chosen)
    assert run.data.tags["ferlab.stage"] == "pipeline"
    assert "ferlab.from.ensemble" in run.data.tags


def test_what_records_nothing_ends_well(projects: Projects, tmp_path: Path) -> None:
    assert "ferlab.stage" not in projects.run("doctor").data.tags
    projects.run("synth", layout="fer2013-csv", out=str(tmp_path / "drawn faces"), count="70")
    assert (tmp_path / "drawn faces" / "fer2013.csv").is_file()
    projects.run("runs", stage="train")


def test_a_model_is_exported_measured_and_used(projects: Projects, first: Any, tmp_path: Path) -> None:
    run = first.info.run_id
    exported = projects.run("export", run=run, calibration="50")
    assert exported.data.tags["ferlab.stage"] == "export"
    assert projects.run("benchmark", runs=f"[{run}]").data.tags["ferlab.stage"] == "benchmark"
    faces = tmp_path / "faces"
    faces.mkdir()
    Image.fromarray(np.full((48, 48), 90, np.uint8)).save(faces / "grey.png")
    projects.run("predict", run=run, input=str(faces), out=str(tmp_path / "answers"), **{"faces.whole": "true"})
    answers = json.loads((tmp_path / "answers" / "predictions.json").read_text())
    assert [len(picture["faces"]) for picture in answers["pictures"]] == [1]


def test_the_rehearsed_cloud_is_looked_at(projects: Projects) -> None:
    assert "ferlab.stage" not in projects.run("cloud", action="status", compute="rehearsal").data.tags


@pytest.mark.parametrize("entry", ["ui", "demo"])
def test_a_server_answers(projects: Projects, first: Any, entry: str) -> None:
    port = free_port()
    shown = {"run": first.info.run_id} if entry == "demo" else {}
    process = subprocess.Popen(
        projects.command(entry, port=str(port), **shown), cwd=projects.home, env=projects.environment,
        start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        until = time.monotonic() + 120
        while True:
            assert process.poll() is None
            try:
                assert urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).status == 200
                break
            except OSError:
                assert time.monotonic() < until
                time.sleep(0.5)
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)


def test_every_entry_point_was_run() -> None:
    """Last of those that run them."""
    entries = set(yaml.safe_load((REPOSITORY / "MLproject").read_text(encoding="utf-8"))["entry_points"])
    if len(COVERED) > 1:  # all of this module, not one test alone
        assert entries == COVERED


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """``git://`` address of what lies below ``folder``; MLflow takes ``file://`` for a folder and works inside it."""
    port = free_port()
    command = ["git", "daemon", "--reuseaddr", "--export-all", f"--base-path={folder}", "--listen=127.0.0.1"]
    process = subprocess.Popen([*command, f"--port={port}", str(folder)], start_new_session=True)
    try:
        until = time.monotonic() + 30
        while True:
            with socket.socket() as asked:
                if asked.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert time.monotonic() < until
            time.sleep(0.1)
        yield f"git://127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)


@pytest.mark.parametrize("manager", ["local", "uv"])
def test_a_git_address_at_a_commit(projects: Projects, clone: Path, tmp_path: Path, manager: str) -> None:
    """What the commit held counts, not what came after it."""
    work, bare = tmp_path / "work", tmp_path / "ferlab.git"
    subprocess.run(["git", "clone", "--quiet", str(clone), str(work)], check=True)
    then = commit(work, "then")
    recipe = work / "conf" / "recipe" / "quick.yaml"
    recipe.write_text(recipe.read_text().replace("label_smoothing: 0.1", "label_smoothing: 0.2"))
    commit(work, "later")
    subprocess.run(["git", "clone", "--quiet", "--bare", str(work), str(bare)], check=True)
    # MLflow fetches the commit alone, which GitHub and GitLab allow and a plain repository does not
    subprocess.run(["git", "-C", str(bare), "config", "uploadpack.allowReachableSHA1InWant", "true"], check=True)
    with served(tmp_path) as address:
        remote = Projects(projects.home, f"{address}/{bare.name}")
        run = remote.run("train", "-v", then, manager=manager, **SMALL, seed="5")
    assert run.data.tags["git.commit"] == then
    assert run.data.tags["git.dirty"] == "false"
    assert run.data.tags["mlflow.source.git.commit"] == then
    assert run.data.params["recipe.label_smoothing"] == "0.1"
    assert run.info.artifact_uri.startswith(projects.home.as_uri()), "nothing is left in MLflow's temporary clone"


def test_wrong_input_fails_the_run_with_one_line(projects: Projects) -> None:
    done = subprocess.run(
        projects.command("train", backbone="nonsense"), cwd=projects.home, env=projects.environment,
        capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode != 0
    assert "ferlab: In 'train': Could not find 'backbone/nonsense'" in done.stderr
    (run_id,) = re.findall(r"Run \(ID '(\w+)'\) failed", done.stdout + done.stderr)
    assert projects.client.get_run(run_id).info.status == "FAILED"
