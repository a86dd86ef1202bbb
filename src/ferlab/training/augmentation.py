"""Random changes of a batch of images: one affine transform for flip, rotation, shift and zoom together.

All randomness is stateless: it depends on the seed, the epoch and the step alone, so a resumed training sees the
same images as an uninterrupted one.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class AugmentSpec:
    """Angles in degrees; shift and zoom as shares of the image; brightness and contrast as shares of 255 and 1."""

    flip: bool
    rotation_deg: float
    shift: float
    zoom: float
    brightness: float
    contrast: float

    @property
    def moves(self) -> bool:
        """Whether pixels change their place."""
        return self.flip or max(self.rotation_deg, self.shift, self.zoom) > 0


def augmenter(spec: AugmentSpec, size_px: int) -> Callable[[Any, Any], Any]:
    """A function (images uint8 (n, h, w, c), seed of two int64) -> images uint8, usable inside ``tf.data``."""
    import keras
    import tensorflow as tf

    def augment(images: Any, seed: Any) -> Any:
        changed = tf.cast(images, tf.float32)
        count = tf.shape(images)[0]

        def uniform(position: int, bound: float) -> Any:
            return tf.random.stateless_uniform([count], seed + tf.constant([0, position], tf.int64), -bound, bound)

        if spec.moves:
            transforms = _affine(
                angle=uniform(1, spec.rotation_deg * math.pi / 180),
                dx=uniform(2, spec.shift * size_px),
                dy=uniform(3, spec.shift * size_px),
                scale=1 + uniform(4, spec.zoom),
                mirror=tf.where(uniform(5, 1.0) < (0.0 if spec.flip else -2.0), -1.0, 1.0),
                size_px=size_px,
            )
            changed = keras.ops.image.affine_transform(
                changed,
                transforms,
                interpolation="bilinear",
                fill_mode="nearest",
                data_format="channels_last",
            )
        if spec.contrast:
            mean = tf.reduce_mean(changed, axis=[1, 2, 3], keepdims=True)
            changed = mean + (changed - mean) * (1 + uniform(6, spec.contrast))[:, None, None, None]
        if spec.brightness:
            changed += 255 * uniform(7, spec.brightness)[:, None, None, None]
        return tf.cast(tf.clip_by_value(tf.round(changed), 0, 255), tf.uint8)

    return augment


def _affine(angle: Any, dx: Any, dy: Any, scale: Any, mirror: Any, size_px: int) -> Any:
    """Rows (a0, a1, a2, b0, b1, b2, 0, 0) that map output to input coordinates, about the image centre."""
    import tensorflow as tf

    centre = (size_px - 1) / 2
    cosine, sine = tf.cos(angle) * scale, tf.sin(angle) * scale
    a0, a1 = mirror * cosine, -mirror * sine
    b0, b1 = sine, cosine
    a2 = centre - a0 * centre - a1 * centre + dx
    b2 = centre - b0 * centre - b1 * centre + dy
    zero = tf.zeros_like(angle)
    return tf.stack([a0, a1, a2, b0, b1, b2, zero, zero], axis=1)
