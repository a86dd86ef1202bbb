"""What a run was made from, what was made from it, and the runs it belongs to."""

from dataclasses import dataclass

from ferlab.tracking.records import RunRecord, search

LINK = "ferlab.from."
"""Before the role in the tags that ``Run.link`` writes."""
KINDS = ("prepare", "teacher", "train", "ensemble", "model", "baseline", "compared", "run", "reproduced")
"""The roles in which a run goes into another."""
PARENT = "mlflow.parentRunId"


@dataclass(frozen=True)
class Relative:
    """A run that another one stands in a relation to; ``name`` is empty when it is not in this store any more."""

    relation: str
    id: str
    name: str = ""
    stage: str = ""
    status: str = ""


def relatives(record: RunRecord) -> list[Relative]:
    """Its sources, then what was made from it, then the run it belongs to and those that belong to it."""
    sources = [
        _named(f"made from {key.removeprefix(LINK)}", run_id)
        for key, listed in sorted(record.tags.items())
        if key.startswith(LINK)
        for run_id in listed.split(",")
    ]
    made = [
        _relative(f"is {kind} of", run)
        for kind in KINDS
        for run in reversed(search(f"tags.`{LINK}{kind}` LIKE '%{record.id}%'"))
    ]
    parent = [_named("belongs to", record.tags[PARENT])] if PARENT in record.tags else []
    return [*sources, *made, *parent, *(_relative("holds", run) for run in children(record.id))]


def children(run_id: str) -> list[RunRecord]:
    """Runs inside it (members of a pipeline, jobs of a sweep), oldest first."""
    return search(f"tags.`{PARENT}` = '{run_id}'")[::-1]


def _named(relation: str, run_id: str) -> Relative:
    found = search(f"attributes.run_id = '{run_id}'")
    return _relative(relation, found[0]) if found else Relative(relation, run_id)


def _relative(relation: str, run: RunRecord) -> Relative:
    return Relative(relation, run.id, run.name, run.stage, run.status)
