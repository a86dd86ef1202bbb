"""Where the known pictures of a release are in a copy, by perceptual hash."""

from dataclasses import dataclass

import numpy as np

from ferlab.datasets.audit.features import distances, hashes
from ferlab.datasets.fingerprint.copy import Copy
from ferlab.datasets.fingerprint.signature import Signature

FOUND = 18
"""Differing bits up to which a picture counts as there: 95 % after blurring by 1 px, histogram stretching, JPEG 30."""
SURE = 12
"""Up to which its label is compared: on FER-2013 the nearest other picture differs in 28 bits at the median."""
CHUNK = 64


@dataclass(frozen=True)
class Matches:
    """One entry a sampled picture of a part of the release.

    ``row`` (k,): the row of the copy that looks most like it, its own part first; ``distance`` (k,) in bits;
    ``at_home`` (k,): the row lies in the part where the release has it.
    """

    row: np.ndarray
    distance: np.ndarray
    at_home: np.ndarray

    @property
    def found(self) -> np.ndarray:
        """Boolean (k,): the picture is there."""
        return self.distance <= FOUND

    @property
    def sure(self) -> np.ndarray:
        """Boolean (k,): and surely this one."""
        return self.distance <= SURE


def match(signature: Signature, name: str, copy: Copy) -> Matches | None:
    """Look for the sample of the part ``name``; None when it has none or the copy has no usable image."""
    sample = signature.parts[name].sample
    usable = np.flatnonzero(copy.scan.usable)
    if sample is None or not len(sample.hashes) or not len(usable):
        return None
    ours = hashes(copy.features[usable], signature.medians)
    homes = [part for part in copy.counts if name in signature.sources(part)]
    home = np.isin(copy.parts[usable].astype(str), homes)
    rows, nearest = [], []
    for start in range(0, len(sample.hashes), CHUNK):
        apart = distances(sample.hashes[start : start + CHUNK, None], ours[None])
        best = np.argmin(2 * apart + ~home, axis=1)
        rows.append(best)
        nearest.append(apart[np.arange(len(best)), best])
    row = np.concatenate(rows)
    return Matches(usable[row], np.concatenate(nearest), home[row])
