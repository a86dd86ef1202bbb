"""``evaluate baseline=RUN``: the differences to a recorded run, or one line that says why there are none."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest

from ferlab.commands.contestants import OPENINGS
from ferlab.commands.evaluate import run
from ferlab.config.nodes import Compute, Evaluation
from ferlab.config.schema import EvaluateConfig
from ferlab.errors import UserError
from ferlab.predictions import Predictions
from ferlab.tracking.records import find_run

pytestmark = pytest.mark.slow


def evaluated(place: Any, run_id: str, split: str = "test", baseline: str | None = None) -> dict[str, Any]:
    config = EvaluateConfig(None, run_id, split, Evaluation(200, 0), Compute("local"), baseline=baseline)
    return run(config, place.context)


def answers(result: dict[str, Any]) -> Predictions:
    return Predictions.load(find_run(result["run_id"]).artifact("predictions/test.parquet")).ordered_by_id()


def test_a_run_is_tested_against_the_stored_answers_of_its_baseline(recorded: Any) -> None:
    place = recorded("evaluate")
    first, second = place.train("old", 0), place.train("new", 1)
    before = evaluated(place, first)
    assert "baseline" not in before
    after = evaluated(place, second, baseline="old")
    base, mine = answers(before), answers(after)
    base_right, right = base.predicted == base.labels, mine.predicted == mine.labels
    only_base, only_mine = int((base_right & ~right).sum()), int((right & ~base_right).sum())
    assert only_base + only_mine > 0, "the two could not differ"
    assert after["baseline"] == first
    test = after["mcnemar"]
    assert (test["only_first"], test["only_second"]) == (only_base, only_mine)
    assert test["p_value"] == pytest.approx(binomtest(only_base, only_base + only_mine).pvalue)
    assert test["p_holm"] == test["p_value"], "one test needs no correction"
    gap = after["differences"]["accuracy"]
    assert gap["value"] == pytest.approx(right.mean() - base_right.mean())
    assert gap["low"] <= gap["value"] <= gap["high"]

    record = find_run(after["run_id"])
    assert record.tags["ferlab.from.baseline"] == first
    assert record.metrics["test_difference_accuracy"] == pytest.approx(gap["value"])
    assert record.metrics["test_difference_macro_f1_high"] == after["differences"]["macro_f1"]["high"]
    assert record.metrics["test_mcnemar_p"] == pytest.approx(test["p_value"])
    assert record.metrics["test_only_run_right"] == only_mine
    for name in ("confusions_that_changed", "recall_by_category_against_the_baseline", "roc"):
        assert record.artifact(f"figures/{name}.png").read_bytes().startswith(b"\x89PNG")

    report = Path(after["report"]).read_text(encoding="utf-8")
    assert f"the baseline alone {only_base} times" in report
    assert 'alt="Confusions that changed"' in report
    assert f"the baseline alone {only_base} times" in " ".join(place.printed.getvalue().split())
    assert find_run(first).tags[OPENINGS] == "1", "the baseline is not asked again"


def test_an_unfit_baseline_is_refused_before_the_split_is_opened(recorded: Any) -> None:
    place = recorded("evaluate")
    first, second = place.train("old", 0), place.train("new", 1)

    def refusal(baseline: str) -> str:
        with pytest.raises(UserError) as caught:
            evaluated(place, second, baseline=baseline)
        assert OPENINGS not in find_run(second).tags
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert refusal("old") == f"run {first} (old): not evaluated on test. First: ferlab evaluate run={first}"
    assert refusal("nobody").startswith("baseline=nobody: no such run")
    assert refusal(second[:8]) == f"baseline={second[:8]}: is the run that is evaluated. Name another one."
    result = evaluated(place, first)
    file = find_run(result["run_id"]).artifact("predictions/test.parquet")
    kept = Predictions.load(file)
    for key, value, words in (
        ("protocol", "fer2013/official", "protocol fer2013/official, this run is with synthetic/carved"),
        ("dataset_digest", "ab" * 32, "dataset digest abababababababab…, this run is with "),
    ):
        Predictions(**(vars(kept) | {key: value})).save(file)
        assert f"baseline=old: run {first} (old) was scored with {words}" in refusal("old")
    file.unlink()
    assert "predictions/test.parquet is not there" in refusal("old")


def test_on_validation_the_own_predictions_of_the_baseline_serve(recorded: Any) -> None:
    place = recorded("evaluate")
    first, second = place.train("old", 0), place.train("new", 1)
    result = evaluated(place, second, "validation", first)
    one, other = (Predictions.load(find_run(run_id).artifact("predictions/validation.parquet")) for run_id in
                  (first, second))  # fmt: skip
    right = [np.mean(item.predicted == item.labels) for item in (one, other)]
    assert result["differences"]["accuracy"]["value"] == pytest.approx(right[1] - right[0])
    assert "val_difference_accuracy" in find_run(result["run_id"]).metrics


def test_the_latency_is_measured_shown_and_kept_on_the_run_of_the_model(recorded: Any) -> None:
    place = recorded("evaluate")
    run_id = place.train("a", 0)
    result = evaluated(place, run_id, "validation")
    assert 0 < result["latency_ms"] < 10_000
    for one in (run_id, result["run_id"]):
        assert find_run(one).metrics["latency_ms"] == result["latency_ms"]
    shown = f"{result['latency_ms']:.1f} ms"
    assert shown in Path(result["report"]).read_text(encoding="utf-8")
    assert f"one image alone takes {shown}" in place.printed.getvalue()
