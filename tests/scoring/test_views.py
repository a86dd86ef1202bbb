"""Views are the shifts and mirrors they are called, and combining them is averaging logits."""

from dataclasses import fields
from typing import Any

import numpy as np
import pytest

from ferlab.config.nodes import Evaluation
from ferlab.scoring.views import PLAIN, STEPS, View, combine_views, views_of

SHIFT = 1 / 12


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (3, 48, 48, 2), dtype=np.uint8)


def padded(image: np.ndarray, right: int, down: int) -> np.ndarray:
    """The image moved, made with NumPy's own edge padding."""
    wide = np.pad(image, ((48, 48), (48, 48), (0, 0)), mode="edge")
    return wide[48 - down : 96 - down, 48 - right : 96 - right]


PLACES = {
    "flip": [(0, 0)],
    "shifts": [(0, 0), (-4, 0), (4, 0), (0, -4), (0, 4)],
    "ten_crop": [(0, 0), (-4, -4), (4, -4), (-4, 4), (4, 4)],
}


@pytest.mark.parametrize("name", sorted(PLACES))
def test_views_are_the_padded_shifts_and_their_mirrors(name: str, images: np.ndarray) -> None:
    moved = [np.stack([padded(image, *place) for image in images]) for place in PLACES[name]]
    expected = [*moved, *(image[:, :, ::-1] for image in moved)]
    found = [view.of(images) for view in views_of(name, SHIFT, 48)]
    assert len(found) == len(expected) == (2 if name == "flip" else 10)
    for view, wanted in zip(found, expected, strict=True):
        assert view.dtype == np.uint8
        np.testing.assert_array_equal(view, wanted)


def test_a_move_to_the_right_repeats_the_left_edge() -> None:
    image = np.array([[1, 2, 3], [4, 5, 6], [7, 8, 9]], np.uint8)[None, :, :, None]
    np.testing.assert_array_equal(View(1, 0).of(image)[0, :, :, 0], [[1, 1, 2], [4, 4, 5], [7, 7, 8]])
    np.testing.assert_array_equal(View(0, -1).of(image)[0, :, :, 0], [[4, 5, 6], [7, 8, 9], [7, 8, 9]])
    np.testing.assert_array_equal(View(1, 0, mirrored=True).of(image)[0, :, :, 0], [[2, 1, 1], [5, 4, 4], [8, 7, 7]])


def test_the_inner_forty_pixels_of_ten_crop_are_the_ten_crops(images: np.ndarray) -> None:
    inner = [view.of(images)[:, 4:44, 4:44] for view in views_of("ten_crop", SHIFT, 48)]
    corners = [(4, 4), (0, 0), (0, 8), (8, 0), (8, 8)]
    crops = [images[:, top : top + 40, left : left + 40] for top, left in corners]
    wanted = {crop.tobytes() for crop in crops} | {crop[:, :, ::-1].tobytes() for crop in crops}
    assert len(wanted) == 10
    assert {view.tobytes() for view in inner} == wanted


@pytest.mark.parametrize("name", sorted(STEPS))
def test_the_plain_image_is_the_first_view_and_no_view_comes_twice(name: str) -> None:
    views = views_of(name, SHIFT, 48)
    assert views[0] == PLAIN
    assert len(set(views)) == len(views)


def test_a_step_is_a_share_of_the_side_and_at_least_one_pixel() -> None:
    assert {view.right_px for view in views_of("shifts", 0.125, 224)} == {-28, 0, 28}
    assert {view.right_px for view in views_of("shifts", 0.0, 48)} == {-1, 0, 1}


def test_every_choice_of_the_config_has_views() -> None:
    (setting,) = (field for field in fields(Evaluation) if field.name == "tta")
    assert set(setting.metadata["options"]) == {"none", *STEPS}
    assert setting.default == "none"


def test_combining_is_averaging_the_logits_of_a_keras_model(tf: Any, images: np.ndarray) -> None:
    import keras

    keras.utils.set_random_seed(3)
    image = keras.Input((48, 48, 2), dtype="uint8")
    x = keras.layers.Rescaling(1 / 40)(image)
    logits = keras.layers.Dense(5)(keras.layers.Flatten()(keras.layers.Conv2D(4, 5, strides=4)(x)))
    probabilities = keras.Model(image, keras.layers.Softmax()(logits))
    views = [view.of(images) for view in views_of("shifts", SHIFT, 48)]
    mean_logits = np.mean([keras.Model(image, logits).predict_on_batch(view) for view in views], axis=0)
    expected = np.asarray(keras.ops.softmax(mean_logits))
    found = np.stack([probabilities.predict_on_batch(view) for view in views])
    np.testing.assert_allclose(combine_views(found), expected, atol=1e-6)
    assert np.abs(found.mean(axis=0) - expected).max() > 1e-3, "averaged probabilities would pass as well"


def test_one_view_alone_is_left_as_it_is() -> None:
    rows = np.random.default_rng(1).dirichlet(np.ones(7), 20)
    np.testing.assert_allclose(combine_views(rows[None]), rows, rtol=1e-12)


def test_a_probability_of_zero_is_very_unlikely_and_no_nan() -> None:
    found = combine_views(np.array([[[1.0, 0.0, 0.0]], [[0.5, 0.5, 0.0]]]))
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found.sum(axis=1), 1)
    assert found[0, 0] > 0.999
    assert 0 < found[0, 2] < found[0, 1] < 1e-10
