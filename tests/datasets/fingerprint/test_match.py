"""The known pictures of a release are found: by pixels first, by their looks else, at home before away."""

import cv2
import numpy as np
import pytest

from ferlab.datasets.fingerprint.copy import Copy
from ferlab.datasets.fingerprint.match import Matches, match
from ferlab.datasets.fingerprint.signature import Signature, measure

PARTS = np.array(["Training"] * 700 + ["PublicTest"] * 300, dtype=object)


@pytest.fixture(scope="module")
def known(drawn_faces, copy_of) -> tuple[Copy, Signature]:
    """1,000 drawn faces in two parts, and their signature."""
    copy = copy_of(drawn_faces[0][:1000], PARTS, drawn_faces[1][:1000])
    return copy, measure(copy, "drawn", "Drawn", "fer2013", "")


def matches(signature: Signature, copy: Copy, name: str = "Training", mixed: str = "test") -> Matches:
    return match(signature, name, signature.parts[name], copy, mixed)


def test_the_measured_copy_has_every_picture_in_its_place(known):
    copy, signature = known
    for name, part in signature.parts.items():
        found = matches(signature, copy, name)
        assert found.exact.all()
        assert found.at_home.all()
        assert found.distance.max() == 0
        assert copy.digest_bytes()[found.row, :8].tolist() == part.sample.digests.tolist()


def test_blurred_pictures_are_found_by_their_looks(known, drawn_faces, copy_of):
    copy, signature = known
    original = matches(signature, copy)
    blurred = copy_of([cv2.GaussianBlur(face, (0, 0), 0.8) for face in drawn_faces[0][:1000]], PARTS, [0] * 1000)
    found = matches(signature, blurred)
    assert not found.exact.any()
    assert found.found.mean() > 0.95
    assert (found.row == original.row)[found.sure].mean() > 0.99


def test_other_faces_are_hardly_ever_found(known, drawn_faces, copy_of):
    _, signature = known
    others = copy_of(drawn_faces[0][1000:2000], PARTS, [0] * 1000)
    assert matches(signature, others).found.mean() < 0.1


def test_a_picture_in_another_part_is_not_at_home_unless_that_part_holds_both(known, drawn_faces, copy_of):
    _, signature = known
    swapped = np.where(PARTS == "Training", "PublicTest", "Training").astype(object)
    away = matches(signature, copy_of(drawn_faces[0][:1000], swapped, [0] * 1000))
    assert away.exact.all()
    assert not away.at_home.any()
    mixed = copy_of(drawn_faces[0][:1000], ["test"] * 1000, [0] * 1000)
    assert matches(signature, mixed).at_home.all()


def test_of_two_rows_with_the_same_pixels_the_one_at_home_counts(known, drawn_faces, copy_of):
    _, signature = known
    images = [*drawn_faces[0][:1000], *drawn_faces[0][:700]]
    parts = ["PublicTest"] * 1000 + ["Training"] * 700
    found = matches(signature, copy_of(images, parts, [0] * 1700))
    assert found.at_home.all()
    assert (found.row >= 1000).all()
    assert (found.echoes >= 1).all()


def test_a_mirrored_copy_beside_the_original_is_an_echo(known, drawn_faces, copy_of):
    _, signature = known
    faces = drawn_faces[0][:1000]
    alone = matches(signature, copy_of(faces, PARTS, [0] * 1000)).echoes.mean()
    images = [*faces, *(face[:, ::-1].copy() for face in faces)]
    assert matches(signature, copy_of(images, [*PARTS, *PARTS], [0] * 2000)).echoes.mean() > alone + 0.95


def test_rows_that_cannot_be_decoded_are_never_matched(known, drawn_faces, copy_of):
    _, signature = known
    copy = copy_of(drawn_faces[0][:1000], PARTS, [0] * 1000)
    for row in range(0, 1000, 2):
        copy.scan.unusable[row] = "cut"
    found = matches(signature, copy)
    assert (found.row % 2 == 1).all()
    assert 0.35 < found.exact.mean() < 0.65
