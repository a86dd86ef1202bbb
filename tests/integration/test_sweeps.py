"""Sweeps as a person starts them: real processes, what stands in the store, interruption and going on."""

import csv
import os
import signal
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.integration.conftest import Workplace

from ferlab.predictions import Predictions

SMALL = ("train", "-m", "debug=fast", "backbone.width=0.25", "recipe=quick")
EPOCHS = ("train", "-m", "dataset.synthesize.count=210", "backbone.width=0.25", "recipe=quick", "recipe.batch_size=32")
OPTUNA = ("hydra/sweeper=ferlab_optuna", "recipe.phases.0.learning_rate=tag(log,interval(1e-3,1e-1))")
TWO_WORKERS = ("hydra/launcher=workers", "hydra.launcher.n_jobs=2")


def parent_of(workplace: Workplace, name: str) -> Any:
    (found,) = (run for run in workplace.runs() if run.info.run_name == name)
    return found


def children_of(workplace: Workplace, name: str) -> list[Any]:
    parent = parent_of(workplace, name).info.run_id
    return [run for run in workplace.runs() if run.data.tags.get("ferlab.sweep") == parent]


@pytest.mark.slow
def test_a_grid_is_one_run_with_one_below_it_for_every_job(workplace: Workplace) -> None:
    done = workplace.ferlab(*SMALL, "backbone=seq1,seq2", "recipe.affect=0,1", "sweep.name=grid")
    assert done.code == 2
    assert done.err.count("has no valence and arousal") == 2
    assert len(done.result) == 2
    parent, children = parent_of(workplace, "grid"), children_of(workplace, "grid")
    assert parent.info.status == "FAILED"
    assert "2 of 4 jobs failed" in parent.data.tags["ferlab.error"]
    assert {run.info.run_name: run.info.status for run in children} == {
        "seq1-affect=0": "FINISHED", "seq1-affect=1": "FAILED",
        "seq2-affect=0": "FINISHED", "seq2-affect=1": "FAILED",
    }  # fmt: skip
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parent.info.run_id}
    assert all("valence" in run.data.tags["ferlab.error"] for run in children if run.info.status == "FAILED")
    best = workplace.run(parent.data.tags["ferlab.best"])
    scores = [run.data.metrics["val_accuracy"] for run in children if run.info.status == "FINISHED"]
    assert best.data.metrics["val_accuracy"] == max(scores) == parent.data.metrics["best_accuracy"]
    artifacts = workplace.artifacts(parent.info.run_id)
    with (artifacts / "jobs.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["backbone"], row["recipe.affect"], row["status"]) for row in rows] == [
        ("seq1", "0", "finished"), ("seq1", "1", "failed"), ("seq2", "0", "finished"), ("seq2", "1", "failed"),
    ]  # fmt: skip
    assert (artifacts / "figures/parallel_coordinates.png").stat().st_size > 5000
    assert Counter(run.data.tags["ferlab.stage"] for run in workplace.runs())["prepare"] == 1


def test_a_typing_error_ends_a_sweep_before_it_begins(workplace: Workplace) -> None:
    before = len(workplace.runs())
    refused = workplace.ferlab(*SMALL, "seed=0,1", "backbone=seq1,seq3")
    assert "seq3" in refused.complaint
    refused = workplace.ferlab(*SMALL, "seed=0,1", "recipe.batch_size=32,foo")
    assert "recipe.batch_size: must be a whole number" in refused.complaint
    assert len(workplace.runs()) == before


@pytest.mark.slow
def test_a_sweep_that_was_killed_before_it_had_a_plan_is_not_in_the_way(workplace: Workplace) -> None:
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{workplace.home / 'mlflow.db'}")
    torn = client.create_run("0", tags={"ferlab.stage": "sweep"}, run_name="torn")
    client.set_terminated(torn.info.run_id, "KILLED")
    assert "no sweep of that name" in workplace.ferlab("train", "-m", "sweep.resume=torn").complaint
    done = workplace.ferlab(*SMALL, "seed=0,1", "sweep.name=torn")
    assert done.code == 0, done.err
    assert len(done.result) == 2


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("sweep.resume=nothing",), "no sweep of that name"),
        (("hydra/sweeper=ferlab_optuna", "seed=3"), "nothing varies"),
        (("resume=a,b",), "sweep.resume"),
        ((*TWO_WORKERS[:1], "hydra.launcher.n_jobs=0", "seed=0,1"), "n_jobs"),
    ],
)
def test_wrong_sweeps_are_refused_in_one_line(workplace: Workplace, arguments: tuple[str, ...], word: str) -> None:
    assert word in workplace.ferlab(*SMALL[:2], *arguments).complaint


@pytest.mark.slow
def test_trials_in_two_workers_are_pruned_and_repeated_by_seed(workplace: Workplace) -> None:
    budget = ("sweep.trials=7", "sweep.pruner=median", "sweep.startup_trials=2", "recipe.phases.0.epochs=4")
    space = ("hydra/sweeper=ferlab_optuna", "recipe.phases.0.learning_rate=0.05,1e-8", "sweep.sampler=random")
    faces = ("dataset.synthesize.count=1400", "sweep.name=trials", "sweep.seeds=2")
    done = workplace.ferlab(*EPOCHS, *space, *TWO_WORKERS, *budget, *faces)
    assert done.code == 0, done.err
    parent, children = parent_of(workplace, "trials"), children_of(workplace, "trials")
    assert parent.info.status == "FINISHED"
    assert {run.data.tags["ferlab.sweep.job"] for run in children} == set("0123456")
    pruned = [run for run in children if run.data.tags.get("ferlab.outcome") == "pruned"]
    assert pruned, "a rate of 1e-8 learns nothing"
    assert {run.data.params["recipe.phases.0.learning_rate"] for run in pruned} == {"1e-08"}
    assert all(run.info.status == "KILLED" and run.data.metrics["epochs"] < 4 for run in pruned)
    assert parent.data.metrics["jobs_pruned"] == len(pruned)
    assert {run.info.status for run in children if run not in pruned} == {"FINISHED"}
    complete = [result for result in done.result if not result.get("pruned")]
    assert len(complete) + len(pruned) == 7
    for result in complete:
        seeds = [workplace.run(one["run_id"]).data.params["seed"] for one in result["repetitions"]]
        assert seeds == ["0", "1"]
    means = [np.mean([one["metrics"]["accuracy"]["value"] for one in result["repetitions"]]) for result in complete]
    assert parent.data.metrics["best_accuracy"] == pytest.approx(max(means))
    more = workplace.ferlab("train", "-m", "sweep.resume=trials", "sweep.trials=8", *TWO_WORKERS)
    assert more.code == 0, more.err
    assert len({run.data.tags["ferlab.sweep.job"] for run in children_of(workplace, "trials")}) == 8


@pytest.mark.slow
def test_a_worker_that_is_killed_costs_its_job_alone_and_the_sweep_says_so(workplace: Workplace) -> None:
    one = ("hydra/launcher=workers", "hydra.launcher.n_jobs=1")
    process = workplace.start(*EPOCHS, "seed=0,1", *one, "recipe.phases.0.epochs=4", "sweep.name=killed-worker")
    assert any(" epoch  1/" in line for line in process.stdout)
    (first,) = (run for run in children_of(workplace, "killed-worker") if run.info.status == "RUNNING")
    os.kill(int(first.data.tags["ferlab.pid"]), signal.SIGKILL)
    _, err = process.communicate(timeout=540)
    assert process.returncode == 2
    assert "killed" in err
    found = {run.data.tags["ferlab.sweep.job"]: run.info.status for run in children_of(workplace, "killed-worker")}
    assert found == {"0": "KILLED", "1": "FINISHED"}
    assert parent_of(workplace, "killed-worker").info.status == "FAILED"


@pytest.mark.slow
def test_other_commands_are_swept_too(workplace: Workplace) -> None:
    trained = workplace.ferlab("train", "debug=fast", "backbone.width=0.25", "recipe=quick")
    evaluated = workplace.ferlab("evaluate", "-m", f"run={trained.result['run_id']}", "evaluation.tta=none,flip")
    assert evaluated.code == 0, evaluated.err
    assert len(evaluated.result) == 2
    (swept,) = (run for run in workplace.runs() if run.data.params.get("command") == "evaluate")
    assert {run.data.tags["ferlab.sweep"] for run in workplace.runs() if "tta" in run.info.run_name} == {
        swept.info.run_id
    }


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["grid", "optuna"])
def test_a_killed_sweep_goes_on_and_no_job_is_lost_or_doubled(workplace: Workplace, strategy: str) -> None:
    varied = ("seed=range(6)",) if strategy == "grid" else (*OPTUNA, "sweep.trials=6")
    name = f"killed-{strategy}"
    arguments = (*EPOCHS, *varied, *TWO_WORKERS, "recipe.phases.0.epochs=4", f"sweep.name={name}")
    process = workplace.start(*arguments)
    ended = 0
    for line in process.stdout:
        ended += "validation accuracy" in line
        if ended == 2:
            break
    process.send_signal(signal.SIGKILL)
    process.communicate()
    refused = workplace.ferlab("train", "-m", f"sweep.resume={name}", "seed=7")
    assert "leave out seed=7" in refused.complaint
    done = workplace.ferlab("train", "-m", f"sweep.resume={name}", *TWO_WORKERS)
    assert done.code == 0, done.err
    children = children_of(workplace, name)
    assert sorted(run.data.tags["ferlab.sweep.job"] for run in children) == [str(number) for number in range(6)]
    assert {run.info.status for run in children} == {"FINISHED"}
    assert parent_of(workplace, name).info.status == "FINISHED"
    assert not any(run.info.status == "RUNNING" for run in workplace.runs())
    again = workplace.ferlab("train", "-m", f"sweep.resume={name}")
    assert again.code == 0, again.err
    assert len(children_of(workplace, name)) == 6


@pytest.mark.slow
def test_a_sweep_whose_machine_is_gone_goes_on_from_another_folder(workplace: Workplace, tmp_path: Path) -> None:
    from mlflow.tracking import MlflowClient

    workplace.interrupt(signal.SIGKILL, *EPOCHS, "seed=0,1", "recipe.phases.0.epochs=3", "sweep.name=lost")
    (first,) = children_of(workplace, "lost")
    client = MlflowClient(f"sqlite:///{workplace.home / 'mlflow.db'}")
    for run in (first, parent_of(workplace, "lost")):
        assert run.info.status == "RUNNING"
        client.set_tag(run.info.run_id, "ferlab.host", "gone")
    command = [sys.executable, "-m", "ferlab", "train", "-m", "sweep.resume=lost"]
    subprocess.run(command, cwd=tmp_path, env=workplace.environment, timeout=540, check=True)
    children = children_of(workplace, "lost")
    assert [run.info.status for run in children] == ["FINISHED"] * 2
    assert first.info.run_id in {run.info.run_id for run in children}, "it goes on in the same run"


@pytest.mark.slow
def test_a_terminated_sweep_ends_its_workers_and_says_how_to_go_on(workplace: Workplace) -> None:
    done = workplace.interrupt(signal.SIGTERM, *EPOCHS, "seed=0,1,2", *TWO_WORKERS, "sweep.name=stopped")
    assert done.code == 143, done.err
    assert "sweep.resume=stopped" in done.out
    assert parent_of(workplace, "stopped").info.status == "KILLED"
    assert {run.info.status for run in children_of(workplace, "stopped")} == {"KILLED"}


@pytest.mark.slow
def test_a_job_does_not_depend_on_the_jobs_before_it(workplace: Workplace) -> None:
    settings = ("recipe.phases.0.epochs=2", "deterministic=true")
    swept = workplace.ferlab(*EPOCHS, *settings, "recipe.precision=mixed_bfloat16,float32", "backbone=seq2,seq1")
    alone = workplace.ferlab("train", *EPOCHS[2:], *settings, "recipe.precision=float32", "backbone=seq1")
    assert swept.code == alone.code == 0, swept.err + alone.err
    last, single = (
        Predictions.load(workplace.artifacts(result["run_id"]) / "predictions/validation.parquet")
        for result in (swept.result[-1], alone.result)
    )
    np.testing.assert_array_equal(last.probabilities, single.probabilities)


@pytest.mark.slow
def test_joblibs_launcher_carries_a_grid_out(workplace: Workplace) -> None:
    done = workplace.ferlab(*SMALL, "seed=0,1", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "sweep.name=joblib")
    assert done.code == 0, done.err
    assert [run.info.status for run in children_of(workplace, "joblib")] == ["FINISHED"] * 2
    refused = workplace.ferlab(*SMALL, *OPTUNA, "hydra/launcher=joblib")
    assert "hydra/launcher=workers" in refused.complaint


@pytest.mark.slow
def test_eight_processes_on_a_fresh_store_prepare_once(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    fresh = Workplace(home)
    arguments = (
        "train",
        "dataset.synthesize.count=210",
        "backbone.width=0.25",
        "recipe=quick",
        "recipe.phases.0.epochs=1",
    )
    started = [fresh.start(*arguments, f"seed={seed}") for seed in range(8)]
    with ThreadPoolExecutor(8) as pool:
        ended = list(pool.map(lambda process: process.communicate(timeout=540), started))
    assert [process.returncode for process in started] == [0] * 8, [err for _, err in ended]
    runs = fresh.runs()
    trained = [run for run in runs if run.data.tags["ferlab.stage"] == "train"]
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert sorted(run.data.params["seed"] for run in trained) == [str(seed) for seed in range(8)]
    assert len({run.data.tags["dataset.digest"] for run in trained}) == 1
    assert len(list((home / "prepared").glob("*/manifest.json"))) == 1
    (prepare,) = (run.info.run_id for run in runs if run.data.tags["ferlab.stage"] == "prepare")
    assert {run.data.tags.get("ferlab.from.prepare") for run in trained} == {prepare}
