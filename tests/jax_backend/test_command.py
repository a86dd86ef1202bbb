"""``ferlab train`` on the JAX backend as a user runs it, and ``ferlab evaluate`` of its model on TensorFlow."""

import json
import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote, urlparse

import numpy as np
import pytest
from mlflow.tracking import MlflowClient

from ferlab.predictions import Predictions

REPOSITORY = Path(__file__).resolve().parents[2]
COMMAND = """
import sys

class NotInstalled:
    def find_spec(self, name, path=None, target=None):
        if name == "tensorflow":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, NotInstalled())
from ferlab.cli import main
try:
    main(sys.argv[1:])
finally:
    print("imported:", *({"jax", "tensorflow"} & set(sys.modules)))
"""
"""A command where TensorFlow is as good as not installed; Keras would import it only to seed its generator, too."""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


def finished(command, environment, home):
    """The JSON object that the command wrote, and the last line that it printed."""
    out = home / "result.json"
    dropped = ("KERAS_BACKEND", "PYTHONPATH")
    done = subprocess.run(
        [sys.executable, *command, "--json", str(out)],
        env={key: value for key, value in os.environ.items() if key not in dropped} | environment,
        cwd=home, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-1500:] + done.stderr[-3000:]
    return json.loads(out.read_text()), done.stdout.splitlines()[-1]


def predictions_of(home, run_id):
    place = MlflowClient(f"sqlite:///{home / 'mlflow.db'}").get_run(run_id).info.artifact_uri
    return Predictions.load(Path(unquote(urlparse(place).path)) / "predictions" / "validation.parquet")


def test_a_model_trained_on_jax_answers_the_same_on_tensorflow(home, jax_packages):
    on_jax = {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu", "PYTHONPATH": f"{REPOSITORY / 'src'}:{jax_packages}"}
    settings = ("debug=fast", "backbone=seq1", "backbone.width=0.25", "debug.max_steps=8", "debug.max_epochs=3")
    trained, last = finished(("-c", COMMAND, "train", *settings), on_jax, home)
    assert last == "imported: jax"
    evaluate = ("-m", "ferlab", "evaluate", f"run={trained['run_id']}", "split=validation")
    evaluated, _ = finished(evaluate, {"KERAS_BACKEND": "tensorflow"}, home)
    assert evaluated["metrics"]["accuracy"] == trained["metrics"]["accuracy"]
    wanted, found = (predictions_of(home, outcome["run_id"]) for outcome in (trained, evaluated))
    assert found.ids == wanted.ids
    assert len(wanted.ids) > 5
    np.testing.assert_allclose(found.probabilities, wanted.probabilities, atol=1e-4)
    assert np.ptp(wanted.probabilities, axis=0).max() > 1e-2


def test_two_devices_that_the_processor_plays_train_what_one_does(home, jax_packages):
    on_jax = {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu", "PYTHONPATH": f"{REPOSITORY / 'src'}:{jax_packages}"}
    settings = (
        *("debug=fast", "backbone=seq1", "backbone.width=0.25", "backbone.dropout=0", "recipe.precision=float32"),
        *("debug.max_steps=8", "debug.max_epochs=2", "recipe.batch_size=32"),
    )
    results = []
    for devices in (0, 2):
        command = ("-m", "ferlab", "train", *settings, f"compute.logical_devices={devices}")
        result, _ = finished(command, on_jax, home)
        tags = MlflowClient(f"sqlite:///{home / 'mlflow.db'}").get_run(result["run_id"]).data.tags
        assert (tags["devices"], tags["backend"]) == (str(devices or 1), "jax")
        results.append(predictions_of(home, result["run_id"]).probabilities)
    np.testing.assert_allclose(results[1], results[0], atol=2e-3)
