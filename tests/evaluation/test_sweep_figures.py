import math
from typing import Any

from ferlab.evaluation.sweep_figures import Setting, front_figure, importance_figure, parallel_coordinates_figure


def lines(figure: Any, style: str) -> list[list[float]]:
    return [
        list(line.get_ydata())
        for line in figure.axes[0].lines
        if line.get_linestyle() == style and len(line.get_ydata()) > 2
    ]


def test_one_line_for_every_job_from_its_settings_to_its_outcome() -> None:
    settings = [
        Setting("rate", ("0.001", "0.1", "0.01"), log=True),
        Setting("backbone", ("seq2", "seq1", "seq1")),
        Setting("width", ("1", "2", "3")),
    ]
    figure = parallel_coordinates_figure(settings, (0.2, math.nan, 0.6), "accuracy")
    finished = [[round(float(height), 6) for height in line] for line in lines(figure, "-")]
    assert finished == [[0.0, 1.0, 0.0, 0.0], [0.5, 0.0, 1.0, 1.0]], "the best line lies on top; logarithms to scale"
    assert [[round(float(height), 6) for height in line] for line in lines(figure, "--")] == [[1.0, 0.0, 0.5]]
    assert [text.get_text() for text in figure.axes[0].get_xticklabels()] == [
        "rate (log)",
        "backbone",
        "width",
        "accuracy",
    ]


def test_a_sweep_without_an_outcome_and_one_of_equal_outcomes_can_be_drawn() -> None:
    settings = [Setting("seed", ("0", "1"))]
    parallel_coordinates_figure(settings, (math.nan, math.nan), "accuracy").canvas.draw()
    parallel_coordinates_figure(settings, (0.5, 0.5), "accuracy").canvas.draw()


def test_the_most_important_setting_is_on_top() -> None:
    figure = importance_figure({"rate": 0.7, "width": 0.3}, "accuracy")
    bars = figure.axes[0].patches
    assert [round(bar.get_width()) for bar in bars] == [30, 70]
    assert bars[1].get_y() > bars[0].get_y()


def test_the_front_is_joined_in_order_and_named() -> None:
    points = [("large", 900.0, 0.7, True), ("small", 100.0, 0.5, True), ("beaten", 950.0, 0.4, False)]
    (axes,) = front_figure(points, "parameters", "accuracy").axes
    assert list(axes.lines[0].get_xdata()) == [100, 900]
    assert {text.get_text() for text in axes.texts} == {"large", "small"}
