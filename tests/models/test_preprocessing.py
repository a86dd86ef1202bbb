"""Pixels reach the base as keras.applications would have made them, cropped and enlarged inside the model."""

from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np
import pytest

from ferlab.errors import UserError
from ferlab.models.build import build_model
from ferlab.models.catalog import CATALOG, PREPROCESSINGS
from ferlab.models.preprocessing import cropped, enlarged, normalised
from ferlab.training.precision import precision_policy

PRETRAINED = [name for name, row in CATALOG.items() if row.pretrained]


def pixel_model(channels: int, name: str) -> Any:
    import keras

    row = CATALOG[name]
    image = keras.Input((16, 16, channels), dtype="uint8")
    return keras.Model(image, normalised(image, row.preprocessing, row.needs_rgb))


def every_level() -> np.ndarray:
    """RGB images in which each channel takes all 256 values, in another order each."""
    rng = np.random.default_rng(5)
    return np.stack([rng.permutation(256).astype(np.uint8).reshape(16, 16) for _ in range(3)], axis=-1)[None]


def keras_way(name: str, images: np.ndarray) -> np.ndarray:
    import keras

    own_module = import_module(getattr(keras.applications, CATALOG[name].application).__module__)
    return own_module.preprocess_input(images.astype(np.float32))


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
@pytest.mark.parametrize("name", PRETRAINED)
def test_pixels_become_what_keras_applications_makes_of_them(tf: Any, name: str, policy: str) -> None:
    with precision_policy(policy):
        mine = np.asarray(pixel_model(3, name)(every_level()))
    expected = keras_way(name, every_level())
    assert mine.dtype == np.float32
    if CATALOG[name].preprocessing in ("caffe", "raw"):
        np.testing.assert_array_equal(mine, expected)
    else:
        np.testing.assert_allclose(mine, expected, atol=1e-6)


@pytest.mark.parametrize("name", ["vgg16", "densenet121", "mobilenetv2"])
def test_a_gray_image_counts_as_rgb_of_three_equal_channels(tf: Any, name: str) -> None:
    gray = every_level()[..., :1]
    mine = np.asarray(pixel_model(1, name)(gray))
    np.testing.assert_allclose(mine, keras_way(name, np.repeat(gray, 3, axis=-1)), atol=1e-6)


@pytest.mark.parametrize("name", PREPROCESSINGS)
def test_preprocessing_survives_saving(tf: Any, tmp_path: Any, name: str) -> None:
    import keras

    image = keras.Input((16, 16, 3), dtype="uint8")
    model = keras.Model(image, normalised(image, name, needs_rgb=True))
    model.save(tmp_path / "pixels.keras")
    loaded = keras.saving.load_model(tmp_path / "pixels.keras")
    np.testing.assert_array_equal(np.asarray(loaded(every_level())), np.asarray(model(every_level())))
    assert loaded.count_params() == 0


@pytest.mark.parametrize(("crop_px", "first"), [(40, 4), (41, 3), (48, 0), (None, 0)])
def test_the_centre_is_cut_out(tf: Any, pixels: Callable[..., np.ndarray], crop_px: int | None, first: int) -> None:
    import keras

    image = keras.Input((48, 48, 1), dtype="uint8")
    images, size = pixels(2, 48), crop_px or 48
    model = keras.Model(image, normalised(cropped(image, crop_px), "raw", needs_rgb=False))
    cut = images[:, first : first + size, first : first + size]
    np.testing.assert_array_equal(np.asarray(model(images)), cut)


def test_the_crop_is_enlarged_by_opencv_s_bilinear_rule(tf: Any) -> None:
    import cv2
    import keras

    ramp = np.add.outer(np.arange(48) * 2, np.arange(48) * 3).astype(np.uint8)
    image = keras.Input((48, 48, 1), dtype="uint8")
    model = keras.Model(image, enlarged(normalised(cropped(image, 40), "raw", needs_rgb=False), 80))
    expected = cv2.resize(ramp[4:44, 4:44].astype(np.float32), (80, 80), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_allclose(np.asarray(model(ramp[None, ..., None]))[0, ..., 0], expected, atol=1e-3)


def test_what_lies_outside_the_crop_does_not_count(tf: Any, make_spec: Any, pixels: Any) -> None:
    model = build_model(make_spec("vgg_small", size_px=48, crop_px=40, width=0.25)).model
    images = pixels(3, 48)
    framed = images.copy()
    framed[:, :4], framed[:, 44:], framed[:, :, :4], framed[:, :, 44:] = 0, 0, 255, 255
    np.testing.assert_array_equal(np.asarray(model(framed)), np.asarray(model(images)))
    framed[:, 4] = 0
    assert (np.asarray(model(framed)) != np.asarray(model(images))).any()


def test_a_crop_larger_than_the_image_is_refused(make_spec: Any) -> None:
    with pytest.raises(UserError, match="crop_px=64: the images have only 48 px"):
        build_model(make_spec("vgg_small", size_px=48, crop_px=64))
