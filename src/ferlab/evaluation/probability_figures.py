"""Figures of probabilities, in the look of ``figures``: ROC, precision-recall, reliability, risk and coverage."""

from collections.abc import Iterator, Sequence
from typing import Any

from ferlab.evaluation.figures import PALETTE, new_axes
from ferlab.evaluation.probability import (
    Curve,
    auc_ovr,
    precision_recall_curves,
    reliability_bins,
    risk_coverage,
    roc_curves,
)
from ferlab.predictions import Predictions

DASHES = ("-", "--", "-.", ":")


def roc_figure(predictions: Predictions, where: str) -> Any:
    """One curve a class against the rest; the area under each in the legend."""
    figure, axes = new_axes(7.6, 5.2)
    for curve, style in _styled(roc_curves(predictions)):
        axes.plot(curve.x, curve.y, label=f"{curve.name} ({curve.area:.3f})", **style)
    axes.plot([0, 1], [0, 1], color="0.6", linewidth=1, linestyle=":")
    mean = auc_ovr(predictions.labels, predictions.probabilities)
    title = f"ROC, {where}" + ("" if mean is None else f"\nmean area {mean:.3f}")
    axes.set(xlabel="false positive rate", ylabel="true positive rate", title=title)
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
    return figure


def precision_recall_figure(predictions: Predictions, where: str) -> Any:
    """One curve a class against the rest; the average precision of each in the legend."""
    figure, axes = new_axes(7.6, 5.2)
    for curve, style in _styled(precision_recall_curves(predictions)):
        axes.step(curve.x, curve.y, where="post", label=f"{curve.name} ({curve.area:.3f})", **style)
        guessing = (predictions.labels == predictions.classes.index(curve.name)).mean()
        axes.axhline(guessing, color=style["color"], linewidth=0.8, linestyle=":")
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


def _styled(curves: Sequence[Curve]) -> Iterator[tuple[Curve, dict[str, Any]]]:
    """Every curve with a colour and a dash, told apart in print."""
    import seaborn as sns

    colours = sns.color_palette(PALETTE)
    for place, curve in enumerate(curves):
        yield curve, {"color": colours[place % len(colours)], "linestyle": DASHES[place % len(DASHES)]}
