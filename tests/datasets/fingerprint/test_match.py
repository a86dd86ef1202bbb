"""The known pictures of a release are found by how they look, in their own part before another."""

from dataclasses import replace

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


def matches(signature: Signature, copy: Copy, name: str = "Training") -> Matches:
    found = match(signature, name, copy)
    assert found is not None
    return found


def test_the_measured_copy_has_every_picture_in_its_place(known):
    copy, signature = known
    for name, part in signature.parts.items():
        found = matches(signature, copy, name)
        assert found.at_home.all()
        assert found.distance.max() == 0
        assert copy.digest_bytes()[found.row, :8].tolist() == part.sample.digests.tolist()


def test_blurred_pictures_are_found_by_their_looks(known, drawn_faces, copy_of):
    copy, signature = known
    original = matches(signature, copy)
    blurred = copy_of([cv2.GaussianBlur(face, (0, 0), 0.8) for face in drawn_faces[0][:1000]], PARTS, [0] * 1000)
    found = matches(signature, blurred)
    assert found.found.mean() > 0.95
    assert (found.row == original.row)[found.sure].mean() > 0.99


def test_other_faces_are_hardly_ever_found(known, drawn_faces, copy_of):
    _, signature = known
    others = copy_of(drawn_faces[0][1000:2000], PARTS, [0] * 1000)
    assert matches(signature, others).found.mean() < 0.1


def test_a_picture_in_another_part_is_not_at_home_unless_that_part_stands_for_both(known, drawn_faces, copy_of):
    _, signature = known
    swapped = np.where(PARTS == "Training", "PublicTest", "Training").astype(object)
    away = matches(signature, copy_of(drawn_faces[0][:1000], swapped, [0] * 1000))
    assert away.distance.max() == 0
    assert not away.at_home.any()
    mixed = copy_of(drawn_faces[0][:1000], ["test"] * 1000, [0] * 1000)
    assert not matches(signature, mixed).at_home.any()
    mixing = replace(signature, mixtures={"test": ("Training", "PublicTest")})
    assert matches(mixing, mixed).at_home.all()


def test_of_two_rows_that_look_the_same_the_one_at_home_counts(known, drawn_faces, copy_of):
    _, signature = known
    images = [*drawn_faces[0][:1000], *drawn_faces[0][:700]]
    parts = ["PublicTest"] * 1000 + ["Training"] * 700
    found = matches(signature, copy_of(images, parts, [0] * 1700))
    assert found.at_home.all()
    assert (found.row >= 1000).all()


def test_rows_that_cannot_be_decoded_are_never_matched(known, drawn_faces, copy_of):
    _, signature = known
    copy = copy_of(drawn_faces[0][:1000], PARTS, [0] * 1000)
    for row in range(0, 1000, 2):
        copy.scan.unusable[row] = "cut"
    found = matches(signature, copy)
    assert (found.row % 2 == 1).all()
    assert 0.35 < (found.distance == 0).mean() < 0.65


def test_nothing_is_found_without_a_sample_or_without_a_usable_image(known, drawn_faces, copy_of):
    copy, signature = known
    bare = {name: replace(part, sample=None) for name, part in signature.parts.items()}
    assert match(replace(signature, parts=bare), "Training", copy) is None
    broken = copy_of(drawn_faces[0][:3], ["Training"] * 3, [0] * 3)
    broken.scan.unusable.update(dict.fromkeys(range(3), "cut"))
    assert match(signature, "Training", broken) is None
