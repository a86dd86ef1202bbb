"""What happens to pixels between a model's uint8 input and its base, in standard Keras layers."""

from typing import Any

from ferlab.models.catalog import PREPROCESSINGS

RGB_CHANNELS = 3


def cropped(image: Any, crop_px: int | None) -> Any:
    """The centre ``crop_px`` of a square image, all of it for None.

    An odd margin leaves its extra row below and its extra column on the right.
    """
    import keras

    if crop_px is None or crop_px == image.shape[1]:
        return image
    before = (image.shape[1] - crop_px) // 2
    margins = (before, image.shape[1] - crop_px - before)
    return keras.layers.Cropping2D((margins, margins), dtype="float32", name="crop")(image)


def normalised(x: Any, preprocessing: str, needs_rgb: bool) -> Any:
    """Pixels 0..255, gray or RGB, as the float32 numbers that the base was made for (a row of PREPROCESSINGS).

    Always in float32: the same arithmetic in bfloat16 is off by five times as much as rounding its result is.
    """
    import keras

    if needs_rgb and x.shape[-1] != RGB_CHANNELS:
        x = keras.layers.Concatenate(dtype="float32", name="gray_to_rgb")([x] * RGB_CHANNELS)
    scaling = PREPROCESSINGS[preprocessing]
    scale, offset = (list(v) if isinstance(v, tuple) else v for v in (scaling.scale, scaling.offset))
    x = keras.layers.Rescaling(scale, offset, dtype="float32", name="normalise")(x)
    return keras.ops.flip(x, axis=-1) if scaling.bgr else x


def enlarged(x: Any, working_px: int | None) -> Any:
    """Float pixels brought to ``working_px`` (bilinear), as they are for None.

    Not for uint8 pixels: Keras rounds those to whole numbers again.
    """
    import keras

    if working_px is None or working_px == x.shape[1]:
        return x
    return keras.layers.Resizing(working_px, working_px, dtype="float32", name="enlarge")(x)
