"""The run that an evaluation is tested against: found, and seen to fit, before the split is opened."""

from ferlab.commands.contestants import contestant
from ferlab.errors import UserError
from ferlab.evaluation.comparison import Contestant
from ferlab.manifest import Manifest
from ferlab.predictions import other_data
from ferlab.tracking.records import find_run


def baseline_of(reference: str, split: str, manifest: Manifest, subject_id: str = "") -> Contestant:
    """The run of that id or unique name with its stored predictions on ``split`` of the data of ``manifest``.

    Raises:
        UserError: no such run, ``subject_id`` itself, one that was not scored on the split, or under another protocol,
            other classes or another order of them, or on other data.

    """
    record = find_run(reference, "baseline")
    if record.id == subject_id:
        message = f"baseline={reference}: is the run that is evaluated. Name another one."
        raise UserError(message)
    found = contestant(record, split)
    other = other_data(found.predictions, manifest)
    if other:
        what, theirs, ours = other
        message = (
            f"baseline={reference}: run {record.id} ({record.name}) was scored with {what} {theirs}, this run is "
            f"with {ours}. Only answers to the same images can be tested against each other."
        )
        raise UserError(message)
    return found
