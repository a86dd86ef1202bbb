"""What a batch is trained towards: labels or votes, affect, a teacher's answers, and how much each sample counts."""

from typing import Any

import numpy as np

from ferlab.manifest import Manifest
from ferlab.models.catalog import AFFECT, PROBABILITIES
from ferlab.records.load import Annotations
from ferlab.training.augmentation import Change

ACCEPTED = 0.3
"""Share of the votes from which a class is a valid answer of ``multi_target`` (Barsoum et al. 2016)."""

TEACHER = "teacher"
"""Output of a student that is held to its teacher's answers, and their name among the targets."""

Batch = tuple[Any, ...]
"""Inputs, targets float32 (n, classes) (a dict of all where there are several) and, if asked for, samples' weights."""


class Targets:
    """One-hot labels, or what the manifest's ``targets`` makes of the votes.

    That is a label drawn anew in every epoch, the votes' distribution, or all classes with at least ACCEPTED of them.
    ``class_weights`` gives every sample the weight of its class; ``affect`` adds valence and arousal.
    """

    def __init__(self, manifest: Manifest, class_weights: tuple[float, ...] | None, affect: bool) -> None:
        self.kind, self.affect = manifest.targets, affect
        self.identity = np.eye(len(manifest.classes), dtype=np.float32)
        self.weights = None if class_weights is None else np.asarray(class_weights, np.float32)

    def of(self, known: Annotations, rng: np.random.Generator) -> np.ndarray:
        """Targets float32 (n, classes)."""
        if self.kind == "majority":
            return self.identity[known.labels]
        shares = known.votes / known.votes.sum(axis=1, keepdims=True)
        if self.kind == "cross_entropy":
            return shares
        if self.kind == "probability":
            drawn = (rng.random((len(known), 1)) > shares.cumsum(axis=1)).sum(axis=1)
            return self.identity[np.minimum(drawn, len(self.identity) - 1)]
        return np.maximum((shares >= ACCEPTED).astype(np.float32), self.identity[known.labels])

    def batch(
        self,
        inputs: np.ndarray,
        known: Annotations,
        change: Change | None,
        rng: np.random.Generator,
        taught: np.ndarray | None = None,
    ) -> Batch:
        """One batch, changed by ``change`` where it is given: all that belongs to a sample mixes as its classes do.

        ``taught`` float32 (n, classes): what the teacher answers.
        """
        columns = {PROBABILITIES: self.of(known, rng)}
        if self.affect:
            columns[AFFECT] = known.affect
        if taught is not None:
            columns[TEACHER] = taught
        ends = np.cumsum([column.shape[1] for column in columns.values()])
        weights = [] if self.weights is None else [self.weights[known.labels][:, None]]
        told = np.concatenate([*columns.values(), *weights], axis=1)
        if change is not None:
            inputs, told = change(inputs, told, rng)
        mixed = dict(zip(columns, np.split(told, ends, axis=1)[:-1], strict=True))
        targets = mixed if len(mixed) > 1 else mixed[PROBABILITIES]
        return (inputs, targets) if self.weights is None else (inputs, targets, told[:, -1])
