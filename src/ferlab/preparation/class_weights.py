"""Class weights from counts, so that rare categories are not ignored."""

from collections.abc import Mapping


def inverse_frequency(counts: Mapping[str, int]) -> dict[str, float]:
    """Weight of a sample of each class: N / (K * n_c) over the K classes present, 1 for an absent class.

    The mean over all samples is 1, so the size of the loss stays what it was.
    """
    present = {name: count for name, count in counts.items() if count}
    total = sum(present.values())
    return {name: total / (len(present) * counts[name]) if counts[name] else 1.0 for name in counts}
