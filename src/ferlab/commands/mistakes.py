"""The surest mistakes on a split, as a picture of faces, each beside what spoke for the wrong answer."""

from pathlib import Path
from typing import Any

import numpy as np

from ferlab.evaluation.face_figures import mistakes_figure, most_confident_mistakes
from ferlab.manifest import Manifest
from ferlab.predictions import Predictions
from ferlab.records.load import read_samples
from ferlab.scoring.gradcam import can_explain, class_activation
from ferlab.sealed import Opening

SHOWN_MISTAKES = 12


def mistakes_picture(
    folder: Path, manifest: Manifest, predictions: Predictions, model: Any, name: str, opening: Opening | None = None
) -> Any:
    """A figure, or None where there is no mistake; Grad-CAM only of models that have one feature map (no ensembles).

    ``predictions`` are those of ``model`` on the whole split, in the order of its records.
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
    maps = class_activation(model, images, classes) if can_explain(model) else None
    return mistakes_figure(images, mistakes, maps, f"{name}: surest mistakes on {predictions.split}")
