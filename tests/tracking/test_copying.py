"""Runs copied between two stores: everything arrives, links lead to copies, and only what changed is copied again."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mlflow.tracking import MlflowClient

from ferlab.errors import UserError
from ferlab.predictions import Predictions
from ferlab.tracking import copying
from ferlab.tracking.copying import copy_runs
from ferlab.tracking.records import find_run, search
from ferlab.tracking.store import Store, connect


def nothing(done: int, total: int) -> None:
    """No progress is shown."""


@pytest.fixture
def store(home: Path) -> Store:
    return connect(home, home)


def history(client: MlflowClient, run_id: str, key: str) -> list[tuple[int, float, int]]:
    return [(one.step, one.value, one.timestamp) for one in client.get_metric_history(run_id, key)]


def predictions(run_id: str) -> Predictions:
    return Predictions(("a", "b"), np.array([0, 1]), np.eye(2), ("x", "y"), "validation", "t", "p", "d" * 64, run_id)


def a_study(store: Store) -> list[str]:
    """A pipeline with a child that failed and one that was made from it; ids oldest first."""
    with store.run("pipeline", "faces", "all") as parent:
        with pytest.raises(ValueError, match="odd"), store.run("prepare", "faces", "data", parent=parent) as data:
            raise ValueError("odd")
        with store.run("train", "faces", "net", parent=parent) as net:
            net.log_config({"seed": 3, "teacher": data.id, **{f"key{number}": number for number in range(250)}})
            for epoch in (1, 2, 3):
                net.log_metrics({"epoch/loss": 1 / epoch, "epoch/odd": math.nan if epoch == 2 else epoch}, epoch)
            net.log_metrics({"val_accuracy": 0.5})
            net.log_text("some text", "notes/deep/a b.txt")
            net.link("prepare", [data.id])
            net.log_saved(predictions(net.id).save, "validation.parquet", "predictions")
    return [parent.id, data.id, net.id]


def test_everything_of_a_run_arrives(store: Store, other_store: str) -> None:
    parent, data, net = a_study(store)
    done = copy_runs(store.uri, other_store, [parent, data, net], nothing)
    assert (done.created, done.updated, done.same) == (3, 0, 0)
    here, there = MlflowClient(store.uri), MlflowClient(other_store)
    one, copy = here.get_run(net), there.get_run(done.ids[net])
    assert copy.info.run_id != net
    for attribute in ("status", "start_time", "end_time", "run_name"):
        assert getattr(copy.info, attribute) == getattr(one.info, attribute)
    assert there.get_experiment(copy.info.experiment_id).name == "faces"
    assert there.get_run(done.ids[data]).info.status == "FAILED"
    assert there.get_run(done.ids[data]).data.tags["ferlab.error"] == "ValueError: odd"
    assert len(copy.data.params) == 252
    assert copy.data.params == {**one.data.params, "teacher": done.ids[data]}
    for key in ("val_accuracy", "epoch/loss"):
        assert history(there, copy.info.run_id, key) == history(here, net, key)
    odd = [value for _, value, _ in history(there, copy.info.run_id, "epoch/odd")]
    assert (odd[0], math.isnan(odd[1]), odd[2]) == (1, True, 3)
    assert copy.data.tags["ferlab.copied_from"] == net
    assert copy.data.tags["mlflow.parentRunId"] == done.ids[parent]
    assert copy.data.tags["ferlab.from.prepare"] == done.ids[data]
    folder = Path(other_store.removeprefix("sqlite:///")).parent / "artifacts" / copy.info.run_id / "artifacts"
    assert (folder / "notes" / "deep" / "a b.txt").read_text() == "some text"
    arrived = Predictions.load(folder / "predictions" / "validation.parquet")
    assert arrived.run_id == copy.info.run_id, "what is read as the run's own is the copy's own"
    assert arrived.ids == ("a", "b")


def test_a_second_copy_takes_only_what_is_new_or_has_changed(store: Store, other_store: str) -> None:
    parent, data, net = a_study(store)
    first = copy_runs(store.uri, other_store, [parent, data, net], nothing)
    again = copy_runs(store.uri, other_store, [parent, data, net], nothing)
    assert (again.created, again.updated, again.same) == (0, 0, 3)
    assert again.ids == first.ids
    MlflowClient(store.uri).log_metric(net, "test_accuracy", 0.4)
    MlflowClient(store.uri).set_tag(net, "ferlab.test_openings", "1")
    with store.run("evaluate", "faces", "judged") as judged:
        judged.link("model", [net])
    later = copy_runs(store.uri, other_store, [parent, data, net, judged.id], nothing)
    assert (later.created, later.updated, later.same) == (1, 1, 2)
    there = MlflowClient(other_store)
    copy = there.get_run(first.ids[net])
    assert (copy.data.metrics["test_accuracy"], copy.data.tags["ferlab.test_openings"]) == (0.4, "1")
    assert len(history(there, copy.info.run_id, "epoch/loss")) == 3, "no value stands there twice"
    assert there.get_run(later.ids[judged.id]).data.tags["ferlab.from.model"] == first.ids[net]
    assert len(there.search_runs([copy.info.experiment_id])) == 4


def test_an_interrupted_copy_is_gone_on_with(store: Store, other_store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = a_study(store)
    whole = copying.copy_files

    def breaks(*arguments: Any) -> None:
        if len(calls) == 2:
            raise KeyboardInterrupt
        calls.append(arguments)
        whole(*arguments)

    calls: list[Any] = []
    monkeypatch.setattr(copying, "copy_files", breaks)
    with pytest.raises(KeyboardInterrupt):
        copy_runs(store.uri, other_store, ids, nothing)
    monkeypatch.setattr(copying, "copy_files", whole)
    done = copy_runs(store.uri, other_store, ids, nothing)
    assert (done.created, done.same) == (1, 2)
    there = MlflowClient(other_store)
    runs = there.search_runs([item.experiment_id for item in there.search_experiments()])
    assert len(runs) == 3
    assert {run.info.status for run in runs} == {"FINISHED", "FAILED"}


def test_the_origins_id_finds_the_copy(store: Store, other_store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = a_study(store)
    done = copy_runs(store.uri, other_store, ids, nothing)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", other_store)
    connect(store.home, store.home)
    assert find_run(ids[2]).id == done.ids[ids[2]]
    assert find_run(ids[2][:10]).id == done.ids[ids[2]]
    assert len(search()) == 3


@pytest.mark.parametrize(
    ("given", "said"),
    [("ftp://x", "must be a tracking server"), ("SOURCE", "that is the store the runs are in"),
     ("http://127.0.0.1:9", "copy_to=http://127.0.0.1:9: ")],
)  # fmt: skip
def test_a_target_that_cannot_be_is_one_line(
    store: Store, given: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    ids = a_study(store)
    with pytest.raises(UserError) as caught:
        copy_runs(store.uri, store.uri if given == "SOURCE" else given, ids, nothing)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
