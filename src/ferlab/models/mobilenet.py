"""MobileNetV2 (Sandler et al. 2018) from keras.applications."""

from typing import Any


def mobilenetv2(shape: tuple[int, int, int], width: float) -> Any:
    """The base with global average pooling: (n, h, w, 3) in -1..1 to (n, 1280) for width 1."""
    import keras

    return keras.applications.MobileNetV2(
        include_top=False, weights=None, alpha=width, input_shape=shape, pooling="avg", name="base"
    )
