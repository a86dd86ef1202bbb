"""``benchmark``: a row for every run, format and number of threads, tracked with its numbers."""

from pathlib import Path
from typing import Any

import pytest

from ferlab.commands import benchmark as command
from ferlab.commands.benchmark import run
from ferlab.config.nodes import Compute
from ferlab.config.schema import BenchmarkConfig
from ferlab.edge.measuring import Measured
from ferlab.errors import UserError
from ferlab.tracking.records import find_run


@pytest.mark.slow
def test_several_runs_stand_side_by_side(recorded: Any) -> None:
    place = recorded("benchmark")
    wide, narrow = place.train("wide", 0, width=0.5), place.train("narrow", 0)
    config = BenchmarkConfig(
        run=wide, runs=[narrow, wide], variants=["litert-float32", "litert-int8"], threads=[1], calibration=20,
        compute=Compute("local"),
    )  # fmt: skip
    result = run(config, place.context)
    rows = {(row["name"], row["precision"]): row for row in result["rows"]}
    assert list(rows) == [(name, kind) for name in ("wide", "narrow") for kind in ("float32", "int8")]
    for row in rows.values():
        assert row["threads"] == 1
        assert 0 < row["p50_ms"] <= row["p99_ms"]
        assert row["images_per_s"] > 0
    assert rows["wide", "int8"]["size_mb"] < 0.4 * rows["wide", "float32"]["size_mb"]
    assert rows["narrow", "float32"]["size_mb"] < 0.4 * rows["wide", "float32"]["size_mb"]
    tracked = find_run(result["run_id"])
    assert tracked.tags["ferlab.from.model"] == f"{wide},{narrow}"
    place_of = f"{wide[:6]}/litert-int8/threads_1"
    assert tracked.metrics[f"{place_of}/p95_ms"] == rows["wide", "int8"]["p95_ms"]
    assert "wide" in tracked.artifact("benchmark.md").read_text()
    assert len(tracked.artifact("benchmark.csv").read_text().splitlines()) == 5
    assert "litert-int8" in place.printed.getvalue()


def test_what_cannot_be_measured_is_said_and_the_others_are_measured(
    recorded: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = recorded("benchmark")
    good = place.train("good", 0)
    with place.context.store.run("train", "study", "empty") as empty:
        pass

    def measured(file: Path, threads: int) -> Measured:
        if file.suffix == ".onnx":
            raise UserError("a-float32.onnx: cannot be measured (not done after 900 s).")
        return Measured(threads, 1.0, 2.0, 3.0, 1000.0, 2000.0, 80.0, 50)

    monkeypatch.setattr(command, "measure", measured)
    config = BenchmarkConfig(runs=[empty.id, good], variants=["onnx", "keras"], threads=[1], compute=Compute("local"))
    result = run(config, place.context)
    assert [(row["name"], row["format"]) for row in result["rows"]] == [("good", "keras")]
    failed = [(one["name"], one["format"]) for one in result["not_measured"]]
    assert failed == [("empty", "onnx"), ("empty", "keras"), ("good", "onnx")]
    assert "it has no model" in result["not_measured"][0]["reason"]
    said = find_run(result["run_id"]).artifact("benchmark.md").read_text()
    assert "good onnx-float32: not measured: a-float32.onnx: cannot be measured (not done after 900 s)" in said
    assert "3 of 4 could not be measured" in place.printed.getvalue()
    only = BenchmarkConfig(run=empty.id, variants=["keras"], threads=[1], compute=Compute("local"))
    with pytest.raises(UserError, match=r"nothing could be measured: run .* it has no model"):
        run(only, place.context)


def test_a_run_must_be_named(recorded: Any) -> None:
    config = BenchmarkConfig(variants=["onnx"], threads=[1], compute=Compute("local"))
    with pytest.raises(UserError, match="needs run=ID, or several"):
        run(config, recorded("benchmark").context)
