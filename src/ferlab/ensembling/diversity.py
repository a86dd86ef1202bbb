"""How differently members err: pairwise disagreement, Yule's Q and correlation of errors (Kuncheva & Whitaker 2003)."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ferlab.predictions import Predictions


@dataclass(frozen=True)
class Diversity:
    """Symmetric tables (members, members).

    ``disagreement``: share of samples with different answers, 0..1. ``q``: Yule's Q and ``correlation``: phi, both of
    being right, -1..1, 1 where two err on the same samples; NaN where they are not defined (one is always right).
    """

    members: tuple[str, ...]
    disagreement: np.ndarray
    q: np.ndarray
    correlation: np.ndarray

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """Every pair once."""
        return [(i, j) for i in range(len(self.members)) for j in range(i + 1, len(self.members))]


def diversity(members: Sequence[Predictions]) -> Diversity:
    """Tables of aligned members."""
    answers = np.stack([member.predicted for member in members])
    right = answers == members[0].labels
    disagreement = (answers[:, None] != answers[None]).mean(axis=2)
    return Diversity(tuple(member.run_id for member in members), disagreement, *_q_and_phi(right))


def _q_and_phi(right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """From ``right`` (members, n) bool."""
    good, bad = right.astype(float), (~right).astype(float)
    both, neither, first, second = good @ good.T, bad @ bad.T, good @ bad.T, bad @ good.T
    difference = both * neither - first * second
    together = both * neither + first * second
    margins = np.sqrt(good.sum(axis=1) * bad.sum(axis=1))
    return _ratio(difference, together), _ratio(difference, np.outer(margins, margins))


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    return np.divide(above, below, out=np.full_like(above, np.nan), where=below > 0)


def as_csv(found: Diversity, names: Sequence[str]) -> str:
    """One line a pair; what is not defined stays empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["first", "second", "first_run", "second_run", "disagreement", "q", "error_correlation"])
    for i, j in found.pairs:
        values = (table[i, j] for table in (found.disagreement, found.q, found.correlation))
        numbers = ["" if np.isnan(value) else f"{value:.6f}" for value in values]
        writer.writerow([names[i], names[j], found.members[i], found.members[j], *numbers])
    return text.getvalue()
