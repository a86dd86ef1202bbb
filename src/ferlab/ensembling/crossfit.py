"""Methods of combination, each judged on samples it was not fitted on."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ferlab.ensembling.alignment import stacked
from ferlab.ensembling.combination import Combination
from ferlab.ensembling.fitting import Plan, fit
from ferlab.ensembling.folds import stratified_folds
from ferlab.models.ensemble import FLOOR
from ferlab.predictions import Predictions


@dataclass(frozen=True)
class Trial:
    """A plan, its combination fitted on all samples, and probabilities (n, classes) of samples it was not fitted on.

    ``accuracy`` and ``nll`` (mean negative log-likelihood) are those of the latter; ``fit_accuracy`` is the accuracy
    of the combination on what it was fitted on, too good a number.
    """

    plan: Plan
    combination: Combination
    out_of_fold: np.ndarray
    accuracy: float
    nll: float
    fit_accuracy: float


def attempt(plan: Plan, members: Sequence[Predictions], folds: int) -> Trial:
    """Fit ``plan`` on aligned members and judge it out of fold."""
    labels, classes, ids = members[0].labels, members[0].classes, [member.run_id for member in members]
    probabilities = stacked(members)
    combination = fit(plan, ids, classes, probabilities, labels)
    inside = combination.apply(probabilities)
    outside = out_of_fold(plan, probabilities, labels, folds) if plan.fitted else inside
    return Trial(
        plan,
        combination,
        outside,
        float((outside.argmax(axis=1) == labels).mean()),
        float(-np.log(np.maximum(outside[np.arange(len(labels)), labels], FLOOR)).mean()),
        float((inside.argmax(axis=1) == labels).mean()),
    )


def out_of_fold(plan: Plan, probabilities: np.ndarray, labels: np.ndarray, folds: int) -> np.ndarray:
    """Probabilities (n, classes) of every sample by ``plan`` fitted, temperatures included, on the other folds.

    ``probabilities`` (members, n, classes), ``labels`` (n,). With fewer samples than folds each is a fold of its own.
    """
    members, n, classes = probabilities.shape
    fold = stratified_folds(labels, min(folds, n), plan.seed)
    answers = np.empty((n, classes))
    for held in range(fold.max() + 1):
        inside, outside = fold != held, fold == held
        names = [str(member) for member in range(members)], [str(index) for index in range(classes)]
        fitted = fit(plan, *names, probabilities[:, inside], labels[inside])
        answers[outside] = fitted.apply(probabilities[:, outside])
    return answers


def best(trials: Sequence[Trial]) -> Trial:
    """The most accurate out of fold, ties by the lower negative log-likelihood, then the first."""
    return min(trials, key=lambda trial: (-trial.accuracy, trial.nll))
