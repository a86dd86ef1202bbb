"""Checkpoints: the newest complete one counts, the best is never lost, damage is said plainly."""

import resource
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ferlab.errors import UserError
from ferlab.training.checkpoint import Checkpoints, Progress


@pytest.fixture
def model(tf: Any) -> Any:
    import keras

    keras.utils.set_random_seed(0)
    made = keras.Sequential(
        [keras.Input((64,)), keras.layers.Dense(64, name="below"), keras.layers.Dense(2, name="above")]
    )
    made.compile("adam", "mse", jit_compile=False, run_eagerly=True)
    return made


@pytest.fixture
def checkpoints(tmp_path: Path) -> Checkpoints:
    return Checkpoints(tmp_path / "run")


def learn(model: Any) -> list[np.ndarray]:
    model.train_on_batch(np.ones((4, 64)), np.ones((4, 2)))
    return [np.array(weight) for weight in model.get_weights()]


def same(first: list[np.ndarray], second: list[np.ndarray]) -> bool:
    return all((a == b).all() for a, b in zip(first, second, strict=True))


def progress(epoch: int) -> Progress:
    return Progress(phase=1, phase_epoch=2, epoch=epoch, best_accuracy=0.5, best_loss=1.25, best_epoch=1, waited=3,
                    phase_done=True, history=[{"epoch": 1, "loss": 0.1, "phase": "head"}])  # fmt: skip


def test_what_is_saved_is_what_is_loaded(checkpoints: Checkpoints, model: Any) -> None:
    weights = learn(model)
    checkpoints.save(model, progress(4), is_best=True)
    loaded, state = checkpoints.load()
    assert state == progress(4)
    assert same(loaded.get_weights(), weights)
    moments = [np.array(value) for value in model.optimizer.variables]
    assert same([np.array(value) for value in loaded.optimizer.variables], moments)
    assert same(learn(loaded), learn(model))


@pytest.mark.filterwarnings("ignore:Skipping variable loading")  # never trained: its optimizer has no moments yet
def test_an_infinite_best_loss_survives(checkpoints: Checkpoints, model: Any) -> None:
    checkpoints.save(model, Progress(), is_best=True)
    assert checkpoints.load()[1] == Progress()


def test_the_newest_counts_and_older_ones_are_removed(checkpoints: Checkpoints, model: Any) -> None:
    for epoch in (1, 2, 10):
        weights = learn(model)
        checkpoints.save(model, progress(epoch), is_best=True)
    assert checkpoints.load()[1].epoch == 10
    assert same(checkpoints.load()[0].get_weights(), weights)
    assert len(list(checkpoints.folder.iterdir())) == 1


def test_a_worse_epoch_does_not_overwrite_the_best(checkpoints: Checkpoints, model: Any) -> None:
    best = learn(model)
    checkpoints.save(model, progress(1), is_best=True)
    for epoch in (2, 3):
        last = learn(model)
        checkpoints.save(model, progress(epoch), is_best=False)
    assert same(checkpoints.best_weights(), best)
    assert same(checkpoints.load()[0].get_weights(), last)


def test_the_first_epoch_is_kept_as_best_whatever_is_said(checkpoints: Checkpoints, model: Any) -> None:
    weights = learn(model)
    checkpoints.save(model, progress(1), is_best=False)
    assert same(checkpoints.best_weights(), weights)


def test_an_unfinished_checkpoint_is_ignored_and_swept_away(checkpoints: Checkpoints, model: Any) -> None:
    learn(model)
    checkpoints.save(model, progress(1), is_best=True)
    partial = checkpoints.folder / "partial"
    partial.mkdir()
    (partial / "last.keras").write_bytes(b"half")
    unfinished = checkpoints.folder / "epoch-000002"
    unfinished.mkdir()
    (unfinished / "last.keras").write_bytes(b"half")
    assert checkpoints.load()[1].epoch == 1
    checkpoints.save(model, progress(3), is_best=False)
    assert checkpoints.load()[1].epoch == 3
    assert not partial.exists()


@pytest.mark.parametrize("name", ["last.keras", "state.json"])
@pytest.mark.parametrize("damage", ["cut", "other", "empty"])
def test_damage_is_one_clear_line(checkpoints: Checkpoints, model: Any, name: str, damage: str) -> None:
    learn(model)
    checkpoints.save(model, progress(1), is_best=True)
    file = checkpoints.current() / name
    whole = file.read_bytes()
    file.unlink()  # not written in place: best.keras may be the same file
    file.write_bytes({"cut": whole[: len(whole) // 2], "other": b'{"phase": 0, "unknown": 1}', "empty": b""}[damage])
    with pytest.raises(UserError, match="damaged checkpoint") as refusal:
        checkpoints.load()
    assert "\n" not in str(refusal.value)


def test_no_checkpoint_is_one_clear_line(checkpoints: Checkpoints) -> None:
    assert checkpoints.current() is None
    with pytest.raises(UserError, match="no checkpoint"):
        checkpoints.load()


def test_a_full_disk_keeps_the_last_checkpoint(checkpoints: Checkpoints, model: Any) -> None:
    """A file-size limit stands for the disk: writing fails in the middle of the second checkpoint."""
    weights = learn(model)
    checkpoints.save(model, progress(1), is_best=True)
    learn(model)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    try:
        with pytest.raises(UserError, match="disk is full"):
            checkpoints.save(model, progress(2), is_best=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    loaded, state = checkpoints.load()
    assert state.epoch == 1
    assert same(loaded.get_weights(), weights)


def test_removal_leaves_nothing(checkpoints: Checkpoints, model: Any) -> None:
    checkpoints.save(model, progress(1), is_best=True)
    checkpoints.remove()
    assert not checkpoints.folder.exists()
    checkpoints.remove()
