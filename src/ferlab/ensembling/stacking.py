"""Logistic stacking: a linear layer over the members' log probabilities (Wolpert 1992)."""

import numpy as np
from scipy.special import log_softmax

from ferlab.ensembling.combination import Stacking, logarithms_side_by_side
from ferlab.ensembling.folds import stratified_folds

STRENGTHS = (0.001, 0.01, 0.1)
"""Inverse strengths C of the L2 penalty that are tried."""
INNER_FOLDS = 3
NEVER = -30.0
"""Logit of a class without a sample to fit on."""


def fit_stacking(probabilities: np.ndarray, labels: np.ndarray, seed: int) -> Stacking:
    """Multinomial logistic regression from (members, n, classes) to ``labels`` (n,).

    The penalty is the one of ``STRENGTHS`` with the best log-likelihood over inner folds. A member's log probabilities
    are centred, which changes no answer and makes the penalty fair to sure and unsure members.
    """
    members, _, classes = probabilities.shape
    centring = np.kron(np.eye(members), np.eye(classes) - 1 / classes)
    features = logarithms_side_by_side(probabilities) @ centring
    strength = _best_strength(features, labels, classes, seed)
    (linear,) = _path(features, labels, classes, (strength,))
    return Stacking(centring @ linear.coefficients, linear.intercept)


def shares(stacking: Stacking, members: int) -> np.ndarray:
    """Each member's share of the absolute coefficients of a class (members, classes); equal where all are 0."""
    size = np.abs(stacking.coefficients).reshape(members, -1, len(stacking.intercept)).sum(axis=1)
    total = size.sum(axis=0)
    return np.divide(size, total, out=np.full_like(size, 1 / members), where=total > 0)


def _best_strength(features: np.ndarray, labels: np.ndarray, classes: int, seed: int) -> float:
    folds = min(INNER_FOLDS, len(labels))
    if folds < 2:
        return STRENGTHS[0]
    fold = stratified_folds(labels, folds, seed)
    losses = np.zeros(len(STRENGTHS))
    for held in range(folds):
        inside, outside = fold != held, fold == held
        for position, linear in enumerate(_path(features[inside], labels[inside], classes, STRENGTHS)):
            logits = features[outside] @ linear.coefficients + linear.intercept
            losses[position] -= log_softmax(logits, axis=1)[np.arange(outside.sum()), labels[outside]].sum()
    return STRENGTHS[int(losses.argmin())]


def _path(features: np.ndarray, labels: np.ndarray, classes: int, strengths: tuple[float, ...]) -> list[Stacking]:
    """One fit per strength, each from where the one before ended."""
    from sklearn.linear_model import LogisticRegression

    present = np.unique(labels)
    if len(present) == 1:
        return [_over_all(np.zeros((1, features.shape[1])), np.zeros(1), present, classes)] * len(strengths)
    regression = LogisticRegression(max_iter=500, warm_start=True)
    fits = []
    for strength in strengths:
        regression.set_params(C=strength).fit(features, labels)
        slopes, intercept = np.array(regression.coef_), np.array(regression.intercept_)
        if len(present) == 2:  # scikit-learn then has one row, the second class against the first
            slopes, intercept = np.vstack([-slopes, slopes]) / 2, np.concatenate([-intercept, intercept]) / 2
        fits.append(_over_all(slopes, intercept, present, classes))
    return fits


def _over_all(slopes: np.ndarray, intercept: np.ndarray, present: np.ndarray, classes: int) -> Stacking:
    """Coefficients of the classes that are ``present`` as those of all classes."""
    coefficients, all_intercepts = np.zeros((slopes.shape[1], classes)), np.full(classes, NEVER)
    coefficients[:, present], all_intercepts[present] = slopes.T, intercept
    return Stacking(coefficients, all_intercepts)
