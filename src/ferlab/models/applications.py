"""The backbones of keras.applications, without their tops: global average pooling, features out."""

from functools import partial
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


mobilenetv2 = partial(application_base, "MobileNetV2")
mobilenetv3_small = partial(application_base, "MobileNetV3Small")
mobilenetv3_large = partial(application_base, "MobileNetV3Large")
vgg16 = partial(application_base, "VGG16")
densenet121 = partial(application_base, "DenseNet121")
resnet50 = partial(application_base, "ResNet50")
resnet50v2 = partial(application_base, "ResNet50V2")
efficientnetv2_b0 = partial(application_base, "EfficientNetV2B0")
convnext_tiny = partial(application_base, "ConvNeXtTiny")
