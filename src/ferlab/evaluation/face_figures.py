"""Figures of faces, in the look of ``figures``: augmented versions, and mistakes with their Grad-CAM."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ferlab.evaluation.figures import PALETTE
from ferlab.predictions import Predictions

TILE_IN = 1.05
HEAT = "plasma"
OPACITY = 0.65


@dataclass(frozen=True)
class Mistake:
    """A wrong prediction: its ``row`` in the predictions, true and predicted category, the latter's probability."""

    row: int
    true: str
    predicted: str
    probability: float


def most_confident_mistakes(predictions: Predictions, limit: int) -> list[Mistake]:
    """The ``limit`` wrong predictions of highest probability, the surest first (in order of rows on ties)."""
    predicted = predictions.predicted
    sureness = predictions.probabilities.max(axis=1)
    wrong = np.flatnonzero(predicted != predictions.labels)
    chosen = wrong[np.argsort(-sureness[wrong], kind="stable")][:limit]
    names = predictions.classes
    return [
        Mistake(int(row), names[predictions.labels[row]], names[predicted[row]], float(sureness[row])) for row in chosen
    ]


def augmented_figure(originals: np.ndarray, augmented: np.ndarray, title: str) -> Any:
    """One row an image: itself, then its augmented versions.

    ``originals`` (n, s, s, c), ``augmented`` (n, k, s, s, c) with k versions of each; pixels in 0..255, gray or RGB.
    """
    versions = augmented.shape[1]
    figure = _figure((versions + 1.25) * TILE_IN, len(originals) * TILE_IN + 0.65, title)
    widths = [1, 0.2, *[1] * versions]
    grid = figure.add_gridspec(len(originals), len(widths), width_ratios=widths)
    for row, original in enumerate(originals):
        for column, image in enumerate([original, *augmented[row]]):
            axes = figure.add_subplot(grid[row, column + (column > 0)])
            _show(axes, image)
            if row == 0 and column < 2:
                axes.set_title("augmented" if column else "original", fontsize=9, loc="left" if column else "center")
    return figure


def mistakes_figure(
    images: np.ndarray, mistakes: Sequence[Mistake], maps: np.ndarray | None, title: str, columns: int = 3
) -> Any:
    """Wrongly classified faces, each beside itself under what spoke for the predicted category where that is known.

    Above each face stand the prediction with its probability, and what the annotators said.
    ``images`` (n, s, s, c) with pixels in 0..255 and ``maps`` (n, s, s) in 0..1 in the order of ``mistakes``;
    without maps the faces stand alone.
    """
    from matplotlib.cm import ScalarMappable

    columns = max(min(columns, len(mistakes)), 1)
    lines = max(-(-len(mistakes) // columns), 1)
    figure = _figure(columns * 2.4 * TILE_IN, lines * 1.5 * TILE_IN + 1, title)
    widths = [1, 1, 0.12] * columns
    grid = figure.add_gridspec(lines, len(widths), width_ratios=widths)
    for place, (image, mistake) in enumerate(zip(images, mistakes, strict=True)):
        line, column = divmod(place, columns)
        face = figure.add_subplot(grid[line, 3 * column])
        _show(face, image)
        if maps is not None:
            overlay = figure.add_subplot(grid[line, 3 * column + 1])
            _show(overlay, image)
            overlay.imshow(maps[place], cmap=HEAT, vmin=0, vmax=1, alpha=OPACITY * maps[place])
        said = f"{mistake.predicted} {100 * mistake.probability:.0f} %\nannotated {mistake.true}"
        face.set_title(said, loc="left", fontsize=9)
    if mistakes and maps is not None:
        bar = figure.colorbar(
            ScalarMappable(cmap=HEAT), ax=figure.axes, location="bottom", shrink=0.6, aspect=40, ticks=[0, 1]
        )
        bar.set_ticklabels(["nothing", "most"], fontsize=9)
        bar.set_label("speaks for the\npredicted category", fontsize=9, labelpad=-12)
        bar.outline.set_visible(False)
    return figure


def _figure(width: float, height: float, title: str) -> Any:
    import matplotlib as mpl

    mpl.use("Agg", force=False)
    import seaborn as sns
    from matplotlib.figure import Figure

    sns.set_theme(context="notebook", style="white", palette=PALETTE)
    figure = Figure(figsize=(width, height), layout="constrained")
    figure.suptitle(title, fontsize=12, wrap=True)
    return figure


def _show(axes: Any, image: np.ndarray) -> None:
    axes.imshow(np.asarray(image).squeeze().astype(np.uint8), cmap="gray", vmin=0, vmax=255)
    axes.set_axis_off()
