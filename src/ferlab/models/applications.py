"""The backbones of keras.applications, without their tops: global average pooling, features out."""

from typing import Any


def application_base(application: str, shape: tuple[int, int, int], width: float, weights: str | None = None) -> Any:
    """The base of that function of keras.applications: (n, h, w, 3) to (n, features).

    ``weights`` None or ``imagenet``, which Keras takes from its cache or downloads. ``width`` is the alpha of the
    MobileNets; the other functions know none but 1.
    """
    import keras

    scaled = {} if width == 1 else {"alpha": width}
    function = getattr(keras.applications, application)
    base = function(include_top=False, weights=weights, input_shape=shape, pooling="avg", **scaled)
    base.name = "base"  # EfficientNetV2 looks its blocks up by the argument name, so that cannot be given
    return _without_last_pooling(base)


def _without_last_pooling(base: Any) -> Any:
    """Average all cells of the last convolution, where a max pooling (VGG's) stands between.

    Of the 3x3 cells that a face of 48 px leaves there, 2x2 pooling would see the upper left four alone.
    """
    import keras

    pooling = base.layers[-2]
    if not isinstance(pooling, keras.layers.MaxPooling2D):
        return base
    average = keras.layers.GlobalAveragePooling2D(name="average")
    return keras.Model(base.input, average(pooling.input), name=base.name)
