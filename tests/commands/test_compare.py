"""``compare`` on recorded runs: what it returns, writes and refuses."""

import csv
import re
from pathlib import Path
from typing import Any

import pytest
from mlflow.tracking import MlflowClient

from ferlab.commands.compare import run
from ferlab.commands.evaluate import evaluate
from ferlab.config.nodes import Compute, Evaluation, Intervals
from ferlab.config.schema import CompareConfig, EvaluateConfig
from ferlab.errors import UserError
from ferlab.predictions import Predictions
from ferlab.tracking.records import find_run

FIGURES = (
    "accuracy_with_intervals.png", "confusions_that_changed.png", "differences_to_the_baseline.png",
    "recall_by_category_against_the_baseline.png",
)  # fmt: skip


def compared(place: Any, **changes: Any) -> dict[str, Any]:
    settings = {"study": "study", "runs": [], "split": "validation", "baseline": None, "evaluation": Intervals(100, 0)}
    return run(CompareConfig(**(settings | changes)), place.context)


def test_a_study_is_compared_in_every_form(recorded: Any) -> None:
    place = recorded("compare")
    runs = [place.train("seq1-s0", 0), place.train("seq1-s1", 1), place.train("wide", 2, width=0.5)]
    result = compared(place)
    assert {row["run_id"] for row in result["runs"]} == set(runs)
    best = result["runs"][0]
    assert "mcnemar" not in best
    for row in result["runs"][1:]:
        assert row["baseline"] == best["run_id"]
        expected = row["metrics"]["accuracy"]["value"] - best["metrics"]["accuracy"]["value"]
        assert row["differences"]["accuracy"]["value"] == pytest.approx(expected)
    record = find_run(result["run_id"])
    assert Path(result["report"]) == record.artifact("comparison.html")
    with record.artifact("comparison.csv").open() as file:
        assert [row["run_id"] for row in csv.DictReader(file)] == [row["run_id"] for row in result["runs"]]
    markdown = record.artifact("comparison.md").read_text()
    for caption in ("baseline", "Differences to the baseline", "Recall by category", "Mean ± ", "What they cost"):
        assert caption in markdown
    assert "\\begin{tabular}" in record.artifact("comparison.tex").read_text()
    printed = place.printed.getvalue()
    assert "seeds" in printed, "two runs differ in their seed alone"
    assert "±" in printed


def test_a_run_and_its_repetition_are_one_seed(recorded: Any) -> None:
    place = recorded("compare")
    runs = [place.train("seq1-s0", 0), place.train("seq1-s0-again", 0)]
    compared(place, runs=runs)
    assert "±" not in place.printed.getvalue()
    compared(place, runs=[*runs, place.train("seq1-s1", 1)])
    table = place.printed.getvalue().split("Mean ± standard deviation over seeds")[1]
    assert re.search(r"seq1 +2 .*±", table), "two seeds of three runs"


def test_the_test_split_is_compared_by_the_last_evaluations(recorded: Any) -> None:
    place = recorded("compare")
    runs = [place.train("a", 0), place.train("b", 1)]
    with pytest.raises(UserError, match=f"{runs[0]}.*not evaluated on test.*ferlab evaluate run={runs[0]}"):
        compared(place, split="test", runs=runs)
    with pytest.raises(UserError, match="none of its 2 runs has predictions on test"):
        compared(place, split="test")
    for position, one in enumerate(runs):
        evaluate(EvaluateConfig(None, one, "test", Evaluation(100, 0), Compute("local")), place.context)
        assert len(compared(place, split="test")["runs"]) == position + 1
    assert f"left out: run {runs[1]}" in place.printed.getvalue()
    result = compared(place, split="test", baseline=runs[1])
    scores = {row["run_id"]: row["metrics"]["accuracy"]["value"] for row in result["runs"]}
    for one in runs:
        assert scores[one] == pytest.approx(find_run(one).metrics["test_accuracy"])
    assert [row["run_id"] for row in result["runs"] if "baseline" not in row] == [runs[1]]
    assert {row["costs"]["openings"] for row in result["runs"]} == {1}


def test_evaluations_of_all_runs_are_asked_for_once(recorded: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    place = recorded("compare")
    runs = [place.train(name, seed) for seed, name in enumerate("abc")]
    for one in (*runs, runs[0]):
        evaluate(EvaluateConfig(None, one, "test", Evaluation(100, 0), Compute("local")), place.context)
    asked, search = [], MlflowClient.search_runs
    monkeypatch.setattr(
        MlflowClient, "search_runs", lambda *given, **named: asked.append(given) or search(*given, **named)
    )
    result = compared(place, split="test")
    assert len(asked) == 2, "the study's runs, and the evaluations of all"
    assert {row["run_id"]: row["costs"]["openings"] for row in result["runs"]} == {runs[0]: 2, runs[1]: 1, runs[2]: 1}
    for row in result["runs"]:
        assert row["costs"]["latency_ms"] == find_run(row["run_id"]).metrics["latency_ms"] > 0


def test_figures_of_two_blocks_have_files_of_their_own(recorded: Any) -> None:
    place = recorded("compare")
    runs = [place.train(name, seed) for seed, name in enumerate("abc")]
    alone = find_run(compared(place, runs=runs)["run_id"]).artifact("figures")
    assert sorted(file.name for file in alone.iterdir()) == sorted(FIGURES)
    file = find_run(runs[2]).artifact("predictions/validation.parquet")
    Predictions(**(vars(Predictions.load(file)) | {"protocol": "synthetic/other"})).save(file)
    result = compared(place, runs=runs)
    assert [row["costs"]["latency_ms"] for row in result["runs"]] == [None] * 3
    figures = find_run(result["run_id"]).artifact("figures")
    found = {folder.name: sorted(file.name for file in folder.iterdir()) for folder in figures.iterdir()}
    assert found == {
        "synthetic-carved-validation-1": sorted(FIGURES),
        "synthetic-other-validation-2": ["accuracy_with_intervals.png"],
    }
    pictures = [file.read_bytes() for file in figures.rglob("*.png")]
    assert len(set(pictures)) == len(FIGURES) + 1


def test_what_cannot_be_compared_is_refused_in_one_line(recorded: Any) -> None:
    place = recorded("compare")
    first, second = place.train("a", 0), place.train("b", 1)
    with pytest.raises(UserError, match="baseline=b: is not among"):
        compared(place, runs=[first], baseline="b")
    with pytest.raises(UserError, match="named twice"):
        compared(place, runs=[first, first])
    find_run(second).artifact("predictions/validation.parquet").unlink()
    with pytest.raises(UserError, match=f"run {second} .b.: its artifact .* is not there"):
        compared(place, runs=[first, second])
    assert [row["run_id"] for row in compared(place)["runs"]] == [first]
    with place.context.store.run("prepare", "study", "p") as other:
        pass
    with pytest.raises(UserError, match="is prepare: it has no predictions"):
        compared(place, runs=[other.id])
