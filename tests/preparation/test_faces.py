"""Faces of whole photos: cut by their box or turned by their landmarks, exactly as ``imaging.geometry`` does it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ferlab.datasets.synthetic.layouts import write_synthetic
from ferlab.imaging.codec import ImageError, decode, decode_record, encode, resize
from ferlab.imaging.face import ImageSettings, face_of_file
from ferlab.imaging.geometry import align, crop
from ferlab.preparation.plan import Plan
from ferlab.preparation.shards import make_record, picture, source_bytes
from ferlab.records.example import decode_example

SIZE_PX, FACES = 224, 70
"""No face of these photos is so large that a JPEG is decoded smaller for SIZE_PX."""
SMALL_PX = 48
"""All are for SMALL_PX."""


@pytest.fixture(scope="module")
def rows(tmp_path_factory, make_request) -> list[dict[str, Any]]:
    """The usable faces of whole photos, listed from the lists of the original release."""
    root = write_faces(tmp_path_factory.mktemp("photos"))
    listed = make_request(root, "affectnet-manual").listing(cores=1).table.to_pylist()
    assert len(listed) > 30
    return listed


def write_faces(folder: Path) -> Path:
    write_synthetic("affectnet-manual", folder / "faces", FACES, 1)
    return folder / "faces"


def photo(row: dict[str, Any], colour: str = "rgb") -> np.ndarray:
    return decode(Path(row["path"]).read_bytes(), colour)


def stored(row: dict[str, Any], size_px: int = SIZE_PX, **settings: Any) -> np.ndarray:
    """The pixels in the record of a row."""
    chosen = ImageSettings(size_px, encoding="raw", **({"colour": "rgb"} | settings))
    pixels = picture(row, source_bytes(row), Plan("", chosen, (), ()))
    payload = make_record(row, encode(pixels, "raw"), b"")
    return decode_record(bytes(decode_example(payload)["image"]), "raw", size_px, chosen.colour)


def test_the_release_gives_boxes_and_landmarks(rows):
    assert all(len(row["box"]) == 4 and len(row["landmarks"]) == 136 for row in rows)


@pytest.mark.parametrize("margin", [0.0, 0.25])
def test_a_face_is_the_square_around_its_box(rows, margin):
    for row in rows:
        expected = resize(crop(photo(row), row["box"], margin), SIZE_PX)
        np.testing.assert_array_equal(stored(row, margin=margin), expected)


@pytest.mark.parametrize("margin", [0.0, 0.25])
def test_an_aligned_face_is_turned_by_its_landmarks(rows, margin):
    for row in rows:
        points = np.array(row["landmarks"], np.float64).reshape(68, 2)
        np.testing.assert_array_equal(
            stored(row, align=True, margin=margin), align(photo(row), points, SIZE_PX, margin)
        )


def test_margin_and_alignment_each_change_the_picture(rows):
    ways = ({}, {"margin": 0.25}, {"align": True}, {"align": True, "margin": 0.25})
    pictures = {stored(rows[0], **way).tobytes() for way in ways}
    assert len(pictures) == 4


def test_gray_records_are_cut_from_gray_photos(rows):
    row = rows[0]
    expected = resize(crop(photo(row, "gray"), row["box"], 0.1), SIZE_PX)
    np.testing.assert_array_equal(stored(row, colour="gray", margin=0.1)[:, :, 0], expected)


def test_without_a_box_the_whole_picture_is_stored(rows):
    whole = rows[0] | {"box": None}
    np.testing.assert_array_equal(stored(whole), resize(photo(whole), SIZE_PX))
    np.testing.assert_array_equal(stored(whole, margin=0.25), stored(whole))


@pytest.mark.parametrize(
    ("changes", "settings", "reason"),
    [
        ({"landmarks": None}, {"align": True}, "no landmarks to align by"),
        ({"landmarks": [1.0] * 136}, {"align": True}, "all points in one place"),
        ({"landmarks": [1.0] * 134}, {"align": True}, "134 numbers, expected 136"),
        ({"box": [10.0, 10.0, 0.0, 30.0]}, {}, "has no area"),
        ({"box": [1e6, 1e6, 30.0, 30.0]}, {}, "lies outside the photo"),
    ],
)
def test_a_face_that_cannot_be_cut_is_an_image_error_with_the_reason(rows, changes, settings, reason):
    with pytest.raises(ImageError, match=reason):
        stored(rows[0] | changes, **settings)


@pytest.mark.parametrize("margin", [0.0, 0.25])
@pytest.mark.parametrize("turned", [False, True])
def test_preparation_makes_the_picture_that_prediction_makes_of_the_same_file(rows, margin, turned):
    settings = ImageSettings(SMALL_PX, "rgb", "raw", margin, turned)
    for row in rows:
        predicted = face_of_file(Path(row["path"]).read_bytes(), settings, row["box"], row["landmarks"])
        np.testing.assert_array_equal(stored(row, SMALL_PX, margin=margin, align=turned), predicted)
