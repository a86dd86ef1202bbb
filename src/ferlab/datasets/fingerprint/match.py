"""Where the known pictures of a release are in a copy: by exact pixels, else by perceptual hash."""

from dataclasses import dataclass

import numpy as np

from ferlab.datasets.audit.features import describe, distances, hashes
from ferlab.datasets.fingerprint.copy import Copy
from ferlab.datasets.fingerprint.signature import Part, Signature

FOUND = 18
"""Differing bits up to which a picture counts as there: 95 % after blurring by 1 px, histogram stretching, JPEG 30."""
SURE = 12
"""Up to which its label is compared: on FER-2013 nine of ten nearest other pictures differ in 25 bits or more."""
CHUNK = 64


@dataclass(frozen=True)
class Matches:
    """One entry a sampled picture of a part of the release.

    ``row`` (k,): the row of the copy that looks most like it, its own part first; ``distance`` (k,) in bits;
    ``exact`` (k,): the same pixels are there; ``echoes`` (k,): further rows, mirrored ones too, that look like it;
    ``at_home`` (k,): the row lies in the part where the release has it.
    """

    row: np.ndarray
    distance: np.ndarray
    exact: np.ndarray
    echoes: np.ndarray
    at_home: np.ndarray

    @property
    def found(self) -> np.ndarray:
        """Boolean (k,): the picture is there."""
        return self.distance <= FOUND

    @property
    def sure(self) -> np.ndarray:
        """Boolean (k,): and surely this one."""
        return self.distance <= SURE


def match(signature: Signature, name: str, part: Part, copy: Copy, mixed: str) -> Matches:
    """Look for the sample of one part; rows of the part ``mixed`` count as at home (it holds several parts)."""
    sample = part.sample
    assert sample is not None
    usable = np.flatnonzero(copy.scan.usable)
    plain = hashes(copy.features[usable], signature.medians)
    mirrored = hashes(describe(copy.scan.thumbnails[usable], mirrored=True), signature.medians)
    home = np.isin(copy.parts[usable], (name, mixed))
    known = {digest.tobytes(): i for i, digest in enumerate(sample.digests)}
    exact_row = np.full(len(sample.digests), -1)
    for position, digest in enumerate(copy.digest_bytes()[usable, :8]):
        i = known.get(digest.tobytes())
        if i is not None and (exact_row[i] < 0 or home[position]):
            exact_row[i] = position
    row, distance, echoes = [], [], []
    for start in range(0, len(sample.hashes), CHUNK):
        wanted = sample.hashes[start : start + CHUNK, None]
        apart = distances(wanted, plain[None])
        nearest = np.argmin(2 * apart + ~home, axis=1)
        row.append(nearest)
        distance.append(apart[np.arange(len(nearest)), nearest])
        echoes.append((apart <= SURE).sum(1) + (distances(wanted, mirrored[None]) <= SURE).sum(1))
    rows, far = np.concatenate(row), np.concatenate(distance)
    exact = exact_row >= 0
    rows[exact], far[exact] = exact_row[exact], 0
    return Matches(usable[rows], far, exact, np.maximum(np.concatenate(echoes) - 1, 0), home[rows])
