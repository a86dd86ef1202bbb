"""``export``: the file answers as the trained model does and says itself what it is, or it is not kept."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ferlab.commands import export as command
from ferlab.commands.ensemble import ensemble
from ferlab.commands.export import run
from ferlab.config.edge_nodes import Parity
from ferlab.config.nodes import Combination, Compute
from ferlab.config.schema import EnsembleConfig, ExportConfig
from ferlab.edge.runtimes import open_model
from ferlab.errors import UserError
from ferlab.inference.abstention import confidence_needed
from ferlab.predictions import PREDICTIONS, Predictions
from ferlab.records.load import load_split
from ferlab.tracking.artifacts import artifact_sizes
from ferlab.tracking.records import find_run


def asked(run_id: str, precision: str = "float32", **settings: Any) -> ExportConfig:
    defaults = {"format": "litert", "calibration": 20, "parity": Parity(), "compute": Compute("local")}
    return ExportConfig(run=run_id, precision=precision, **{**defaults, **settings})


@pytest.fixture
def place(recorded: Any) -> Any:
    return recorded("export")


@pytest.fixture
def faces(place: Any) -> Any:
    return load_split(Path(place.prepared.folder), place.prepared.manifest, "validation")


@pytest.mark.parametrize(
    ("format_name", "precision"), [("litert", "float32"), ("litert", "float16"), ("onnx", "float32")]
)
def test_the_file_alone_gives_the_stored_predictions(place: Any, faces: Any, format_name: str, precision: str) -> None:
    run_id = place.train("a", 0)
    loose = Parity(float16=0.9, accuracy_lost=0.1)  # an untrained network prefers no class clearly
    config = asked(run_id, precision, format=format_name, abstain_below=0.4, parity=loose)
    result = run(config, place.context)
    opened = open_model(Path(result["file"]))
    stored = Predictions.load(find_run(run_id).artifact("predictions/validation.parquet"))
    gap = np.abs(opened.probabilities(faces.images) - stored.probabilities).max()
    assert gap < (1e-5 if precision == "float32" else 5e-3)
    assert result["parity"]["max_diff"] == pytest.approx(gap, abs=1e-6)
    assert result["parity"]["n"] == len(faces.labels)
    assert result["latency_ms"] > 0
    manifest, said = place.prepared.manifest, opened.description
    assert (said.classes, said.run_id, said.abstain_below) == (manifest.classes, run_id, 0.4)
    assert (said.taxonomy, said.size_px, said.colour, said.align) == ("fer2013", 48, "gray", manifest.align)
    assert (said.precision, said.dataset_digest) == (precision, manifest.digest)
    assert "Drawn faces" in said.licence
    printed = place.printed.getvalue()
    assert "accuracy, exported - trained" in printed
    assert f"compared on {result['parity']['n']} images, fewer than 1,000" in printed.replace("\n", " ")
    recorded = find_run(result["run_id"]).artifact("export.md").read_text()
    assert f"only {result['parity']['n']} validation images" in recorded


def test_the_models_run_keeps_the_file_with_its_tables(place: Any) -> None:
    run_id = place.train("a", 0)
    result = run(asked(run_id), place.context)
    kept = {path for path in artifact_sizes(run_id) if path.startswith("exports/")}
    assert kept == {"exports/a-float32.tflite", "exports/a-float32.tflite.md", "exports/a-float32.tflite.json"}
    stored = Predictions.load(find_run(run_id).artifact(PREDICTIONS))
    asked_for = confidence_needed(stored.probabilities, stored.labels)
    assert open_model(Path(result["file"])).description.abstain_below == asked_for
    told = json.loads(find_run(run_id).artifact("exports/a-float32.tflite.json").read_text())
    assert told["parity"] == result["parity"]
    assert told["export_run_id"] == result["run_id"]
    tracked = find_run(result["run_id"])
    assert (tracked.stage, tracked.status, tracked.tags["ferlab.from.model"]) == ("export", "FINISHED", run_id)
    assert tracked.metrics["agreement"] == result["parity"]["agreement"]


def test_int8_is_small_and_takes_and_gives_uint8(place: Any, tmp_path: Path) -> None:
    from ai_edge_litert.interpreter import Interpreter

    run_id = place.train("a", 0, width=0.5)
    loose = Parity(int8=0.5, accuracy_lost=0.5)
    plain = run(asked(run_id), place.context)
    small = run(asked(run_id, "int8", parity=loose, output="uint8", out=str(tmp_path / "out")), place.context)
    assert Path(small["file"]) == tmp_path / "out" / "a-int8-uint8.tflite"
    assert small["size_mb"] < 0.35 * plain["size_mb"]
    interpreter = Interpreter(small["file"])
    ends = (*interpreter.get_input_details(), *interpreter.get_output_details())
    assert [end["dtype"] for end in ends] == [np.uint8, np.uint8]
    assert small["parity"]["max_diff"] < 0.1


def test_a_file_that_is_not_the_model_is_refused(place: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    run_id = place.train("a", 0)
    write = command.export_file

    def spoiled(model: Any, *rest: Any) -> Path:
        trained = model.get_weights()
        try:
            model.set_weights([*trained[:-1], trained[-1][::-1] + np.arange(7, dtype=np.float32)])
            return write(model, *rest)
        finally:
            model.set_weights(trained)

    monkeypatch.setattr(command, "export_file", spoiled)
    with pytest.raises(UserError, match=r"a-float32.tflite: not kept.*top class agrees on .* at least 99.9 % must"):
        run(asked(run_id), place.context)
    assert not [path for path in artifact_sizes(run_id) if path.startswith("exports")]


SLOW = [pytest.param(method, marks=pytest.mark.slow) for method in ("mean", "vote", "stacking")]


@pytest.mark.parametrize("method", ["geometric", *SLOW])
def test_an_ensemble_is_one_file(place: Any, faces: Any, method: str) -> None:
    runs = [place.train("a", 0), place.train("b", 1)]
    config = EnsembleConfig(None, runs, Combination(method=method), Compute("local"))
    run_id = ensemble(config, place.context).run_id
    result = run(asked(run_id), place.context)
    trained = find_run(run_id).load_model().predict(faces.images, verbose=0)
    np.testing.assert_allclose(open_model(Path(result["file"])).probabilities(faces.images), trained, atol=1e-5)


def test_data_of_another_model_is_refused(place: Any) -> None:
    with pytest.raises(UserError, match="no such run"):
        run(asked("nothing"), place.context)
    with place.context.store.run("prepare", "study", "p") as other:
        pass
    with pytest.raises(UserError, match=r"is prepare: it holds no model"):
        run(asked(other.id), place.context)
    with pytest.raises(RuntimeError), place.context.store.run("train", "study", "t") as broken:
        raise RuntimeError
    with pytest.raises(UserError, match=r"is FAILED: its model is not there"):
        run(asked(broken.id), place.context)
    with place.context.store.run("train", "study", "empty") as empty:
        pass
    with pytest.raises(UserError, match=r"\(empty\): it has no model"):
        run(asked(empty.id), place.context)


def test_gone_data_is_said(place: Any) -> None:
    run_id = place.train("a", 0)
    elsewhere = replace(
        place.context, raw={**place.context.raw, "compute": {"prepared": str(place.context.home / "no")}}
    )
    with pytest.raises(UserError, match="no prepared dataset with digest"):
        run(asked(run_id), elsewhere)
