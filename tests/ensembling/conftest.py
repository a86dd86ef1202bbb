"""Members whose probabilities lean to the truth, over the same labelled samples."""

import numpy as np

from ferlab.predictions import Predictions

CLASSES = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
SIZE = 400


def member(run_id: str, seed: int, skill: float, size: int = SIZE) -> Predictions:
    """A member whose probabilities lean to the truth by ``skill``; labels and ids are the same for all."""
    labels = np.random.default_rng(0).integers(0, 7, size)
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(size, 7)) + skill * np.eye(7)[labels]
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return Predictions(
        ids=tuple(f"id{i}" for i in range(size)),
        labels=labels,
        probabilities=probabilities,
        classes=CLASSES,
        split="validation",
        taxonomy="fer2013",
        protocol="fer2013/carved",
        dataset_digest="d" * 64,
        run_id=run_id,
    )


def several(*skills: float) -> list[Predictions]:
    return [member(f"run{i}", i + 1, skill) for i, skill in enumerate(skills)]


def of(members: list[Predictions]) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities (members, n, classes) and labels."""
    return np.stack([one.probabilities for one in members]), members[0].labels
