"""One training on two replicas of a rehearsed Vertex AI, as ``compute.trainer.replicas=2`` sends it."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ferlab.compute.rehearsal.service import stop

REPOSITORY = Path(__file__).resolve().parents[2]
SETTINGS = (
    *("dataset=fer2013", "dataset.protocol=carved", "dataset.accept_alarms=true", "augment=none"),
    *("backbone=seq1", "backbone.width=0.25", "backbone.dropout=0"),
    *("recipe=quick", "recipe.batch_size=64", "recipe.precision=float32", "debug.max_epochs=2"),
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


def trained(home: Path, packages: Path, *settings: str) -> list[dict]:
    """The history of a training, and its run's tags in front."""
    from mlflow.tracking import MlflowClient

    out = home / "result.json"
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW", "FERLAB"))}
    environment |= {"FERLAB_HOME": str(home), "PYTHONPATH": f"{REPOSITORY / 'src'}:{packages}", "JAX_PLATFORMS": "cpu"}
    environment |= {"KERAS_BACKEND": "jax"}
    command = [sys.executable, "-m", "ferlab", "train", *SETTINGS, *settings, "--json", str(out)]
    done = subprocess.run(command, env=environment, cwd=home, capture_output=True, text=True, timeout=800, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    run = MlflowClient(f"sqlite:///{home / 'mlflow.db'}").get_run(json.loads(out.read_text())["run_id"])
    history = Path(run.info.artifact_uri.removeprefix("file://")) / "history.json"
    return [dict(run.data.tags), *json.loads(history.read_text())]


def test_two_replicas_train_what_one_process_does(jax_packages, synthetic_csv, store_template, tmp_path):
    homes = tmp_path / "alone", tmp_path / "cloud"
    for home in homes:
        home.mkdir()
        shutil.copy(store_template / "mlflow.db", home / "mlflow.db")
    alone = trained(homes[0], jax_packages, f"dataset.root={synthetic_csv}")
    try:
        settings = ("compute=rehearsal", "compute.trainer.replicas=2", f"dataset.root={synthetic_csv}")
        together = trained(homes[1], jax_packages, *settings)
    finally:
        stop(homes[1] / "rehearsal")
    assert (alone[0]["devices"], together[0]["devices"], together[0]["backend"]) == ("1", "2", "jax")
    for measure in ("loss", "val_loss"):
        np.testing.assert_allclose(
            [row[measure] for row in together[1:]], [row[measure] for row in alone[1:]], rtol=2e-3
        )
