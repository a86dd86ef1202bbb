"""Figures of an ensemble's members show every pair once, and every step with its interval."""

import numpy as np
import pytest

from ferlab.evaluation.ensemble_figures import diversity_figure, growth_figure
from ferlab.evaluation.metrics import Estimate

NAMES = ["seq1-quick-s0", "vgg16-fine_tune-s0", "mobilenetv2-two_phase-s0"]
DISAGREEMENT = np.array([[0, 0.24, 0.5], [0.24, 0, 0.31], [0.5, 0.31, 0]])
CORRELATION = np.array([[1, 0.61, np.nan], [0.61, 1, 0.4], [np.nan, 0.4, 1]])


def test_every_pair_stands_there_once_and_what_is_undefined_not_at_all() -> None:
    figure = diversity_figure(NAMES, DISAGREEMENT, CORRELATION)
    tables = [axes for axes in figure.axes if axes.get_title()]
    assert [axes.get_title() for axes in tables] == ["Different answers, %", "Correlation of errors"]
    assert sorted(text.get_text() for text in tables[0].texts) == ["24", "31", "50"]
    assert sorted(text.get_text() for text in tables[1].texts) == ["0.40", "0.61"]
    assert [label.get_text() for label in tables[0].get_yticklabels()] == NAMES


@pytest.mark.parametrize("members", [2, 3])
def test_the_curve_has_a_point_with_an_interval_for_every_member(members: int) -> None:
    estimates = [Estimate(0.6 + i / 50, 0.58 + i / 50, 0.63 + i / 50) for i in range(members)]
    figure = growth_figure(NAMES[:members], estimates, "Equal mean on validation")
    (axes,) = figure.axes
    (container,) = axes.containers
    np.testing.assert_allclose(container.lines[0].get_xydata(), [[i + 1, e.value] for i, e in enumerate(estimates)])
    ends = [segment[:, 1].tolist() for segment in container.lines[2][0].get_segments()]
    np.testing.assert_allclose(ends, [[e.low, e.high] for e in estimates])
    labels = [label.get_text() for label in axes.get_xticklabels()]
    assert labels[0] == f"1\n{NAMES[0]}"
    assert labels[1] == f"2\n+ {NAMES[1]}"
