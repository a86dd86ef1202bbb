"""An interrupted training ends as an uninterrupted one, whatever its recipe keeps between epochs."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ferlab.preparation.prepare import Prepared

SCENARIOS = """
import json, sys
from hashlib import sha256
from pathlib import Path
import keras, numpy as np, tensorflow as tf
tf.config.experimental.enable_op_determinism()
from ferlab.config.nodes import Augment, Phase, Recipe
from ferlab.manifest import Manifest
from ferlab.models.build import ModelSpec, build_model
from ferlab.training.checkpoint import Checkpoints
from ferlab.training.distillation import answers_of
from ferlab.training.fit import Watch, fit
from ferlab.training.inputs import BatchSpec, training_data
from ferlab.training.phases import FitSpec

folder, work, asked = Path(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3])
manifest = Manifest.load(folder)
head = {"optimizer": "adam", "schedule": "constant", "trainable": 0.0}
tune = {"learning_rate": 1e-3, "warmup": 0.2, "weight_decay": 0.01, "trainable": 0.5}
phases = [Phase("head", 2, 1e-3, **(head | asked["head"])), Phase("tune", 3, **(tune | asked["tune"]))]
spec = FitSpec(
    Recipe("test", phases=phases, label_smoothing=0.1, **asked["recipe"]),
    Augment("all", True, 10, 0.1, 0.1, 0.1, 0.1, erase=0.2, randaugment=1, mixup=0.2, cutmix=0.5),
    max_epochs=0, train_all=False,
)

def network(seed):
    keras.utils.set_random_seed(seed)
    return build_model(ModelSpec(asked["backbone"], manifest.classes, 48, 1, 32, "none", False, 0.3, 0.25)).model

def run(place, stop_after, resume):
    keras.backend.clear_session()
    weights = tuple(0.5 + 0.1 * i for i in range(7))
    data = training_data(folder, manifest, BatchSpec(64, 5, "weights", weights, 3, asked["memory_bytes"]))
    if spec.recipe.distill:
        # asked again, the teacher would say something else
        answers = answers_of("teacher", lambda: network(100 + resume), data, place / "teacher", lambda *now: None)
        data = data.with_teacher(answers.tempered(2))
    model = network(5)
    def on_epoch(row):
        if row.epoch == stop_after:
            raise KeyboardInterrupt
    try:
        progress = fit(model, data, spec, Checkpoints(place), Watch(lambda *step: None, on_epoch), resume=resume)
    except KeyboardInterrupt:
        return None
    rows = [{k: v for k, v in row.items() if k not in ("seconds", "images_per_s")} for row in progress.history]
    digests = {w.path: sha256(np.asarray(w).tobytes()).hexdigest() for w in model.weights}
    return {"weights": digests, "history": rows, "best": progress.best_epoch, "rate_factor": progress.rate_factor}

found = {"whole": run(work / "whole", 0, False)}
for stop in asked["stops"]:
    place = work / f"stop{stop}"
    assert run(place, stop, False) is None
    found[f"stopped after {stop}"] = run(place, 0, True)
print(json.dumps(found))
"""

PLATEAU = {"schedule": "plateau", "plateau_patience": 1, "optimizer": "adam", "learning_rate": 2.0, "warmup": 0.0}
"""So high a rate that epochs without a better one come at once."""
slow = pytest.mark.slow


def asked(
    stops: list[int],
    backbone: str = "seq1",
    memory_bytes: float = 1e9,
    head: dict[str, Any] | None = None,
    tune: dict[str, Any] | None = None,
    **recipe: Any,
) -> dict[str, Any]:
    return {"backbone": backbone, "memory_bytes": memory_bytes, "stops": stops,
            "head": head or {}, "tune": tune or {}, "recipe": recipe}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        pytest.param(asked([1, 3], head={"copies": 2}, ema=0.8), id="cached copies, moving average"),
        pytest.param(asked([4], tune=PLATEAU, swa=2), id="plateau, mean of the last epochs"),
        pytest.param(asked([2, 3], head={"features": "computed"}), id="features computed", marks=slow),
        pytest.param(asked([1, 4], sharpness=0.05, loss="focal"), id="sharpness, focal loss", marks=slow),
        pytest.param(asked([2, 4], memory_bytes=0, distill=0.7), id="teacher, from shards", marks=slow),
        pytest.param(asked([2, 4], "seq2", 0), id="seq2 from shards", marks=slow),
        pytest.param(asked([3, 4], "mobilenetv2", tune={"from_block": "block_16"}), id="mobilenetv2", marks=slow),
    ],
)
def test_an_interrupted_training_ends_as_an_uninterrupted_one(
    prepared: Prepared, tmp_path: Path, settings: dict[str, Any]
) -> None:
    """In a process of its own, because deterministic operations cannot be switched off again."""
    done = subprocess.run(
        [sys.executable, "-c", SCENARIOS, str(prepared.folder), str(tmp_path), json.dumps(settings)],
        capture_output=True,
        text=True,
        check=False,
        timeout=500,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    whole = found.pop("whole")
    assert [row["epoch"] for row in whole["history"]] == [1, 2, 3, 4, 5]
    assert len(found) == len(settings["stops"])
    assert (whole["rate_factor"] < 1) == (settings["tune"] == PLATEAU)
    for outcome in found.values():
        assert outcome == whole
