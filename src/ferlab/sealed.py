"""The seal of the test split: leave to read it is given by ``evaluate`` alone, which counts it."""

from dataclasses import dataclass


class SealedSplitError(Exception):
    """Code that may not see the test split has asked for it: a bug."""


@dataclass(frozen=True)
class Opening:
    """Leave to read the test split, given by ``evaluate`` after it wrote on the model's run that it does.

    ``run_id`` is that run, ``count`` the number of openings so far, this one included.
    """

    run_id: str
    count: int
