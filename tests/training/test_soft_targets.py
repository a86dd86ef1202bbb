"""Targets made of annotators' votes, against NumPy on the file of votes."""

import csv
import subprocess
import sys
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ferlab.config.nodes import Augment, Phase, Recipe
from ferlab.models.blocks import logits_model
from ferlab.models.build import ModelSpec, build_model
from ferlab.preparation.prepare import Prepared
from ferlab.training.checkpoint import Checkpoints
from ferlab.training.fit import EpochRow, Watch, fit
from ferlab.training.inputs import BatchSpec, TrainingData, training_data
from ferlab.training.losses import loss_of
from ferlab.training.phases import FitSpec

EMOTIONS = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt")
COLUMNS = (*EMOTIONS, "unknown", "NF")
SPEC = BatchSpec(batch_size=20, seed=3, balance="none", class_weights=(1.0,) * 8, max_steps=0, memory_bytes=1e9)
MODES = {"memory": 1e9, "shards": 0}
PHASE = Phase("all", 2, 1e-3, optimizer="adam", schedule="constant")
SOFT = FitSpec(Recipe("soft", phases=[PHASE], label_smoothing=0.1), Augment("none"), max_epochs=0, train_all=True)

Voted = dict[str, dict[bytes, np.ndarray]]


@pytest.fixture(scope="module")
def voted(ferplus_folder: Path) -> Voted:
    """The two files read with the standard library: Usage to pixels to the ten votes, rows of no emotion left out."""
    found: Voted = defaultdict(dict)
    images, votes = (ferplus_folder / name for name in ("fer2013.csv", "fer2013new.csv"))
    with images.open(newline="") as first, votes.open(newline="") as second:
        for image, row in zip(csv.DictReader(first), csv.DictReader(second), strict=True):
            counted = np.array([int(row[name]) for name in COLUMNS])
            assert image["Usage"] == row["Usage"]
            if counted.argmax() < len(EMOTIONS):
                found[row["Usage"]][np.array(image["pixels"].split(), np.uint8).tobytes()] = counted
    return found


@pytest.fixture(params=MODES.values(), ids=MODES.keys())
def memory_bytes(request: pytest.FixtureRequest) -> float:
    return request.param


def unchanged(images: np.ndarray, targets: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    return images, targets


def data_of(prepared: Prepared, targets: str, memory_bytes: float = 1e9, **changes: Any) -> TrainingData:
    manifest = replace(prepared.manifest, targets=targets)
    return training_data(prepared.folder, manifest, replace(SPEC, memory_bytes=memory_bytes, **changes))


def shown(data: TrainingData, first: int, last: int) -> list[tuple[bytes, np.ndarray]]:
    """Image and target of every sample of those epochs, in order."""
    batches = [batch for epoch in range(first, last) for batch in data.train.epoch(epoch, unchanged)]
    return [
        (image.tobytes(), target) for images, targets in batches for image, target in zip(images, targets, strict=True)
    ]


def shares(votes: np.ndarray) -> np.ndarray:
    emotions = votes[: len(EMOTIONS)]
    return emotions / emotions.sum()


def one_hot(votes: np.ndarray) -> np.ndarray:
    return np.eye(len(EMOTIONS))[votes.argmax()]


def accepted(votes: np.ndarray) -> np.ndarray:
    """Barsoum et al. 2016: every emotion that a sizeable share of the annotators saw; the label always."""
    emotions = votes[: len(EMOTIONS)]
    return np.maximum(10 * emotions >= 3 * emotions.sum(), one_hot(votes)).astype(float)


def test_the_votes_are_worth_testing_with(voted: Voted) -> None:
    training = list(voted["Training"].values())
    assert len(training) > 200
    assert sum(votes[8:].any() for votes in training) > 5
    assert sum(accepted(votes).sum() > 1 for votes in training) > 10
    assert sum(shares(votes).max() <= 0.7 for votes in training) > 40
    assert any(shares(votes).max() < 0.3 for votes in training)
    assert any(votes.sum() == 9 for votes in training)


def test_the_manifest_says_what_is_trained_on(prepared_ferplus: Prepared, voted: Voted) -> None:
    manifest = prepared_ferplus.manifest
    assert (manifest.targets, manifest.has_votes, manifest.taxonomy) == ("multi_target", True, "ferplus8")
    assert sum(manifest.counts["train"].values()) == len(voted["Training"])


@pytest.mark.parametrize(
    ("targets", "expected"), [("cross_entropy", shares), ("multi_target", accepted), ("majority", one_hot)]
)
def test_training_targets_follow_from_the_votes(
    prepared_ferplus: Prepared, voted: Voted, memory_bytes: float, targets: str, expected: Any
) -> None:
    epoch = shown(data_of(prepared_ferplus, targets, memory_bytes), 0, 1)
    assert len(epoch) > 200
    for image, target in epoch:
        assert target.dtype == np.float32
        np.testing.assert_allclose(target, expected(voted["Training"][image]), atol=1e-6)


def test_drawn_labels_occur_as_often_as_their_votes(
    prepared_ferplus: Prepared, voted: Voted, memory_bytes: float
) -> None:
    """Within four standard errors, class by class over all samples; nobody gets a label without a vote."""
    epochs = 30
    drawn = shown(data_of(prepared_ferplus, "probability", memory_bytes), 0, epochs)
    expected, variance, found = np.zeros(8), np.zeros(8), np.zeros(8)
    for image, target in drawn:
        chances = shares(voted["Training"][image])
        assert sorted(target) == [0] * 7 + [1]
        assert chances[target.argmax()] > 0
        expected += chances
        variance += chances * (1 - chances)
        found += target
    assert (np.abs(found - expected) <= 4 * np.sqrt(variance) + 1e-6).all()
    assert (variance > 1).sum() >= 6


def test_labels_of_doubtful_faces_are_drawn_anew_in_every_epoch(
    prepared_ferplus: Prepared, voted: Voted, memory_bytes: float
) -> None:
    by_image = defaultdict(list)
    for image, target in shown(data_of(prepared_ferplus, "probability", memory_bytes), 0, 12):
        by_image[image].append(int(target.argmax()))
    doubtful = [image for image, votes in voted["Training"].items() if shares(votes).max() <= 0.7]
    agreed = [image for image, votes in voted["Training"].items() if shares(votes).max() == 1]
    assert np.mean([len(set(by_image[image])) > 1 for image in doubtful]) > 0.95
    assert all(len(set(by_image[image])) == 1 for image in agreed)


def test_seed_and_epoch_decide_the_labels_drawn(prepared_ferplus: Prepared, memory_bytes: float) -> None:
    def labels(first: int, last: int, seed: int) -> list[tuple[bytes, int]]:
        data = data_of(prepared_ferplus, "probability", memory_bytes, seed=seed)
        return [(image, int(target.argmax())) for image, target in shown(data, first, last)]

    whole = labels(0, 3, seed=3)
    assert labels(0, 3, seed=3) == whole
    assert labels(2, 3, seed=3) == whole[2 * len(whole) // 3 :]
    assert sorted(labels(0, 1, seed=4)) != sorted(whole[: len(whole) // 3])


@pytest.mark.parametrize("targets", ["majority", "probability", "cross_entropy", "multi_target"])
def test_validation_labels_are_always_the_plurality(
    prepared_ferplus: Prepared, voted: Voted, memory_bytes: float, targets: str
) -> None:
    validation = data_of(prepared_ferplus, targets, memory_bytes).validation
    images = np.concatenate(list(validation.batches()))
    assert len(images) == len(voted["PublicTest"])
    assert validation.known.labels.tolist() == [voted["PublicTest"][image.tobytes()].argmax() for image in images]


def test_class_weights_go_by_the_label_whatever_is_drawn(prepared_ferplus: Prepared, voted: Voted) -> None:
    weights = tuple(0.5 + 0.25 * i for i in range(8))
    data = data_of(prepared_ferplus, "probability", balance="weights", class_weights=weights)
    for images, _, sample_weights in data.train.epoch(0, unchanged):
        labels = [voted["Training"][image.tobytes()].argmax() for image in images]
        np.testing.assert_array_equal(sample_weights, np.float32(weights)[labels])


def test_blocks_bring_the_votes_of_every_sample(prepared_ferplus: Prepared, voted: Voted, memory_bytes: float) -> None:
    data = data_of(prepared_ferplus, "multi_target", memory_bytes)
    blocks = [(images, known.labels, known.votes) for images, known in data.train.blocks()]
    rows = [row for block in blocks for row in zip(*block, strict=True)]
    assert len(rows) == len(voted["Training"])
    for image, label, votes in rows:
        expected = voted["Training"][image.tobytes()][: len(EMOTIONS)]
        np.testing.assert_array_equal(votes, expected)
        assert label == expected.argmax()


def network(seed: int = 0) -> Any:
    import keras

    keras.utils.set_random_seed(seed)
    names = tuple(f"class{i}" for i in range(8))
    return build_model(ModelSpec("seq1", names, 48, 1, 32, "none", False, 0.2, 0.25)).model


def test_the_loss_of_multi_target_is_that_of_the_best_accepted_answer(
    tf: Any, prepared_ferplus: Prepared, voted: Voted
) -> None:
    images, valid = next(data_of(prepared_ferplus, "multi_target").train.epoch(0, unchanged))
    model = network()
    learning = logits_model(model, on_features=False)
    learning.compile(loss=loss_of("multi_target", SOFT.recipe), jit_compile=False)
    found = learning.test_on_batch(images, valid, return_dict=True)["loss"]
    probabilities = np.asarray(model(images, training=False), np.float64)
    expected = [
        -np.log(max(p for p, valid in zip(row, accepted(voted["Training"][image.tobytes()]), strict=True) if valid))
        for image, row in zip(images, probabilities, strict=True)
    ]
    assert found == pytest.approx(np.mean(expected), rel=1e-5)


def trained(prepared: Prepared, folder: Path, stop_after: int = 0) -> tuple[Any, list[EpochRow]]:
    model, rows = network(), []

    def on_epoch(row: EpochRow) -> None:
        rows.append(row)
        if row.epoch == stop_after:
            raise KeyboardInterrupt

    data = data_of(prepared, "multi_target", max_steps=3)
    fit(model, data, SOFT, Checkpoints(folder), Watch(lambda *step: None, on_epoch))
    return model, rows


PLAIN_KERAS = """
import sys
import keras, numpy as np
model = keras.saving.load_model(sys.argv[1])
np.save(sys.argv[3], model.predict(np.load(sys.argv[2]), verbose=0))
assert not [name for name in sys.modules if name.partition(".")[0] == "ferlab"]
"""


def test_a_model_trained_on_several_valid_answers_loads_without_our_code(
    tf: Any, prepared_ferplus: Prepared, tmp_path: Path
) -> None:
    model, rows = trained(prepared_ferplus, tmp_path / "checkpoints")
    assert len(rows) == 2
    images = np.random.default_rng(0).integers(0, 256, (5, 48, 48, 1), dtype=np.uint8)
    np.save(tmp_path / "images.npy", images)
    model.save(tmp_path / "model.keras")
    files = [str(tmp_path / name) for name in ("model.keras", "images.npy", "answer.npy")]
    done = subprocess.run(
        [sys.executable, "-c", PLAIN_KERAS, *files], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    np.testing.assert_allclose(np.load(tmp_path / "answer.npy"), model.predict(images, verbose=0), atol=1e-6)


RESUME = """
import sys
from dataclasses import replace
from pathlib import Path
from ferlab.config.nodes import Augment, Phase, Recipe
from ferlab.manifest import Manifest
from ferlab.models.build import ModelSpec, build_model
from ferlab.training.checkpoint import Checkpoints
from ferlab.training.fit import Watch, fit
from ferlab.training.inputs import BatchSpec, training_data
from ferlab.training.phases import FitSpec

folder, checkpoints = Path(sys.argv[1]), Path(sys.argv[2])
phase = Phase("all", 2, 1e-3, optimizer="adam", schedule="constant")
spec = FitSpec(Recipe("soft", phases=[phase], label_smoothing=0.1), Augment("none"), 0, True)
manifest = replace(Manifest.load(folder), targets="multi_target")
data = training_data(folder, manifest, BatchSpec(20, 3, "none", (1.0,) * 8, 3, 1e9))
names = tuple(f"class{i}" for i in range(8))
model = build_model(ModelSpec("seq1", names, 48, 1, 32, "none", False, 0.2, 0.25)).model
watch = Watch(lambda *step: None, lambda row: None)
progress = fit(model, data, spec, Checkpoints(checkpoints), watch, resume=True)
print([row["epoch"] for row in progress.history])
"""


@pytest.mark.slow
def test_an_interrupted_training_on_several_valid_answers_resumes_in_another_process(
    tf: Any, prepared_ferplus: Prepared, tmp_path: Path
) -> None:
    with pytest.raises(KeyboardInterrupt):
        trained(prepared_ferplus, tmp_path / "checkpoints", stop_after=1)
    done = subprocess.run(
        [sys.executable, "-c", RESUME, str(prepared_ferplus.folder), str(tmp_path / "checkpoints")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.splitlines()[-1] == "[1, 2]"
