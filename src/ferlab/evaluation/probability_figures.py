"""Figures of probabilities, in the look of ``figures``: ROC, precision-recall, reliability, risk and coverage."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from ferlab.evaluation.figures import PALETTE, new_axes
from ferlab.evaluation.probability import auc_ovr, reliability_bins, risk_coverage
from ferlab.predictions import Predictions

DASHES = ("-", "--", "-.", ":")


def roc_figure(predictions: Predictions, where: str) -> Any:
    """One curve a class against the rest; the area under each in the legend."""
    from sklearn.metrics import auc, roc_curve

    figure, axes = new_axes(7.6, 5.2)
    for name, right, probability, style in _one_against_rest(predictions):
        wrong_share, right_share, _ = roc_curve(right, probability)
        axes.plot(wrong_share, right_share, label=f"{name} ({auc(wrong_share, right_share):.3f})", **style)
    axes.plot([0, 1], [0, 1], color="0.6", linewidth=1, linestyle=":")
    mean = auc_ovr(predictions.labels, predictions.probabilities)
    title = f"ROC, {where}" + ("" if mean is None else f"\nmean area {mean:.3f}")
    axes.set(xlabel="false positive rate", ylabel="true positive rate", title=title)
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
    return figure


def precision_recall_figure(predictions: Predictions, where: str) -> Any:
    """One curve a class against the rest; the average precision of each in the legend."""
    from sklearn.metrics import average_precision_score, precision_recall_curve

    figure, axes = new_axes(7.6, 5.2)
    for name, right, probability, style in _one_against_rest(predictions):
        precision, recall, _ = precision_recall_curve(right, probability)
        average = average_precision_score(right, probability)
        axes.step(recall, precision, where="post", label=f"{name} ({average:.3f})", **style)
        axes.axhline(right.mean(), color=style["color"], linewidth=0.8, linestyle=":")
    axes.set(xlabel="recall", ylabel="precision", ylim=(0, 1.02), title=f"Precision and recall, {where}")
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
    return figure


def reliability_figure(predictions: Predictions, calibrated: Predictions | None, where: str) -> Any:
    """Share of right answers by stated probability, before and after calibration; below it how many answers."""
    figure, whole = new_axes(6.4, 6.0)
    whole.remove()
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    shown = [("as predicted", predictions, "o-")]
    if calibrated is not None:
        shown.append(("with temperature", calibrated, "s--"))
    for name, one, style in shown:
        bins = reliability_bins(one)
        upper.plot(bins.confidence, bins.accuracy, style, label=name)
        lower.plot(bins.confidence, bins.count, style)
    upper.plot([0, 1], [0, 1], color="0.6", linewidth=1)
    upper.set(ylabel="share that is right", xlim=(0, 1), ylim=(0, 1), title=f"Reliability, {where}")
    upper.legend(frameon=False)
    lower.set(xlabel="probability of the predicted category", ylabel="images", ylim=(0, None))
    return figure


def risk_coverage_figure(predictions: Predictions, where: str) -> Any:
    """Share of errors among the answers that are kept, the surest first."""
    found = risk_coverage(predictions)
    figure, axes = new_axes(6.4, 4.2)
    axes.plot(100 * found.coverage, 100 * found.risk)
    axes.set(
        xlabel="answers kept, % of the images", ylabel="errors among them, %", xlim=(0, 100), ylim=(0, None),
        title=f"Risk and coverage, {where}",
    )  # fmt: skip
    return figure


def _one_against_rest(predictions: Predictions) -> Iterator[tuple[str, np.ndarray, np.ndarray, dict[str, Any]]]:
    """Name, whether each sample is of the class, its probability, and a style told apart in print, of every class.

    Classes without samples, or without others, have no curve.
    """
    import seaborn as sns

    colours = sns.color_palette(PALETTE)
    for place, name in enumerate(predictions.classes):
        right = predictions.labels == place
        if right.any() and not right.all():
            style = {"color": colours[place % len(colours)], "linestyle": DASHES[place % len(DASHES)]}
            yield name, right, predictions.probabilities[:, place], style
