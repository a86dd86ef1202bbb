"""The surest mistakes on a split, as a picture of faces, each beside what spoke for the wrong answer."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ferlab.ensembling.combination import Combination
from ferlab.errors import UserError
from ferlab.evaluation.face_figures import mistakes_figure, most_confident_mistakes
from ferlab.manifest import Manifest
from ferlab.models.ensemble import members_inside
from ferlab.predictions import Predictions
from ferlab.records.load import read_samples
from ferlab.scoring.gradcam import can_explain, class_activation, weighted_activation
from ferlab.sealed import Opening
from ferlab.tracking.records import RunRecord

SHOWN_MISTAKES = 12
MIXED = ("mean", "weighted", "greedy", "geometric")
"""Methods whose answer is a weighted mean of the members' answers, or of their logarithms, so their maps mix alike."""

Explain = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Maps (n, s, s) of what in images (n, s, s, c) speaks for their classes (n,)."""


def explanation(model: Any) -> Explain | None:
    """Grad-CAM of a network; None of a model without the one feature map that it needs."""
    return partial(class_activation, model) if can_explain(model) else None


def explanation_of_run(record: RunRecord, model: Any) -> Explain | None:
    """Grad-CAM of a recorded model; of an ensemble its members' maps, weighted as their answers are.

    None where they do not mix so (a vote, stacking), or a member has none.
    """
    if record.stage != "ensemble":
        return explanation(model)
    try:
        plain = json.loads(record.artifact("combination.json").read_text(encoding="utf-8"))
    except UserError:
        return None
    combination, members = Combination.from_json(plain), members_inside(model)
    if combination.method not in MIXED or not all(map(can_explain, members.values())):
        return None
    return partial(weighted_activation, [(one, combination.weights[place]) for place, one in members.items()])


def mistakes_picture(
    folder: Path,
    manifest: Manifest,
    predictions: Predictions,
    name: str,
    explain: Explain | None = None,
    opening: Opening | None = None,
) -> Any:
    """A figure, or None where there is no mistake; without ``explain`` the faces stand alone.

    ``predictions`` are those of the whole split, in the order of its records.
    """
    mistakes = most_confident_mistakes(predictions, SHOWN_MISTAKES)
    if not mistakes:
        return None
    rows = {mistake.row: place for place, mistake in enumerate(mistakes)}
    images = np.empty((len(mistakes), manifest.size_px, manifest.size_px, manifest.channels), np.uint8)
    for row, sample in enumerate(read_samples(folder, manifest, predictions.split, opening)):
        if row in rows:
            images[rows[row]] = sample.pixels
    classes = np.array([predictions.classes.index(mistake.predicted) for mistake in mistakes])
    maps = explain(images, classes) if explain else None
    which = "mistakes" if predictions.hard else "surest mistakes"
    return mistakes_figure(images, mistakes, maps, f"{name}: {which} on {predictions.split}")
