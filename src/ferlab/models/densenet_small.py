"""``densenet_small``: DenseNet-BC (Huang et al. 2017) for 48 px faces: three blocks behind a small stem.

The stem halves the image: on full-size maps normalising and joining cost a CPU more than all the convolutions.
"""

from typing import Any

from ferlab.models.layers import convolution, rectified, scaled

GROWTH = 24
BLOCKS = (8, 10, 12)
BOTTLENECK = 4
COMPRESSION = 0.5


def densenet_small(shape: tuple[int, int, int], width: float) -> Any:
    """Three dense blocks of growth 24 * width, global average: (n, h, w, c) to (n, 468) at width 1."""
    import keras

    growth = scaled(GROWTH, width, step=4)
    image = keras.Input(shape)
    x = rectified(convolution(image, 2 * growth, 3, "stem"), "stem")
    x = keras.layers.MaxPooling2D(2, name="stem_pool")(x)
    for block, layers in enumerate(BLOCKS, start=1):
        if block > 1:
            x = _transition(x, f"transition{block - 1}")
        for layer in range(1, layers + 1):
            x = _dense(x, growth, f"block{block}_{layer}")
    x = rectified(x, "end")
    return keras.Model(image, keras.layers.GlobalAveragePooling2D(name="average")(x), name="base")


def _dense(x: Any, growth: int, name: str) -> Any:
    """``growth`` new maps beside all earlier ones."""
    import keras

    new = convolution(rectified(x, f"{name}a"), BOTTLENECK * growth, 1, f"{name}a")
    new = convolution(rectified(new, f"{name}b"), growth, 3, f"{name}b")
    return keras.layers.Concatenate(name=f"{name}_join")([x, new])


def _transition(x: Any, name: str) -> Any:
    """Half the maps, half the size."""
    import keras

    x = convolution(rectified(x, name), int(x.shape[-1] * COMPRESSION), 1, name)
    return keras.layers.AveragePooling2D(2, name=f"{name}_pool")(x)
