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


def best_of(children: Sequence[Child], objective: str) -> Child | None:
    """The finished run that is best by an objective."""
    sign = -1 if direction_of(objective) == "minimize" else 1
    judged = [(sign * objective_of(child.metrics, objective), child) for child in children if child.status == FINISHED]
    judged = [(value, child) for value, child in judged if not math.isnan(value)]
    return max(judged, key=lambda pair: pair[0])[1] if judged else None


def front_of(children: Sequence[Child], objectives: Sequence[str]) -> list[Child]:
    """The finished runs that no other is better than in one objective and at least as good in all (Pareto's front)."""
    signs = [-1 if direction_of(one) == "minimize" else 1 for one in objectives]
    points = {
        child.run_id: [sign * objective_of(child.metrics, one) for sign, one in zip(signs, objectives, strict=True)]
        for child in children
        if child.status == FINISHED
    }

    def beaten(point: list[float]) -> bool:
        return any(
            other != point and all(a >= b for a, b in zip(other, point, strict=True)) for other in points.values()
        )

    return [child for child in children if child.run_id in points and not beaten(points[child.run_id])]


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
