"""A face of a large JPEG is decoded smaller and looks as if it had not been."""

import itertools

import cv2
import numpy as np
import pytest
from PIL import Image

from ferlab.datasets.synthetic.drawing import draw_face
from ferlab.datasets.synthetic.population import Face, sample_face
from ferlab.datasets.synthetic.projection import landmarks
from ferlab.imaging.codec import ImageError, decode, encode, resize, shrink_for
from ferlab.imaging.face import ImageSettings, face_of_file, face_of_pixels
from ferlab.imaging.geometry import align, crop

PHOTOS, FACES = 60, 15
SMALLEST_PSNR_DB = 33.0
"""At the 5th percentile of the photos."""


@pytest.fixture(scope="module")
def photos() -> list[tuple[np.ndarray, list[float], np.ndarray]]:
    """Drawn photos (h, w, 3) of 500 to 1500 px, the face's box in each, and its landmarks (136,)."""
    rng = np.random.default_rng(8)
    faces = [sample_face(5, index) for index in range(FACES)]
    # the finest lines that a photo of 1000 px can have: in the smaller ones they alias, as noise does
    drawn = [draw_face(face, 1000, "rgb") for face in faces]
    return [_photo(faces[index % FACES], drawn[index % FACES], rng) for index in range(PHOTOS)]


def _photo(face: Face, drawn: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, list[float], np.ndarray]:
    side, width = (int(number) for number in rng.integers(500, 1501, 2))
    added = max(0, width - side)
    square = cv2.resize(drawn, (side, side), interpolation=cv2.INTER_LINEAR)
    photo = np.pad(square, ((0, 0), (added // 2, added - added // 2), (0, 0)), mode="reflect")
    points = landmarks(face, side).reshape(-1, 2).astype(np.float64)
    points[:, 0] += added // 2
    box = [float(number) for number in (*points.min(axis=0), *np.ptp(points, axis=0))]
    return photo, box, points.ravel()


def jpeg(pixels: np.ndarray, quality: int = 92) -> bytes:
    return cv2.imencode(".jpg", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])[
        1
    ].tobytes()


def psnr_db(first: np.ndarray, second: np.ndarray) -> float:
    error = np.mean((first.astype(float) - second.astype(float)) ** 2)
    return float("inf") if error == 0 else float(10 * np.log10(255**2 / error))


def region_px(way: str, photo: np.ndarray, box: list[float]) -> float:
    return min(photo.shape[:2]) if way == "whole" else max(box[2:])


@pytest.mark.parametrize("size_px", [48, 112, 224])
@pytest.mark.parametrize("way", ["whole", "box", "box and margin", "aligned"])
@pytest.mark.parametrize("colour", ["rgb", "gray"])
def test_a_smaller_decode_gives_the_picture_of_the_full_one(photos, way, size_px, colour):
    margin = 0.3 if way == "box and margin" else 0.0
    settings = ImageSettings(size_px, colour, "raw", margin, way == "aligned")
    found = []
    for photo, box, points in photos:
        given = None if way == "whole" else box
        data = jpeg(photo)
        small = face_of_file(data, settings, given, points)
        full = decode(data, colour)
        if way == "aligned":
            expected = align(full, points.reshape(-1, 2), size_px, margin)
        else:
            expected = resize(full if given is None else crop(full, box, margin), size_px)
        assert small.shape == expected.shape
        if region_px(way, photo, box) >= 2.5 * size_px:
            found.append(psnr_db(small, expected))
    assert len(found) >= (PHOTOS - 10 if size_px < 224 or way == "whole" else PHOTOS // 3)
    assert np.isfinite(found).mean() > 0.9, "almost no photo was decoded smaller"
    assert np.percentile(found, 5) >= SMALLEST_PSNR_DB


@pytest.mark.parametrize("size_px", [47, 48, 100, 224])
def test_never_fewer_pixels_than_the_picture_has(size_px):
    for side, other in itertools.product(
        (95, 96, 97, 191, 192, 200, 447, 448, 449, 895, 896, 1500, 1791, 1792), (1, 2)
    ):
        data = jpeg(np.zeros((side, side * other, 3), np.uint8))
        shrink = shrink_for(data, size_px)
        smaller = decode(data, "gray", shrink)
        assert shrink == 1 or min(smaller.shape) >= size_px
        assert shrink == 8 or side < 2 * shrink * size_px, "it could have been half as large"


@pytest.mark.parametrize(("region_px", "shrink"), [(47, 1), (95.9, 1), (96, 2), (191, 2), (192, 4), (384, 8), (4e3, 8)])
def test_the_face_decides_and_not_the_photo(region_px, shrink):
    data = jpeg(np.zeros((3000, 3000, 3), np.uint8))
    assert shrink_for(data, 48, region_px) == shrink


def test_a_small_face_of_a_large_photo_keeps_all_its_pixels(photos):
    photo = photos[0][0]
    box = [100.0, 120.0, 90.0, 80.0]
    data = jpeg(photo)
    settings = ImageSettings(64, "rgb", "raw")
    np.testing.assert_array_equal(face_of_file(data, settings, box), resize(crop(decode(data, "rgb"), box, 0), 64))


@pytest.mark.parametrize("kind", ["png", "bmp", "tiff"])
def test_only_jpeg_files_are_decoded_smaller(photos, kind):
    photo = photos[0][0]
    data = cv2.imencode(f".{kind}", cv2.cvtColor(photo, cv2.COLOR_RGB2BGR))[1].tobytes()
    assert shrink_for(data, 48) == shrink_for(data, 48, 1000.0) == 1
    settings = ImageSettings(48, "rgb", "raw")
    np.testing.assert_array_equal(face_of_file(data, settings), resize(photo, 48))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("cut", [False, True])
def test_a_turned_photo_is_decoded_smaller_as_it_is_seen(photos, orientation, cut):
    # boxes and landmarks are those of the upright photo
    photo, box, _ = next(item for item in photos if item[0].shape[0] != item[0].shape[1])
    turns = {
        1: photo, 2: photo[:, ::-1], 3: photo[::-1, ::-1], 4: photo[::-1], 5: photo.swapaxes(0, 1),
        6: np.rot90(photo, 1), 7: np.rot90(photo, 2).swapaxes(0, 1), 8: np.rot90(photo, -1),
    }  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    plain, turned = jpeg(photo), with_exif(jpeg(np.ascontiguousarray(turns[orientation])), exif)
    settings = ImageSettings(100, "rgb", "raw")
    given = box if cut else None
    assert shrink_for(turned, 100, max(box[2:]) if cut else None) > 1
    upright = face_of_file(turned, settings, given)
    assert psnr_db(upright, face_of_file(plain, settings, given)) > 30
    assert psnr_db(upright[::-1], face_of_file(plain, settings, given)) < 20, "turned it is another picture"


def with_exif(data: bytes, exif: Image.Exif) -> bytes:
    body = exif.tobytes()
    body = body if body.startswith(b"Exif\0\0") else b"Exif\0\0" + body
    return data[:2] + b"\xff\xe1" + (len(body) + 2).to_bytes(2, "big") + body + data[2:]


@pytest.mark.parametrize("way", ["box", "aligned"])
@pytest.mark.parametrize("times", [2, 4, 8])
def test_the_same_face_in_a_larger_photo_is_the_same_picture(way, times):
    # a shift by half a pixel of the smaller photo would cost more than 10 dB
    face, side, size_px = sample_face(9, 3), 160, 96
    large = draw_face(face, side * times, "rgb")
    small = cv2.resize(large, (side, side), interpolation=cv2.INTER_AREA)
    points = landmarks(face, side * times).reshape(-1, 2).astype(np.float64)
    settings = ImageSettings(size_px, "rgb", "raw", 0.1, way == "aligned")
    small_points = (points + 0.5) / times - 0.5
    box = [24.0, 32.0, 104.0, 104.0]
    of_small = face_of_file(jpeg(small, 98), settings, box, small_points.ravel())
    of_large = face_of_file(jpeg(large, 98), settings, [times * number for number in box], points.ravel())
    shifted = face_of_file(jpeg(large, 98), settings, [times * (number + 1) for number in box], points.ravel() + times)
    near = psnr_db(of_small, of_large)
    assert near > 30
    assert psnr_db(of_small, shifted) < near - 5, "the measure sees a shift by one pixel"


def test_points_and_boxes_of_the_caller_are_left_as_they_are(photos):
    photo, box, points = photos[1]
    given, copies = (box, points), (list(box), points.copy())
    for turned in (False, True):
        face_of_file(jpeg(photo), ImageSettings(48, "rgb", "raw", 0.0, turned), *given)
    assert given[0] == copies[0]
    np.testing.assert_array_equal(given[1], copies[1])


def test_a_progressive_photo_is_decoded_smaller_too(photos):
    photo = photos[2][0]
    bgr = cv2.cvtColor(photo, cv2.COLOR_RGB2BGR)
    data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, 92, cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1].tobytes()
    assert shrink_for(data, 48) == 8
    settings = ImageSettings(48, "rgb", "raw")
    np.testing.assert_array_equal(face_of_file(data, settings), face_of_file(jpeg(photo), settings))


def test_the_same_bytes_give_the_same_picture_every_time(photos):
    photo, box, _ = photos[3]
    data, settings = jpeg(photo), ImageSettings(112, "rgb", "jpeg", 0.2)
    threads = cv2.getNumThreads()
    pictures = set()
    for count in (1, threads, 1):
        cv2.setNumThreads(count)
        pictures.add(encode(face_of_file(data, settings, box), "jpeg"))
    cv2.setNumThreads(threads)
    assert len(pictures) == 1


@pytest.mark.parametrize(
    ("cut", "reason"), [(lambda data: data[: len(data) // 2], "cut JPEG"), (lambda data: b"", "empty file")]
)
def test_a_damaged_photo_is_an_image_error_before_its_size_is_asked_for(photos, cut, reason):
    with pytest.raises(ImageError, match=reason):
        face_of_file(cut(jpeg(photos[0][0])), ImageSettings(48, "rgb", "raw"))


def test_a_face_of_pixels_is_not_made_smaller_before(photos):
    photo, box, points = photos[0]
    np.testing.assert_array_equal(
        face_of_pixels(photo, ImageSettings(48, "rgb", "raw"), box), resize(crop(photo, box, 0), 48)
    )
    upright = face_of_pixels(photo, ImageSettings(48, "rgb", "raw", 0.0, True), box, points)
    np.testing.assert_array_equal(upright, align(photo, points.reshape(-1, 2), 48, 0.0))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_photo_of_odd_sides_is_not_shifted(photos, orientation):
    # the decoder's last pixel stands for less of the photo, and turned it is the first
    photo = cv2.resize(photos[0][0], (905, 903))
    exif = Image.Exif()
    exif[0x0112] = orientation
    turned = with_exif(jpeg(photo), exif)
    assert shrink_for(turned, 112) == 8
    found = face_of_file(turned, ImageSettings(112, "rgb", "raw"))
    assert psnr_db(found, resize(decode(turned, "rgb"), 112)) > 36
