"""Smoothing against answers worked out by hand, at frame rates that vary."""

import itertools
import math

import numpy as np
import pytest

from ferlab.inference.smoothing import Exponential, HiddenMarkov, smoothing

HAPPY, SAD = np.array([1.0, 0.0]), np.array([0.0, 1.0])


def test_after_one_time_constant_the_past_counts_one_in_e():
    mean = Exponential(0.5)
    assert mean.add(HAPPY, 0.0).tolist() == [1, 0]
    assert mean.add(SAD, 0.5) == pytest.approx([math.exp(-1), 1 - math.exp(-1)])


def test_the_rate_of_frames_does_not_matter_to_the_mean():
    slow, fast = Exponential(0.5), Exponential(0.5)
    slow.add(HAPPY, 0.0)
    fast.add(HAPPY, 0.0)
    for time_s in (0.01, 0.02, 0.3, 0.31, 0.7):
        late = fast.add(SAD, time_s)
    assert late == pytest.approx(slow.add(SAD, 0.7))


def test_a_frame_at_the_same_time_changes_nothing():
    mean = Exponential(1.0)
    mean.add(HAPPY, 3.0)
    assert mean.add(SAD, 3.0).tolist() == [1, 0]


def test_the_forward_probabilities_are_those_of_all_paths_summed_up():
    """Against an enumeration of every sequence of hidden categories."""
    rng = np.random.default_rng(0)
    seen, times, dwell = rng.dirichlet(np.ones(3), 5), np.array([0.0, 0.1, 0.5, 0.6, 1.4]), 0.7
    chain = HiddenMarkov(dwell)
    for probabilities, time_s in zip(seen, times, strict=True):
        belief = chain.add(probabilities, time_s)
    ends = np.zeros(3)
    for path in itertools.product(range(3), repeat=5):
        weight = seen[0, path[0]] / 3
        for step in range(1, 5):
            stay = math.exp(-(times[step] - times[step - 1]) / dwell)
            weight *= (stay * (path[step] == path[step - 1]) + (1 - stay) / 3) * seen[step, path[step]]
        ends[path[-1]] += weight
    assert belief == pytest.approx(ends / ends.sum())


def test_one_odd_frame_is_overruled_and_a_lasting_change_is_followed():
    chain = HiddenMarkov(1.0)
    for step in range(10):
        chain.add(np.array([0.8, 0.2]), step / 25)
    assert chain.add(np.array([0.3, 0.7]), 10 / 25).argmax() == 0
    for step in range(11, 30):
        last = chain.add(np.array([0.1, 0.9]), step / 25)
    assert last[1] > 0.95


def test_a_certain_frame_rules_nothing_out_for_ever():
    chain = HiddenMarkov(10.0)
    chain.add(HAPPY, 0.0)
    for step in range(1, 20):
        last = chain.add(np.array([0.1, 0.9]), step / 25)
    assert np.isfinite(last).all()
    assert last.sum() == pytest.approx(1)
    assert last[1] > 0.9


def test_no_smoothing_has_no_past():
    assert smoothing("none", 1.0) is None
    assert isinstance(smoothing("hmm", 1.0), HiddenMarkov)
    with pytest.raises(ValueError, match="'mean' is none of none, exponential, hmm"):
        smoothing("mean", 1.0)
