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
MARGIN, BESIDE, GAP, HEADING = 0.02, 0.2, 0.15, 0.4
"""Shares of a face: around it, between an original and its versions, between pairs, for two lines of words."""
PAIR, PAIR_LINE = 2 + GAP, 1 + HEADING + GAP


@dataclass(frozen=True)
class Mistake:
    """A wrong prediction: its ``row`` in the predictions, true and predicted category, the latter's probability.

    None for a tool that gives labels only.
    """

    row: int
    true: str
    predicted: str
    probability: float | None


def most_confident_mistakes(predictions: Predictions, limit: int) -> list[Mistake]:
    """The ``limit`` wrong predictions of highest probability, the surest first (in order of rows on ties)."""
    predicted = predictions.predicted
    sureness = predictions.probabilities.max(axis=1)
    wrong = np.flatnonzero(predicted != predictions.labels)
    chosen = wrong[np.argsort(-sureness[wrong], kind="stable")][:limit]
    names = predictions.classes
    return [
        Mistake(
            int(row), names[predictions.labels[row]], names[predicted[row]],
            None if predictions.hard else float(sureness[row]),
        )
        for row in chosen
    ]  # fmt: skip


def augmented_figure(originals: np.ndarray, augmented: np.ndarray, title: str) -> Any:
    """One row an image: itself, then its augmented versions.

    ``originals`` (n, s, s, c), ``augmented`` (n, k, s, s, c) with k versions of each; pixels in 0..255, gray or RGB.
    """
    versions = augmented.shape[1]
    figure, axes = _sheet(versions + 1 + BESIDE, len(originals), title)
    for row, original in enumerate(originals):
        _show(axes, original, 0, row)
        for column, image in enumerate(augmented[row]):
            _show(axes, image, 1 + BESIDE + column, row)
    _say(axes, "original", 0, 0)
    _say(axes, "augmented", 1 + BESIDE, 0)
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
    figure, axes = _sheet(columns * PAIR - GAP, lines * PAIR_LINE - GAP, title, HEADING)
    for place, (image, mistake) in enumerate(zip(images, mistakes, strict=True)):
        line, column = divmod(place, columns)
        left, top = PAIR * column, PAIR_LINE * line
        _show(axes, image, left, top)
        if maps is not None:
            _show(axes, image, left + 1, top)
            axes.imshow(
                maps[place], cmap=HEAT, vmin=0, vmax=1, alpha=OPACITY * maps[place], extent=_place(left + 1, top)
            )
        sureness = "" if mistake.probability is None else f" {100 * mistake.probability:.0f} %"
        _say(axes, f"{mistake.predicted}{sureness}\nannotated {mistake.true}", left, top)
    if mistakes and maps is not None:
        bar = figure.colorbar(
            ScalarMappable(cmap=HEAT), ax=axes, location="bottom", shrink=0.6, aspect=40, pad=0.02, ticks=[0, 1]
        )
        bar.set_ticklabels(["nothing", "most"], fontsize=9)
        bar.set_label("speaks for the\npredicted category", fontsize=9, labelpad=-12)
        bar.outline.set_visible(False)
    return figure


def _sheet(width: float, height: float, title: str, heading: float = 0.3) -> tuple[Any, Any]:
    """A figure with one axes, in which a face takes 1 by 1 and y grows downwards; ``heading`` above the first line.

    One axes for each face would cost seconds a figure.
    """
    import matplotlib as mpl

    mpl.use("Agg", force=False)
    import seaborn as sns
    from matplotlib.figure import Figure

    sns.set_theme(context="notebook", style="white", palette=PALETTE)
    figure = Figure(figsize=(width * TILE_IN, (height + heading) * TILE_IN + 0.4), layout="constrained")
    figure.suptitle(title, fontsize=12, wrap=True)
    axes = figure.add_subplot()
    axes.set_axis_off()
    axes.set(xlim=(0, width), ylim=(height, -heading), aspect="equal", autoscale_on=False)
    return figure, axes


def _place(left: float, top: float) -> tuple[float, float, float, float]:
    return left + MARGIN, left + 1 - MARGIN, top + 1 - MARGIN, top + MARGIN


def _show(axes: Any, image: np.ndarray, left: float, top: float) -> None:
    pixels = np.asarray(image).squeeze().astype(np.uint8)
    axes.imshow(pixels, cmap="gray", vmin=0, vmax=255, extent=_place(left, top))


def _say(axes: Any, text: str, left: float, top: float) -> None:
    axes.text(left + MARGIN, top, text, fontsize=9, va="bottom")
