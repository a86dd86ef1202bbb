"""``ferlab runs gc=true``: what was left is removed, and what lives, or is needed, is spared."""

import io
import os
import signal
import subprocess
import sys
from typing import Any

import pytest

from ferlab.commands.resumption import checkpoints_of
from ferlab.commands.runs import run
from ferlab.config.schema import RunsConfig
from ferlab.errors import UserError
from ferlab.storage.files import exclusive
from ferlab.tracking.housekeeping import restore
from ferlab.tracking.records import find_run

OPEN_A_RUN = """
import sys, time
from pathlib import Path
from mlflow.tracking import MlflowClient
from ferlab.tracking.store import connect
with connect(Path(sys.argv[1]), Path(sys.argv[1])).run("train", "study", "alive") as run:
    run.log_text("x" * 1000, "kept.txt")
    print(run.id, flush=True)
    time.sleep(120)
"""


def test_tidying_removes_what_deleted_runs_left_and_nothing_else(place: Any) -> None:
    kept, gone = place.made("kept"), place.made("gone")
    for run_id in (kept, gone):
        folder = checkpoints_of(run_id, place.context).folder
        folder.mkdir(parents=True)
        (folder / "arrays.npz").write_bytes(b"0" * 500_000)
    with pytest.raises(KeyboardInterrupt), place.context.store.run("train", "study", "interrupted") as interrupted:
        raise KeyboardInterrupt
    resumable = checkpoints_of(interrupted.id, place.context).folder
    resumable.mkdir(parents=True)
    place.asked(delete=[gone])
    result = place.asked(gc=True)
    assert [item["what"] for item in result["removed"]] == [
        f"deleted run {gone} (gone)", f"checkpoints of the finished run {kept} (kept)"
    ]  # fmt: skip
    assert 2_000_000 < result["bytes"] < 2_500_000
    assert not place.artifacts(gone).exists()
    assert not checkpoints_of(gone, place.context).folder.exists()
    assert not checkpoints_of(kept, place.context).folder.exists()
    assert resumable.exists(), "an interrupted run is resumed from there"
    assert find_run(kept).artifact("large.txt").stat().st_size == 1_000_000
    assert place.listed(status="deleted") == []
    with pytest.raises(UserError, match="found none"):
        restore(gone)
    assert place.asked(gc=True) == {"removed": [], "bytes": 0, "kept": []}


def test_models_of_a_deleted_run_go_with_it_unless_they_are_registered(recorded: Any, monkeypatch: Any) -> None:
    from ferlab.commands.register import run as register
    from ferlab.config.nodes import Compute, Intervals
    from ferlab.config.schema import RegisterConfig

    monkeypatch.setenv("FERLAB_YES", "1")
    made = recorded("runs")
    first, second = made.train("first", 0), made.train("second", 1)
    asked = RegisterConfig(None, first, "faces", "accuracy", 0.01, Intervals(100, 0), Compute("local"))
    registered = register(asked, made.context)["run_id"]
    run(RunsConfig(delete=[second, registered]), made.context)
    models = made.context.home / "artifacts" / "models"
    before = len(list(models.iterdir()))
    result = run(RunsConfig(gc=True), made.context)
    assert [item["what"] for item in result["removed"]] == [f"deleted run {second} (second)"]
    assert result["kept"] == [f"run {registered} (register-first): registered as faces/1"]
    assert len(list(models.iterdir())) == before - 1
    assert find_run(first).load_model() is not None


def test_a_run_that_still_works_is_not_touched(place: Any) -> None:
    from mlflow.tracking import MlflowClient

    _ = place.context.store
    command = [sys.executable, "-c", OPEN_A_RUN, str(place.home)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        run_id = process.stdout.readline().strip()
        try:
            with pytest.raises(UserError, match=f"delete={run_id}: it .alive. is running"):
                place.asked(delete=[run_id])
            MlflowClient().delete_run(run_id)  # as MLflow's UI lets one do
            result = place.asked(gc=True)
            assert result["removed"] == []
            assert "alive): still running" in result["kept"][0]
            assert (place.artifacts(run_id) / "artifacts" / "kept.txt").exists()
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait(30)
    assert [item["what"] for item in place.asked(gc=True)["removed"]] == [f"deleted run {run_id} (alive)"]


def test_remains_of_killed_commands_go_and_those_in_use_stay(place: Any) -> None:
    home, host = place.home, os.uname().nodename
    complete, broken, used = (home / "prepared" / name for name in ("complete", "broken", "used"))
    scratch = home / "spark" / "gone.spark"
    for folder in (complete, broken, used, scratch, home / "staged" / "half"):
        folder.mkdir(parents=True)
        (folder / "shard").write_bytes(b"0" * 1000)
    (complete / "manifest.json").write_text("{}")
    process = subprocess.Popen(["true"])
    process.wait(10)
    dead, alive = home / f"a.partial-{host}-{process.pid}", home / f"b.partial-{host}-{os.getpid()}"
    elsewhere = home / f"c.partial-elsewhere-{process.pid}"
    for file in (dead, alive, elsewhere):
        file.write_text("x")
    with exclusive(home / "spark" / ".locks" / "used.spark"):
        result = place.asked(gc=True)
    assert len(result["removed"]) == 4
    assert not any(path.exists() for path in (broken, scratch, home / "staged" / "half", dead))
    assert all(path.exists() for path in (complete / "shard", used / "shard", alive, elsewhere))


def test_a_sweep_is_shown_gone_on_with_and_tidied_up(place: Any, composing: None) -> None:
    with pytest.raises(KeyboardInterrupt), place.context.store.run("sweep", "study", "my.sweep") as sweep:  # noqa: PT012
        sweep.log_config({"command": "train", "strategy": "grid", "overrides": "seed=0,1 backbone=seq1"})
        raise KeyboardInterrupt
    result = place.asked(show=sweep.id)
    assert result["next"] == ["ferlab train -m sweep.resume=my.sweep"]
    assert "begun with: ferlab train -m seed=0,1 backbone=seq1" in place.printed.getvalue()
    with pytest.raises(KeyboardInterrupt), place.context.store.run("sweep", "study", "other") as other:  # noqa: PT012
        other.log_config({"command": "evaluate", "strategy": "grid", "overrides": "run=abc evaluation.tta=none,flip"})
        raise KeyboardInterrupt
    assert place.asked(show=other.id)["next"] == ["ferlab evaluate -m run=abc evaluation.tta=none,flip"]
    folder = place.home / "sweeps"
    for name in ("my.sweep", "my.sweep.2"):
        (folder / name).mkdir(parents=True)
        (folder / name / "lock").touch()
        (folder / name / "1126-120000.journal").write_text("x")
    place.asked(delete=["my.sweep"])
    place.asked(gc=True)
    assert [file.name for file in folder.iterdir()] == ["my.sweep.2"]


def test_nothing_goes_without_a_yes(place: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = place.made("gone")
    place.asked(delete=[gone])
    monkeypatch.delenv("FERLAB_YES")
    with pytest.raises(UserError, match=r"Remove these 1\.\d MB for good. There is nobody to ask here; --yes goes on"):
        place.asked(gc=True)
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    assert place.asked(gc=True)["removed"] == []
    assert place.artifacts(gone).exists()
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    assert len(place.asked(gc=True)["removed"]) == 1
    assert not place.artifacts(gone).exists()
