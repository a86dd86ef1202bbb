"""Figures of a sweep's jobs, in the look of ``figures``: their settings side by side, and what the settings explain."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ferlab.evaluation.figures import new_axes

SEQUENTIAL = "viridis"
UNFINISHED = "0.75"
MAX_TICKS = 8


@dataclass(frozen=True)
class Setting:
    """One setting that varied, with its value in every job as text; ``log``: numbers stand by their logarithm."""

    name: str
    values: tuple[str, ...]
    log: bool = False


def parallel_coordinates_figure(settings: Sequence[Setting], outcomes: Sequence[float], outcome: str) -> Any:
    """One line for every job through its settings to its outcome; dashed and gray where it has none (NaN)."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    columns = [*settings, Setting(outcome, tuple("" if math.isnan(one) else f"{one:.6g}" for one in outcomes))]
    figure, axes = new_axes(2.4 + 1.9 * len(columns), 4.6)
    placed = [_placed(column) for column in columns]
    known = np.array([one for one in outcomes if not math.isnan(one)])
    norm = Normalize(float(known.min()), float(known.max())) if known.size else Normalize(0, 1)
    colours = ScalarMappable(norm, SEQUENTIAL)
    for job in sorted(range(len(outcomes)), key=lambda one: -math.inf if math.isnan(outcomes[one]) else outcomes[one]):
        heights = [heights[job] for heights, _ in placed]
        if math.isnan(outcomes[job]):
            axes.plot(range(len(settings)), heights[:-1], color=UNFINISHED, linewidth=1, linestyle="--", zorder=1)
        else:
            colour = colours.to_rgba(np.array(outcomes[job]))
            axes.plot(range(len(columns)), heights, color=colour, linewidth=1.8, zorder=2)
    for position, (_, ticks) in enumerate(placed):
        axes.axvline(position, color="0.3", linewidth=0.8, zorder=0)
        for text, height in ticks.items():
            number = _number(text)
            axes.annotate(
                text if number is None else f"{number:.3g}",
                (position, height),
                xytext=(4, 0),
                textcoords="offset points",
                va="center",
                fontsize=8,
                bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.7, "pad": 0.5},
                zorder=3,
            )
    axes.set_xticks(range(len(columns)), [column.name + " (log)" * column.log for column in columns])
    axes.set(yticks=[], ylim=(-0.05, 1.05), title="Settings and outcome of every job (dashed: pruned or failed)")
    axes.spines[:].set_visible(False)
    axes.grid(visible=False)
    return figure


def importance_figure(importances: Mapping[str, float], outcome: str) -> Any:
    """Share of the outcome's spread that each setting explains, the largest on top."""
    figure, axes = new_axes(7.2, 1.5 + 0.45 * len(importances))
    names = list(importances)[::-1]
    axes.barh(names, [100 * importances[name] for name in names], color="C0")
    axes.set(xlabel=f"share of the spread in {outcome}, % (fANOVA)", title="What the settings explain")
    return figure


def front_figure(points: Sequence[tuple[str, float, float, bool]], across: str, up: str) -> Any:
    """Two objectives of every job (name, across, up, on the front); the front is joined and named."""
    figure, axes = new_axes(7.2, 4.8)
    others = [(x, y) for _, x, y, on_front in points if not on_front]
    front = sorted((x, y, name) for name, x, y, on_front in points if on_front)
    axes.scatter([x for x, _ in others], [y for _, y in others], color=UNFINISHED, label="another is better")
    axes.plot([x for x, *_ in front], [y for _, y, _ in front], "o-", color="C0", label="front")
    for x, y, name in front:
        axes.annotate(name, (x, y), xytext=(4, 6), textcoords="offset points", fontsize=8)
    axes.set(xlabel=across, ylabel=up, title="Jobs by two objectives")
    axes.legend()
    return figure


def _placed(column: Setting) -> tuple[list[float], dict[str, float]]:
    """Heights 0..1 of every value (numbers to scale, names evenly), and the heights that are labelled."""
    texts = list(dict.fromkeys(value for value in column.values if value))
    numbers = [_number(text) for text in texts]
    if texts and all(number is not None for number in numbers):
        scaled = [math.log(number) if column.log and number else float(number or 0) for number in numbers]
        low, span = min(scaled), (max(scaled) - min(scaled)) or 1.0
        heights = {text: (one - low) / span for text, one in zip(texts, scaled, strict=True)}
        ordered = sorted(texts, key=heights.__getitem__)
        shown = ordered if len(ordered) <= MAX_TICKS else [ordered[0], ordered[-1]]
    else:
        ordered = shown = sorted(texts)
        heights = {text: place / max(1, len(ordered) - 1) for place, text in enumerate(ordered)}
    return [heights.get(value, math.nan) for value in column.values], {text: heights[text] for text in shown}


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
