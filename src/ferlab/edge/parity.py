"""Is the exported model the trained one: how often their answers agree, and what may be lost."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Parity:
    """Two models on the same n images.

    ``agreement``: share of images with the same most probable class; ``max_diff``: the largest difference between two
    probabilities of one class of one image, infinite where the exported model gave no number.
    """

    n: int
    agreement: float
    max_diff: float


def parity_of(trained: np.ndarray, exported: np.ndarray) -> Parity:
    """Compare probabilities (n, classes) of the trained and of the exported model, n > 0; the first class on ties.

    An answer that is not a number never agrees.

    Raises:
        ValueError: no images, or other shapes.

    """
    if trained.shape != exported.shape or not len(trained):
        message = f"answers {trained.shape} and {exported.shape} do not pair up"
        raise ValueError(message)
    known = np.isfinite(exported).all(axis=1)
    same = known & (trained.argmax(axis=1) == exported.argmax(axis=1))
    gap = float(np.abs(trained.astype(np.float64) - exported).max()) if known.all() else float("inf")
    return Parity(len(trained), float(same.mean()), gap)


def shortfalls(parity: Parity, least_agreement: float, accuracy_delta: float, most_lost: float) -> list[str]:
    """What keeps an exported model from being the trained one, in words; none when it is within its bounds.

    ``accuracy_delta``: exported minus trained, as a share; ``most_lost`` is how far below 0 it may be.
    """
    found = []
    if parity.agreement < least_agreement:
        found.append(
            f"the top class agrees on {100 * parity.agreement:.2f} % of {parity.n:,} validation images, "
            f"at least {100 * least_agreement:g} % must"
        )
    if -accuracy_delta > most_lost:
        found.append(f"{-100 * accuracy_delta:.2f} points of accuracy are lost, at most {100 * most_lost:g} may be")
    if not np.isfinite(parity.max_diff):
        found.append("some probabilities are not numbers")
    return found
