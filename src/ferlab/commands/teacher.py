"""Which recorded run teaches a student, and what it says of the student's training images."""

from pathlib import Path

from ferlab.commands.backend import set_up_backend
from ferlab.commands.launch import Context
from ferlab.config.schema import TrainConfig
from ferlab.errors import UserError
from ferlab.manifest import Manifest
from ferlab.predictions import PREDICTIONS, Predictions, other_data
from ferlab.tracking.records import RunRecord, find_run
from ferlab.training.distillation import Answers, answers_of
from ferlab.training.inputs import TrainingData

FOLDER = "teacher"
"""Where a run keeps its teacher's answers, beside its checkpoints."""


def finished_teacher(reference: str, context: Context) -> RunRecord:
    """The run of that id or unique name, a training or an ensemble that ended well; UserError for all others."""
    _ = context.store
    record = find_run(reference, "teacher")
    if record.stage not in ("train", "ensemble") or record.status != "FINISHED":
        stage = record.stage or "not one of ferlab"
        message = (
            f"teacher={reference}: run {record.id} ({record.name}) is {stage} and {record.status}: "
            "only a finished training or ensemble can teach."
        )
        raise UserError(message)
    return record


def teacher_of(reference: str, context: Context, manifest: Manifest) -> RunRecord:
    """The finished training or ensemble of that id or unique name, which may teach on the data of ``manifest``.

    Raises:
        UserError: no such run, or one of other data: another protocol, other classes or another order of them, other
            images or targets.

    """
    record = finished_teacher(reference, context)
    other = other_data(Predictions.load(record.artifact(PREDICTIONS)), manifest)
    if other:
        what, its, ours = other
        message = (
            f"teacher={reference}: run {record.id} ({record.name}) learned with {what} {its}, this student would "
            f"with {ours}. Give both the same dataset and preparation settings."
        )
        raise UserError(message)
    return record


def teachers_answers(config: TrainConfig, context: Context, data: TrainingData, folder: Path) -> Answers:
    """What the teacher, named by its id, says of the training images; kept below ``folder``, and found there again.

    It sets up the backend for the teacher: do so again for the student, whose seed then counts as without a teacher.

    Raises:
        UserError: there are no answers yet, and the run or its model is gone.

    """
    teacher = str(config.teacher)

    def load() -> object:
        set_up_backend(config.compute, config.seed, config.deterministic)
        return find_run(teacher).load_model()

    with context.terminal.progress("teacher") as on_answers:
        answers = answers_of(teacher, load, data, folder / FOLDER, on_answers)
    context.terminal.say(f"teacher {teacher} agrees with {100 * answers.agreement:.1f} % of the training labels")
    return answers
