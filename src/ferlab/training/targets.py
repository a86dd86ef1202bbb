"""What a batch is trained towards: labels or votes, valence and arousal, and how much each sample counts."""

from typing import Any

import numpy as np

from ferlab.manifest import Manifest
from ferlab.models.catalog import AFFECT, PROBABILITIES
from ferlab.records.load import Annotations
from ferlab.training.augmentation import Change

ACCEPTED = 0.3
"""Share of the votes from which a class is a valid answer of ``multi_target`` (Barsoum et al. 2016)."""

Batch = tuple[Any, ...]
"""Inputs, targets float32 (n, classes) (with affect a dict of both) and, when asked for, a weight of each sample."""


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

    def batch(self, inputs: np.ndarray, known: Annotations, change: Change | None, rng: np.random.Generator) -> Batch:
        """One batch, changed by ``change`` where it is given: affect and weights mix as the classes do."""
        columns = [self.of(known, rng)]
        if self.affect:
            columns.append(known.affect)
        if self.weights is not None:
            columns.append(self.weights[known.labels][:, None])
        told = np.concatenate(columns, axis=1)
        if change is not None:
            inputs, told = change(inputs, told, rng)
        classes = len(self.identity)
        targets: Any = told[:, :classes]
        if self.affect:
            targets = {PROBABILITIES: targets, AFFECT: told[:, classes : classes + 2]}
        return (inputs, targets) if self.weights is None else (inputs, targets, told[:, -1])
