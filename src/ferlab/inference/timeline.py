"""What was said over time, in a form that does not grow with the length of a video."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from ferlab.inference.answers import PictureAnswer

MOST_STEPS = 600
"""Of a curve; a longer video has longer steps."""
MOST_PEOPLE = 200
"""Of whom a curve is kept, those that were seen first; all are counted and summed up."""


class Curve:
    """Means of probabilities (k,) over equal steps of time, which double in length whenever there are too many."""

    def __init__(self, classes: int, step_s: float = 0.1) -> None:
        self.step_s = step_s
        self._sums = np.zeros((MOST_STEPS, classes))
        self._counts = np.zeros(MOST_STEPS, np.int64)

    def add(self, time_s: float, values: np.ndarray) -> None:
        """Values at a time, which is 0 or later."""
        while time_s >= self.step_s * MOST_STEPS:
            self._halve()
        step = int(time_s / self.step_s)
        self._sums[step] += values
        self._counts[step] += 1

    def points(self) -> tuple[np.ndarray, np.ndarray]:
        """Times in seconds (m,), the middles of the steps that have values, and the means (m, k)."""
        (steps,) = np.nonzero(self._counts)
        return (steps + 0.5) * self.step_s, self._sums[steps] / self._counts[steps, None]

    def _halve(self) -> None:
        self.step_s *= 2
        for name, values in (("_sums", self._sums), ("_counts", self._counts)):
            joined = np.zeros_like(values)
            joined[: MOST_STEPS // 2] = values[::2] + values[1::2]
            setattr(self, name, joined)


@dataclass
class Person:
    """A face that was followed: when it was first and last seen, in how many scored frames, and its sums (k,)."""

    number: int
    first_s: float
    last_s: float
    frames: int = 0
    sums: np.ndarray = field(default_factory=lambda: np.zeros(0))
    shown: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    unanswered: int = 0

    @property
    def means(self) -> np.ndarray:
        """Mean probabilities (k,), not smoothed."""
        return self.sums / self.frames


class Timeline:
    """Curves of all faces together and of every person, and a summary of each."""

    def __init__(self, classes: tuple[str, ...], abstain_below: float | None) -> None:
        self.classes, self.abstain_below = classes, abstain_below
        self.everyone = Curve(len(classes))
        self.curves: dict[int, Curve] = {}
        self.people: dict[int, Person] = {}

    def add(self, answer: PictureAnswer) -> None:
        """A frame's answer, with the persons of its faces."""
        time_s = answer.time_s or 0.0
        if answer.faces:
            self.everyone.add(time_s, np.mean([face.shown for face in answer.faces], axis=0))
        for face in answer.faces:
            if face.person is None:
                continue
            if face.person not in self.people:
                counts = np.zeros(len(self.classes), np.int64)
                self.people[face.person] = Person(
                    face.person, time_s, time_s, sums=np.zeros(len(self.classes)), shown=counts
                )
                if len(self.curves) < MOST_PEOPLE:
                    self.curves[face.person] = Curve(len(self.classes))
            person = self.people[face.person]
            person.last_s, person.frames = time_s, person.frames + 1
            person.sums += face.probabilities
            if face.answers(self.abstain_below):
                person.shown[face.best] += 1
            else:
                person.unanswered += 1
            if face.person in self.curves:
                self.curves[face.person].add(time_s, face.shown)

    def longest_seen(self, most: int) -> Iterator[tuple[Person, Curve]]:
        """At most so many persons with their curves, those first that were in view in the most frames."""
        for person in sorted(self.people.values(), key=lambda one: (-one.frames, one.number)):
            if person.number in self.curves and most > 0:
                most -= 1
                yield person, self.curves[person.number]
