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
    return base
