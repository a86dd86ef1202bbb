"""``fit`` through its phases: the best epoch is kept, patience ends, averaged weights are those that count."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ferlab.config.nodes import Augment, Phase, Recipe
from ferlab.errors import UserError
from ferlab.models.catalog import AFFECT, PROBABILITIES
from ferlab.preparation.prepare import Prepared
from ferlab.records.load import load_split
from ferlab.training.checkpoint import Checkpoints, Progress
from ferlab.training.fit import EpochRow, Watch, fit
from ferlab.training.inputs import BatchSpec, MemoryBatches, TrainingData, training_data
from ferlab.training.phases import FitSpec

BATCHES = BatchSpec(64, 0, "none", (1.0,) * 7, 4, 1e9)
MakeNetwork = Callable[..., Any]


def phase(name: str, epochs: int, rate: float, **changed: Any) -> Phase:
    return Phase(name, epochs, rate, **({"optimizer": "adam", "schedule": "constant"} | changed))


def spec(*phases: Phase, max_epochs: int = 0, train_all: bool = True, **recipe: Any) -> FitSpec:
    return FitSpec(Recipe("test", phases=list(phases), **recipe), Augment("none"), max_epochs, train_all)


def data_of(prepared: Prepared, **changes: Any) -> TrainingData:
    return training_data(prepared.folder, prepared.manifest, replace(BATCHES, **changes))


@pytest.fixture(scope="module")
def data(prepared: Prepared) -> TrainingData:
    return data_of(prepared)


@pytest.fixture
def model(make_network: MakeNetwork) -> Any:
    return make_network(dropout=0.2)


def trained(
    model: Any, data: TrainingData, how: FitSpec, folder: Path, after_epoch: Callable[[], None] = lambda: None
) -> tuple[Progress, list[EpochRow]]:
    rows: list[EpochRow] = []

    def on_epoch(row: EpochRow) -> None:
        rows.append(row)
        after_epoch()

    return fit(model, data, how, Checkpoints(folder), Watch(lambda *step: None, on_epoch)), rows


def validation_scores(model: Any, data: TrainingData) -> tuple[float, float]:
    """Accuracy and loss by NumPy, from the model's own probabilities."""
    split = load_split(data.validation.folder, data.manifest, "validation")
    answer = np.asarray(model(split.images, training=False), np.float64)
    likelihood = answer[np.arange(len(answer)), split.labels]
    return float(np.mean(answer.argmax(axis=1) == split.labels)), float(-np.log(likelihood).mean())


def assert_same(first: list[np.ndarray], second: list[np.ndarray], rtol: float = 1e-4) -> None:
    for mine, other in zip(first, second, strict=True):
        np.testing.assert_allclose(mine, other, rtol=rtol, atol=1e-6)


def test_two_phases_keep_the_best_epoch_and_tell_where_they_are(model: Any, data: TrainingData, tmp_path: Path) -> None:
    how = spec(phase("head", 2, 1e-3, trainable=0.0), phase("wild", 3, 0.5, optimizer="sgd"), train_all=False)
    progress, rows = trained(model, data, how, tmp_path)
    assert [(row.phase, row.epoch, row.total_epochs) for row in rows] == [
        ("head", 1, 5), ("head", 2, 5), ("wild", 3, 5), ("wild", 4, 5), ("wild", 5, 5)
    ]  # fmt: skip
    assert [row["epoch"] for row in progress.history] == [1, 2, 3, 4, 5]
    ranking = [(row["val_accuracy"], -row["val_loss"], -row["epoch"]) for row in progress.history]
    assert -max(ranking)[2] == progress.best_epoch
    best = progress.history[progress.best_epoch - 1]
    accuracy, loss = validation_scores(model, data)
    assert accuracy == pytest.approx(best["val_accuracy"], abs=1e-6)
    assert loss == pytest.approx(best["val_loss"], rel=1e-3)
    assert [row.is_best for row in rows][progress.best_epoch - 1]
    assert {row["learning_rate"] for row in progress.history} == {np.float32(1e-3), np.float32(0.5)}


def test_every_step_is_told(model: Any, data: TrainingData, tmp_path: Path) -> None:
    """At least once a group of steps, counted within the epoch."""
    steps: list[tuple[int, int, int]] = []
    watch = Watch(lambda *step: steps.append(step), lambda row: None)
    fit(model, data, spec(phase("all", 2, 1e-3)), Checkpoints(tmp_path), watch)
    assert steps == [(epoch, step, 4) for epoch in (1, 2) for step in (4,)]


def test_the_network_learns(model: Any, prepared: Prepared, tmp_path: Path) -> None:
    """Drawn faces of seven classes: a guess is right in one of seven and loses log 7."""
    progress, _ = trained(model, data_of(prepared, max_steps=0), spec(phase("all", 12, 0.02)), tmp_path)
    assert progress.best_accuracy > 2 / 7
    assert progress.history[-1]["loss"] < 0.9 * np.log(7)


def test_without_pretrained_weights_everything_learns(model: Any, data: TrainingData, tmp_path: Path) -> None:
    before = model.get_weights()
    trained(model, data, spec(phase("head", 1, 0.01, trainable=0.0), train_all=True), tmp_path)
    assert all((a != b).any() for a, b in zip(before, model.get_weights(), strict=True))


def test_patience_ends_a_phase_that_no_longer_improves(model: Any, data: TrainingData, tmp_path: Path) -> None:
    progress, rows = trained(model, data, spec(phase("wild", 30, 2.0, optimizer="sgd"), patience=2), tmp_path)
    best, waited, expected = (-1.0, float("-inf")), 0, 30
    for row in progress.history:
        score = (row["val_accuracy"], -row["val_loss"])
        best, waited = (score, 0) if score > best else (best, waited + 1)
        if waited == 2:
            expected = row["epoch"]
            break
    assert len(rows) == expected < 30
    assert progress.best_epoch == expected - 2


def test_debug_limit_holds_for_every_phase(model: Any, data: TrainingData, tmp_path: Path) -> None:
    how = spec(phase("one", 9, 1e-3), phase("two", 9, 1e-3), max_epochs=1)
    _, rows = trained(model, data, how, tmp_path)
    assert [(row.phase, row.total_epochs) for row in rows] == [("one", 2), ("two", 2)]


def test_the_rate_of_a_plateau_falls_in_training_too(model: Any, data: TrainingData, tmp_path: Path) -> None:
    """A rate of nearly nothing never gets better after its first epoch, as long as the averages stand still."""
    how = spec(
        phase("still", 5, 1e-8, optimizer="sgd", schedule="plateau", plateau_patience=1, freeze_batch_norm=True),
        train_all=False,
    )
    progress, _ = trained(model, data, how, tmp_path)
    rates = [row["learning_rate"] for row in progress.history]
    waited = [row["val_loss"] for row in progress.history]
    factor, best, expected = 1.0, float("inf"), []
    for loss in waited:
        expected.append(1e-8 * factor)
        factor, best = (factor, loss) if loss < best else (factor / 2, best)
    assert rates == pytest.approx(expected, rel=1e-5)
    assert rates[-1] < 1e-8


def test_the_moving_average_is_what_is_validated_and_kept(
    make_network: MakeNetwork, prepared: Prepared, tmp_path: Path
) -> None:
    """Recomputed from the weights after each epoch, which has one step here."""
    data, model, after = data_of(prepared, max_steps=1), make_network(), []
    progress, _ = trained(
        model, data, spec(phase("all", 6, 0.05), ema=0.6), tmp_path, lambda: after.append(model.get_weights())
    )
    learned = [weight.trainable for weight in model.weights]
    averages = [after[0]]
    for now in after[1:]:
        averages.append([
            0.6 * before + 0.4 * new if learns else new
            for before, new, learns in zip(averages[-1], now, learned, strict=True)
        ])  # fmt: skip
    other = make_network(seed=1)
    for row, average in zip(progress.history, averages, strict=True):
        other.set_weights(average)
        assert validation_scores(other, data)[1] == pytest.approx(row["val_loss"], rel=1e-3)
    assert_same(model.get_weights(), averages[progress.best_epoch - 1])
    other.set_weights(after[-1])
    assert validation_scores(other, data)[1] != pytest.approx(progress.history[-1]["val_loss"], rel=1e-3)


def test_of_the_last_epochs_the_mean_is_what_is_validated_and_kept(
    make_network: MakeNetwork, data: TrainingData, tmp_path: Path
) -> None:
    """Recomputed from the weights after each epoch; only the last phase averages, BatchNormalization's numbers too."""
    model, after = make_network(), []
    how = spec(phase("first", 3, 0.02), phase("last", 4, 0.05), swa=3)
    progress, _ = trained(model, data, how, tmp_path, lambda: after.append(model.get_weights()))
    shown = after[:4] + [[np.mean(arrays, axis=0) for arrays in zip(*after[4:end], strict=True)] for end in (5, 6, 7)]
    other = make_network(seed=1)
    for row, weights in zip(progress.history, shown, strict=True):
        other.set_weights(weights)
        assert validation_scores(other, data)[1] == pytest.approx(row["val_loss"], rel=1e-3)
    assert_same(model.get_weights(), shown[progress.best_epoch - 1])


def test_a_rate_that_is_too_high_names_the_phase_and_keeps_the_batches(
    model: Any, data: TrainingData, tmp_path: Path
) -> None:
    how = spec(phase("calm", 1, 1e-4), phase("too hot", 3, 1e38, optimizer="sgd"))
    with pytest.raises(UserError, match=r"not numbers.*phase too hot \(now 1e\+38\).*not-finite\.npz") as refusal:
        trained(model, data, how, tmp_path)
    assert "\n" not in str(refusal.value)
    assert str(refusal.value).startswith("epoch 2, step 2:")
    assert Checkpoints(tmp_path).load()[1].epoch == 1
    before, at = list(data.train.epoch(1, None))[:2]
    with np.load(tmp_path / "not-finite.npz") as kept:
        for number, (images, targets) in enumerate((before, at)):
            np.testing.assert_array_equal(kept[f"inputs{number}"], images)
            np.testing.assert_array_equal(kept[f"targets{number}"], targets)


@pytest.mark.parametrize(("epoch", "step"), [(0, 0), (0, 3), (1, 2)])
def test_the_batch_with_a_broken_sample_is_the_one_that_is_kept(
    make_network: MakeNetwork, data: TrainingData, tmp_path: Path, epoch: int, step: int
) -> None:
    """One pixel of one image is no number; the image is shown in this step and in none before.

    TensorFlow's ReLU may answer 0 for what is no number, so the network has none.
    """
    rows = np.arange(data.train.count)
    numbered = MemoryBatches([rows], data.train.known, data.manifest, BATCHES)
    order = [batch[0] for number in range(epoch + 1) for batch in numbered.epoch(number, None)]
    place = 4 * epoch + step
    broken = next(row for row in order[place] if not any(row in earlier for earlier in order[:place]))
    images = data.train.copies[0].astype(np.float32)
    images[broken, 20, 20] = np.nan
    train = MemoryBatches([images], data.train.known, data.manifest, BATCHES)
    model = make_network(dtype="float32", activation="linear")
    with pytest.raises(UserError, match=rf"^epoch {epoch + 1}, step {step + 1}: "):
        trained(model, replace(data, train=train), spec(phase("all", 2, 1e-3)), tmp_path)
    with np.load(tmp_path / "not-finite.npz") as kept:
        found = [np.isnan(kept[name]).any() for name in sorted(kept) if name.startswith("inputs")]
    assert found == ([False, True] if step else [True])


def test_a_second_head_without_numbers_is_noticed_at_its_first_step(
    make_network: MakeNetwork, data: TrainingData, tmp_path: Path
) -> None:
    """The answers about the classes still are numbers there."""
    import keras

    plain = make_network()
    affect = keras.layers.Dense(2, activation="tanh", name=AFFECT)
    outputs = {PROBABILITIES: plain.output, AFFECT: affect(plain.get_layer("dropout").output)}
    model = keras.Model(plain.input, outputs)
    affect.kernel.assign(np.full(affect.kernel.shape, np.nan))
    known = replace(data.train.known, affect=np.zeros((data.train.count, 2), np.float32))
    train = MemoryBatches(data.train.copies, known, data.manifest, replace(BATCHES, affect=True))
    how = spec(phase("all", 1, 1e-3), affect=0.5)
    with pytest.raises(UserError, match=r"^epoch 1, step 1: "):
        trained(model, replace(data, train=train), how, tmp_path)


def test_a_last_step_that_ruins_the_network_is_noticed(model: Any, prepared: Prepared, tmp_path: Path) -> None:
    """No step follows whose answers could tell."""
    with pytest.raises(UserError, match="not numbers"):
        trained(model, data_of(prepared, max_steps=1), spec(phase("too hot", 1, 1e38, optimizer="sgd")), tmp_path)


def test_nothing_to_resume_is_said(model: Any, data: TrainingData, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no checkpoint"):
        fit(model, data, spec(phase("all", 1, 1e-3)), Checkpoints(tmp_path), Watch(print, print), resume=True)


def test_an_interruption_ends_training_at_once(model: Any, data: TrainingData, tmp_path: Path) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trained(model, data, spec(phase("all", 5, 1e-3)), tmp_path, interrupt)
    assert Checkpoints(tmp_path).load()[1].epoch == 1
