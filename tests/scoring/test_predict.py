"""Predictions are what the model says of the stored pixels, sample by sample."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ferlab.errors import UserError
from ferlab.models.build import ModelSpec, build_model
from ferlab.predictions import Predictions
from ferlab.preparation.prepare import Prepared
from ferlab.records.load import read_samples
from ferlab.scoring import predict
from ferlab.scoring.predict import predict_split, predict_split_with_views
from ferlab.scoring.views import PLAIN, combine_views, views_of
from ferlab.sealed import Opening, SealedSplitError

OPENING = Opening("run", 1)


def network(size_px: int, channels: int, classes: int) -> Any:
    names = tuple(f"class{i}" for i in range(classes))
    return build_model(ModelSpec("seq1", names, size_px, channels, 32, "none", False, 0.0, 0.25)).model


@pytest.fixture(scope="module")
def model(tf: Any) -> Any:
    import keras

    keras.utils.set_random_seed(0)
    return network(48, 1, 7)


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_predictions_equal_the_model_on_the_arrays(model: Any, prepared: Prepared, split: str) -> None:
    opening = OPENING if split == "test" else None
    found = predict_split(model, prepared.folder, prepared.manifest, split, "run", opening)
    samples = list(read_samples(prepared.folder, prepared.manifest, split, opening))
    assert found.ids == tuple(sample.id for sample in samples)
    np.testing.assert_array_equal(found.labels, [sample.label for sample in samples])
    expected = model.predict(np.stack([sample.pixels for sample in samples]), verbose=0, batch_size=64)
    np.testing.assert_allclose(found.probabilities, expected, atol=1e-5)
    assert np.ptp(found.probabilities, axis=0).max() > 1e-4
    manifest = prepared.manifest
    assert (found.split, found.run_id, found.classes) == (split, "run", manifest.classes)
    assert (found.taxonomy, found.protocol, found.dataset_digest) == (
        manifest.taxonomy,
        manifest.protocol,
        manifest.digest,
    )


def test_scoring_twice_gives_the_same_bytes(model: Any, prepared: Prepared) -> None:
    first, second = (predict_split(model, prepared.folder, prepared.manifest, "test", "run", OPENING) for _ in range(2))
    np.testing.assert_array_equal(first.probabilities, second.probabilities)


def test_batches_do_not_change_the_answer(model: Any, prepared: Prepared, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = predict_split(model, prepared.folder, prepared.manifest, "test", "run", OPENING)
    monkeypatch.setattr(predict, "BATCH", 9)
    np.testing.assert_allclose(
        predict_split(model, prepared.folder, prepared.manifest, "test", "run", OPENING).probabilities,
        whole.probabilities,
        atol=1e-5,
    )


def test_predictions_survive_their_file(model: Any, prepared: Prepared, tmp_path: Path) -> None:
    found = predict_split(model, prepared.folder, prepared.manifest, "validation", "run")
    found.save(tmp_path / "p.parquet")
    loaded = Predictions.load(tmp_path / "p.parquet")
    assert loaded.ids == found.ids
    np.testing.assert_array_equal(loaded.predicted, found.predicted)
    np.testing.assert_allclose(loaded.probabilities, found.probabilities, atol=1e-7)


@pytest.mark.parametrize(
    ("size_px", "channels", "classes"), [(40, 1, 7), (48, 3, 7), (48, 1, 8)], ids=["size", "colour", "classes"]
)
def test_a_model_that_does_not_fit_is_refused_with_both_shapes(
    tf: Any, prepared: Prepared, size_px: int, channels: int, classes: int
) -> None:
    other = network(size_px, channels, classes)
    with pytest.raises(UserError, match="run abc") as refusal:
        predict_split(other, prepared.folder, prepared.manifest, "test", "abc", OPENING)
    assert str((size_px, size_px, channels)) in str(refusal.value)
    assert "(48, 48, 1)" in str(refusal.value)


@pytest.mark.parametrize("damage", ["removed", "cut", "flipped"])
def test_a_damaged_shard_is_named(model: Any, prepared: Prepared, tmp_path: Path, damage: str) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(prepared.folder, folder)
    shard = folder / prepared.manifest.split_shards("test", OPENING)[3].name
    data = bytearray(shard.read_bytes())
    if damage == "removed":
        shard.unlink()
    elif damage == "cut":
        shard.write_bytes(data[: len(data) // 2])
    else:
        data[len(data) // 2] ^= 0xFF
        shard.write_bytes(data)
    with pytest.raises(UserError, match=shard.name):
        predict_split(model, folder, prepared.manifest, "test", "run", OPENING)


def test_an_empty_split_is_said(model: Any, prepared: Prepared) -> None:
    shards = tuple(shard for shard in prepared.manifest.shards if shard.split != "test")
    with pytest.raises(UserError, match="test split is empty"):
        predict_split(model, prepared.folder, replace(prepared.manifest, shards=shards), "test", "run", OPENING)


def test_the_test_split_is_sealed_also_where_the_model_fits(model: Any, prepared: Prepared) -> None:
    with pytest.raises(SealedSplitError):
        predict_split(model, prepared.folder, prepared.manifest, "test", "run")


@pytest.mark.parametrize("split", ["validation", "test"])
def test_predictions_say_which_samples_are_twins(model: Any, prepared: Prepared, split: str) -> None:
    """The drawn faces have none; an answer for each of them is a comparison of pixels all the same."""
    found = predict_split(model, prepared.folder, prepared.manifest, split, "run", OPENING)
    assert found.twins is not None
    assert found.twins.dtype == bool
    assert found.twins.sum() == prepared.manifest.twins[split] == 0
    assert len(found.twins) == len(found)


def test_views_are_combined_and_the_plain_predictions_stay_the_same_bytes(model: Any, prepared: Prepared) -> None:
    views = views_of("ten_crop", 1 / 12, 48)
    place = (prepared.folder, prepared.manifest, "test", "run")
    plain, combined = predict_split_with_views(model, *place, views, OPENING)
    np.testing.assert_array_equal(plain.probabilities, predict_split(model, *place, OPENING).probabilities)
    images = np.stack([sample.pixels for sample in read_samples(prepared.folder, prepared.manifest, "test", OPENING)])
    expected = combine_views(np.stack([model.predict(view.of(images), verbose=0) for view in views]))
    np.testing.assert_allclose(combined.probabilities, expected, atol=1e-5)
    assert np.abs(plain.probabilities - combined.probabilities).max() > 1e-4
    assert (combined.ids, combined.split, combined.run_id) == (plain.ids, "test", "run")
    np.testing.assert_array_equal(combined.labels, plain.labels)
    np.testing.assert_array_equal(combined.twins, plain.twins)


def test_views_do_not_open_the_test_split(model: Any, prepared: Prepared) -> None:
    with pytest.raises(SealedSplitError):
        predict_split_with_views(model, prepared.folder, prepared.manifest, "test", "run", (PLAIN,))


def test_a_model_with_valence_and_arousal_is_scored_by_its_classes(tf: Any, prepared: Prepared) -> None:
    import keras

    keras.utils.set_random_seed(2)
    names = tuple(f"class{i}" for i in range(7))
    spec = ModelSpec("seq1", names, 48, 1, 32, "none", False, 0.0, 0.25, affect=True)
    model = build_model(spec).model
    found = predict_split(model, prepared.folder, prepared.manifest, "validation", "run")
    images = np.stack([sample.pixels for sample in read_samples(prepared.folder, prepared.manifest, "validation")])
    expected = model.predict(images, verbose=0)["probabilities"]
    np.testing.assert_allclose(found.probabilities, expected, atol=1e-5)
    assert np.ptp(found.probabilities, axis=0).max() > 1e-4
