"""Figures of an ensemble's members, in the look of ``figures``: how differently they err, what each one adds."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ferlab.evaluation.figures import new_axes
from ferlab.evaluation.metrics import Estimate


def diversity_figure(names: Sequence[str], disagreement: np.ndarray, correlation: np.ndarray, which: str = "") -> Any:
    """Two tables (members, members), of every pair once: share of different answers, and correlation of errors.

    What is not defined (NaN) stays empty. ``which``: of what members these are, where there are more.
    """
    import seaborn as sns

    side = 2.4 + 0.75 * len(names)
    figure, whole = new_axes(2 * side, side)
    whole.remove()
    figure.suptitle(which)
    below = np.tri(len(names), k=-1, dtype=bool)
    tables = (
        ("Different answers, %", 100 * disagreement, ".0f", "Blues", 0, None),
        ("Correlation of errors", correlation, ".2f", "Oranges", 0, 1),
    )
    for position, (title, table, form, colours, low, high) in enumerate(tables, start=1):
        axes = figure.add_subplot(1, 2, position)
        sns.heatmap(
            table, mask=~below | np.isnan(table), annot=True, fmt=form, cmap=colours, vmin=low, vmax=high, square=True,
            linewidths=0.5, xticklabels=list(names), yticklabels=list(names) if position == 1 else False, ax=axes,
            cbar_kws={"shrink": 0.7},
        )  # fmt: skip
        axes.set_title(title)
        axes.grid(visible=False)
    return figure


def growth_figure(names: Sequence[str], estimates: Sequence[Estimate], title: str) -> Any:
    """Accuracy of the equal mean of the first 1, 2, ... members with its interval; each is named where it comes in."""
    figure, axes = new_axes(2.4 + 0.9 * len(names), 4.6)
    places = np.arange(1, len(names) + 1)
    values = np.array([estimate.value for estimate in estimates])
    ends = np.array([[estimate.value - estimate.low, estimate.high - estimate.value] for estimate in estimates]).T
    axes.errorbar(places, values, yerr=np.clip(ends, 0, None), fmt="o-", capsize=4)
    labels = [f"{place}\n+ {name}" if place > 1 else f"1\n{name}" for place, name in zip(places, names, strict=True)]
    axes.set_xticks(places, labels, rotation=30, ha="right", fontsize=9)
    axes.set(xlabel="members", ylabel="accuracy (95 % interval)", title=title, xlim=(0.5, len(names) + 0.5))
    return figure
