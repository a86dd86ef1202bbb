"""Figures of runs side by side, in the look of ``figures``: differences to a baseline, over all and by category."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ferlab.evaluation.figures import new_axes, row_shares
from ferlab.evaluation.metrics import Scores
from ferlab.evaluation.significance import PairedDifference

DIVERGING = "RdBu"
"""Blue for more, red for less: told apart by colour-blind readers, and in print by the signs in the cells."""


def differences_figure(rows: Sequence[tuple[str, PairedDifference, bool]], baseline: str, measure: str) -> Any:
    """Difference of each run to the baseline in points with its interval; filled where it is shown to differ."""
    figure, axes = new_axes(8.2, 1.5 + 0.4 * len(rows))
    ordered = list(reversed(rows))
    for place, (_, found, shown) in enumerate(ordered):
        axes.errorbar(
            100 * found.value,
            place,
            xerr=np.array([[100 * (found.value - found.low)], [100 * (found.high - found.value)]]).clip(0),
            fmt="o" if shown else "s",
            markerfacecolor=None if shown else "white",
            color="C0" if shown else "0.45",
            capsize=4,
        )
    axes.axvline(0, color="0.3", linewidth=1)
    axes.set_yticks(range(len(ordered)), [name for name, *_ in ordered])
    axes.set(
        xlabel=f"{measure}, points more than {baseline} (95 % interval, paired)",
        ylim=(-0.6, len(ordered) - 0.4),
        title="Difference to the baseline (hollow: p after Holm is .05 or more)",
    )
    return figure


def recall_differences_figure(
    names: Sequence[str], classes: Sequence[str], differences: np.ndarray, baseline: str
) -> Any:
    """Recall of each category minus the baseline's, in points: ``differences`` (runs, classes)."""
    import seaborn as sns

    points = 100 * differences
    widest = max(float(np.abs(points).max()), 1.0)
    figure, axes = new_axes(2.6 + 0.95 * len(classes), 1.6 + 0.42 * len(names))
    sns.heatmap(
        points, annot=True, fmt="+.0f", cmap=DIVERGING, center=0, vmin=-widest, vmax=widest, linewidths=0.5,
        xticklabels=list(classes), yticklabels=list(names), ax=axes, cbar_kws={"label": "points"},
    )  # fmt: skip
    axes.set(title=f"Recall by category, difference to {baseline}")
    axes.tick_params(axis="y", rotation=0)
    return figure


def confusion_difference_figure(first: Scores, second: Scores, names: tuple[str, str]) -> Any:
    """Row shares of the second confusion matrix minus those of the first, in points."""
    import seaborn as sns

    classes = [row.name for row in first.per_class]
    points = row_shares(second) - row_shares(first)
    widest = max(float(np.abs(points).max()), 1.0)
    figure, axes = new_axes(7.6, 6.4)
    sns.heatmap(
        points, annot=True, fmt="+.1f", cmap=DIVERGING, center=0, vmin=-widest, vmax=widest, square=True,
        linewidths=0.5, annot_kws={"size": 9}, xticklabels=classes, yticklabels=classes, ax=axes,
        cbar_kws={"label": "points"},
    )  # fmt: skip
    axes.set(xlabel="predicted", ylabel="as perceived by annotators", title=f"{names[1]}\nminus {names[0]}")
    return figure
