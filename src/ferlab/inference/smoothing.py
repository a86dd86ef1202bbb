"""Probabilities over time: a face that is followed does not change its category from frame to frame."""

import math
from typing import Protocol

import numpy as np

from ferlab.config.edge_nodes import SMOOTHINGS

FLOOR = 1e-6
"""Least probability of a category in a frame, so that one frame rules nothing out for ever."""


class Smoothing(Protocol):
    """The past of one face."""

    def add(self, probabilities: np.ndarray, time_s: float) -> np.ndarray:
        """The smoothed probabilities (k,), of sum 1, after a frame's (k,) at ``time_s``; times must not go back."""


class Exponential:
    """A mean in which a frame ``time_constant_s`` ago counts 1/e of the present one, whatever lies between them."""

    def __init__(self, time_constant_s: float) -> None:
        self.time_constant_s = time_constant_s
        self._mean: np.ndarray | None = None
        self._time_s = 0.0

    def add(self, probabilities: np.ndarray, time_s: float) -> np.ndarray:
        """See ``Smoothing``."""
        if self._mean is None:
            self._mean = np.asarray(probabilities, np.float64)
        else:
            kept = math.exp(-max(0.0, time_s - self._time_s) / self.time_constant_s)
            self._mean = kept * self._mean + (1 - kept) * probabilities
        self._time_s = time_s
        return self._mean


class HiddenMarkov:
    """A hidden Markov model's forward probabilities (Rabiner 1989); a category lasts about ``dwell_s`` seconds.

    All categories are equally likely before and after a change; a frame's probabilities stand for its likelihoods.
    """

    def __init__(self, dwell_s: float) -> None:
        self.dwell_s = dwell_s
        self._belief: np.ndarray | None = None
        self._time_s = 0.0

    def add(self, probabilities: np.ndarray, time_s: float) -> np.ndarray:
        """See ``Smoothing``."""
        seen = np.maximum(np.asarray(probabilities, np.float64), FLOOR)
        if self._belief is None:
            belief = seen
        else:
            stayed = math.exp(-max(0.0, time_s - self._time_s) / self.dwell_s)
            belief = (stayed * self._belief + (1 - stayed) / len(seen)) * seen
        self._belief, self._time_s = belief / belief.sum(), time_s
        return self._belief


def smoothing(kind: str, seconds: float) -> Smoothing | None:
    """A new past of ``kind`` (one of ``SMOOTHINGS``) with its constant in seconds; None where nothing is smoothed.

    Raises:
        ValueError: another kind.

    """
    if kind not in SMOOTHINGS:
        message = f"smoothing {kind!r} is none of {', '.join(SMOOTHINGS)}"
        raise ValueError(message)
    makers: dict[str, type[Exponential] | type[HiddenMarkov]] = {"exponential": Exponential, "hmm": HiddenMarkov}
    return makers[kind](seconds) if kind in makers else None
