"""Ten kills at random moments of a small training leave no trace in its outcome."""

import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ferlab.predictions import Predictions

from .conftest import Workplace

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]

KILLS = 10
SETTINGS = (
    "dataset.synthesize.count=420",
    "backbone.width=0.5",
    "recipe=quick",
    "recipe.phases.0.epochs=24",
    "recipe.batch_size=16",
    "recipe.precision=float32",
    "recipe.ema=0.9",
    "deterministic=true",
)


def killed_after(place: Workplace, seconds: float, *arguments: str) -> bool:
    """Run a command and kill it after so long once it trains; whether it was still running then."""
    command = [sys.executable, "-u", "-m", "ferlab", *arguments]
    process = subprocess.Popen(
        command, env=place.environment, cwd=place.home, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    for line in process.stdout:
        if " epoch " in line:
            break
    time.sleep(seconds)
    running = process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    return running


def outcome(place: Workplace, run_id: str) -> tuple[dict[str, float], np.ndarray]:
    """What the run ended with: its metrics, times and speeds aside, and its predictions on validation."""
    timed = ("images_per_s", "seconds", "train_minutes")
    metrics = {
        key: value for key, value in place.run(run_id).data.metrics.items() if not key.startswith(("system/", *timed))
    }
    file = place.artifacts(run_id) / "predictions/validation.parquet"
    return metrics, Predictions.load(file).ordered_by_id().probabilities


def newest(place: Workplace) -> Any:
    return [run for run in place.runs() if run.data.tags["ferlab.stage"] == "train"][-1]


def epochs_done(place: Workplace, run_id: str) -> int:
    folders = sorted((Path(place.home) / "checkpoints" / run_id).glob("epoch-*"))
    return int(folders[-1].name.removeprefix("epoch-")) if folders else 0


def test_ten_random_kills_end_in_the_same_numbers_as_none(workplace: Workplace) -> None:
    whole = workplace.ferlab("train", *SETTINGS)
    assert whole.code == 0, whole.err
    draw = random.Random(0)
    assert killed_after(workplace, draw.uniform(0, 2), "train", *SETTINGS)
    run_id = newest(workplace).info.run_id
    done, kills = [epochs_done(workplace, run_id)], 1
    while kills < KILLS:
        kills += killed_after(workplace, draw.uniform(0, 1), "train", f"resume={run_id}")
        done.append(epochs_done(workplace, run_id))
        assert done[-1], f"the training ended after {kills} kills: {done}"
    assert len(set(done)) > 3, "the kills fell into different epochs"
    finished = workplace.ferlab("train", f"resume={run_id}")
    assert finished.code == 0, finished.err
    assert finished.result["run_id"] == run_id
    assert workplace.run(run_id).info.status == "FINISHED"
    metrics, probabilities = outcome(workplace, run_id)
    expected_metrics, expected = outcome(workplace, whole.result["run_id"])
    assert metrics == expected_metrics
    np.testing.assert_array_equal(probabilities, expected)
