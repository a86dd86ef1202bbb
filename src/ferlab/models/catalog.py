"""The registry of backbones as plain data: no Keras is imported here.

To add a backbone, add one row and one file in ``conf/backbone/``; see docs/backbones.md.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from ferlab.errors import UserError

CPU, CPU_BF16, GPU = "cpu", "cpu_avx512_bf16", "gpu"
"""Kinds of devices that the measured table of precisions tells apart."""
PROBABILITIES, AFFECT = "probabilities", "affect"
"""Outputs of a network with a second head for valence and arousal."""
GPU_ONLY = frozenset({GPU})
EVERYWHERE = frozenset({CPU_BF16, GPU})


@dataclass(frozen=True)
class Backbone:
    """One row: where its builder is and what it must be fed.

    ``builder`` is ``module:function``, None where ``application`` names the function of keras.applications that builds
    it and has ImageNet weights for it. ``preprocessing`` names the pixel scaling of PREPROCESSINGS. ``smallest_px`` is
    the least working size, ``default_px`` the one that ``conf/backbone/NAME.yaml`` sets; None keeps the size of the
    prepared images, or of their centre ``crop_px``. ``needs_rgb`` backbones get a gray image in three channels.
    ``bfloat16`` names the devices on which mixed bfloat16 trains faster than float32: CPU_BF16, GPU.
    ``any_width`` tells whether ``backbone.width`` may differ from 1.
    """

    name: str
    builder: str | None
    preprocessing: str
    smallest_px: int
    default_px: int | None
    needs_rgb: bool
    application: str | None
    default_recipe: str
    bfloat16: frozenset[str]
    any_width: bool
    crop_px: int | None = None

    @property
    def pretrained(self) -> bool:
        """Whether ImageNet weights exist."""
        return self.application is not None


@dataclass(frozen=True)
class PixelScaling:
    """Pixels in 0..255 times ``scale`` plus ``offset``, each a number or one per channel in the order R, G, B.

    ``bgr`` turns the order of the channels round after that.
    """

    scale: float | tuple[float, float, float]
    offset: float | tuple[float, float, float]
    bgr: bool = False


IMAGENET_MEAN_RGB = (0.485, 0.456, 0.406)
IMAGENET_STD_RGB = (0.229, 0.224, 0.225)
_MEAN_R, _MEAN_G, _MEAN_B = IMAGENET_MEAN_RGB
_STD_R, _STD_G, _STD_B = IMAGENET_STD_RGB

PREPROCESSINGS: Mapping[str, PixelScaling] = {
    "symmetric": PixelScaling(1 / 127.5, -1.0),
    "caffe": PixelScaling(1.0, (-123.68, -116.779, -103.939), bgr=True),
    "torch": PixelScaling(
        (1 / 255 / _STD_R, 1 / 255 / _STD_G, 1 / 255 / _STD_B),
        (-_MEAN_R / _STD_R, -_MEAN_G / _STD_G, -_MEAN_B / _STD_B),
    ),
    "raw": PixelScaling(1.0, 0.0),
}
"""``symmetric`` gives -1..1, ``caffe`` BGR less ImageNet's mean, ``torch`` RGB less the mean over the
deviation, ``raw`` 0..255 for networks that normalise themselves."""


def _small(name: str, builder: str, smallest_px: int, bfloat16: frozenset[str], crop_px: int | None = None) -> Backbone:
    """A network of our own for small faces, gray or RGB, trained from scratch, of any width."""
    place = f"ferlab.models.{builder}:{name}"
    return Backbone(name, place, "symmetric", smallest_px, None, False, None, "scratch_sgd", bfloat16, True, crop_px)


def _imagenet(
    name: str,
    application: str,
    preprocessing: str,
    default_px: int | None,
    bfloat16: frozenset[str],
    any_width: bool = False,
    recipe: str = "two_phase",
) -> Backbone:
    """A network of keras.applications; all of ours take RGB images of 32 px and more."""
    return Backbone(name, None, preprocessing, 32, default_px, True, application, recipe, bfloat16, any_width)


# CPU: measured on two AVX512-BF16 cores (docs/backbones.md has the ratios). GPU: assumed for every row, not measured.
# Faces of 48 px are enlarged to 96 for networks that divide by 32 early; VGG16 sees 3x3 cells at 48 px and keeps it.
CATALOG: Mapping[str, Backbone] = {
    row.name: row
    for row in (
        _small("seq1", "sequential", 32, EVERYWHERE),
        _small("seq2", "sequential", 32, EVERYWHERE),
        _small("vgg_small", "vgg_small", 16, EVERYWHERE, crop_px=40),
        _small("resnet18_small", "resnet_small", 16, EVERYWHERE),
        _small("densenet_small", "densenet_small", 16, GPU_ONLY),
        _imagenet("mobilenetv2", "MobileNetV2", "symmetric", 96, GPU_ONLY, any_width=True),
        _imagenet("mobilenetv3_small", "MobileNetV3Small", "raw", 96, GPU_ONLY, any_width=True),
        _imagenet("mobilenetv3_large", "MobileNetV3Large", "raw", 96, GPU_ONLY, any_width=True),
        _imagenet("vgg16", "VGG16", "caffe", None, EVERYWHERE, recipe="fine_tune"),
        _imagenet("densenet121", "DenseNet121", "torch", 96, GPU_ONLY),
        _imagenet("resnet50", "ResNet50", "caffe", 96, EVERYWHERE),
        _imagenet("resnet50v2", "ResNet50V2", "symmetric", 96, EVERYWHERE),
        _imagenet("efficientnetv2_b0", "EfficientNetV2B0", "raw", 96, GPU_ONLY),
        _imagenet("convnext_tiny", "ConvNeXtTiny", "raw", 96, GPU_ONLY, recipe="fine_tune"),
    )
}


def backbone(name: str) -> Backbone:
    """The row of that name; UserError listing the known ones otherwise."""
    if name not in CATALOG:
        message = f"backbone={name}: not known. Known: {', '.join(CATALOG)}."
        raise UserError(message)
    return CATALOG[name]
