"""``vgg_small``: 3x3 convolutions for 40 px crops of 48 px faces (Khaireddin and Chen 2021), from scratch.

Their head of two dense layers of 4096 is left out: it holds 25 M of 30 M parameters and remembers where in the map a
feature was, which that recipe's shifts of a fifth of the image teach the network to forget. The average over the last
map does that by itself, and lets the network take any image size.
"""

from typing import Any

from ferlab.models.layers import convolution, rectified, scaled

STAGES = (64, 128, 256, 512)


def vgg_small(shape: tuple[int, int, int], width: float) -> Any:
    """Four stages of two convolutions, pooling between them, global average: (n, h, w, c) to (n, 512 * width)."""
    import keras

    image = keras.Input(shape)
    x = image
    for stage, channels in enumerate(STAGES, start=1):
        if stage > 1:
            x = keras.layers.MaxPooling2D(2, name=f"stage{stage}_pool")(x)
        for position in (1, 2):
            name = f"stage{stage}_{position}"
            x = rectified(convolution(x, scaled(channels, width), 3, name), name)
    return keras.Model(image, keras.layers.GlobalAveragePooling2D(name="average")(x), name="base")
