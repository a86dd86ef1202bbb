"""What a sweep comes to: a front of two objectives, a budget of minutes, means over seeds, a job that goes wrong."""

import re
from pathlib import Path
from statistics import mean
from typing import Any

import pytest
from tests.integration.conftest import Workplace
from tests.integration.test_sweeps import EPOCHS, SMALL, children_of, parent_of

pytestmark = pytest.mark.slow

OPTUNA = ("hydra/sweeper=ferlab_optuna", "recipe.label_smoothing=interval(0,0.2)", "sweep.sampler=random")


def rows(file: Path) -> list[list[str]]:
    """Cells of the rows of all tables of a Markdown file, heads and rules left out."""
    text = file.read_text().replace("\\_", "_")
    lines = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")
    ]
    rules = [place for place, cells in enumerate(lines) if set("".join(cells)) <= set(":- ")]
    return [cells for place, cells in enumerate(lines) if place not in rules and place + 1 not in rules]


def scores(run: Any) -> tuple[float, float]:
    return run.data.metrics["val_accuracy"], -run.data.metrics["parameters"]


def test_two_objectives_give_a_front(workplace: Workplace) -> None:
    objectives = ("sweep.sampler=nsga2", "sweep.objectives=[accuracy,parameters]", "sweep.trials=4")
    done = workplace.ferlab(
        *SMALL, *OPTUNA[:2], *objectives, "backbone.width=0.25,0.5", "backbone=seq1,seq2", "sweep.name=front"
    )
    assert done.code == 0, done.err
    parent, children = parent_of(workplace, "front"), children_of(workplace, "front")
    assert (parent.info.status, len(children)) == ("FINISHED", 4)
    points = {run.info.run_name: scores(run) for run in children}
    front = {
        name
        for name, own in points.items()
        if not any(other != own and other[0] >= own[0] and other[1] >= own[1] for other in points.values())
    }
    artifacts = workplace.artifacts(parent.info.run_id)
    assert {name: status for name, status, *_ in rows(artifacts / "summary.md") if name in points} == {
        name: "front" if name in front else "finished" for name in points
    }
    assert (artifacts / "figures" / "front.png").stat().st_size > 5000
    best = max(children, key=lambda run: run.data.metrics["val_accuracy"])
    assert parent.data.metrics["best_accuracy"] == best.data.metrics["val_accuracy"]
    assert f"{len(front)} on the front" in done.out


def test_no_trial_is_begun_after_the_minutes_are_spent(workplace: Workplace) -> None:
    done = workplace.ferlab(*SMALL, *OPTUNA, "sweep.trials=50", "sweep.minutes=0.01", "sweep.name=short")
    assert done.code == 0, done.err
    assert len(children_of(workplace, "short")) == 1
    spent = parent_of(workplace, "short").data.metrics["minutes"]
    assert spent > 0.01
    again = workplace.ferlab("train", "-m", "sweep.resume=short")
    assert again.code == 0, again.err
    assert len(children_of(workplace, "short")) == 1, "they were spent before"
    more = workplace.ferlab("train", "-m", "sweep.resume=short", "sweep.minutes=100", "sweep.trials=2")
    assert more.code == 0, more.err
    assert len(children_of(workplace, "short")) == 2
    assert parent_of(workplace, "short").data.metrics["minutes"] > spent


def test_the_parent_says_what_seeds_come_to_and_which_job_is_best(workplace: Workplace) -> None:
    done = workplace.ferlab(*SMALL, "seed=0,1", "augment=none,light", "sweep.name=seeds")
    assert done.code == 0, done.err
    parent, children = parent_of(workplace, "seeds"), children_of(workplace, "seeds")
    groups = {f"augment={name}": [run for run in children if run.data.params["augment.name"] == name]
              for name in ("none", "light")}  # fmt: skip
    means = {name: mean(run.data.metrics["val_accuracy"] for run in runs) for name, runs in groups.items()}
    found = rows(workplace.artifacts(parent.info.run_id) / "summary.md")
    assert {cells[0]: cells[1:3] for cells in found[:2]} == {name: ["2", f"{one:.3f}"] for name, one in means.items()}
    assert {cells[0] for cells in found[2:]} == {run.info.run_name for run in children}
    note = parent.data.tags["mlflow.note.content"]
    named = re.match(r"Best by accuracy: \[(.+)\]\(#/experiments/(\d+)/runs/(\w{32})\)\n", note)
    best = workplace.run(parent.data.tags["ferlab.best"])
    assert named
    assert named.groups() == (best.info.run_name, best.info.experiment_id, best.info.run_id)
    assert all(f"| {cells[0]} |" in note for cells in found)


def test_a_job_that_fails_in_the_middle_of_training_leaves_its_worker_to_the_next(workplace: Workplace) -> None:
    wild = ("recipe.phases.0.learning_rate=10", "recipe.phases.0.weight_decay=1", "recipe.phases.0.epochs=12")
    one = ("hydra/launcher=workers", "hydra.launcher.n_jobs=1", "sweep.name=wild")
    # a rate that is meant for a batch of one is 32 times as high for these
    done = workplace.ferlab(*EPOCHS, *wild, "recipe.rate_batch=1,65536", *one)
    assert done.code == 2
    assert "not numbers any more" in done.err
    first, second = sorted(children_of(workplace, "wild"), key=lambda run: run.data.tags["ferlab.sweep.job"])
    assert (first.info.status, second.info.status) == ("FAILED", "FINISHED")
    assert "not numbers any more" in first.data.tags["ferlab.error"]
    assert workplace.curve(first.info.run_id, "epoch/accuracy"), "it had ended epochs"
    assert first.data.tags["ferlab.pid"] == second.data.tags["ferlab.pid"]
    parent = parent_of(workplace, "wild")
    assert parent.info.status == "FAILED"
    assert (parent.data.metrics["jobs_failed"], parent.data.metrics["jobs_finished"]) == (1, 1)
