"""Which runs an ensemble is made of: those named, or the trainings of a study, all or the best of them."""

from dataclasses import dataclass

from ferlab.commands.contestants import originals
from ferlab.commands.debugging import warn_of_debug, without_debug
from ferlab.commands.launch import Context
from ferlab.config.schema import EnsembleConfig
from ferlab.ensembling.alignment import aligned
from ferlab.ensembling.selection import by_accuracy, by_gain
from ferlab.errors import UserError
from ferlab.predictions import PREDICTIONS, Predictions
from ferlab.tracking.records import RunRecord, find_run, runs_of_study


@dataclass(frozen=True)
class Members:
    """Runs with their aligned validation predictions, and in which order they are added one by one."""

    records: tuple[RunRecord, ...]
    predictions: tuple[Predictions, ...]
    order: tuple[int, ...]

    @property
    def names(self) -> list[str]:
        """Of the runs; where two have the same, with the beginning of the id."""
        names = [record.name for record in self.records]
        return [
            record.name if names.count(record.name) == 1 else f"{record.name} {record.id[:6]}"
            for record in self.records
        ]


def chosen_members(config: EnsembleConfig, context: Context) -> Members:
    """The members that ``config`` asks for.

    Raises:
        UserError: the same run twice, fewer than two, a run that was not trained or has no predictions, runs that do
            not belong together.

    """
    found = _named(config.runs, context) if config.runs else _of_study(str(config.study), context)
    predictions = aligned([one for _, one in found])
    order = by_gain(predictions) if config.diverse else by_accuracy(predictions)
    if config.top is not None:
        if config.top > len(order):
            context.terminal.warn(f"top={config.top}: there are only {len(order)} runs; all are taken.")
        order = order[: config.top]
        return Members(
            tuple(found[i][0] for i in order), tuple(predictions[i] for i in order), tuple(range(len(order)))
        )
    return Members(tuple(record for record, _ in found), tuple(predictions), tuple(order))


def _named(references: list[str], context: Context) -> list[tuple[RunRecord, Predictions]]:
    records = [find_run(reference) for reference in references]
    if len({record.id for record in records}) != len(records):
        message = f"runs: the same run is named twice ({', '.join(record.id for record in records)})."
        raise UserError(message)
    for record in records:
        if record.stage not in ("train", "ensemble"):
            stage = record.stage or "not one of ferlab"
            message = f"run {record.id} ({record.name}) is {stage}: only trained runs can be combined."
            raise UserError(message)
    warn_of_debug(records, context)
    return [(record, Predictions.load(record.artifact(PREDICTIONS))) for record in records]


def _of_study(study: str, context: Context) -> list[tuple[RunRecord, Predictions]]:
    """Finished trainings that count, each once; those without predictions that can be read are said and left out."""
    found = []
    for record in originals(without_debug(runs_of_study(study, ("train",)), study, context)):
        try:
            found.append((record, Predictions.load(record.artifact(PREDICTIONS))))
        except UserError as error:
            context.terminal.warn(f"left out: {error}")
    if len(found) < 2:
        message = f"study={study}: an ensemble needs at least 2 finished trainings with predictions, got {len(found)}."
        raise UserError(message)
    return found
