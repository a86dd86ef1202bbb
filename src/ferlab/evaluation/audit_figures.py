"""Figures of a dataset's audit: some faces of each class, and the closest duplicates across parts."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

TILE_IN = 0.8


def faces_figure(rows: Mapping[str, Sequence[np.ndarray]], title: str) -> Any:
    """Pictures uint8 (h, w) side by side, one named row a class."""
    import matplotlib.pyplot as plt

    widest = max((len(pictures) for pictures in rows.values()), default=0)
    figure, axes = plt.subplots(
        len(rows),
        max(widest, 1),
        squeeze=False,
        figsize=(TILE_IN * (widest + 1.5), TILE_IN * len(rows) + 0.5),
        layout="constrained",
    )
    for line, (name, pictures) in zip(axes, rows.items(), strict=True):
        for place, axis in enumerate(line):
            axis.set_axis_off()
            if place < len(pictures):
                axis.imshow(pictures[place], cmap="gray", vmin=0, vmax=255)
        line[0].text(-0.15, 0.5, name, transform=line[0].transAxes, ha="right", va="center")
    figure.suptitle(title)
    plt.close(figure)
    return figure


def twins_figure(pairs: Sequence[tuple[np.ndarray, np.ndarray, str]], title: str, columns: int = 6) -> Any:
    """Pairs of pictures uint8 (h, w), each with its caption, ``columns`` pairs a line."""
    import matplotlib.pyplot as plt

    lines = max(-(-len(pairs) // columns), 1)
    figure, axes = plt.subplots(
        lines,
        columns,
        squeeze=False,
        figsize=(2.2 * TILE_IN * columns, 1.8 * TILE_IN * lines + 0.5),
        layout="constrained",
    )
    for axis in axes.flat:
        axis.set_axis_off()
    for axis, (first, second, caption) in zip(axes.flat, pairs, strict=False):
        for left, picture in ((0.0, first), (1.05, second)):
            axis.imshow(picture, cmap="gray", vmin=0, vmax=255, extent=(left, left + 1, 0, 1))
        axis.set_xlim(0, 2.05)
        axis.set_title(caption, y=-0.14, va="top", fontsize=6)
    figure.suptitle(title)
    plt.close(figure)
    return figure
