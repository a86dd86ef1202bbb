"""Class weights from counts, so that rare categories are not ignored."""

from collections.abc import Mapping

CAP = 5.0
"""Largest weight of the scheme ``capped``, before it is scaled back to mean 1."""
BETA = 0.999
"""Cui et al. 2019: the smaller, the sooner further samples of a class count for nothing."""


def class_weights(counts: Mapping[str, int], scheme: str) -> dict[str, float]:
    """Weight of a sample of each class, mean 1 over all samples, so the size of the loss stays what it was.

    ``inverse_frequency``: N / (K * n_c) over the K classes present; ``capped``: the same, none above CAP;
    ``effective_number``: 1 / (1 - BETA ** n_c) (Cui et al. 2019); ``none``: 1. An absent class has weight 1.
    """
    present = {name: count for name, count in counts.items() if count}
    total = sum(present.values())
    inverse = {name: total / (len(present) * count) for name, count in present.items()}
    raw = {
        "inverse_frequency": inverse,
        "capped": {name: min(weight, CAP) for name, weight in inverse.items()},
        "effective_number": {name: 1 / (1 - BETA**count) for name, count in present.items()},
        "none": dict.fromkeys(present, 1.0),
    }[scheme]
    mean = sum(raw[name] * count for name, count in present.items()) / max(total, 1)
    return {name: raw[name] / mean if name in present else 1.0 for name in counts}
