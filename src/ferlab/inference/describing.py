"""From a recorded run to what its model, exported or not, says of itself."""

from typing import Any

from ferlab.edge.description import Description
from ferlab.errors import UserError
from ferlab.evaluation.card import licence_of
from ferlab.tracking.records import RunRecord, find_run

WITH_MODEL = ("train", "ensemble")


def description_of(record: RunRecord) -> Description:
    """What the model of a finished training or ensemble takes and gives.

    Raises:
        UserError: the run is none, did not end well, or its model is gone.

    """
    if record.stage not in WITH_MODEL:
        stage = record.stage or "not one of ferlab"
        message = f"run {record.id} ({record.name}) is {stage}: it holds no model. Name a training or an ensemble."
        raise UserError(message)
    if record.status != "FINISHED":
        message = f"run {record.id} ({record.name}) is {record.status}: its model is not there. Name a finished run."
        raise UserError(message)
    said = record.model_metadata()
    cut = said if "margin" in said else _preparation(record)
    return Description(
        classes=tuple(said["classes"]),
        taxonomy=said["taxonomy"],
        run_id=record.id,
        size_px=int(said["size_px"]),
        colour=said["colour"],
        margin=float(cut["margin"]),
        align=bool(cut["align"]),
        licence=licence_of(said["protocol"].partition("/")[0]),
        name=record.name,
        protocol=said["protocol"],
        dataset_digest=said["dataset_digest"],
    )


def _preparation(record: RunRecord) -> dict[str, Any]:
    """How the images of a run were cut that did not store it with its model; an ensemble's first member tells."""
    members = record.tags.get("ferlab.from.train", "")
    first = find_run(members.split(",")[0]) if members else record
    return dict(first.config()["preparation"])
