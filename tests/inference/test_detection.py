"""Faces are found where they were drawn, in any size of picture; nothing is found where there is none."""

import cv2
import numpy as np
import pytest

from ferlab.errors import UserError
from ferlab.inference.detection import FaceDetector, _AnySize, _Square, weights_file

from .conftest import scene


def hits(found, places):
    """Whether every place holds the middle of just one box, and no box is left over."""
    middles = [(one.box[0] + one.box[2] / 2, one.box[1] + one.box[3] / 2) for one in found]
    counts = [sum(x < mx < x + side and y < my < y + side for mx, my in middles) for x, y, side in places]
    return counts == [1] * len(places) and len(found) == len(places)


@pytest.mark.parametrize(
    "places", [[(200, 120, 200)], [(10, 10, 120), (250, 200, 160), (480, 40, 140), (460, 300, 150)]]
)
def test_every_drawn_face_is_found_once_from_left_to_right(places):
    found = FaceDetector().find(scene(places))
    assert hits(found, places)
    assert [one.box[0] for one in found] == sorted(one.box[0] for one in found)
    for one in found:
        assert 0.6 <= one.score <= 1
        eye, other, nose, corner, other_corner = one.points
        assert eye[0] < nose[0] < other[0]
        assert max(eye[1], other[1]) < nose[1] < min(corner[1], other_corner[1])
        assert corner[0] < other_corner[0]


def test_places_are_in_pixels_of_the_picture_whatever_the_detector_looks_at():
    small = scene([(200, 120, 200)])
    large = cv2.resize(small, None, fx=5, fy=5, interpolation=cv2.INTER_LINEAR)
    (one,), (other,) = FaceDetector().find(small), FaceDetector().find(large)
    assert np.allclose(np.array(other.box) / 5, one.box, atol=4)
    assert np.allclose(other.points / 5, one.points, atol=4)


def test_a_gray_picture_is_searched_too():
    places = [(200, 120, 200)]
    assert hits(FaceDetector().find(cv2.cvtColor(scene(places), cv2.COLOR_RGB2GRAY)), places)


@pytest.mark.parametrize("shape", [(480, 640, 3), (1, 1, 3), (7, 300, 3), (3000, 9, 3), (64, 64)])
def test_nothing_is_found_where_nothing_is(shape):
    noise = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    assert FaceDetector().find(noise) == []


@pytest.mark.parametrize(
    "places", [[(200, 120, 200)], [(10, 10, 120), (250, 200, 160), (480, 40, 140), (460, 300, 150)]]
)
@pytest.mark.parametrize("size", [(640, 480), (480, 480), (639, 431)])
def test_both_ways_to_run_the_network_find_the_same(places, size):
    seen = cv2.resize(cv2.cvtColor(scene(places), cv2.COLOR_RGB2BGR), size)
    square = cv2.copyMakeBorder(seen, 0, 640 - size[1], 0, 640 - size[0], cv2.BORDER_CONSTANT)
    by_opencv, by_onnx = _AnySize(weights_file(), 0.6).rows(square), _Square(weights_file(), 0.6).rows(seen)
    assert len(by_opencv) == len(by_onnx) == len(places)
    for one, other in zip(sorted(by_opencv.tolist()), sorted(by_onnx.tolist()), strict=True):
        assert np.allclose(one[:14], other[:14], atol=0.01)
        assert one[14] == pytest.approx(other[14], abs=1e-4)


def test_the_quicker_way_is_taken_where_it_is_one():
    square = _Square(weights_file(), 0.6)
    taken = [square.is_quicker(shape) for shape in ((480, 640, 3), (360, 640, 3), (240, 320, 3), (720, 1280, 3))]
    assert taken == [True, True, False, False]


def test_a_missing_package_is_said_in_one_line(monkeypatch):
    monkeypatch.setattr("ferlab.inference.detection.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'ferlab\[predict\]'"):
        FaceDetector()
