"""Layers that the small networks share: scaled widths, convolution, normalisation, activation."""

from typing import Any

BATCH_NORM_MOMENTUM = 0.9


def scaled(channels: int, width: float, step: int = 8) -> int:
    """``channels`` times ``width``, in multiples of ``step``, at least one step."""
    return max(step, round(channels * width / step) * step)


def convolution(x: Any, channels: int, kernel: int, name: str, stride: int = 1) -> Any:
    """A convolution without bias, He-initialised, of the same map size divided by ``stride``."""
    import keras

    return keras.layers.Conv2D(
        channels,
        kernel,
        strides=stride,
        padding="same",
        use_bias=False,
        kernel_initializer="he_normal",
        name=f"{name}_conv",
    )(x)


def normalised(x: Any, name: str) -> Any:
    """Batch normalisation whose moving averages follow within an epoch."""
    import keras

    return keras.layers.BatchNormalization(momentum=BATCH_NORM_MOMENTUM, name=f"{name}_bn")(x)


def rectified(x: Any, name: str) -> Any:
    """Normalisation and ReLU."""
    import keras

    return keras.layers.Activation("relu", name=f"{name}_relu")(normalised(x, name))
