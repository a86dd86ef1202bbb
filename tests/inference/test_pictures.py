"""Photos as they come: turned by their camera, damaged, renamed, hidden; none of them ends a folder."""

import io

import cv2
import numpy as np
import pytest
from PIL import Image

from ferlab.errors import UserError
from ferlab.imaging.codec import decode
from ferlab.inference.answers import NO_FACE
from ferlab.inference.pictures import picture_files, picture_of_bytes, read_picture
from ferlab.inference.predictor import Predictor

from .conftest import SmallModel, scene


@pytest.fixture
def predictor(small_model):
    return Predictor(small_model)


def photo(pixels, **settings):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, **({"format": "PNG"} | settings))
    return buffer.getvalue()


@pytest.mark.parametrize("orientation", [2, 3, 4, 5, 6, 7, 8])
def test_a_turned_photo_says_what_the_upright_one_says(predictor, tmp_path, orientation):
    upright = scene([(220, 100, 200)])
    stored = {2: np.fliplr, 3: lambda p: np.rot90(p, 2), 4: np.flipud, 5: lambda p: p.transpose(1, 0, 2),
              6: np.rot90, 7: lambda p: np.rot90(p, 2).transpose(1, 0, 2), 8: lambda p: np.rot90(p, -1)}  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    turned = np.ascontiguousarray(stored[orientation](upright))
    (tmp_path / "turned.jpg").write_bytes(photo(turned, format="JPEG", quality=100, subsampling=0, exif=exif))
    (tmp_path / "turned.tif").write_bytes(photo(turned, format="TIFF", tiffinfo={0x0112: orientation}))
    (tmp_path / "upright.tif").write_bytes(photo(upright, format="TIFF"))
    said = {name: predictor.photo(tmp_path / name) for name in ("upright.tif", "turned.tif", "turned.jpg")}
    assert {(one.width, one.height) for one in said.values()} == {(640, 480)}
    (expected,), (exact,), (close,) = (one.faces for one in said.values())
    assert np.array_equal(exact.probabilities, expected.probabilities)
    assert exact.found.box == expected.found.box
    assert np.allclose(close.found.box, expected.found.box, atol=2)
    assert np.abs(close.crop.astype(int) - expected.crop).mean() < 10


def test_a_folder_with_junk_is_answered_to_the_end(predictor, tmp_path):
    good = photo(scene([(220, 100, 200)]))
    files = {
        "a/good.png": good, "a/UPPER.PNG": good, "b/nobody.png": photo(scene([])), "b/cut.png": good[: len(good) // 2],
        "empty.jpg": b"", "text.jpg": b"no picture", "program.png": b"\x7fELF" + bytes(500),
        "notes.txt": b"x", ".hidden/good.png": good,
    }  # fmt: skip
    for name, data in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(data)
    (tmp_path / "folder.png").mkdir()
    said = {answer.source: answer for answer in predictor.folder(tmp_path)}
    assert set(said) == set(files) - {"notes.txt", ".hidden/good.png"}
    assert {name for name, answer in said.items() if answer.faces} == {"a/good.png", "a/UPPER.PNG"}
    assert said["b/nobody.png"].problem == NO_FACE
    assert said["b/cut.png"].problem == "cut PNG file"
    assert said["empty.jpg"].problem == "empty file"
    for name in ("text.jpg", "program.png"):
        assert said[name].problem == "not a JPEG, PNG, BMP or TIFF image"


def test_an_image_bomb_is_refused_by_its_header(predictor, tmp_path):
    bomb = bytearray(cv2.imencode(".png", np.zeros((1, 1), np.uint8))[1].tobytes())
    bomb[16:24] = (60_000).to_bytes(4, "big") * 2
    (tmp_path / "bomb.png").write_bytes(bomb)
    assert "60000x60000" in predictor.photo(tmp_path / "bomb.png").problem


def test_a_huge_file_and_an_unreadable_one_are_problems_of_their_own(tmp_path):
    with (tmp_path / "huge.png").open("wb") as file:
        file.truncate(201_000_000)
    assert "200 MB" in read_picture(tmp_path / "huge.png", "huge.png", "gray").problem
    assert "cannot be read" in read_picture(tmp_path / "gone.png", "gone.png", "gray").problem


def test_a_folder_without_photos_is_said(tmp_path):
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(UserError, match="no photo in it"):
        picture_files(tmp_path)


@pytest.mark.parametrize("encoding", ["PNG", "JPEG"])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_faces_are_cut_from_the_decoders_own_gray(encoding, mode):
    data = photo(np.asarray(Image.fromarray(scene([(220, 100, 200)])).convert(mode)), format=encoding)
    assert np.array_equal(picture_of_bytes(data, "a", "gray").cut_from, decode(data, "gray"))
    assert np.array_equal(picture_of_bytes(data, "a", "rgb").cut_from, decode(data, "rgb"))


def test_bytes_pixels_and_file_say_the_same(tmp_path):
    predictor, pixels = Predictor(SmallModel(colour="rgb")), scene([(220, 100, 200)])
    (tmp_path / "a.png").write_bytes(photo(pixels))
    answers = (predictor.photo(tmp_path / "a.png"), predictor.bytes(photo(pixels)), predictor.pixels(pixels))
    first, *others = (answer.faces[0].probabilities for answer in answers)
    for other in others:
        assert np.array_equal(first, other)
