"""bfloat16 on a processor: gradients of the filters that slide over small maps, as matrix products.

Where the rows of a map are short, oneDNN takes longer for them than products of matrices that come to the same numbers
do (``benchmarks/small_maps.py``).
"""

from typing import Any

from ferlab.models.blocks import every_layer
from ferlab.models.catalog import CPU_BF16

MOST_POSITIONS = 36
"""Of a map, up to which products of matrices were measured to be faster: 6 x 6."""


def quicken_small_maps(model: Any, device: str) -> int:
    """Let the convolutions of ``model`` that gain from it take their filters' gradients so; how many there are.

    On TensorFlow and a ``device`` of the kind CPU_BF16 those that compute in bfloat16, step by 1 and keep the size of a
    map of at most MOST_POSITIONS. Nothing else changes: config, weights and answers are those of Keras's layer.
    """
    import keras

    if device != CPU_BF16 or keras.config.backend() != "tensorflow":
        return 0
    found = [layer for layer in every_layer(model) if _gains(layer)]
    for layer in found:
        layer.convolution_op = convolved
    return len(found)


def _gains(layer: Any) -> bool:
    import keras

    if type(layer) is not keras.layers.Conv2D or layer.compute_dtype != "bfloat16":
        return False
    height, width = layer.output.shape[1:3]
    usual = (layer.padding, layer.groups, layer.data_format) == ("same", 1, "channels_last")
    by_one = layer.strides == layer.dilation_rate == (1, 1)
    sliding = min(layer.kernel_size) > 1 and all(size % 2 for size in layer.kernel_size)
    return (
        usual and by_one and sliding and height is not None and width is not None and height * width <= MOST_POSITIONS
    )


def convolved(images: Any, kernel: Any) -> Any:
    """``ops.conv`` of maps (n, h, w, c) with a kernel (k, k, c, d), padded to the same size: (n, h, w, d).

    The gradient of the kernel is made of products of matrices.
    """
    from keras import ops

    @ops.custom_gradient
    def operation(maps: Any, filters: Any) -> Any:
        def gradients(*answers: Any, upstream: Any = None) -> tuple[Any, Any]:
            change = answers[0] if upstream is None else upstream
            return ops.conv_transpose(change, filters, padding="same"), _of_filters(maps, change, filters.shape)

        return ops.conv(maps, filters, padding="same"), gradients

    return operation(images, ops.cast(kernel, images.dtype))


def _of_filters(maps: Any, change: Any, shape: tuple[int, ...]) -> Any:
    """The gradient (k, k, c, d) of the filters: of each place in them, maps moved by it times what came back."""
    from keras import ops

    rows, columns, channels, filters = shape
    height, width = maps.shape[1:3]
    padded = ops.pad(maps, ((0, 0), (rows // 2, rows // 2), (columns // 2, columns // 2), (0, 0)))
    change = ops.reshape(change, (-1, filters))
    moved = (
        ops.reshape(padded[:, row : row + height, column : column + width], (-1, channels))
        for row in range(rows)
        for column in range(columns)
    )
    return ops.reshape(ops.stack([ops.matmul(ops.transpose(one), change) for one in moved]), shape)
