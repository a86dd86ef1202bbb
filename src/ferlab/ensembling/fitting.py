"""Fitting one method of combination on labelled samples, which are those of validation."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from threadpoolctl import threadpool_limits

from ferlab.config import nodes
from ferlab.ensembling.combination import METHODS, Combination, at_temperatures, equal_weights
from ferlab.ensembling.stacking import fit_stacking, shares
from ferlab.ensembling.weights import class_weights, greedy_weights, simplex_weights
from ferlab.models.ensemble import FLOOR
from ferlab.scoring.temperature import fit_temperature

UNFITTED = ("mean", "geometric", "vote")


@dataclass(frozen=True)
class Plan:
    """A method with its options. ``temperature`` fits one per member first; stacking needs none."""

    method: str
    per_class: bool = False
    temperature: bool = False
    seed: int = 0

    @property
    def name(self) -> str:
        """``weighted per class``."""
        return f"{self.method} per class" if self.per_class else self.method

    @property
    def fitted(self) -> bool:
        """Whether labels go into it."""
        return self.temperature or self.method not in UNFITTED


def plans(settings: nodes.Combination) -> list[Plan]:
    """What a config asks for: the one method, or for ``auto`` all of them."""
    auto = settings.method == "auto"
    methods = METHODS if auto else (settings.method,)
    found = [
        Plan(method, settings.per_class and not auto, settings.temperature and method != "stacking", settings.seed)
        for method in methods
    ]
    if auto and settings.per_class:
        found.append(Plan("weighted", True, settings.temperature, settings.seed))
    return found


def fit(
    plan: Plan, members: Sequence[str], classes: Sequence[str], probabilities: np.ndarray, labels: np.ndarray
) -> Combination:
    """The combination of runs ``members`` by ``plan``: ``probabilities`` (members, n, classes), ``labels`` (n,)."""
    # matrices this small are multiplied a hundred times slower by several threads that wait for busy cores
    with threadpool_limits(1):
        return _fit(plan, tuple(members), tuple(classes), probabilities, labels)


def _fit(
    plan: Plan, members: tuple[str, ...], classes: tuple[str, ...], probabilities: np.ndarray, labels: np.ndarray
) -> Combination:
    temperatures = np.ones(len(members))
    if plan.method == "stacking":
        linear = fit_stacking(probabilities, labels, plan.seed)
        weights = shares(linear, len(members))
        return Combination(plan.method, classes, members, weights, temperatures, linear)
    if plan.temperature:
        temperatures = np.array([fit_temperature(np.maximum(one, FLOOR), labels) for one in probabilities])
    weights = _weights(plan, at_temperatures(probabilities, temperatures), labels)
    return Combination(plan.method, classes, members, weights, temperatures)


def _weights(plan: Plan, probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    members, _, classes = probabilities.shape
    if plan.method == "weighted" and plan.per_class:
        return class_weights(probabilities, labels)
    if plan.method in UNFITTED:
        return equal_weights(members, classes)
    fitted = {"weighted": simplex_weights, "greedy": greedy_weights}[plan.method](probabilities, labels)
    return np.repeat(fitted[:, None], classes, axis=1)
