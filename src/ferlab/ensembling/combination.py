"""A combination: how the probabilities of several members become those of their ensemble."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import softmax

from ferlab.models.ensemble import ADMIXTURE, FLOOR
from ferlab.scoring.temperature import tempered

METHODS = ("mean", "geometric", "weighted", "stacking", "greedy", "vote")
SUM_TOLERANCE = 1e-6


@dataclass(frozen=True)
class Stacking:
    """A linear layer over the members' log probabilities: ``coefficients`` (members * classes, classes), intercept."""

    coefficients: np.ndarray
    intercept: np.ndarray


@dataclass(frozen=True)
class Combination:
    """What ``method`` needs to combine the runs ``members``: fitted once, then applied to any split.

    ``weights`` (members, classes), not negative, columns sum to 1. ``temperatures`` (members,): a member's log
    probabilities are divided by its own before anything else; stacking leaves them at 1, its coefficients scale.
    ``stacking``: of that method only; ``weights`` are then each member's share of the coefficients, to be looked at.
    """

    method: str
    classes: tuple[str, ...]
    members: tuple[str, ...]
    weights: np.ndarray
    temperatures: np.ndarray
    stacking: Stacking | None = None

    def __post_init__(self) -> None:
        shape = (len(self.members), len(self.classes))
        message = ""
        if self.method not in METHODS:
            message = f"method must be one of {', '.join(METHODS)}, got {self.method!r}"
        elif self.weights.shape != shape or self.temperatures.shape != shape[:1]:
            message = f"weights {self.weights.shape} and temperatures {self.temperatures.shape} do not fit {shape}"
        elif (self.weights < 0).any() or np.abs(self.weights.sum(axis=0) - 1).max() > SUM_TOLERANCE:
            message = "weights must not be negative and sum to 1 over the members"
        elif (self.method == "stacking") != (self.stacking is not None):
            message = f"{self.method} with coefficients of stacking {self.stacking}"
        if message:
            raise ValueError(message)

    def apply(self, probabilities: np.ndarray) -> np.ndarray:
        """Probabilities of the ensemble (n, classes), rows sum to 1, from those of the members (members, n, classes).

        A probability of 0 counts as ``FLOOR`` where its logarithm is needed.
        """
        if self.stacking is not None:
            logits = logarithms_side_by_side(probabilities) @ self.stacking.coefficients + self.stacking.intercept
            return softmax(logits, axis=1)
        scaled = at_temperatures(probabilities, self.temperatures)
        weights = self.weights[:, None, :]
        if self.method == "geometric":
            return softmax((weights * np.log(np.maximum(scaled, FLOOR))).sum(axis=0), axis=1)
        mixture = (weights * scaled).sum(axis=0)
        if self.method == "vote":
            votes = np.eye(len(self.classes))[scaled.argmax(axis=2)]
            mixture = (1 - ADMIXTURE) * (weights * votes).sum(axis=0) + ADMIXTURE * mixture
        return normalised(mixture)

    def member_weights(self) -> dict[str, float]:
        """One weight per member, the mean over classes, by run id."""
        return {member: float(row.mean()) for member, row in zip(self.members, self.weights, strict=True)}

    def as_json(self) -> dict[str, Any]:
        """Everything as plain data."""
        plain: dict[str, Any] = {
            "method": self.method,
            "classes": list(self.classes),
            "members": list(self.members),
            "weights": self.weights.tolist(),
            "temperatures": self.temperatures.tolist(),
        }
        if self.stacking is not None:
            plain["stacking"] = {
                "coefficients": self.stacking.coefficients.tolist(),
                "intercept": self.stacking.intercept.tolist(),
            }
        return plain

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> "Combination":
        """What ``as_json`` wrote."""
        linear = plain.get("stacking")
        return cls(
            plain["method"],
            tuple(plain["classes"]),
            tuple(plain["members"]),
            np.array(plain["weights"], float),
            np.array(plain["temperatures"], float),
            linear and Stacking(np.array(linear["coefficients"], float), np.array(linear["intercept"], float)),
        )


def at_temperatures(probabilities: np.ndarray, temperatures: np.ndarray) -> np.ndarray:
    """Each member (members, n, classes) at its temperature; a temperature of 1 changes nothing."""
    pairs = zip(probabilities, temperatures, strict=True)
    return np.stack([p if t == 1 else tempered(np.maximum(p, FLOOR), float(t)) for p, t in pairs])


def logarithms_side_by_side(probabilities: np.ndarray) -> np.ndarray:
    """Log probabilities of (members, n, classes) as columns (n, members * classes), member by member."""
    members, n, classes = probabilities.shape
    return np.log(np.maximum(probabilities, FLOOR)).transpose(1, 0, 2).reshape(n, members * classes)


def normalised(mixture: np.ndarray) -> np.ndarray:
    """Rows (n, classes) that sum to 1; weights of their own for every class can leave a row with next to nothing."""
    positive = np.maximum(mixture, FLOOR)
    return positive / positive.sum(axis=1, keepdims=True)


def equal_weights(members: int, classes: int) -> np.ndarray:
    """The same for all (members, classes)."""
    return np.full((members, classes), 1 / members)
