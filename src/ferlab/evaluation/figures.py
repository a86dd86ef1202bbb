"""Figures (seaborn), one look: readable in print and by colour-blind readers. Every function returns a figure."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ferlab.evaluation.metrics import Estimate, Scores

PALETTE = "colorblind"
MOST_MARKERS = 30
SHORT_PHASE = 0.25
"""Share of the epochs below which a phase may be narrower than its name."""


def new_axes(width: float, height: float) -> tuple[Any, Any]:
    """A figure of that size in inches, with its axes, in the one look of all."""
    import matplotlib as mpl

    mpl.use("Agg", force=False)
    import seaborn as sns
    from matplotlib.figure import Figure

    sns.set_theme(context="notebook", style="whitegrid", palette=PALETTE)
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.add_subplot()


def confusion_figure(scores: Scores, title: str) -> Any:
    """Row-normalised confusion matrix in per cent, counts beneath."""
    import seaborn as sns

    names = [row.name for row in scores.per_class]
    share = row_shares(scores)
    labels = [[f"{share[i, j]:.0f}\n({scores.confusion[i, j]})" for j in range(len(names))] for i in range(len(names))]
    figure, axes = new_axes(7.6, 6.4)
    sns.heatmap(
        share,
        annot=labels,
        fmt="",
        cmap="Blues",
        vmin=0,
        vmax=100,
        square=True,
        linewidths=0.5,
        annot_kws={"size": 9},
        xticklabels=names,
        yticklabels=names,
        ax=axes,
        cbar_kws={"label": "% of the true category"},
    )
    axes.set(xlabel="predicted", ylabel="as perceived by annotators", title=title)
    return figure


def row_shares(scores: Scores) -> np.ndarray:
    """The confusion matrix in per cent of its rows; rows without samples are 0."""
    support = scores.confusion.sum(axis=1, keepdims=True)
    return np.divide(100 * scores.confusion, support, out=np.zeros(scores.confusion.shape), where=support > 0)


def per_class_figure(scores: Scores, title: str) -> Any:
    """Precision, recall and F1 of every class."""
    import pandas as pd
    import seaborn as sns

    table = pd.DataFrame(
        [
            {"category": f"{row.name}\n(n={row.support})", "measure": measure, "value": getattr(row, measure)}
            for row in scores.per_class
            for measure in ("precision", "recall", "f1")
        ]
    )
    figure, axes = new_axes(8.4, 4.2)
    sns.barplot(table, x="category", y="value", hue="measure", ax=axes)
    axes.set(xlabel="", ylabel="", ylim=(0, 1), title=title)
    axes.legend(title="", loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
    return figure


def curves_figure(history: Sequence[Mapping[str, Any]], best_epoch: int, title: str) -> Any:
    """Accuracy and loss of training and validation by epoch; phases shaded, the chosen epoch marked."""
    import seaborn as sns

    figure, left = new_axes(9.2, 4.0)
    left.remove()
    epochs = [row["epoch"] for row in history]
    marker = "o" if len(epochs) <= MOST_MARKERS else None
    for position, measure in enumerate(("accuracy", "loss"), start=1):
        axes = figure.add_subplot(1, 2, position)
        for key, label in ((measure, "training"), (f"val_{measure}", "validation")):
            sns.lineplot(x=epochs, y=[row[key] for row in history], marker=marker, label=label, ax=axes)
        axes.axvline(best_epoch, color="0.4", linestyle=":", label="chosen epoch")
        _mark_phases(axes, history)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.set(xlabel="epoch", ylabel=measure)
        axes.legend(title="", fontsize=9)
    figure.suptitle(title)
    return figure


def _mark_phases(axes: Any, history: Sequence[Mapping[str, Any]]) -> None:
    """Shade every second phase and write its name above it, in steps where short phases would write over each other."""
    epochs: dict[str, list[int]] = {}
    for row in history:
        epochs.setdefault(row["phase"], []).append(row["epoch"])
    if len(epochs) == 1:
        return
    stepped = min(len(inside) for inside in list(epochs.values())[:-1]) < SHORT_PHASE * len(history)
    for number, (phase, inside) in enumerate(epochs.items()):
        start = min(inside) - 0.5
        axes.axvspan(start, max(inside) + 0.5, alpha=0.08 * (number % 2), color="0.2")
        height = 1.01 + (0.05 * (len(epochs) - 1 - number) if stepped else 0)
        axes.text(start, height, phase, transform=axes.get_xaxis_transform(), fontsize=9)
        if number:
            axes.axvline(start, ymax=height, color="0.6", linewidth=1, clip_on=False, zorder=1)


def ranking_figure(rows: Sequence[tuple[str, Estimate]], measure: str, title: str) -> Any:
    """One estimate with its interval a row, best on top."""
    ordered = sorted(rows, key=lambda row: row[1].value)
    figure, axes = new_axes(7.6, 1.2 + 0.45 * len(ordered))
    values = np.array([estimate.value for _, estimate in ordered])
    ends = np.array([[estimate.value - estimate.low, estimate.high - estimate.value] for _, estimate in ordered]).T
    axes.errorbar(values, range(len(ordered)), xerr=np.clip(ends, 0, None), fmt="o", capsize=4)
    axes.set_yticks(range(len(ordered)), [name for name, _ in ordered])
    axes.set(xlabel=f"{measure} (95 % interval)", title=title, ylim=(-0.6, len(ordered) - 0.4))
    return figure


def class_counts_figure(counts: Mapping[str, Mapping[str, int]], title: str) -> Any:
    """Samples per class and split, on a logarithmic scale."""
    import pandas as pd
    import seaborn as sns

    table = pd.DataFrame(
        [
            {"category": name, "split": split, "samples": count}
            for split, row in counts.items()
            for name, count in row.items()
        ]
    )
    figure, axes = new_axes(8.4, 4.0)
    sns.barplot(table, x="category", y="samples", hue="split", ax=axes)
    axes.set(xlabel="", yscale="log", title=title)
    axes.legend(title="")
    return figure


def mosaic_figure(pictures: Mapping[str, Sequence[np.ndarray]], title: str) -> Any:
    """One row of pictures a category; pictures are uint8 (side, side, 1 or 3), all of one size."""
    columns = max(len(row) for row in pictures.values())
    figure, whole = new_axes(1 + 0.8 * columns, 0.6 + 0.8 * len(pictures))
    whole.remove()
    figure.suptitle(title)
    grid = figure.add_gridspec(len(pictures), columns)
    for row, (name, shown) in enumerate(pictures.items()):
        for column, pixels in enumerate(shown):
            axes = figure.add_subplot(grid[row, column])
            axes.imshow(pixels.squeeze(), cmap="gray", vmin=0, vmax=255)
            axes.set(xticks=[], yticks=[])
            axes.grid(visible=False)
            if column == 0:
                axes.set_ylabel(name, rotation=0, ha="right", va="center", fontsize=9)
    return figure
