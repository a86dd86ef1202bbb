"""Test-time augmentation: several views of every image, and their predictions combined."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

SMALLEST_PROBABILITY = float(np.finfo(np.float32).tiny)
"""What a probability of zero counts as, so that one view's underflow makes a class unlikely, not impossible."""

STEPS: Mapping[str, tuple[tuple[int, int], ...]] = {
    "flip": ((0, 0),),
    "shifts": ((0, 0), (-1, 0), (1, 0), (0, -1), (0, 1)),
    "ten_crop": ((0, 0), (-1, -1), (1, -1), (-1, 1), (1, 1)),
}
"""Where the views lie, in steps to the right and down; each comes with its mirror, the plain image first."""


@dataclass(frozen=True)
class View:
    """An image moved by ``right_px`` and ``down_px`` (negative: left, up), then mirrored left to right or not."""

    right_px: int = 0
    down_px: int = 0
    mirrored: bool = False

    def of(self, images: np.ndarray) -> np.ndarray:
        """``images`` (n, h, w, c) so moved and mirrored; where the move leaves no pixel, the edge is repeated."""
        height, width = images.shape[1:3]
        rows = np.arange(height) - self.down_px
        columns = np.arange(width)[:: -1 if self.mirrored else 1] - self.right_px
        return images[:, rows.clip(0, height - 1)[:, None], columns.clip(0, width - 1)]


PLAIN = View()


def views_of(name: str, shift: float, size_px: int) -> tuple[View, ...]:
    """The views of STEPS ``name`` for images of ``size_px``: a step is the share ``shift`` of it, at least one pixel.

    With ``shift`` 1/12 a network that looks at the inner 40 of 48 px sees in ``ten_crop`` the ten crops of Krizhevsky
    et al. 2012: corners, centre and their mirrors.
    """
    step_px = max(1, round(shift * size_px))
    places = [(right * step_px, down * step_px) for right, down in STEPS[name]]
    return tuple(View(right, down, mirrored) for mirrored in (False, True) for right, down in places)


def combine_views(probabilities: np.ndarray) -> np.ndarray:
    """Probabilities (views, n, classes) as one (n, classes): the softmax of the mean log probability.

    The logarithm of a softmax is its logits less one number a row, so this is the softmax of the mean logits.
    """
    logs = np.log(np.maximum(probabilities, SMALLEST_PROBABILITY, dtype=np.float64)).mean(axis=0)
    powers = np.exp(logs - logs.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))
