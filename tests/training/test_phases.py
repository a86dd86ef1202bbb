"""What a phase trains: cached features give what the long way gives, frozen parts stay, strength scales changes."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ferlab.config.nodes import Augment, Phase, Recipe
from ferlab.errors import UserError
from ferlab.preparation.prepare import Prepared
from ferlab.records.load import SplitArrays, load_split
from ferlab.training import order
from ferlab.training.checkpoint import Checkpoints, Progress
from ferlab.training.fit import Watch, fit
from ferlab.training.inputs import BatchSpec, MemoryBatches, ShardBatches, TrainingData, training_data
from ferlab.training.phases import FitSpec, Stage, check_blocks, stage_of

BATCHES = BatchSpec(64, 0, "weights", tuple(0.5 + 0.1 * i for i in range(7)), 0, 1e9)
HEAD = Phase("head", 3, 0.01, optimizer="adam", schedule="constant", trainable=0.0)
PLAIN, FLIP = Augment("none"), Augment("flip", flip=True)
MakeNetwork = Callable[..., Any]


def spec(phase: Phase, augment: Augment = PLAIN, train_all: bool = False, **recipe: Any) -> FitSpec:
    return FitSpec(Recipe("test", phases=[phase], **recipe), augment, 0, train_all)


def data_of(prepared: Prepared, **changes: Any) -> TrainingData:
    return training_data(prepared.folder, prepared.manifest, replace(BATCHES, **changes))


@pytest.fixture(scope="module")
def data(prepared: Prepared) -> TrainingData:
    return data_of(prepared)


@pytest.fixture(scope="module")
def train(prepared: Prepared) -> SplitArrays:
    return load_split(prepared.folder, prepared.manifest, "train")


def trained(model: Any, data: TrainingData, how: FitSpec, folder: Path) -> Progress:
    return fit(model, data, how, Checkpoints(folder), Watch(lambda *step: None, lambda row: None))


def staged(model: Any, data: TrainingData, how: FitSpec, folder: Path) -> Stage:
    return stage_of(model, data, how, how.recipe.phases[0], folder)


def features_of(model: Any, images: np.ndarray) -> np.ndarray:
    """What the base answers in inference mode."""
    import keras

    return np.asarray(keras.Model(model.input, model.get_layer("dropout").input)(images, training=False))


def weights_by_path(model: Any) -> dict[str, np.ndarray]:
    return {weight.path: np.array(weight) for weight in model.weights}


def changed_layers(model: Any, before: dict[str, np.ndarray]) -> set[str]:
    """Names of the layers of which any number is another one now."""
    after = weights_by_path(model)
    return {path.split("/")[-2] for path, value in before.items() if (value != after[path]).any()}


def test_cached_features_end_as_the_long_way_does(
    make_network: MakeNetwork, data: TrainingData, tmp_path: Path
) -> None:
    """Without dropout and augmentation the head sees the same numbers in the same order."""
    outcomes = []
    for features in ("cached", "computed"):
        model = make_network()
        how = spec(replace(HEAD, features=features), label_smoothing=0.1)
        progress = trained(model, data, how, tmp_path / features)
        rows = [{k: v for k, v in row.items() if k not in ("seconds", "images_per_s", "phase")}
                for row in progress.history]  # fmt: skip
        outcomes.append((rows, model.get_weights(), progress.best_epoch))
    (rows, weights, best), (long_rows, long_weights, long_best) = outcomes
    assert best == long_best
    for mine, other in zip(rows, long_rows, strict=True):
        assert mine == pytest.approx(other, rel=1e-4)
    for one, other in zip(weights, long_weights, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-5)
    assert len({row["loss"] for row in rows}) == 3


@pytest.mark.parametrize("memory_bytes", [1e9, 0], ids=["memory", "shards"])
def test_features_are_those_of_the_base_with_the_labels_of_their_images(
    make_network: MakeNetwork, prepared: Prepared, train: SplitArrays, tmp_path: Path, memory_bytes: float
) -> None:
    model, data = make_network(), data_of(prepared, memory_bytes=memory_bytes)
    assert isinstance(data.train, MemoryBatches if memory_bytes else ShardBatches)
    stage = staged(model, data, spec(HEAD), tmp_path / "features")
    (features,) = stage.batches.copies
    assert features.dtype == np.float32
    np.testing.assert_allclose(features, features_of(model, train.images), rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(stage.batches.known.labels, train.labels)
    validation = load_split(prepared.folder, prepared.manifest, "validation")
    np.testing.assert_allclose(
        np.concatenate(list(stage.validation())), features_of(model, validation.images), rtol=1e-4, atol=1e-5
    )
    assert len(list(stage.validation())) == len(list(stage.validation()))
    assert (tmp_path / "features").exists() == (memory_bytes == 0)


def test_a_head_on_features_answers_as_the_whole_network(
    make_network: MakeNetwork, data: TrainingData, train: SplitArrays, tmp_path: Path
) -> None:
    model = make_network()
    stage = staged(model, data, spec(HEAD), tmp_path)
    answers = np.asarray(stage.network(stage.batches.copies[0][:20], training=False))
    np.testing.assert_allclose(answers, np.asarray(model(train.images[:20], training=False)), atol=1e-5)


def test_copies_are_features_of_augmented_images(
    make_network: MakeNetwork, data: TrainingData, train: SplitArrays, tmp_path: Path
) -> None:
    """Each is that of the image or of its mirror image, half and half, drawn anew for each copy."""
    model = make_network()
    stage = staged(model, data, spec(replace(HEAD, copies=3), FLIP), tmp_path)
    plain, mirrored = features_of(model, train.images), features_of(model, train.images[:, :, ::-1])
    assert len(stage.batches.copies) == 3
    flipped = []
    for copy in stage.batches.copies:
        to_plain, to_mirrored = np.abs(copy - plain).max(axis=1), np.abs(copy - mirrored).max(axis=1)
        assert np.minimum(to_plain, to_mirrored).max() < 1e-4
        flipped.append(to_mirrored < to_plain)
    for number, one in enumerate(flipped):
        assert one.mean() == pytest.approx(0.5, abs=4 * 0.5 / np.sqrt(len(one)))
        assert 0.3 < (one == flipped[number - 1]).mean() < 0.7


@pytest.mark.parametrize(("copies", "strength"), [(0, 1.0), (2, 0.0)], ids=["no copies", "no strength"])
def test_without_copies_or_strength_features_are_those_of_the_plain_images(
    make_network: MakeNetwork, data: TrainingData, train: SplitArrays, tmp_path: Path, copies: int, strength: float
) -> None:
    model = make_network()
    how = spec(replace(HEAD, copies=copies, augment=strength), replace(FLIP, mixup=1.0))
    stage = staged(model, data, how, tmp_path)
    assert len(stage.batches.copies) == max(1, copies)
    for copy in stage.batches.copies:
        np.testing.assert_allclose(copy, features_of(model, train.images), rtol=1e-4, atol=1e-5)


def test_features_larger_than_memory_go_to_a_file_and_are_the_same(
    make_network: MakeNetwork, prepared: Prepared, tmp_path: Path
) -> None:
    """Pixels take 1.3 MB, 90 copies of eight float32 features 1.45 MB."""
    found = []
    for memory_bytes in (1e9, 2.65e6):
        data = data_of(prepared, memory_bytes=memory_bytes)
        assert isinstance(data.train, MemoryBatches)
        folder = tmp_path / f"{memory_bytes:.0f}"
        stage = staged(make_network(), data, spec(replace(HEAD, copies=90), FLIP), folder)
        batches = [batch for epoch in (0, 89) for batch in stage.batches.epoch(epoch, stage.change)]
        found.append((folder / "features.npy", [np.concatenate(part) for part in zip(*batches, strict=True)]))
    (memory, held), (file, mapped) = found
    assert not memory.exists()
    assert file.stat().st_size > 2.65e6 / 2
    for one, other in zip(held, mapped, strict=True):
        np.testing.assert_array_equal(one, other)


def test_training_on_features_in_a_file_leaves_nothing_once_the_run_is_forgotten(
    make_network: MakeNetwork, prepared: Prepared, tmp_path: Path
) -> None:
    progress = trained(make_network(), data_of(prepared, memory_bytes=0), spec(HEAD), tmp_path / "run")
    assert progress.epoch == 3
    assert (tmp_path / "run" / "features" / "features.npy").is_file()
    Checkpoints(tmp_path / "run").remove()
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"trainable": 0.0}, {"logits"}),
        ({"trainable": 0.0, "features": "computed"}, {"logits"}),
        ({"trainable": 1.0}, {"block1_conv", "block1_bn", "block2_dense", "block2_bn", "logits"}),
        ({"trainable": 1.0, "freeze_batch_norm": True}, {"block1_conv", "block2_dense", "logits"}),
        ({"from_block": "block2"}, {"block2_dense", "block2_bn", "logits"}),
        ({"from_block": "block2", "freeze_batch_norm": True}, {"block2_dense", "logits"}),
        ({"top_layers": 1}, {"block2_bn", "logits"}),
        ({"from_block": "block2", "trainable": 0.0}, {"block2_dense", "block2_bn", "logits"}),
    ],
    ids=["head", "head, computed", "all", "all but normalisation", "upper block", "upper block but normalisation",
         "top layers", "upper block whatever the share"],
)  # fmt: skip
def test_what_is_frozen_stays_to_the_last_bit(
    make_network: MakeNetwork, data: TrainingData, tmp_path: Path, changes: dict[str, Any], expected: set[str]
) -> None:
    """Moving averages of BatchNormalization included; weights of the best epoch, the only one, are compared."""
    model = make_network(dropout=0.2)
    before = weights_by_path(model)
    trained(model, data, spec(replace(HEAD, epochs=1, **changes)), tmp_path)
    assert changed_layers(model, before) == expected


def test_a_network_without_pretrained_weights_ignores_what_phases_freeze(
    make_network: MakeNetwork, data: TrainingData, tmp_path: Path
) -> None:
    model = make_network()
    before = weights_by_path(model)
    how = spec(replace(HEAD, epochs=1, freeze_batch_norm=True), train_all=True)
    assert staged(model, data, how, tmp_path).batches is data.train
    trained(model, data, how, tmp_path)
    assert changed_layers(model, before) == {"block1_conv", "block1_bn", "block2_dense", "block2_bn", "logits"}


def test_the_strength_of_a_phase_scales_the_augmentation(
    make_network: MakeNetwork, data: TrainingData, tmp_path: Path
) -> None:
    augment = Augment("light", brightness=0.4)
    gray, spans = np.full((400, 4, 4, 1), 128, np.uint8), {}
    for strength in (0.0, 0.5, 1.0):
        stage = staged(make_network(), data, spec(replace(HEAD, trainable=1.0, augment=strength), augment), tmp_path)
        changed, _ = stage.change(gray, np.zeros((400, 7), np.float32), np.random.default_rng(0))
        spans[strength] = np.abs(changed.astype(int) - 128).max()
    assert spans[0.0] == 0
    assert spans[0.5] == pytest.approx(0.2 * 255, rel=0.05)
    assert spans[1.0] == pytest.approx(0.4 * 255, rel=0.05)


def test_every_augmentation_at_once_can_be_trained_on(
    make_network: MakeNetwork, prepared: Prepared, tmp_path: Path
) -> None:
    """Each step gets whole batches whose targets still sum to 1."""
    augment = Augment("all", True, 10, 0.1, 0.1, 0.1, 0.1, erase=0.3, randaugment=2, mixup=0.2, cutmix=1.0)
    data, how = data_of(prepared, max_steps=2), spec(replace(HEAD, trainable=1.0), augment, loss="focal")
    model = make_network()
    stage = staged(model, data, how, tmp_path)
    for _, targets, weights in stage.batches.epoch(0, stage.change):
        assert targets.shape == (64, 7)
        np.testing.assert_allclose(targets.sum(axis=1), 1, atol=1e-5)
        assert weights.shape == (64,)
    progress = trained(model, data, how, tmp_path)
    assert np.isfinite([row["loss"] for row in progress.history]).all()


@pytest.mark.parametrize("trainable", [0.0, 1.0], ids=["head on features", "all"])
def test_sharpness_aware_training_keeps_the_best_weights_of_the_network_itself(
    make_network: MakeNetwork, prepared: Prepared, tmp_path: Path, trainable: float
) -> None:
    model, data = make_network(), data_of(prepared, max_steps=4)
    before = weights_by_path(model)
    progress = trained(model, data, spec(replace(HEAD, trainable=trainable), sharpness=0.05, ema=0.5), tmp_path)
    assert "logits" in changed_layers(model, before)
    assert ("block1_conv" in changed_layers(model, before)) == (trainable == 1)
    best = progress.history[progress.best_epoch - 1]
    split = load_split(prepared.folder, prepared.manifest, "validation")
    answer = np.asarray(model(split.images, training=False), np.float64)
    assert -np.log(answer[np.arange(len(answer)), split.labels]).mean() == pytest.approx(best["val_loss"], rel=1e-3)


def test_a_block_of_a_later_phase_that_is_not_there_is_refused_before_any_begins(make_network: MakeNetwork) -> None:
    phases = [HEAD, replace(HEAD, from_block="block2"), replace(HEAD, from_block="block9")]
    model = make_network()
    check_blocks(model, phases[:2])
    with pytest.raises(UserError, match="from_block=block9: no layer of the network starts so"):
        check_blocks(model, phases)


def test_a_phase_without_features_removes_those_of_the_one_before(
    make_network: MakeNetwork, prepared: Prepared, tmp_path: Path
) -> None:
    data, model, workspace = data_of(prepared, memory_bytes=0), make_network(), tmp_path / "features"
    staged(model, data, spec(HEAD), workspace)
    assert (workspace / "features.npy").is_file()
    staged(model, data, spec(replace(HEAD, trainable=1.0)), workspace)
    assert not workspace.exists()


def test_steps_of_a_costly_network_are_executed_few_at_a_time(
    make_network: MakeNetwork, data: TrainingData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    group = data.train.steps_per_execution
    assert group > 1
    how = spec(replace(HEAD, trainable=1.0))
    assert staged(make_network(), data, how, tmp_path / "features").trainee.steps_per_execution == group
    monkeypatch.setattr(order, "CALL_WORK", 1e3)
    stage = staged(make_network(), data, how, tmp_path / "features")
    assert stage.trainee.steps_per_execution == 1
    assert stage.batches.steps_per_epoch == data.train.steps_per_epoch
