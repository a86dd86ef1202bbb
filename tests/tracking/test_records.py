"""What is written on a run is found again, by whatever name a person uses for it."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from mlflow.tracking import MlflowClient

from ferlab.errors import UserError
from ferlab.models.build import ModelSpec, build_model
from ferlab.preparation.prepare import Prepared
from ferlab.tracking.records import add_metrics, add_tag, find_run, runs_of_study
from ferlab.tracking.run import flatten
from ferlab.tracking.store import Store, connect

CONFIG = {
    "seed": 3,
    "recipe": {"name": "demo", "phases": [{"name": "head", "epochs": 2}]},
    "resume": None,
    "flag": True,
}


@pytest.fixture
def store(home: Path) -> Store:
    return connect(home, home)


def params_of(run_id: str) -> dict[str, str]:
    from mlflow.tracking import MlflowClient

    return dict(MlflowClient().get_run(run_id).data.params)


def finished(store: Store, name: str, stage: str = "train", study: str = "study") -> str:
    with store.run(stage, study, name) as run:
        return run.id


def test_config_is_kept_whole_and_as_flat_params(store: Store) -> None:
    with store.run("train", "study", "name") as run:
        run.log_config(CONFIG)
    record = find_run(run.id)
    assert record.config() == CONFIG
    assert yaml.safe_load(record.artifact("config.yaml").read_text()) == CONFIG
    assert params_of(run.id) == {
        "seed": "3",
        "recipe.name": "demo",
        "recipe.phases.0.name": "head",
        "recipe.phases.0.epochs": "2",
        "resume": "None",
        "flag": "True",
    }


def test_a_long_value_is_cut_not_refused(store: Store) -> None:
    with store.run("train", "study", "name") as run:
        run.log_config({"path": "x" * 50_000})
    assert params_of(run.id)["path"].startswith("xxx")
    assert find_run(run.id).config()["path"] == "x" * 50_000


@pytest.mark.parametrize(
    ("nested", "flat"),
    [
        ({}, {}),
        ({"a": []}, {}),
        ({"a": [1, {"b": 2}]}, {"a.0": "1", "a.1.b": "2"}),
        ({"a": {"b": {"c": None}}}, {"a.b.c": "None"}),
    ],
)
def test_flattening(nested: dict[str, Any], flat: dict[str, str]) -> None:
    assert flatten(nested) == flat


def test_curves_figures_files_and_links_are_kept(store: Store, tmp_path: Path) -> None:
    from matplotlib.figure import Figure

    (tmp_path / "note.txt").write_text("note")
    made = finished(store, "prepare", "prepare")
    with store.run("train", "study", "name") as run:
        for epoch in (1, 2):
            run.log_metrics({"loss": 1 / epoch, "val_loss": np.float32(2)}, epoch)
        run.log_figure(Figure(), "figures/empty.png")
        run.log_file(tmp_path / "note.txt", "notes")
        run.log_json({"a": [1]}, "a.json")
        run.log_saved(lambda path: path.write_text("saved"), "saved.txt", "notes")
        run.link("prepare", [made])
    record = find_run(run.id)
    assert [(m.step, m.value) for m in MlflowClient().get_metric_history(run.id, "loss")] == [(1, 1.0), (2, 0.5)]
    assert record.artifact("figures/empty.png").read_bytes().startswith(b"\x89PNG")
    assert record.artifact("notes/note.txt").read_text() == "note"
    assert record.artifact("notes/saved.txt").read_text() == "saved"
    assert record.tags["ferlab.from.prepare"] == made


def test_the_dataset_is_an_input_with_its_digest(store: Store, prepared: Prepared) -> None:
    with store.run("train", "study", "name") as run:
        run.log_dataset(prepared.manifest, prepared.folder, "train")
    recorded = MlflowClient().get_run(run.id)
    (given,) = recorded.inputs.dataset_inputs
    assert prepared.manifest.digest.startswith(given.dataset.digest)
    assert len(given.dataset.digest) >= 32
    assert str(prepared.folder) in given.dataset.source
    assert {tag.key: tag.value for tag in given.tags}["mlflow.data.context"] == "train"
    assert recorded.data.tags["dataset.digest"] == prepared.manifest.digest
    assert recorded.data.tags["dataset.protocol"] == prepared.manifest.protocol


def test_the_model_carries_signature_and_classes_and_loads(tf: Any, store: Store) -> None:
    import keras
    import mlflow

    keras.utils.set_random_seed(0)
    classes = ("angry", "happy", "sad")
    model = build_model(ModelSpec("seq1", classes, 32, 1, None, "none", False, 0.3, 0.25)).model
    images = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 1), dtype=np.uint8)
    with store.run("train", "study", "name") as run:
        run.log_model(model, images, {"classes": list(classes), "size_px": 32})
    expected = model.predict(images, verbose=0)
    np.testing.assert_allclose(find_run(run.id).load_model().predict(images, verbose=0), expected, atol=1e-6)
    info = mlflow.models.get_model_info(f"runs:/{run.id}/model")
    assert info.metadata == {"classes": list(classes), "size_px": 32}
    (given,), (answer,) = info.signature.inputs.inputs, info.signature.outputs.inputs
    assert (given.type, given.shape) == (np.dtype("uint8"), (-1, 32, 32, 1))
    assert (answer.type, answer.shape) == (np.dtype("float32"), (-1, 3))
    loaded = mlflow.pyfunc.load_model(f"runs:/{run.id}/model")
    np.testing.assert_allclose(loaded.predict(images), expected, atol=1e-6)


def test_a_run_is_found_by_id_beginning_and_name(store: Store) -> None:
    run_id = finished(store, "seq1-demo-s0")
    finished(store, "seq2-demo-s0")
    for reference in (run_id, run_id[:6], run_id[:20], "seq1-demo-s0"):
        record = find_run(reference)
        assert (record.id, record.name, record.stage, record.status) == (run_id, "seq1-demo-s0", "train", "FINISHED")
        assert record.minutes >= 0


def test_a_name_used_twice_lists_both(store: Store) -> None:
    both = [finished(store, "same", study=study) for study in ("one", "two")]
    with pytest.raises(UserError, match="2 runs fit") as refusal:
        find_run("same")
    assert all(run_id in str(refusal.value) for run_id in both)


@pytest.mark.parametrize("reference", ["nothing", "0" * 32, "abc", ""])
def test_a_run_that_is_not_there_is_said(store: Store, reference: str) -> None:
    finished(store, "name")
    with pytest.raises(UserError, match=f"run={reference}: no such run"):
        find_run(reference)


def test_a_short_beginning_is_not_an_id(store: Store) -> None:
    run_id = finished(store, "name")
    with pytest.raises(UserError, match="no such run"):
        find_run(run_id[:5])


def test_a_deleted_artifact_is_one_line(store: Store) -> None:
    with store.run("train", "study", "name") as run:
        run.log_text("text", "predictions/validation.parquet")
    record = find_run(run.id)
    file = record.artifact("predictions/validation.parquet")
    file.unlink()
    with pytest.raises(UserError, match=r"predictions/validation\.parquet is not there") as refusal:
        record.artifact("predictions/validation.parquet")
    assert "\n" not in str(refusal.value)


def test_a_missing_model_is_one_line(tf: Any, store: Store) -> None:
    record = find_run(finished(store, "name"))
    with pytest.raises(UserError, match="model cannot be loaded") as refusal:
        record.load_model()
    assert "\n" not in str(refusal.value)


def test_lost_artifacts_are_one_line(store: Store, home: Path) -> None:
    with store.run("train", "study", "name") as run:
        run.log_config(CONFIG)
    record = find_run(run.id)
    shutil.rmtree(home / "artifacts")
    with pytest.raises(UserError, match=r"config\.yaml is not there"):
        record.config()


def test_runs_of_a_study_are_its_finished_ones_of_those_stages_in_order(store: Store) -> None:
    first, second = finished(store, "a"), finished(store, "b", "ensemble")
    finished(store, "c", "prepare")
    finished(store, "d", study="another")
    with pytest.raises(KeyboardInterrupt), store.run("train", "study", "killed"):
        raise KeyboardInterrupt
    assert [record.id for record in runs_of_study("study", ("train", "ensemble"))] == [first, second]


def test_an_unknown_study_lists_the_known(store: Store) -> None:
    finished(store, "a", study="mine")
    with pytest.raises(UserError, match=r"study=yours.*mine"):
        runs_of_study("yours", ("train",))


def test_tags_and_metrics_can_be_added_later(store: Store) -> None:
    run_id = finished(store, "a")
    add_tag(run_id, "ferlab.test_openings", "1")
    add_metrics(run_id, {"test_accuracy": 0.5})
    record = find_run(run_id)
    assert record.tags["ferlab.test_openings"] == "1"
    assert record.metrics["test_accuracy"] == 0.5
    assert record.status == "FINISHED"
