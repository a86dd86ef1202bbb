"""What a picture looks like, in 107 numbers: low frequencies of its centre, compared bit by bit.

The sign of each number against its median over a population is one bit of a perceptual hash. Contrast, JPEG, mild blur
and resizing change few bits; another face changes about a quarter of them or more.
"""

import cv2
import numpy as np
from scipy.fft import dct

THUMBNAIL_PX = 32
CENTRE_PX = 26
FREQUENCIES = 12
HIGHEST = 14
MARGIN_PX = (THUMBNAIL_PX - CENTRE_PX) // 2


def _basis() -> np.ndarray:
    """Cosines of the centre, (CENTRE_PX ** 2, BITS): every pair of frequencies up to the diagonal HIGHEST, no mean."""
    waves = dct(np.eye(CENTRE_PX), axis=0, norm="ortho")[:FREQUENCIES]
    pairs = [(u, v) for u in range(FREQUENCIES) for v in range(FREQUENCIES) if 0 < u + v <= HIGHEST]
    return np.stack([np.outer(waves[u], waves[v]).ravel() for u, v in pairs], axis=1).astype(np.float32)


BASIS = _basis()
BITS = BASIS.shape[1]


def thumbnail(gray: np.ndarray) -> np.ndarray:
    """A gray picture as uint8 (THUMBNAIL_PX, THUMBNAIL_PX)."""
    shrinks = min(gray.shape) > THUMBNAIL_PX
    size = (THUMBNAIL_PX, THUMBNAIL_PX)
    return cv2.resize(gray, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


def describe(thumbnails: np.ndarray, down: int = 0, right: int = 0, mirrored: bool = False) -> np.ndarray:
    """Features float32 (n, BITS) of thumbnails (n, 32, 32), of the centre moved by up to MARGIN_PX, or mirrored."""
    top, left = MARGIN_PX + down, MARGIN_PX + right
    centre = thumbnails[:, top : top + CENTRE_PX, left : left + CENTRE_PX]
    if mirrored:
        centre = centre[:, :, ::-1]
    return centre.reshape(len(thumbnails), -1).astype(np.float32) @ BASIS


def hashes(features: np.ndarray, medians: np.ndarray) -> np.ndarray:
    """Perceptual hashes uint8 (n, ceil(BITS / 8)): one bit a feature, set above its median."""
    return np.packbits(features > medians, axis=1)


def distances(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Number of differing bits (...,) between hashes that broadcast against each other."""
    return np.bitwise_count(first ^ second).sum(axis=-1, dtype=np.int32)
