"""A teacher's answers to the training images, given once and kept, and the student that is held to them."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from ferlab.errors import UserError
from ferlab.models.blocks import uses_xla
from ferlab.models.catalog import PROBABILITIES
from ferlab.storage.files import atomic_path
from ferlab.training.distribution import predicted
from ferlab.training.inputs import TrainingData
from ferlab.training.targets import TEACHER

ANSWERS = "answers.npz"
SMALLEST_PROBABILITY = np.finfo(np.float32).tiny
"""What a probability of zero counts as: its logarithm must be a number."""

OnAnswers = Callable[[int, int], None]
"""Told how many images the teacher has answered, and how many there are in all."""


@dataclass(frozen=True)
class Answers:
    """What a teacher says of n training images.

    ``log_probabilities`` float32 (n, classes), in the order of the data's ``blocks``: the mean over an image and its
    mirror, so those of the softmax of the mean logits. ``agreement``: share of the images, 0..1, whose most probable
    class is the label.
    """

    log_probabilities: np.ndarray
    agreement: float

    def tempered(self, temperature: float) -> np.ndarray:
        """Probabilities float32 (n, classes) of the logits divided by ``temperature`` > 0; above 1 they are softer."""
        from scipy.special import softmax

        return softmax(self.log_probabilities / np.float32(temperature), axis=1)


def answers_of(
    teacher: str, load: Callable[[], Any], data: TrainingData, folder: Path, on_answers: OnAnswers
) -> Answers:
    """What the model that ``load`` gives, a network or an ensemble, says of the training images as they are stored.

    It is kept in ``folder``; there it is found again, without ``load``, as long as ``teacher`` (the id of its run) and
    the data are the same, otherwise it is replaced. Of several processes each needs a folder of its own.

    Raises:
        UserError: its answers are not numbers, the disk is full, or a shard is missing or damaged.

    """
    spec = data.train.spec
    made_of = json.dumps([teacher, data.manifest.digest, data.train.count, spec.process, spec.processes])
    kept = _kept(folder / ANSWERS, made_of)
    if kept is None:
        kept = _asked(load(), data, on_answers)
        if not np.isfinite(kept.log_probabilities).all():
            message = f"teacher={teacher}: some of its answers to the training images are not numbers. Choose another."
            raise UserError(message)
        with atomic_path(folder / ANSWERS) as partial, partial.open("wb") as file:
            np.savez(file, made_of=made_of, log_probabilities=kept.log_probabilities, agreement=kept.agreement)
    return kept


def student(trainee: Any, temperature: float) -> Any:
    """A model that trains ``trainee`` (inputs to logits, or a dict with them) and has a further output TEACHER.

    That is the logits divided by ``temperature``; layers and variables are those of ``trainee``.
    """
    import keras

    outputs = trainee.output if isinstance(trainee.output, dict) else {PROBABILITIES: trainee.output}
    softened = keras.layers.Rescaling(1 / temperature, dtype="float32", name=TEACHER)(outputs[PROBABILITIES])
    return keras.Model(trainee.input, {**outputs, TEACHER: softened}, name=f"{trainee.name}_student")


def _asked(model: Any, data: TrainingData, on_answers: OnAnswers) -> Answers:
    from scipy.special import log_softmax

    model.jit_compile = uses_xla()
    found = np.empty((data.train.count, len(data.manifest.classes)), np.float32)
    first = right = 0
    for images, known in data.train.blocks():
        both = np.mean([_logarithms(model, view) for view in (images, images[:, :, ::-1])], axis=0)
        found[first : first + len(images)] = log_softmax(both, axis=1)
        right += int((both.argmax(axis=1) == known.labels).sum())
        first += len(images)
        on_answers(first, data.train.count)
    return Answers(found, right / data.train.count)


def _logarithms(model: Any, images: np.ndarray) -> np.ndarray:
    """Logits of the classes float64 (n, classes), less one number a row."""
    answers = predicted(model, images)
    probabilities = answers[PROBABILITIES] if isinstance(answers, dict) else answers
    return np.log(np.maximum(probabilities, SMALLEST_PROBABILITY, dtype=np.float64))


def _kept(file: Path, made_of: str) -> Answers | None:
    """The answers in ``file`` when it is whole and made of the same, else None."""
    try:
        with np.load(file) as found:
            if str(found["made_of"]) != made_of:
                return None
            return Answers(found["log_probabilities"], float(found["agreement"]))
    except (OSError, ValueError, KeyError, EOFError, BadZipFile):
        return None
