"""``fit`` through its phases: the best epoch is kept, patience ends, an interruption leaves no trace."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ferlab.errors import UserError
from ferlab.models.build import ModelSpec, build_model
from ferlab.preparation.prepare import Prepared
from ferlab.training.augmentation import AugmentSpec
from ferlab.training.checkpoint import Checkpoints
from ferlab.training.fit import EpochRow, FitSpec, fit
from ferlab.training.inputs import Batches, BatchSpec
from ferlab.training.optimization import PhaseSpec

PLAIN = AugmentSpec(flip=False, rotation_deg=0, shift=0, zoom=0, brightness=0, contrast=0)


def phase(name: str, epochs: int, rate: float, **changed: Any) -> PhaseSpec:
    standard = {"optimizer": "adam", "schedule": "constant", "warmup": 0.0, "weight_decay": 0.0, "trainable": 1.0}
    return PhaseSpec(name=name, epochs=epochs, learning_rate=rate, **(standard | changed))


def spec(*phases: PhaseSpec, patience: int = 0, max_epochs: int = 0, train_all: bool = True) -> FitSpec:
    return FitSpec(phases, PLAIN, 0.0, patience, max_epochs, train_all)


@pytest.fixture(scope="module")
def batches(tf: Any, prepared: Prepared) -> Batches:
    return Batches(prepared.folder, prepared.manifest, BatchSpec(64, 0, "none", (1.0,) * 7, 4, 1e9))


@pytest.fixture
def model(batches: Batches) -> Any:
    import keras

    keras.utils.set_random_seed(0)
    manifest = batches.manifest
    return build_model(ModelSpec("seq1", manifest.classes, 48, 1, 32, "none", False, 0.2, 0.25)).model


def trained(model: Any, batches: Batches, how: FitSpec, folder: Path) -> tuple[Any, list[EpochRow]]:
    rows: list[EpochRow] = []
    return fit(model, batches, how, Checkpoints(folder), rows.append), rows


def validation_scores(model: Any, batches: Batches) -> tuple[float, float]:
    """Accuracy and loss by NumPy, from the model's own probabilities."""
    right, losses = [], []
    for images, targets in batches.validation():
        answer = np.asarray(model(images, training=False), np.float64)
        right += list(answer.argmax(axis=1) == targets.numpy().argmax(axis=1))
        losses += list(-np.log((answer * targets.numpy()).sum(axis=1)))
    return float(np.mean(right)), float(np.mean(losses))


def test_two_phases_keep_the_best_epoch_and_tell_where_they_are(model: Any, batches: Batches, tmp_path: Path) -> None:
    how = spec(phase("head", 2, 1e-3, trainable=0.0), phase("wild", 3, 0.05, optimizer="sgd"), train_all=False)
    progress, rows = trained(model, batches, how, tmp_path)
    assert [(row.phase, row.epoch, row.total_epochs) for row in rows] == [
        ("head", 1, 5), ("head", 2, 5), ("wild", 3, 5), ("wild", 4, 5), ("wild", 5, 5)
    ]  # fmt: skip
    assert [row["epoch"] for row in progress.history] == [1, 2, 3, 4, 5]
    ranking = [(row["val_accuracy"], -row["val_loss"], -row["epoch"]) for row in progress.history]
    assert -max(ranking)[2] == progress.best_epoch
    best = progress.history[progress.best_epoch - 1]
    accuracy, loss = validation_scores(model, batches)
    assert accuracy == pytest.approx(best["val_accuracy"], abs=1e-6)
    assert loss == pytest.approx(best["val_loss"], rel=1e-3)
    assert [row.is_best for row in rows][progress.best_epoch - 1]
    assert {row["learning_rate"] for row in progress.history} == {np.float32(1e-3), np.float32(0.05)}


def test_a_frozen_base_stays_as_it_was(model: Any, batches: Batches, tmp_path: Path) -> None:
    from ferlab.models.build import base_of

    before = [np.array(weight) for weight in base_of(model).get_weights()]
    head = np.array(model.get_layer("logits").get_weights()[0])
    trained(model, batches, spec(phase("head", 1, 0.1, trainable=0.0), train_all=False), tmp_path)
    for mine, theirs in zip(before, base_of(model).get_weights(), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert (head != model.get_layer("logits").get_weights()[0]).any()


def test_without_pretrained_weights_everything_learns(model: Any, batches: Batches, tmp_path: Path) -> None:
    from ferlab.models.build import base_of

    before = [np.array(weight) for weight in base_of(model).get_weights()]
    trained(model, batches, spec(phase("head", 1, 0.01, trainable=0.0), train_all=True), tmp_path)
    changed = [(a != b).any() for a, b in zip(before, base_of(model).get_weights(), strict=True)]
    assert np.mean(changed) > 0.9


def test_patience_ends_a_phase_that_no_longer_improves(model: Any, batches: Batches, tmp_path: Path) -> None:
    progress, rows = trained(model, batches, spec(phase("wild", 15, 0.5, optimizer="sgd"), patience=2), tmp_path)
    best, waited, expected = (-1.0, float("-inf")), 0, 15
    for row in progress.history:
        score = (row["val_accuracy"], -row["val_loss"])
        best, waited = (score, 0) if score > best else (best, waited + 1)
        if waited == 2:
            expected = row["epoch"]
            break
    assert len(rows) == expected < 15
    assert progress.best_epoch == expected - 2


def test_debug_limit_holds_for_every_phase(model: Any, batches: Batches, tmp_path: Path) -> None:
    how = spec(phase("one", 9, 1e-3), phase("two", 9, 1e-3), max_epochs=1)
    _, rows = trained(model, batches, how, tmp_path)
    assert [(row.phase, row.total_epochs) for row in rows] == [("one", 2), ("two", 2)]


def test_a_loss_that_is_no_number_names_the_phase(model: Any, batches: Batches, tmp_path: Path) -> None:
    how = spec(phase("calm", 1, 1e-4), phase("too hot", 3, 1e30, optimizer="sgd"))
    with pytest.raises(UserError, match=r"not a number.*phase too hot.*1e\+30") as refusal:
        trained(model, batches, how, tmp_path)
    assert "\n" not in str(refusal.value)
    assert Checkpoints(tmp_path).load()[1].epoch >= 1


def test_nothing_to_resume_is_said(model: Any, batches: Batches, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no checkpoint"):
        fit(model, batches, spec(phase("all", 1, 1e-3)), Checkpoints(tmp_path), lambda row: None, resume=True)


SCENARIOS = """
import json, sys
from pathlib import Path
import keras, numpy as np, tensorflow as tf
tf.config.experimental.enable_op_determinism()
from ferlab.manifest import Manifest
from ferlab.models.build import ModelSpec, build_model
from ferlab.training.augmentation import AugmentSpec
from ferlab.training.checkpoint import Checkpoints
from ferlab.training.fit import FitSpec, fit
from ferlab.training.inputs import Batches, BatchSpec
from ferlab.training.optimization import PhaseSpec

data, work, backbone, memory, dropout = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], *map(float, sys.argv[4:6])
manifest = Manifest.load(data)
spec = FitSpec(
    phases=(PhaseSpec("head", 2, 1e-3, "adam", "constant", 0.0, 0.0, 0.0),
            PhaseSpec("tune", 3, 1e-3, "adamw", "cosine", 0.2, 0.01, 0.5)),
    augment=AugmentSpec(True, 10, 0.1, 0.1, 0.1, 0.1), label_smoothing=0.1, patience=0, max_epochs=0, train_all=False)

def run(folder, stop_after, resume):
    keras.backend.clear_session()
    keras.utils.set_random_seed(5)
    model = build_model(ModelSpec(backbone, manifest.classes, 48, 1, 32, "none", False, dropout, 0.25)).model
    weights = tuple(0.5 + 0.1 * i for i in range(7))
    batches = Batches(data, manifest, BatchSpec(64, 5, "weights", weights, 3, memory))
    def on_epoch(row):
        if row.epoch == stop_after:
            raise KeyboardInterrupt
    try:
        progress = fit(model, batches, spec, Checkpoints(folder), on_epoch, resume=resume)
    except KeyboardInterrupt:
        return None
    rows = [{k: v for k, v in row.items() if k not in ("seconds", "images_per_s")} for row in progress.history]
    sizes = {w.path: float(np.abs(np.asarray(w)).sum()) for w in model.weights}
    return {"weights": sizes, "history": rows, "best": progress.best_epoch}

found = {"whole": run(work / "whole", 0, False)}
for stop in map(int, sys.argv[6:]):
    folder = work / f"stop{stop}"
    assert run(folder, stop, False) is None
    found[f"stopped after {stop}"] = run(folder, 0, True)
print(json.dumps(found))
"""


@pytest.mark.parametrize(
    ("backbone", "memory_bytes", "dropout", "stops"),
    [
        ("seq1", 1e9, 0.3, (2, 3)),
        pytest.param("seq2", 0, 0.3, (2, 4), marks=pytest.mark.slow),
        pytest.param("mobilenetv2", 1e9, 0.3, (3, 4), marks=pytest.mark.slow),
    ],
    ids=["seq1 from memory", "seq2 from shards", "mobilenetv2"],
)
def test_an_interrupted_training_ends_as_an_uninterrupted_one(
    prepared: Prepared, tmp_path: Path, backbone: str, memory_bytes: float, dropout: float, stops: tuple[int, ...]
) -> None:
    """In a process of its own, because deterministic operations cannot be switched off again."""
    arguments = [str(prepared.folder), str(tmp_path), backbone, str(memory_bytes), str(dropout), *map(str, stops)]
    done = subprocess.run(
        [sys.executable, "-c", SCENARIOS, *arguments], capture_output=True, text=True, check=False, timeout=400
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    whole = found.pop("whole")
    assert [row["epoch"] for row in whole["history"]] == [1, 2, 3, 4, 5]
    for outcome in found.values():
        assert outcome["best"] == whole["best"]
        # graphs traced anew may round the last bit otherwise
        assert list(outcome["weights"].values()) == pytest.approx(list(whole["weights"].values()), rel=1e-4)
        for mine, other in zip(outcome["history"], whole["history"], strict=True):
            assert mine.pop("phase") == other["phase"]
            assert mine == pytest.approx({key: other[key] for key in mine}, rel=1e-4)
