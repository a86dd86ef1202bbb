"""``resnet18_small``: ResNet-18 (He et al. 2016) for 48 px faces: 3x3 stem of stride 1, no pooling after it."""

from typing import Any

from ferlab.models.layers import convolution, normalised, rectified, scaled

STAGES = (64, 128, 256, 512)
BLOCKS = 2


def resnet18_small(shape: tuple[int, int, int], width: float) -> Any:
    """Four stages of two residual blocks, global average: (n, h, w, c) to (n, 512 * width)."""
    import keras

    image = keras.Input(shape)
    x = rectified(convolution(image, scaled(STAGES[0], width), 3, "stem"), "stem")
    for stage, channels in enumerate(STAGES, start=1):
        for block in range(1, BLOCKS + 1):
            stride = 2 if stage > 1 and block == 1 else 1
            x = _residual(x, scaled(channels, width), stride, f"stage{stage}_block{block}")
    return keras.Model(image, keras.layers.GlobalAveragePooling2D(name="average")(x), name="base")


def _residual(x: Any, channels: int, stride: int, name: str) -> Any:
    """Two convolutions beside the identity, or beside a 1x1 convolution where the shape changes."""
    import keras

    shortcut = x
    if stride > 1 or x.shape[-1] != channels:
        shortcut = normalised(convolution(x, channels, 1, f"{name}_0", stride), f"{name}_0")
    inner = rectified(convolution(x, channels, 3, f"{name}_1", stride), f"{name}_1")
    inner = normalised(convolution(inner, channels, 3, f"{name}_2"), f"{name}_2")
    return keras.layers.Activation("relu", name=f"{name}_relu")(keras.layers.Add(name=f"{name}_add")([shortcut, inner]))
