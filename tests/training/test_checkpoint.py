"""Checkpoints: the newest complete one counts, the best is never lost, damage is said plainly."""

import json
import resource
from pathlib import Path

import numpy as np
import pytest

from ferlab.errors import UserError
from ferlab.training.checkpoint import Checkpoints, Progress, Saved

Arrays = list[np.ndarray]


@pytest.fixture
def checkpoints(tmp_path: Path) -> Checkpoints:
    return Checkpoints(tmp_path / "run")


def state(seed: int, count: int = 12) -> Saved:
    """Weights, a step count with moments, and an average, all of them told apart by ``seed``."""
    rng = np.random.default_rng(seed)
    weights = [rng.normal(size=(64, place + 1)).astype(np.float32) for place in range(count)]
    moments = [np.asarray(seed), *(rng.normal(size=w.shape).astype(np.float32) for w in weights)]
    return Saved(weights, moments, {"count": np.asarray(seed), "mean00000": rng.normal(size=3)})


def same(first: Arrays, second: Arrays) -> bool:
    return all(a.dtype == b.dtype and np.array_equal(a, b) for a, b in zip(first, second, strict=True))


def progress(epoch: int) -> Progress:
    return Progress(phase=1, phase_epoch=2, epoch=epoch, best_accuracy=0.5, best_loss=1.25, best_epoch=1, waited=3,
                    flat=2, rate_factor=0.25, phase_done=True,
                    history=[{"epoch": 1, "loss": 0.1, "phase": "head"}])  # fmt: skip


def save(checkpoints: Checkpoints, epoch: int, seed: int, best: Arrays | None = None) -> Saved:
    saved = state(seed)
    checkpoints.save(saved, progress(epoch), best)
    return saved


def test_what_is_saved_is_what_is_loaded(checkpoints: Checkpoints) -> None:
    saved = save(checkpoints, 4, seed=1)
    loaded, reached = checkpoints.load()
    assert reached == progress(4)
    assert same(loaded.weights, saved.weights)
    assert same(loaded.optimizer, saved.optimizer)
    assert loaded.average.keys() == saved.average.keys()
    assert same(list(loaded.average.values()), list(saved.average.values()))
    assert checkpoints.history() == progress(4).history


def test_many_arrays_keep_their_order(checkpoints: Checkpoints) -> None:
    saved = Saved([np.asarray(number) for number in range(1200)], [], {})
    checkpoints.save(saved, progress(1), None)
    assert [int(array) for array in checkpoints.load()[0].weights] == list(range(1200))
    assert checkpoints.load()[0].average == {}


def test_an_infinite_best_loss_survives(checkpoints: Checkpoints) -> None:
    checkpoints.save(state(1), Progress(), None)
    assert checkpoints.load()[1] == Progress()


def test_the_newest_counts_and_older_ones_are_removed(checkpoints: Checkpoints) -> None:
    for epoch in (1, 2, 10):
        saved = save(checkpoints, epoch, seed=epoch, best=state(epoch).weights)
    assert checkpoints.load()[1].epoch == 10
    assert same(checkpoints.load()[0].weights, saved.weights)
    assert sorted(folder.name for folder in checkpoints.folder.iterdir()) == ["epoch-000002", "epoch-000010"]


@pytest.mark.parametrize("name", ["last.npz", "best.npz", "state.json"])
def test_a_damaged_checkpoint_gives_way_to_the_one_before(checkpoints: Checkpoints, name: str) -> None:
    before = save(checkpoints, 1, seed=1, best=state(1).weights)
    save(checkpoints, 2, seed=2, best=state(2).weights)
    (checkpoints.current() / name).write_bytes(b"")
    found, where = checkpoints.load()
    assert where.epoch == 1
    assert same(found.weights, before.weights)
    assert same(checkpoints.best_weights(), state(1).weights)
    assert checkpoints.history() == progress(1).history


def test_a_worse_epoch_does_not_overwrite_the_best(checkpoints: Checkpoints) -> None:
    best = state(100).weights
    save(checkpoints, 1, seed=1, best=best)
    for epoch in (2, 3):
        last = save(checkpoints, epoch, seed=epoch)
    assert same(checkpoints.best_weights(), best)
    assert same(checkpoints.load()[0].weights, last.weights)


def test_the_best_weights_may_be_others_than_those_that_training_goes_on_with(checkpoints: Checkpoints) -> None:
    saved = save(checkpoints, 1, seed=1, best=state(50).weights)
    assert same(checkpoints.best_weights(), state(50).weights)
    assert same(checkpoints.load()[0].weights, saved.weights)


def test_the_first_epoch_is_kept_as_best_whatever_is_said(checkpoints: Checkpoints) -> None:
    saved = save(checkpoints, 1, seed=1, best=None)
    assert same(checkpoints.best_weights(), saved.weights)


def test_an_unfinished_checkpoint_is_ignored_and_swept_away(checkpoints: Checkpoints) -> None:
    save(checkpoints, 1, seed=1)
    partial = checkpoints.folder / "partial"
    partial.mkdir()
    (partial / "last.npz").write_bytes(b"half")
    half_removed = checkpoints.folder / "epoch-000002"
    half_removed.mkdir()
    (half_removed / "last.npz").write_bytes(b"half")
    assert checkpoints.load()[1].epoch == 1
    second = save(checkpoints, 2, seed=2)
    assert same(checkpoints.load()[0].weights, second.weights)
    assert not partial.exists()


@pytest.mark.parametrize(
    ("name", "damage"),
    [*((name, damage) for name in ("last.npz", "state.json") for damage in ("cut", "other", "empty")),
     ("last.npz", "gone")],
)  # fmt: skip
def test_damage_is_one_clear_line(checkpoints: Checkpoints, name: str, damage: str) -> None:
    save(checkpoints, 1, seed=1)
    file = checkpoints.current() / name
    whole = file.read_bytes()
    file.unlink()
    if damage != "gone":
        file.write_bytes(
            {"cut": whole[: len(whole) // 2], "other": b'{"phase": 0, "unknown": 1}', "empty": b""}[damage]
        )
    with pytest.raises(UserError, match="damaged checkpoint") as refusal:
        checkpoints.load()
    assert "\n" not in str(refusal.value)


def test_a_changed_byte_of_the_weights_is_damage(checkpoints: Checkpoints) -> None:
    save(checkpoints, 1, seed=1)
    file = checkpoints.current() / "last.npz"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.unlink()
    file.write_bytes(content)
    with pytest.raises(UserError, match="damaged checkpoint"):
        checkpoints.load()


def test_a_checkpoint_of_another_version_is_damage(checkpoints: Checkpoints) -> None:
    save(checkpoints, 1, seed=1)
    file = checkpoints.current() / "state.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"later": 1}))
    with pytest.raises(UserError, match="damaged checkpoint"):
        checkpoints.load()


def test_no_checkpoint_is_one_clear_line(checkpoints: Checkpoints) -> None:
    assert checkpoints.current() is None
    assert checkpoints.history() == []
    assert checkpoints.files() == []
    with pytest.raises(UserError, match="no checkpoint"):
        checkpoints.load()


def test_a_full_disk_keeps_the_last_checkpoint(checkpoints: Checkpoints) -> None:
    """A file-size limit stands for the disk: writing fails in the middle of the second checkpoint."""
    saved = save(checkpoints, 1, seed=1, best=state(1).weights)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    try:
        with pytest.raises(UserError, match="disk is full"):
            save(checkpoints, 2, seed=2, best=state(2).weights)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    loaded, reached = checkpoints.load()
    assert reached.epoch == 1
    assert same(loaded.weights, saved.weights)
    assert same(checkpoints.best_weights(), saved.weights)


def test_batches_are_kept_for_inspection_beside_the_checkpoints(checkpoints: Checkpoints) -> None:
    images, targets, weights = (np.full((3, size), size) for size in (4, 2, 1))
    file = checkpoints.keep_batches("odd.npz", [(images, targets), (images + 1, targets + 1, weights)])
    assert file.parent == checkpoints.folder
    with np.load(file) as kept:
        assert set(kept) == {"inputs0", "targets0", "inputs1", "targets1", "weights1"}
        np.testing.assert_array_equal(kept["inputs0"], images)
        np.testing.assert_array_equal(kept["targets1"], targets + 1)
        np.testing.assert_array_equal(kept["weights1"], weights)
    assert checkpoints.current() is None


def test_the_files_of_a_checkpoint_are_its_last_and_its_best_weights(checkpoints: Checkpoints) -> None:
    save(checkpoints, 1, seed=1)
    assert [file.name for file in checkpoints.files()] == ["last.npz", "best.npz", "state.json"]
    assert all(file.is_file() for file in checkpoints.files())


def test_removal_leaves_nothing(checkpoints: Checkpoints) -> None:
    save(checkpoints, 1, seed=1)
    checkpoints.remove()
    assert not checkpoints.folder.exists()
    checkpoints.remove()
