"""Ten kills at random moments of a small training, its start and its end included, leave no trace in its outcome."""

import random
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ferlab.models.blocks import base_of
from ferlab.models.build import ModelSpec, build_model
from ferlab.predictions import Predictions

from .conftest import Workplace

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]

KILLS = 10
EPOCHS, LATEST = 123, 8
"""Kills fall between the start of a process and the moment at which an undisturbed one ends epoch LATEST."""


@pytest.fixture(scope="module")
def settings(workplace: Workplace) -> tuple[str, ...]:
    """A head on cached features, then all layers, of a network that starts from weights in a file."""
    spec = ModelSpec("seq1", tuple("abcdefg"), 48, 1, None, "none", False, 0.2, 0.5)
    file = workplace.home / "start.weights.h5"
    base_of(build_model(spec).model).save_weights(file)
    return (
        "dataset.synthesize.count=420",
        "backbone=seq1",
        "backbone.width=0.5",
        f"backbone.weights={file}",
        "recipe=two_phase",
        "recipe.phases.0.epochs=3",
        f"recipe.phases.1.epochs={EPOCHS - 3}",
        "recipe.batch_size=16",
        "recipe.precision=float32",
        "recipe.ema=0.9",
        "deterministic=true",
    )


def killed_after(place: Workplace, seconds: float, *arguments: str) -> bool:
    """Start a command and kill it after so long; whether it was still running then."""
    process = place.start(*arguments)
    time.sleep(seconds)
    running = process.poll() is None
    process.kill()
    process.communicate(timeout=60)
    return running


def outcome(place: Workplace, run_id: str) -> tuple[dict[str, float], np.ndarray]:
    """What the run ended with: its metrics, times and speeds aside, and its predictions on validation."""
    timed = ("images_per_s", "seconds", "train_minutes")
    metrics = {
        key: value
        for key, value in place.run(run_id).data.metrics.items()
        if not key.startswith("system/") and key.removeprefix("epoch/") not in timed
    }
    file = place.artifacts(run_id) / "predictions/validation.parquet"
    return metrics, Predictions.load(file).ordered_by_id().probabilities


def trainings(place: Workplace) -> list[Any]:
    return [run for run in place.runs() if run.data.tags["ferlab.stage"] == "train"]


def epochs_done(place: Workplace, run_id: str) -> int:
    folders = sorted((Path(place.home) / "checkpoints" / run_id).glob("epoch-*"))
    return int(folders[-1].name.removeprefix("epoch-")) if folders else 0


def test_ten_random_kills_end_in_the_same_numbers_as_none(workplace: Workplace, settings: tuple[str, ...]) -> None:
    started = time.monotonic()
    with workplace.running("train", *settings, until_epoch=LATEST):
        latest_s = time.monotonic() - started
    whole = workplace.ferlab("train", *settings)
    assert whole.code == 0, whole.err
    others = len(trainings(workplace))
    draw, done = random.Random(0), []
    while len(done) < KILLS - 1:
        begun = trainings(workplace)[others:]
        goal = (f"resume={begun[0].info.run_id}",) if begun else settings
        assert killed_after(workplace, draw.uniform(0, latest_s), "train", *goal)
        done.append(epochs_done(workplace, begun[0].info.run_id) if begun else 0)
    (run,) = trainings(workplace)[others:]
    assert 0 < done[-1] < EPOCHS, done
    assert len(set(done)) > 2, f"the kills fell into different epochs: {done}"
    process = workplace.start("train", f"resume={run.info.run_id}")
    assert any(f" epoch {EPOCHS}/{EPOCHS}" in line for line in process.stdout), process.stderr.read()
    time.sleep(draw.uniform(0, 2))
    assert process.poll() is None, "killed while the finished training is recorded"
    process.kill()
    process.communicate(timeout=60)
    finished = workplace.ferlab("train", f"resume={run.info.run_id}")
    assert finished.code == 0, finished.err
    assert finished.result["run_id"] == run.info.run_id
    assert workplace.run(run.info.run_id).info.status == "FINISHED"
    metrics, probabilities = outcome(workplace, run.info.run_id)
    expected_metrics, expected = outcome(workplace, whole.result["run_id"])
    assert metrics == expected_metrics
    np.testing.assert_array_equal(probabilities, expected)
