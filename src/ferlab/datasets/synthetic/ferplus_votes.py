"""Ten annotators' votes on a drawn face, as FERPlus gives them (Barsoum et al. 2016)."""

from collections.abc import Mapping, Sequence

import numpy as np

from ferlab.datasets.synthetic.turns import turn
from ferlab.emotions import FERPLUS8

VOTERS = 10

VOTE_COLUMNS = (
    "neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt", "unknown", "NF"
)  # fmt: skip

KINDS = (*FERPLUS8.classes, "unknown", "not a face")
"""What each vote column stands for: the class names of ``emotions.FERPLUS8`` and the two ways out."""

NOT_A_FACE = len(KINDS) - 1

MISTAKEN_FOR: Mapping[str, tuple[str, ...]] = {
    "neutral": ("sad", "happy", "contempt"),
    "happy": ("neutral", "surprise"),
    "surprise": ("fear", "happy"),
    "sad": ("neutral", "fear", "disgust"),
    "angry": ("disgust", "neutral", "sad"),
    "disgust": ("angry", "contempt", "sad"),
    "fear": ("surprise", "sad", "unknown"),
    "contempt": ("neutral", "disgust"),
    "unknown": ("neutral", "sad", "not a face"),
    "not a face": ("unknown",),
}
"""What the annotators who disagree take a face for."""

OPINIONS = {"as drawn": 0.93, "contempt": 0.03, "unknown": 0.025, "not a face": 0.015}
"""What most annotators see."""


def drawn_votes(category: str, seed: int, index: int) -> tuple[int, ...]:
    """Votes of ``VOTERS`` annotators on the face ``index``, one number a column of ``VOTE_COLUMNS``.

    Mostly the category leads; sometimes another one, two are level, or annotators see contempt, an unknown
    expression or no face.
    """
    rng = np.random.default_rng([seed, index, VOTERS])
    opinion = turn(OPINIONS, 0, seed, index)
    agreed = category if opinion == "as drawn" else opinion
    doubtful = 6 if opinion == "as drawn" else 4
    dissent = int(rng.binomial(doubtful, 0.3))
    votes = [0] * len(KINDS)
    votes[KINDS.index(agreed)] = VOTERS - dissent
    for other in rng.choice(MISTAKEN_FOR[agreed], dissent).tolist():
        votes[KINDS.index(other)] += 1
    return tuple(votes)


def leading(votes: Sequence[int]) -> str:
    """The kind with most votes, of several the first."""
    return KINDS[votes.index(max(votes))]


def image_name(votes: Sequence[int], index: int) -> str:
    """Numbered like the rows; empty where most annotators see no face."""
    return "" if votes.index(max(votes)) == NOT_A_FACE else f"fer{index:07d}.png"
