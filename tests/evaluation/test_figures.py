"""Figures show the numbers they were given, under names a reader understands."""

import io

import numpy as np
import pytest
from matplotlib.figure import Figure

from ferlab.evaluation.figures import (
    class_counts_figure,
    confusion_figure,
    curves_figure,
    per_class_figure,
    ranking_figure,
)
from ferlab.evaluation.metrics import ClassRow, Estimate, Scores

NAMES = ("angry", "happy", "neutral")


@pytest.fixture
def scores() -> Scores:
    rows = (
        ClassRow("angry", 0.5, 0.25, 1 / 3, 4),
        ClassRow("happy", 0.9, 1.0, 0.95, 9),
        ClassRow("neutral", 0, 0, 0, 0),
    )
    confusion = np.array([[1, 2, 1], [0, 9, 0], [0, 0, 0]])
    return Scores({"accuracy": Estimate(10 / 13, 0.5, 0.9)}, rows, confusion, 13)


def is_drawable(figure: Figure) -> bool:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=50)
    return buffer.getvalue().startswith(b"\x89PNG")


def test_confusion_shows_shares_and_counts_with_true_rows(scores: Scores) -> None:
    figure = confusion_figure(scores, "seq1, validation")
    axes = figure.axes[0]
    assert axes.get_title() == "seq1, validation"
    assert axes.get_xlabel() == "predicted"
    assert "annotators" in axes.get_ylabel()
    assert [label.get_text() for label in axes.get_xticklabels()] == list(NAMES)
    assert [label.get_text() for label in axes.get_yticklabels()] == list(NAMES)
    cells = [text.get_text() for text in axes.texts]
    assert cells[:3] == ["25\n(1)", "50\n(2)", "25\n(1)"]
    assert cells[4] == "100\n(9)"
    assert cells[6:] == ["0\n(0)"] * 3
    assert is_drawable(figure)


def test_per_class_bars_have_the_heights_of_the_table(scores: Scores) -> None:
    figure = per_class_figure(scores, "title")
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["angry\n(n=4)", "happy\n(n=9)", "neutral\n(n=0)"]
    heights = [[bar.get_height() for bar in container] for container in axes.containers]
    np.testing.assert_allclose(heights, [[0.5, 0.9, 0], [0.25, 1, 0], [1 / 3, 0.95, 0]])
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["precision", "recall", "f1"]
    assert axes.get_ylim() == (0, 1)
    assert is_drawable(figure)


def test_curves_show_both_splits_the_phases_and_the_chosen_epoch() -> None:
    history = [
        {"epoch": i, "phase": "head" if i < 3 else "fine", "accuracy": i / 10, "val_accuracy": i / 20, "loss": 2 / i,
         "val_loss": 3 / i}
        for i in range(1, 6)
    ]  # fmt: skip
    figure = curves_figure(history, 4, "run")
    assert [axes.get_xlabel() for axes in figure.axes] == ["epoch", "epoch"]
    assert [axes.get_ylabel() for axes in figure.axes] == ["accuracy", "loss"]
    for axes, measure in zip(figure.axes, ("accuracy", "loss"), strict=True):
        training, validation, chosen = axes.get_lines()[:3]
        np.testing.assert_allclose(training.get_ydata(), [row[measure] for row in history])
        np.testing.assert_allclose(validation.get_ydata(), [row[f"val_{measure}"] for row in history])
        assert set(chosen.get_xdata()) == {4}
        assert [text.get_text() for text in axes.texts] == ["head", "fine"]
    assert is_drawable(figure)


def test_names_of_short_phases_do_not_cover_each_other_and_lines_mark_where_they_begin() -> None:
    phases = ["head"] * 2 + ["whole network"] * 3 + ["fine"] * 50
    history = [
        {"epoch": i, "phase": phase, "accuracy": 0.5, "val_accuracy": 0.4, "loss": 1.0, "val_loss": 2.0}
        for i, phase in enumerate(phases, start=1)
    ]
    figure = curves_figure(history, 7, "run")
    assert is_drawable(figure)
    for axes in figure.axes:
        boxes = [text.get_window_extent() for text in axes.texts]
        assert [text.get_text() for text in axes.texts] == ["head", "whole network", "fine"]
        assert not any(one.overlaps(other) for place, one in enumerate(boxes) for other in boxes[:place])
        assert [line.get_xdata()[0] for line in axes.get_lines()[3:]] == [2.5, 5.5]


def test_a_single_phase_is_not_marked() -> None:
    row = {"phase": "all", "accuracy": 0.1, "val_accuracy": 0.1, "loss": 2.0, "val_loss": 2.0}
    figure = curves_figure([row | {"epoch": i} for i in (1, 2)], 1, "run")
    assert [list(axes.texts) for axes in figure.axes] == [[], []]


def test_curves_of_a_single_epoch_can_be_drawn() -> None:
    row = {"epoch": 1, "phase": "all", "accuracy": 0.1, "val_accuracy": 0.1, "loss": 2.0, "val_loss": 2.0}
    assert is_drawable(curves_figure([row], 1, "run"))


def test_ranking_puts_the_best_on_top_with_its_interval() -> None:
    rows = [("low", Estimate(0.3, 0.2, 0.45)), ("high", Estimate(0.7, 0.6, 0.75)), ("middle", Estimate(0.5, 0.4, 0.6))]
    figure = ranking_figure(rows, "accuracy on test", "title")
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["low", "middle", "high"]
    assert axes.get_xlabel().startswith("accuracy on test")
    line, _, (bars,) = axes.containers[0]
    np.testing.assert_allclose(line.get_xdata(), [0.3, 0.5, 0.7])
    ends = [(segment[0][0], segment[1][0]) for segment in bars.get_segments()]
    np.testing.assert_allclose(ends, [(0.2, 0.45), (0.4, 0.6), (0.6, 0.75)])
    assert is_drawable(figure)


def test_class_counts_are_logarithmic_and_survive_an_empty_class() -> None:
    figure = class_counts_figure({"train": {"angry": 400, "happy": 0}, "test": {"angry": 40, "happy": 7}}, "title")
    axes = figure.axes[0]
    assert axes.get_yscale() == "log"
    assert axes.get_ylabel() == "samples"
    assert [label.get_text() for label in axes.get_xticklabels()] == ["angry", "happy"]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["train", "test"]
    assert is_drawable(figure)


def test_drawing_leaves_no_figure_open_in_pyplot(scores: Scores) -> None:
    from matplotlib import pyplot as plt

    before = plt.get_fignums()
    confusion_figure(scores, "title")
    per_class_figure(scores, "title")
    assert plt.get_fignums() == before
