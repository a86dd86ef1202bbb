"""Trainings on two replicas of a rehearsed Vertex AI, as ``compute.trainer.replicas=2`` sends them."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from mlflow.tracking import MlflowClient

from ferlab.compute.rehearsal.service import stop
from ferlab.datasets.synthetic.layouts import write_synthetic

REPOSITORY = Path(__file__).resolve().parents[2]
SETTINGS = (
    *("dataset=fer2013", "dataset.protocol=carved", "dataset.accept_alarms=true", "augment=none"),
    *("backbone=seq1", "backbone.width=0.25", "backbone.dropout=0"),
    *("recipe=quick", "recipe.batch_size=64", "recipe.precision=float32", "debug.max_epochs=2"),
)

STUDY = """# @package _global_
defaults:
  - affectnet_two_phase
compute:
  trainer: {at_once: 1}
pipeline:
  weights: none
  members:
    - {backbone: mobilenetv2, recipe: affectnet_two_phase, overrides: [backbone.working_px=32]}
    - {backbone: seq1, recipe: quick, overrides: [backbone.width=0.25]}
"""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


def done_on_jax(home: Path, packages: Path, *arguments: str) -> tuple[dict, str]:
    """The result of a command in a home, and what it said."""
    out = home / "result.json"
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW", "FERLAB"))}
    environment |= {"FERLAB_HOME": str(home), "PYTHONPATH": f"{REPOSITORY / 'src'}:{packages}", "JAX_PLATFORMS": "cpu"}
    environment |= {"KERAS_BACKEND": "jax"}
    command = [sys.executable, "-m", "ferlab", *arguments, "--json", str(out)]
    done = subprocess.run(command, env=environment, cwd=home, capture_output=True, text=True, timeout=1500, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return json.loads(out.read_text()), done.stdout


def history_of(home: Path, run_id: str) -> list[dict]:
    """Of a training, with its run's tags in front."""
    run = MlflowClient(f"sqlite:///{home / 'mlflow.db'}").get_run(run_id)
    assert run.info.status == "FINISHED"
    history = Path(run.info.artifact_uri.removeprefix("file://")) / "history.json"
    return [dict(run.data.tags), *json.loads(history.read_text())]


def trained(home: Path, packages: Path, *settings: str) -> list[dict]:
    """The history of a training."""
    result, _ = done_on_jax(home, packages, "train", *SETTINGS, *settings)
    return history_of(home, result["run_id"])


@pytest.fixture
def new_home(tmp_path, store_template) -> Iterator[Callable[[str], Path]]:
    """``new_home(name)``: a FERLAB_HOME whose stand-ins end with the test."""
    made = []

    def make(name: str) -> Path:
        made.append(tmp_path / name)
        made[-1].mkdir()
        shutil.copy(store_template / "mlflow.db", made[-1] / "mlflow.db")
        return made[-1]

    yield make
    for home in made:
        stop(home / "rehearsal")


def test_two_replicas_train_what_one_process_does(jax_packages, synthetic_csv, new_home):
    homes = new_home("alone"), new_home("cloud")
    alone = trained(homes[0], jax_packages, f"dataset.root={synthetic_csv}")
    settings = ("compute=rehearsal", "compute.trainer.replicas=2", f"dataset.root={synthetic_csv}")
    together = trained(homes[1], jax_packages, *settings)
    assert (alone[0]["devices"], together[0]["devices"], together[0]["backend"]) == ("1", "2", "jax")
    for measure in ("loss", "val_loss"):
        np.testing.assert_allclose(
            [row[measure] for row in together[1:]], [row[measure] for row in alone[1:]], rtol=2e-3
        )


def test_a_pipeline_trains_both_phases_on_two_replicas_that_are_taken_away_once(jax_packages, new_home, tmp_path):
    write_synthetic("affectnet-2021", tmp_path / "faces", 240, 5)
    home = new_home("cloud")
    (home / "experiments").mkdir()
    (home / "experiments" / "replicas.yaml").write_text(STUDY)
    result, _ = done_on_jax(
        home, jax_packages, "pipeline", "experiments=replicas", "dataset.accept_alarms=true", "preparation.size_px=48",
        "compute=rehearsal", "compute.trainer.replicas=2", "compute.faults.preempt_after_s=[45]",
        "debug.max_epochs=2", f"dataset.root={tmp_path / 'faces'}",
    )  # fmt: skip
    for member, phases in zip(result["members"], (2, 1), strict=True):
        tags, *rows = history_of(home, member["run_id"])
        assert (tags["devices"], tags["backend"], tags["mlflow.parentRunId"]) == ("2", "jax", result["run_id"])
        assert len({row["phase"] for row in rows}) == phases
        assert [row["epoch"] for row in rows] == list(range(1, len(rows) + 1))
    assert 0 < result["metrics"]["accuracy"]["value"] <= 1
    logs = [file.read_text() for file in (home / "rehearsal" / "jobs").glob("*/workerpool*.log")]
    assert sum("The machine is preempted." in log for log in logs) >= 1
    assert {run.info.status for run in every_run(home)} == {"FINISHED"}
    left, _ = done_on_jax(home, jax_packages, "cloud", "clean", "compute=rehearsal")
    assert left == {"cleaned": []}


def every_run(home: Path) -> list:
    """All runs of a store."""
    client = MlflowClient(f"sqlite:///{home / 'mlflow.db'}")
    return list(client.search_runs([one.experiment_id for one in client.search_experiments()]))
