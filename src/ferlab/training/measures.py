"""What an epoch is judged by: accuracy and likelihood on validation, and valence and arousal where they are learned."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from ferlab.models.catalog import AFFECT, PROBABILITIES
from ferlab.records.load import Annotations
from ferlab.training.distribution import predicted

SMALLEST_PROBABILITY = 1e-7


def named(logs: Mapping[str, Any], metric: str) -> float:
    """A metric of the classes among Keras's numbers; with a second head its name has the output's before it."""
    return float(logs[metric] if metric in logs else logs[f"{PROBABILITIES}_{metric}"])


def measured(network: Any, inputs: Iterable[np.ndarray], known: Annotations) -> dict[str, float]:
    """``val_accuracy`` and ``val_loss`` (mean negative log-likelihood of the labels) of the network's answers.

    With a second head also root mean squared error and concordance of valence and arousal, where annotated.
    """
    answers = [predicted(network, block) for block in inputs]
    if not isinstance(answers[0], dict):
        return _of_classes(np.concatenate(answers), known.labels)
    parts = {name: np.concatenate([answer[name] for answer in answers]) for name in (PROBABILITIES, AFFECT)}
    return _of_classes(parts[PROBABILITIES], known.labels) | _of_affect(parts[AFFECT], known.affect)


def _of_classes(probabilities: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    likelihood = np.maximum(probabilities[np.arange(len(labels)), labels].astype(np.float64), SMALLEST_PROBABILITY)
    right = probabilities.argmax(axis=1) == labels
    return {"val_accuracy": float(np.mean(right)), "val_loss": float(-np.log(likelihood).mean())}


def _of_affect(found: np.ndarray, wanted: np.ndarray) -> dict[str, float]:
    numbers = {}
    for column, name in enumerate(("valence", "arousal")):
        annotated = np.isfinite(wanted[:, column])
        if annotated.any():
            there, here = wanted[annotated, column], found[annotated, column]
            numbers[f"val_{name}_rmse"] = float(np.sqrt(np.mean((here - there) ** 2)))
            numbers[f"val_{name}_ccc"] = concordance(there, here)
    return numbers


def concordance(wanted: np.ndarray, found: np.ndarray) -> float:
    """Lin's concordance correlation coefficient (1989) of two series, -1..1; 0 when neither varies."""
    spread = wanted.var() + found.var() + (wanted.mean() - found.mean()) ** 2
    covariance = np.mean((wanted - wanted.mean()) * (found - found.mean()))
    return float(2 * covariance / spread) if spread else 0.0
