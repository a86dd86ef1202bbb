"""The crop of prediction is the crop of preparation."""

import cv2
import numpy as np
import pytest

from ferlab.config.edge_nodes import BOX_SCALE
from ferlab.imaging import face
from ferlab.imaging.codec import ImageError, decode
from ferlab.imaging.face import ImageSettings, face_of_file
from ferlab.imaging.geometry import UPRIGHT_FACE, upright
from ferlab.inference.detection import FaceDetector, Found
from ferlab.inference.faces import images_of, landmarks_of, scaled, whole_image
from ferlab.inference.pictures import picture_of_bytes

from .conftest import scene


def file_of(pixels, ending):
    return cv2.imencode(ending, cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))[1].tobytes()


@pytest.mark.parametrize("ending", [".png", ".jpg"])
@pytest.mark.parametrize("colour", ["gray", "rgb"])
@pytest.mark.parametrize("margin", [0.0, 0.25])
@pytest.mark.parametrize("align", [False, True])
def test_the_same_face_of_the_same_file_gives_preparations_pixels(ending, colour, margin, align):
    data = file_of(scene([(50, 60, 120), (400, 200, 500)], width=1000, height=750), ending)
    settings = ImageSettings(64, colour, "raw", margin, align)
    picture = picture_of_bytes(data, "a", colour)
    found = FaceDetector().find(picture.pixels)
    kept, images = images_of(picture.cut_from, found, settings, data=picture.data)
    assert kept == found
    assert images.shape == (2, 64, 64, 1 if colour == "gray" else 3)
    for one, image in zip(found, images, strict=True):
        prepared = face_of_file(data, settings, scaled(one.box, BOX_SCALE), landmarks_of(one.points).ravel())
        assert np.array_equal(image.squeeze(), prepared)


def test_a_large_face_of_a_jpeg_is_decoded_smaller_and_a_small_one_or_an_array_is_not(monkeypatch):
    data = file_of(scene([(20, 60, 80), (120, 60, 80), (250, 200, 500)], width=1000, height=750), ".jpg")
    settings, decodings = ImageSettings(64, "rgb", "raw"), []
    picture = picture_of_bytes(data, "a", "rgb")
    found = FaceDetector().find(picture.pixels)
    monkeypatch.setattr(face, "decode", lambda *given: decodings.append(given[2]) or decode(*given))
    of_file = images_of(picture.cut_from, found * 2, settings, data=data)[1]
    assert decodings == [4], "once for two faces"
    of_pixels = images_of(picture.pixels, found * 2, settings)[1]
    assert [np.array_equal(one, other) for one, other in zip(of_file, of_pixels, strict=True)] == [
        True,
        True,
        False,
    ] * 2


@pytest.mark.parametrize("ending", [".png", ".jpg"])
def test_a_whole_picture_is_preparations_too(ending):
    data = file_of(scene([(200, 120, 200)]), ending)
    settings = ImageSettings(48, "gray", "raw")
    image = whole_image(picture_of_bytes(data, "a", "gray").cut_from, settings, data)
    assert np.array_equal(image[0, :, :, 0], face_of_file(data, settings))


def test_five_points_are_enough_to_stand_a_face_upright():
    turn = np.deg2rad(25)
    rotation = np.array([(np.cos(turn), -np.sin(turn)), (np.sin(turn), np.cos(turn))])
    points = (UPRIGHT_FACE * 200 - 0.5) @ rotation.T * 1.7 + (300, 80)
    matrix = upright(landmarks_of(points), 200, 0.0)
    assert np.allclose(points @ matrix[:, :2].T + matrix[:, 2], UPRIGHT_FACE * 200 - 0.5, atol=1e-6)


def test_a_turned_face_is_the_same_image_as_the_upright_one_when_the_model_wants_it_aligned():
    pixels = scene([(200, 120, 220)])
    (face,) = FaceDetector().find(pixels)
    around = cv2.getRotationMatrix2D((310, 230), 25, 1)
    turned = cv2.warpAffine(pixels, around, (640, 480), borderMode=cv2.BORDER_REFLECT)
    points = face.points @ around[:, :2].T + around[:, 2]
    gaps = {}
    for align in (False, True):
        settings = ImageSettings(64, "rgb", "raw", 0.0, align)
        one = images_of(pixels, [face], settings)[1].astype(int)
        other = images_of(turned, [Found(face.box, face.score, points)], settings)[1].astype(int)
        gaps[align] = np.abs(one - other).mean()
    assert gaps[True] < 3 < 15 < gaps[False]


def test_a_face_without_shape_is_left_out_and_the_others_stay():
    pixels = scene([(200, 120, 200)])
    (good,) = FaceDetector().find(pixels)
    bad = Found((10.0, 10.0, 40.0, 40.0), 0.9, np.full((5, 2), 30.0))
    kept, images = images_of(pixels, [bad, good], ImageSettings(48, "rgb", "raw", 0.0, True))
    assert kept == [good]
    assert len(images) == 1
    assert images_of(pixels, [bad], ImageSettings(48, "rgb", "raw", 0.0, True))[1].shape == (0, 48, 48, 3)


def test_a_scaled_box_is_a_square_around_the_same_middle():
    assert scaled((10, 20, 40, 60), 0.5) == (15.0, 35.0, 30.0, 30.0)


def test_a_whole_picture_is_resized_and_cannot_be_aligned():
    pixels = scene([(200, 120, 200)])[:, :, 0]
    settings = ImageSettings(48, "gray", "raw")
    assert whole_image(pixels, settings).shape == (1, 48, 48, 1)
    with pytest.raises(ImageError, match="landmarks"):
        whole_image(pixels, ImageSettings(48, "gray", "raw", 0.0, True))
