"""``evaluate predictions=FILE``: another tool under the same seal, in the same tables."""

import base64
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ferlab.commands.compare import run as compare
from ferlab.commands.evaluate import run
from ferlab.commands.launch import Context
from ferlab.config.nodes import Compute, Dataset, Debug, Evaluation, Intervals, Preparation
from ferlab.config.schema import CompareConfig, EvaluateConfig
from ferlab.errors import UserError
from ferlab.predictions import Predictions
from ferlab.records.load import read_samples
from ferlab.sealed import Opening
from ferlab.tracking.records import find_run

CLASSES = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")


@pytest.fixture
def place(recorded: Any, synthetic_csv: Path) -> Any:
    """A ``Recorded`` and the settings of an evaluation of a file on its data."""
    made = recorded("evaluate")
    raw = {"dataset": {}, "preparation": {}, "compute": {}}
    context = replace(made.context, raw=raw)
    dataset = Dataset("fer2013", protocol="carved", root=str(synthetic_csv), accept_alarms=True)

    def asked(file: Path, split: str = "test", **changes: Any) -> EvaluateConfig:
        parts = {"dataset": dataset, "preparation": Preparation(), "debug": Debug("none")}
        return EvaluateConfig(
            "outside",
            None,
            split,
            Evaluation(100, 0),
            Compute("local", cores=2, memory_gb=1),
            str(file),
            "tool",
            **(parts | changes),
        )

    return context, asked, made


def answers(context: Context, split: str, tmp_path: Path) -> tuple[Path, pd.DataFrame]:
    """A file of random answers to the split of what the context prepared, and the truth."""
    from ferlab.commands.prepared_data import _prepared_places
    from ferlab.manifest import Manifest

    places = [Path(one) for one in _prepared_places(context)]
    folder = next(one for one in places if Manifest.load(one).dataset == "fer2013")
    manifest = Manifest.load(folder)
    samples = list(read_samples(folder, manifest, split, Opening("", 0)))
    values = np.random.default_rng(0).dirichlet(np.ones(7), len(samples))
    table = pd.DataFrame(values, columns=list(manifest.classes)).assign(id=[one.id for one in samples])
    file = tmp_path / f"{split}.csv"
    table.sample(frac=1, random_state=0).to_csv(file, index=False)
    return file, table.assign(truth=[one.label for one in samples])


def test_a_file_is_scored_counted_and_compared(place: Any, tmp_path: Path) -> None:
    context, asked, _ = place
    (tmp_path / "empty.csv").write_text("id,prediction\nx,happy\n")
    with pytest.raises(UserError, match="70 of 70 samples have no prediction"):
        run(asked(tmp_path / "empty.csv"), context)
    file, table = answers(context, "test", tmp_path)
    result = run(asked(file), context)
    names = list(table.columns[:7])
    right = (table[names].to_numpy().argmax(axis=1) == table.truth).mean()
    assert result["metrics"]["accuracy"]["value"] == pytest.approx(right)
    record = find_run(result["run_id"])
    assert (record.stage, record.name, record.study) == ("external", "tool", "outside")
    stored = Predictions.load(record.artifact("predictions/test.parquet"))
    np.testing.assert_allclose(stored.probabilities, table[names].to_numpy(), atol=1e-6)
    faces = record.artifact("figures/surest_mistakes.png").read_bytes()
    assert base64.b64encode(faces).decode() in Path(result["report"]).read_text(encoding="utf-8")
    again = run(asked(file), context)
    openings = [int(find_run(one["run_id"]).tags["ferlab.test_openings"]) for one in (result, again)]
    assert openings[1] == openings[0] + 1
    compared = compare(CompareConfig("outside", [], "test", None, Intervals(100, 0)), context)
    assert {row["run_id"] for row in compared["runs"]} == {result["run_id"], again["run_id"]}
    assert {row["mcnemar"]["p_value"] for row in compared["runs"] if "mcnemar" in row} == {1.0}


def test_labels_alone_are_scored_without_probabilities(place: Any, tmp_path: Path) -> None:
    context, asked, _ = place
    (tmp_path / "empty.csv").write_text("id,prediction\nx,happy\n")
    with pytest.raises(UserError):
        run(asked(tmp_path / "empty.csv", split="validation"), context)
    _, table = answers(context, "validation", tmp_path)
    table[["id"]].assign(prediction="happiness").to_csv(tmp_path / "labels.csv", index=False)
    result = run(asked(tmp_path / "labels.csv", split="validation"), context)
    assert result["metrics"]["accuracy"]["value"] == pytest.approx((table.truth == 3).mean())
    assert "probability" not in result
    record = find_run(result["run_id"])
    assert Predictions.load(record.artifact("predictions/validation.parquet")).hard
    assert record.artifact("figures/mistakes.png").is_file(), "the surest ones are not known"
    assert "ferlab.test_openings" not in record.tags, "validation is not sealed"


def test_a_file_has_a_baseline_and_is_one(place: Any, tmp_path: Path) -> None:
    context, asked, _ = place
    (tmp_path / "empty.csv").write_text("id,prediction\nx,happy\n")
    with pytest.raises(UserError):
        run(asked(tmp_path / "empty.csv"), context)
    file, table = answers(context, "test", tmp_path)
    first = run(asked(file), context)
    assert "latency_ms" not in first
    right = CLASSES[int(table.truth[0])]
    table[["id"]].assign(prediction=right).to_csv(tmp_path / "one.csv", index=False)
    second = run(asked(tmp_path / "one.csv", baseline=first["run_id"]), context)
    gap = second["metrics"]["accuracy"]["value"] - first["metrics"]["accuracy"]["value"]
    assert second["baseline"] == first["run_id"]
    assert second["differences"]["accuracy"]["value"] == pytest.approx(gap)
    with pytest.raises(UserError, match=r"scored on test, not on validation\. First: ferlab evaluate predictions=FILE"):
        run(asked(file, split="validation", baseline=first["run_id"]), context)


def test_views_of_a_file_are_refused(place: Any, tmp_path: Path) -> None:
    context, asked, _ = place
    config = replace(asked(tmp_path / "a.csv"), evaluation=Evaluation(100, 0, "flip"))
    with pytest.raises(UserError, match=r"evaluation\.tta"):
        run(config, context)
