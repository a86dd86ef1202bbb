"""Random changes of training images in NumPy and OpenCV: one affine transform and one table of brightness an image.

Everything is drawn from the generator that is passed in, so a resumed training sees the same images as an
uninterrupted one, and both Keras backends see the same.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import cv2
import numpy as np

from ferlab.config.nodes import Augment

Change = Callable[[np.ndarray, np.ndarray, np.random.Generator], tuple[np.ndarray, np.ndarray]]
"""(images uint8 (n, s, s, c), targets float32 (n, classes), generator) -> both, changed; the arguments stay as is."""

WARP = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
RAND_AUGMENT = ("rotate", "shear_x", "shear_y", "shift_x", "shift_y", "brightness", "contrast", "solarize", "posterize")
"""Operations of RandAugment (Cubuk et al. 2020) that keep a gray face a face."""
LARGEST = {"rotate": 30.0, "shear": 0.3, "shift": 0.25, "brightness": 0.5, "contrast": 0.7, "solarize": 160, "bits": 5}
"""Their strength at magnitude 1: degrees, shares of the side, shares of 255 and 1, gray values, bits taken away."""


RANGES = ("rotation_deg", "shift", "zoom", "brightness", "contrast", "erase", "magnitude", "mixup", "cutmix")


def weakened(augment: Augment, strength: float) -> Augment:
    """The same augmentation, every range and probability times ``strength`` in 0..1; 0 changes nothing."""
    weaker: dict[str, Any] = {name: getattr(augment, name) * strength for name in RANGES}
    kept = strength > 0
    return replace(augment, **weaker, flip=augment.flip and kept, randaugment=augment.randaugment * kept)


def changer(augment: Augment) -> Change:
    """Geometry, brightness and erasing of every image, then mixing between images (targets mix, too)."""
    moves = augment.flip or augment.randaugment or max(augment.rotation_deg, augment.shift, augment.zoom) > 0
    shades = augment.randaugment or augment.brightness or augment.contrast

    def change(images: np.ndarray, targets: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        count, side = images.shape[:2]
        draws = _Draws(augment, count, side, rng)
        changed = images.copy()
        if moves:
            for place, matrix in enumerate(draws.matrices()):
                moved = cv2.warpAffine(images[place], matrix, (side, side), flags=WARP, borderMode=cv2.BORDER_REPLICATE)
                changed[place] = moved.reshape(changed.shape[1:])
        if shades:
            for place, table in enumerate(draws.tables()):
                changed[place] = cv2.LUT(changed[place], table).reshape(changed.shape[1:])
        if augment.erase:
            _erase(changed, augment, rng)
        if augment.mixup or augment.cutmix:
            return _mixed(changed, targets, augment, rng)
        return changed, targets

    return change


class _Draws:
    """What is drawn for a batch of ``count`` images of ``side`` px; each attribute has one row an image."""

    def __init__(self, augment: Augment, count: int, side: int, rng: np.random.Generator) -> None:
        def uniform(bound: float) -> np.ndarray:
            return rng.uniform(-bound, bound, count)

        self.side = side
        self.angle, self.zoom = uniform(augment.rotation_deg), 1 + uniform(augment.zoom)
        self.shift = np.stack([uniform(augment.shift), uniform(augment.shift)], axis=1)
        self.shear = np.zeros((count, 2))
        self.mirror = np.where(rng.random(count) < (0.5 if augment.flip else 0.0), -1.0, 1.0)
        self.bright, self.contrast = uniform(augment.brightness), 1 + uniform(augment.contrast)
        self.above, self.bits = np.full(count, 256), np.zeros(count, np.int64)
        for _ in range(augment.randaugment):
            chosen = rng.integers(0, len(RAND_AUGMENT), count)
            signed = rng.choice((-1.0, 1.0), count) * augment.magnitude
            for number, name in enumerate(RAND_AUGMENT):
                self._push(name, np.where(chosen == number, signed, 0.0))

    def _push(self, name: str, push: np.ndarray) -> None:
        """Add one operation of RandAugment; ``push`` in -1..1 is 0 for images that it leaves alone."""
        if name == "rotate":
            self.angle += push * LARGEST["rotate"]
        elif name.startswith("shear"):
            self.shear[:, int(name == "shear_y")] += push * LARGEST["shear"]
        elif name.startswith("shift"):
            self.shift[:, int(name == "shift_y")] += push * LARGEST["shift"]
        elif name == "brightness":
            self.bright += push * LARGEST["brightness"]
        elif name == "contrast":
            self.contrast *= 1 + push * LARGEST["contrast"]
        elif name == "solarize":
            self.above = np.minimum(self.above, 256 - (np.abs(push) * LARGEST["solarize"]).astype(np.int64))
        else:
            self.bits = np.maximum(self.bits, (np.abs(push) * LARGEST["bits"]).astype(np.int64))

    def matrices(self) -> np.ndarray:
        """Output to input coordinates about the image centre, float64 (n, 2, 3)."""
        angle = self.angle * (math.pi / 180)
        cosine, sine = np.cos(angle) * self.zoom, np.sin(angle) * self.zoom
        turned = np.stack([self.mirror * cosine, -self.mirror * sine, sine, cosine], axis=1).reshape(-1, 2, 2)
        leaning = np.tile(np.eye(2), (len(angle), 1, 1))
        leaning[:, 0, 1], leaning[:, 1, 0] = self.shear[:, 0], self.shear[:, 1]
        linear = turned @ leaning
        centre = np.full(2, (self.side - 1) / 2)
        offset = centre - linear @ centre + self.shift * self.side
        return np.concatenate([linear, offset[:, :, None]], axis=2)

    def tables(self) -> np.ndarray:
        """New value of every gray value, uint8 (n, 256): inverted from ``above`` on, coarsened, stretched about 128."""
        values = np.arange(256)[None]
        inverted = np.where(values >= self.above[:, None], 255 - values, values)
        coarse = inverted >> self.bits[:, None] << self.bits[:, None]
        stretched = 128 + (coarse - 128) * self.contrast[:, None] + 255 * self.bright[:, None]
        return np.clip(np.rint(stretched), 0, 255).astype(np.uint8)


def _erase(images: np.ndarray, augment: Augment, rng: np.random.Generator) -> None:
    """Random erasing (Zhong et al. 2020) in place: a rectangle of noise, 2 % to ``erase_area`` of the image."""
    count, side, _, channels = images.shape
    for place in np.flatnonzero(rng.random(count) < augment.erase):
        area = rng.uniform(min(0.02, augment.erase_area), augment.erase_area) * side * side
        aspect = math.exp(rng.uniform(math.log(0.3), math.log(1 / 0.3)))
        height = min(side, max(1, round(math.sqrt(area * aspect))))
        width = min(side, max(1, round(math.sqrt(area / aspect))))
        top, left = rng.integers(0, side - height + 1), rng.integers(0, side - width + 1)
        noise = rng.integers(0, 256, (height, width, channels), dtype=np.uint8)
        images[place, top : top + height, left : left + width] = noise


def _mixed(
    images: np.ndarray, targets: np.ndarray, augment: Augment, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Mixup (Zhang et al. 2018) or CutMix (Yun et al. 2019) with a shuffled copy of the batch; both on: half each."""
    partners = rng.permutation(len(images))
    cuts = bool(augment.cutmix) and (not augment.mixup or rng.random() < 0.5)
    alpha = augment.cutmix if cuts else augment.mixup
    share = rng.beta(alpha, alpha, len(images)).astype(np.float32)
    if cuts:
        images, share = _cut(images, partners, share, rng)
    else:
        images = _blended(images, partners, share)
    return images, share[:, None] * targets + (1 - share[:, None]) * targets[partners]


def _blended(images: np.ndarray, partners: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Each image with its ``share`` and its partner with the rest; one by one, floats of a batch take long and much."""
    blended = np.empty_like(images)
    for place, (partner, weight) in enumerate(zip(partners.tolist(), share.tolist(), strict=True)):
        mixed = cv2.addWeighted(images[place], weight, images[partner], 1 - weight, 0)
        blended[place] = mixed.reshape(images.shape[1:])
    return blended


def _cut(
    images: np.ndarray, partners: np.ndarray, share: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Images with a box of their partner's in each, and the share that is left of them, float32 (n,)."""
    count, side = images.shape[:2]
    cut, left_over = images.copy(), np.empty(count, np.float32)
    half = np.sqrt(1 - share) * side / 2
    centres = rng.uniform(0, side, (count, 2))
    low = np.clip(np.rint(centres - half[:, None]), 0, side).astype(np.int64)
    high = np.clip(np.rint(centres + half[:, None]), 0, side).astype(np.int64)
    for place, ((top, left), (bottom, right)) in enumerate(zip(low, high, strict=True)):
        cut[place, top:bottom, left:right] = images[partners[place], top:bottom, left:right]
        left_over[place] = 1 - (bottom - top) * (right - left) / side**2
    return cut, left_over
