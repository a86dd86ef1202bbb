"""``benchmark``: a row for every run, format and number of threads, tracked with its numbers."""

from typing import Any

import pytest

from ferlab.commands.benchmark import run
from ferlab.config.nodes import Compute
from ferlab.config.schema import BenchmarkConfig
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


def test_a_run_must_be_named(recorded: Any) -> None:
    config = BenchmarkConfig(variants=["onnx"], threads=[1], compute=Compute("local"))
    with pytest.raises(UserError, match="needs run=ID, or several"):
        run(config, recorded("benchmark").context)
