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
from ferlab.records.load import load_split
from ferlab.scoring import predict
from ferlab.scoring.predict import predict_split


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
    found = predict_split(model, prepared.folder, prepared.manifest, split, "run")
    arrays = load_split(prepared.folder, prepared.manifest, split)
    assert found.ids == arrays.ids
    np.testing.assert_array_equal(found.labels, arrays.labels)
    expected = model.predict(arrays.images, verbose=0, batch_size=64)
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
    first, second = (predict_split(model, prepared.folder, prepared.manifest, "test", "run") for _ in range(2))
    np.testing.assert_array_equal(first.probabilities, second.probabilities)


def test_batches_do_not_change_the_answer(model: Any, prepared: Prepared, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = predict_split(model, prepared.folder, prepared.manifest, "test", "run")
    monkeypatch.setattr(predict, "BATCH", 9)
    np.testing.assert_allclose(
        predict_split(model, prepared.folder, prepared.manifest, "test", "run").probabilities,
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
        predict_split(other, prepared.folder, prepared.manifest, "test", "abc")
    assert str((size_px, size_px, channels)) in str(refusal.value)
    assert "(48, 48, 1)" in str(refusal.value)


@pytest.mark.parametrize("damage", ["removed", "cut", "flipped"])
def test_a_damaged_shard_is_named(model: Any, prepared: Prepared, tmp_path: Path, damage: str) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(prepared.folder, folder)
    shard = folder / prepared.manifest.split_shards("test")[3].name
    data = bytearray(shard.read_bytes())
    if damage == "removed":
        shard.unlink()
    elif damage == "cut":
        shard.write_bytes(data[: len(data) // 2])
    else:
        data[len(data) // 2] ^= 0xFF
        shard.write_bytes(data)
    with pytest.raises(UserError, match=shard.name):
        predict_split(model, folder, prepared.manifest, "test", "run")


def test_an_empty_split_is_said(model: Any, prepared: Prepared) -> None:
    shards = tuple(shard for shard in prepared.manifest.shards if shard.split != "test")
    with pytest.raises(UserError, match="test split is empty"):
        predict_split(model, prepared.folder, replace(prepared.manifest, shards=shards), "test", "run")
