"""``seq1`` and ``seq2``: small sequential CNNs for 48 px faces, made to train fast on a CPU.

Measured on FER-2013 with two AVX512-BF16 cores: BatchNormalization on large maps costs more than the convolutions, so
the first blocks have none, and every later pooling comes before the normalisation.
"""

from typing import Any

from ferlab.models.layers import BATCH_NORM_MOMENTUM, scaled


def seq1(shape: tuple[int, int, int], width: float) -> Any:
    """3x3 convolutions, four scales, global average: (n, h, w, c) to (n, 256 * width)."""
    return _sequential(
        shape,
        [
            *_plain("block1", 32, 3, width),
            _pool("block1"),
            *_normalised("block2", 64, 3, width, pool=True),
            *_plain("block3", 128, 3, width),
            *_normalised("block4", 128, 3, width, pool=True),
            *_plain("block5", 256, 3, width),
            *_normalised("block6", 256, 3, width),
        ],
        dense=None,
    )


def seq2(shape: tuple[int, int, int], width: float) -> Any:
    """5x5 then 3x3 convolutions and a dense layer that keeps the layout of the face: to (n, 256 * width)."""
    return _sequential(
        shape,
        [
            *_plain("block1", 32, 5, width),
            _pool("block1"),
            *_normalised("block2", 64, 5, width, pool=True),
            *_normalised("block3", 128, 3, width, pool=True),
            *_plain("block4", 256, 3, width),
            *_normalised("block5", 256, 3, width, pool=True),
        ],
        dense=scaled(256, width),
    )


def _sequential(shape: tuple[int, int, int], blocks: list[Any], dense: int | None) -> Any:
    import keras

    if dense is None:
        end = [keras.layers.GlobalAveragePooling2D()]
    else:
        end = [
            keras.layers.Dropout(0.1),
            keras.layers.Flatten(),
            keras.layers.Dense(dense, use_bias=False, kernel_initializer="he_normal", name="layout"),
            *_norm_relu("layout"),
        ]
    return keras.Sequential([keras.Input(shape), *blocks, *end], name="base")


def _plain(name: str, channels: int, kernel: int, width: float) -> list[Any]:
    import keras

    return [
        keras.layers.Conv2D(
            scaled(channels, width),
            kernel,
            padding="same",
            activation="relu",
            kernel_initializer="he_normal",
            name=f"{name}_conv",
        )
    ]


def _normalised(name: str, channels: int, kernel: int, width: float, pool: bool = False) -> list[Any]:
    import keras

    convolution = keras.layers.Conv2D(
        scaled(channels, width),
        kernel,
        padding="same",
        use_bias=False,
        kernel_initializer="he_normal",
        name=f"{name}_conv",
    )
    return [convolution, *([_pool(name)] if pool else []), *_norm_relu(name)]


def _pool(name: str) -> Any:
    import keras

    return keras.layers.MaxPooling2D(2, name=f"{name}_pool")


def _norm_relu(name: str) -> list[Any]:
    import keras

    return [
        keras.layers.BatchNormalization(momentum=BATCH_NORM_MOMENTUM, name=f"{name}_bn"),
        keras.layers.Activation("relu", name=f"{name}_relu"),
    ]
