"""The runs below a sweep's own run: which job each is of, what came of it, and how jobs compare."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ferlab.sweeping.study import direction_of
from ferlab.tracking.records import RunRecord, runs_with_tag
from ferlab.tracking.store import OUTCOME, PRUNED

SWEEP, JOB, REPETITION, VALUES = (f"ferlab.sweep{end}" for end in ("", ".job", ".repetition", ".values"))
FINISHED, FAILED, INTERRUPTED, RUNNING = "finished", "failed", "interrupted", "running"
SEED = "seed"
SWEEP_STAGE = "sweep"
"""Stage of the run that holds the jobs of a sweep."""
SWEEPS_FOLDER = "sweeps"
"""Below FERLAB_HOME: a folder of every sweep's name, with its lock and its study's journal."""
STATUSES = (FINISHED, PRUNED, FAILED, INTERRUPTED, RUNNING)


@dataclass(frozen=True)
class Child:
    """One run of a sweep. ``values`` of what varied, as they were given."""

    run_id: str
    name: str
    number: int
    repetition: int
    status: str
    values: dict[str, str]
    metrics: dict[str, float]
    minutes: float
    reason: str


@dataclass(frozen=True)
class Job:
    """A finished job: the run of its first repetition, and the mean of every objective over all of them."""

    first: Child
    values: tuple[float, ...]


@dataclass(frozen=True)
class Group:
    """Finished jobs that differ in the seed alone: mean and sample standard deviation of what they are judged by.

    ``std`` is not a number where there is one job.
    """

    values: dict[str, str]
    count: int
    mean: float
    std: float


def tags_of(parent: str, number: int, repetition: int, values: Mapping[str, str]) -> dict[str, str]:
    """Tags by which ``children_of`` finds a run again."""
    return {SWEEP: parent, JOB: str(number), REPETITION: str(repetition), VALUES: json.dumps(dict(values))}


def children_of(parent: str) -> list[Child]:
    """The newest run of every job and repetition of a sweep, in the order of the jobs."""
    found: dict[tuple[int, int], Child] = {}
    for record in runs_with_tag(SWEEP, parent, ended_well=False):
        child = _child(record)
        found[child.number, child.repetition] = child
    return [found[key] for key in sorted(found)]


def objective_of(metrics: Mapping[str, float], objective: str) -> float:
    """What a run is judged by, a score on validation or a cost; not a number where it was not measured."""
    return metrics.get(f"val_{objective}", metrics.get(objective, math.nan))


def jobs_of(children: Sequence[Child], objectives: Sequence[str]) -> list[Job]:
    """The jobs all of whose repetitions are finished, with the mean of each objective over them."""
    members: dict[int, list[Child]] = {}
    for child in children:
        members.setdefault(child.number, []).append(child)
    finished = [runs for runs in members.values() if all(run.status == FINISHED for run in runs)]
    return [
        Job(runs[0], tuple(_mean([objective_of(run.metrics, one) for run in runs]) for one in objectives))
        for runs in finished
    ]


def best_of(children: Sequence[Child], objectives: Sequence[str]) -> Job | None:
    """The job that is best by the first objective."""
    sign = -1 if direction_of(objectives[0]) == "minimize" else 1
    judged = [job for job in jobs_of(children, objectives) if not math.isnan(job.values[0])]
    return max(judged, key=lambda job: sign * job.values[0]) if judged else None


def front_of(children: Sequence[Child], objectives: Sequence[str]) -> list[Job]:
    """The jobs that no other is better than in one objective and at least as good in all (Pareto's front)."""
    signs = [-1 if direction_of(one) == "minimize" else 1 for one in objectives]
    jobs = jobs_of(children, objectives)
    points = [[sign * value for sign, value in zip(signs, job.values, strict=True)] for job in jobs]

    def beaten(point: list[float]) -> bool:
        return any(other != point and all(a >= b for a, b in zip(other, point, strict=True)) for other in points)

    return [job for job, point in zip(jobs, points, strict=True) if not beaten(point)]


def groups_of(children: Sequence[Child], objective: str) -> list[Group]:
    """Finished jobs by what varied beside the seed, the best mean first."""
    members: dict[tuple[tuple[str, str], ...], list[float]] = {}
    for child in children:
        if child.status == FINISHED:
            key = tuple((name, value) for name, value in child.values.items() if name != SEED)
            members.setdefault(key, []).append(objective_of(child.metrics, objective))
    sign = 1 if direction_of(objective) == "minimize" else -1
    groups = [Group(dict(key), len(values), _mean(values), _std(values)) for key, values in members.items()]
    return sorted(groups, key=lambda group: sign * group.mean)


def _child(record: RunRecord) -> Child:
    pruned = record.tags.get(OUTCOME) == PRUNED
    statuses = {"FINISHED": FINISHED, "FAILED": FAILED, "KILLED": PRUNED if pruned else INTERRUPTED}
    return Child(
        record.id,
        record.name,
        int(record.tags[JOB]),
        int(record.tags[REPETITION]),
        statuses.get(record.status, RUNNING),
        json.loads(record.tags[VALUES]),
        record.metrics,
        record.minutes,
        record.tags.get("ferlab.pruned" if pruned else "ferlab.error", ""),
    )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _std(values: Sequence[float]) -> float:
    if len(values) < 2:
        return math.nan
    mean = _mean(values)
    return math.sqrt(sum((value - mean) ** 2 for value in values) / (len(values) - 1))
