"""From a recorded run to what can be compared: its predictions on a split, what it cost, which runs it repeats."""

import json
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path

from ferlab.errors import UserError
from ferlab.evaluation.comparison import Contestant, Costs
from ferlab.evaluation.metrics import HEADLINE
from ferlab.predictions import PREDICTIONS, Predictions
from ferlab.samples import VALIDATION
from ferlab.tracking.records import RunRecord, runs_with_tag

OPENINGS = "ferlab.test_openings"
MODEL_LINK = "ferlab.from.model"
LATENCY = "latency_ms"
"""Metric of an evaluation and of the run that it is of: milliseconds of one image alone."""
EXTERNAL = "external"
"""Stage of the runs that hold another tool's predictions."""
REPRODUCES = "ferlab.reproduces"
"""Tag of a run by which another one was repeated: that run's id."""
OWN = ("seed", "study", "resume", "from_run")
"""Settings in which runs may differ that are otherwise the same; so are those of ``compute``."""
UNLIMITED = {"debug.profile_steps": "0", "debug.batches": "0", "debug.repeats": "1", "debug.share": "1.0"}
"""Settings that runs before them do not have, with the values that change nothing."""


def originals(records: Sequence[RunRecord]) -> list[RunRecord]:
    """Without the runs by which ``ferlab reproduce`` repeated another one: nothing is counted twice."""
    return [record for record in records if REPRODUCES not in record.tags]


def repetitions_of(record: RunRecord) -> list[RunRecord]:
    """Finished trainings on the same data that differ from this one in their seed alone, it among them."""
    same_data = runs_with_tag("dataset.digest", record.tags.get("dataset.digest", ""))
    group = group_of(record)
    found = [one for one in originals(same_data) if one.stage == "train" and group_of(one) == group]
    by_seed = {one.params.get("seed"): one for one in found} | {record.params.get("seed"): record}
    return list(by_seed.values())


def other_seeds(record: RunRecord, prefix: str) -> list[dict[str, float]]:
    """The headline measures that repetitions under other seeds were given on a split (``val``, ``test``)."""
    keys = {name: f"{prefix}_{name}" for name in HEADLINE}
    others = [one.metrics for one in repetitions_of(record) if one.id != record.id]
    return [
        {name: metrics[key] for name, key in keys.items()}
        for metrics in others
        if all(key in metrics for key in keys.values())
    ]


def contestant(record: RunRecord, split: str, evaluations: Mapping[str, RunRecord] | None = None) -> Contestant:
    """The run with its stored predictions on ``split``; UserError when it has none. See ``predictions_of``."""
    predictions = Predictions.load(predictions_of(record, split, evaluations))
    return Contestant(
        record.id, record.name, group_of(record), predictions, costs_of(record), record.params.get("seed")
    )


def evaluations_of(records: Sequence[RunRecord], split: str) -> dict[str, RunRecord]:
    """The last evaluation on ``split`` that ended well of each run that has one, by the run's id; one query for all."""
    # MLflow's filters know no "or": of several runs, all evaluations are asked for
    key, value = (MODEL_LINK, records[0].id) if len(records) == 1 else ("ferlab.stage", "evaluate")
    found = {one.tags.get(MODEL_LINK, ""): one for one in runs_with_tag(key, value) if one.params.get("split") == split}
    return {record.id: found[record.id] for record in records if record.id in found}


def predictions_of(record: RunRecord, split: str, evaluations: Mapping[str, RunRecord] | None = None) -> Path:
    """The file with a run's predictions on a split: on validation its own, on the test split its last evaluation's.

    ``evaluations``: those of this run and others, where they were looked up together.

    Raises:
        UserError: the run was not evaluated there, or the file is gone.

    """
    name = f"predictions/{split}.parquet"
    if record.stage == EXTERNAL:
        scored = record.params.get("split", split)
        if scored != split:
            message = (
                f"run {record.id} ({record.name}): scored on {scored}, not on {split}. First: "
                f"ferlab evaluate predictions=FILE name={record.name} split={split}, with its dataset settings"
            )
            raise UserError(message)
        return record.artifact(name)
    if record.stage not in ("train", "ensemble"):
        stage = record.stage or "not one of ferlab"
        message = f"run {record.id} ({record.name}) is {stage}: it has no predictions. Name trained runs or ensembles."
        raise UserError(message)
    if split == VALIDATION:
        return record.artifact(PREDICTIONS)
    found = (evaluations_of([record], split) if evaluations is None else evaluations).get(record.id)
    if found is None:
        message = f"run {record.id} ({record.name}): not evaluated on {split}. First: ferlab evaluate run={record.id}"
        raise UserError(message)
    return found.artifact(name)


def costs_of(record: RunRecord) -> Costs:
    """What its run says of its costs; of a file of predictions nothing but the openings."""
    kept = record.metrics
    openings = int(record.tags.get(OPENINGS, "0"))
    if record.stage == EXTERNAL:
        return Costs(openings=openings)
    return Costs(
        kept.get("parameters"),
        kept.get("mflops"),
        kept.get("images_per_s"),
        kept.get("train_minutes"),
        kept.get("size_mb"),
        openings,
        kept.get(LATENCY),
    )


def group_of(record: RunRecord) -> str:
    """What a training has in common with its repetitions under other seeds; other runs stand alone."""
    if record.stage != "train":
        return record.id
    said = {key: value for key, value in record.params.items() if UNLIMITED.get(key) != value}
    kept = {key: value for key, value in said.items() if key not in OWN and not key.startswith("compute.")}
    return sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:12]
