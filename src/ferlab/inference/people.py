"""Which face of a frame is which face of the frames before: numbers that stay with a person while they are in view."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

Box = tuple[float, float, float, float]

LEAST_LIKENESS = 0.35
"""Of two boxes that may be the same face: it falls with their distance (in faces) and with the ratio of their sizes."""
STEADINESS = 0.5
"""Share of the former velocity in the new one."""


@dataclass
class _Track:
    person: int
    middle: np.ndarray
    side: float
    seen_s: float
    velocity: np.ndarray

    def expected(self, time_s: float) -> np.ndarray:
        return self.middle + self.velocity * (time_s - self.seen_s)


class Followed:
    """Numbers from 1 for faces that are followed; one that is away for more than ``gap_s`` seconds comes back as new.

    A face is known by place and size alone, not by who it is.
    """

    def __init__(self, gap_s: float = 1.0) -> None:
        self.gap_s = gap_s
        self.count = 0
        self._tracks: list[_Track] = []

    def numbers(self, boxes: Sequence[Box], time_s: float) -> list[int]:
        """The person of each box (x, y, width, height in pixels) of the frame at ``time_s``, which must not go back."""
        self._tracks = [track for track in self._tracks if time_s - track.seen_s <= self.gap_s]
        middles = np.array([(x + width / 2, y + height / 2) for x, y, width, height in boxes]).reshape(-1, 2)
        sides = np.array([max(box[2:]) for box in boxes])
        likeness = np.array([self._likeness(track, middles, sides, time_s) for track in self._tracks])
        likeness = likeness.reshape(len(self._tracks), len(boxes))
        numbers = [0] * len(boxes)
        for row, column in zip(*linear_sum_assignment(-likeness), strict=True):
            if likeness[row, column] >= LEAST_LIKENESS:
                track = self._tracks[row]
                _move(track, middles[column], float(sides[column]), time_s)
                numbers[column] = track.person
        for column, number in enumerate(numbers):
            if number == 0:
                self.count += 1
                track = _Track(self.count, middles[column], float(sides[column]), time_s, np.zeros(2))
                self._tracks.append(track)
                numbers[column] = self.count
        return numbers

    def _likeness(self, track: _Track, middles: np.ndarray, sides: np.ndarray, time_s: float) -> np.ndarray:
        if not len(sides):
            return np.empty(0)
        mean = np.sqrt(sides * track.side)
        distance = np.linalg.norm(middles - track.expected(time_s), axis=1) / mean
        ratio = np.minimum(sides, track.side) / np.maximum(sides, track.side)
        return np.exp(-(distance**2)) * ratio


def _move(track: _Track, middle: np.ndarray, side: float, time_s: float) -> None:
    elapsed = time_s - track.seen_s
    if elapsed > 0:
        track.velocity = STEADINESS * track.velocity + (1 - STEADINESS) * (middle - track.middle) / elapsed
    track.middle, track.side, track.seen_s = middle, side, time_s
