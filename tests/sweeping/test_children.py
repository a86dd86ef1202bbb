"""Jobs of a sweep compared, from the runs they have left."""

import math
from dataclasses import replace

import pytest

from ferlab.sweeping.children import Child, best_of, children_of, front_of, groups_of, tags_of
from ferlab.tracking.store import connect

OBJECTIVES = ("accuracy", "parameters")


def child(number: int, accuracy: float, parameters: float = 1.0, status: str = "finished", **values: str) -> Child:
    metrics = {"val_accuracy": accuracy, "parameters": parameters} if status == "finished" else {}
    return Child(f"run{number}", f"job{number}", number, 0, status, values, metrics, 1.0, "")


def test_the_best_is_the_finished_one_that_is_highest_or_of_costs_lowest() -> None:
    jobs = [child(0, 0.6, 300), child(1, 0.7, 500), child(2, 0.9, 1, status="failed"), child(3, math.nan, 700)]
    assert best_of(jobs, ["accuracy"]).first == jobs[1]
    assert best_of(jobs, ["parameters"]).first == jobs[0]
    assert best_of(jobs[2:3], ["accuracy"]) is None


def test_a_job_with_several_seeds_counts_by_their_mean_and_only_when_all_have_finished() -> None:
    lucky = [child(0, 0.9), replace(child(0, 0.3), repetition=1)]
    steady = [child(1, 0.7), replace(child(1, 0.7), repetition=1)]
    broken = [child(2, 0.99), replace(child(2, 0, status="failed"), repetition=1)]
    best = best_of([*lucky, *steady, *broken], ["accuracy"])
    assert (best.first.number, best.first.repetition) == (1, 0)
    assert best.values == pytest.approx((0.7,))


def test_the_front_holds_what_none_is_better_than() -> None:
    jobs = [child(0, 0.6, 300), child(1, 0.7, 500), child(2, 0.5, 300), child(3, 0.7, 600), child(4, 0.6, 300)]
    assert [job.first.number for job in front_of(jobs, OBJECTIVES)] == [0, 1, 4]


def test_groups_are_means_over_seeds_the_best_first() -> None:
    jobs = [
        child(0, 0.5, backbone="seq1", seed="0"),
        child(1, 0.7, backbone="seq1", seed="1"),
        child(2, 0.9, backbone="seq2", seed="0"),
        child(3, 0.1, backbone="seq2", seed="1", status="failed"),
    ]
    first, second = groups_of(jobs, "accuracy")
    assert (first.values, first.count, first.mean, math.isnan(first.std)) == ({"backbone": "seq2"}, 1, 0.9, True)
    assert (second.values, second.count) == ({"backbone": "seq1"}, 2)
    assert math.isclose(second.mean, 0.6)
    assert math.isclose(second.std, math.sqrt(0.02))


def test_of_a_job_that_was_tried_again_the_newest_run_counts(home) -> None:
    store = connect(home, home)
    with store.run("sweep", "study", "all") as parent:
        for number, attempt in ((1, "a"), (0, "b"), (1, "c")):
            tags = tags_of(parent.id, number, 0, {"seed": str(number)})
            try:
                with store.run("train", "study", attempt, parent=parent) as run:
                    run.set_tags(tags)
                    if attempt == "a":
                        message = "disk"
                        raise RuntimeError(message)
            except RuntimeError:
                pass
    found = children_of(parent.id)
    assert [(one.number, one.name, one.status, one.values) for one in found] == [
        (0, "b", "finished", {"seed": "0"}),
        (1, "c", "finished", {"seed": "1"}),
    ]
