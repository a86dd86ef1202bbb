"""A copy against a signature: what was done to it is named, what was not done raises no alarm."""

import hashlib
import re
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from ferlab.datasets.fingerprint.compare import Fingerprint, compare, identify
from ferlab.datasets.fingerprint.copy import Copy
from ferlab.datasets.fingerprint.signature import Part, Signature, builtin_signature, measure
from ferlab.emotions import FER2013

# the published counts, written out by hand in the order of the ids
PUBLISHED = {
    "Training": (3995, 436, 4097, 7215, 4830, 3171, 4965),
    "PublicTest": (467, 56, 496, 895, 653, 415, 607),
    "PrivateTest": (491, 55, 528, 879, 594, 416, 626),
}


MIXTURE = {"test": ("PublicTest", "PrivateTest")}


@pytest.fixture(scope="module")
def release(drawn_faces) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Drawn faces as a release: images, parts and labels of 1,600 Training and 400 PublicTest rows."""
    images, labels = drawn_faces
    parts = np.array(["Training"] * 1600 + ["PublicTest"] * 400, dtype=object)
    return images[:2000], parts, labels[:2000]


@pytest.fixture(scope="module")
def signature(release, copy_of) -> Signature:
    return measure(copy_of(*release), "drawn", "Drawn faces", "fer2013", "measured by a test")


def test_the_copy_that_was_measured_is_official_in_any_order(release, copy_of, signature):
    images, parts, labels = release
    order = np.random.default_rng(0).permutation(len(images))
    found = compare(copy_of(images[order], parts[order], labels[order]), signature)
    assert (found.verdict, found.alarms, found.known) == ("official", [], [])
    assert found.release == "Drawn faces"
    assert found.evidence["found"] == found.evidence["same_pixels"] == {"Training": 1, "PublicTest": 1}


@pytest.mark.parametrize("quality", [95, 75])
def test_encoding_anew_is_no_alarm(release, copy_of, signature, quality):
    """Coarser JPEG is tried on photographs: the edges of drawn faces are so soft that blocks stand out."""
    images, parts, labels = release
    encoded = [cv2.imencode(".jpg", face, [cv2.IMWRITE_JPEG_QUALITY, quality])[1] for face in images]
    found = compare(copy_of([cv2.imdecode(data, cv2.IMREAD_GRAYSCALE) for data in encoded], parts, labels), signature)
    assert (found.verdict, found.alarms) == ("jpeg-reencode", [])
    assert any("as JPEG makes them" in line for line in found.known)


def test_what_was_done_to_a_copy_is_named(release, copy_of, signature, contamination):
    found = compare(copy_of(*contamination.change(*release)), signature)
    assert found.verdict == contamination.verdict
    assert any(re.search(contamination.words, alarm) for alarm in found.alarms), found.alarms


def test_only_the_part_that_was_changed_is_named(release, copy_of, signature):
    images, parts, labels = release
    brighter = [
        np.where(p == "PublicTest", np.rint(0.7 * x), x).astype(np.uint8) for x, p in zip(images, parts, strict=True)
    ]
    found = compare(copy_of(brighter, parts, labels), signature)
    assert found.verdict == "altered-pixels"
    assert {alarm.split(":")[0] for alarm in found.alarms} == {"PublicTest"}


def test_two_changes_are_both_named_and_the_graver_is_the_verdict(release, copy_of, signature):
    images, parts, labels = release
    darker = (0.6 * images).astype(np.uint8)
    found = compare(copy_of(darker[:1800], parts[:1800], labels[:1800]), signature)
    assert found.verdict == "altered-pixels"
    assert any("200 of 400 images" in alarm for alarm in found.alarms)
    found = compare(copy_of(darker, np.random.default_rng(0).permutation(parts), labels), signature)
    assert found.verdict == "re-split"
    assert any("contrast" in alarm or "blurred" in alarm for alarm in found.alarms)


@pytest.mark.parametrize(("factor", "words"), [(0.6, "less contrast"), (0.9, "less contrast"), (1.2, "more contrast")])
def test_less_and_more_contrast_are_called_that(release, copy_of, signature, factor, words):
    images, parts, labels = release
    changed = np.clip(128 + factor * (images.astype(float) - 128), 0, 255).astype(np.uint8)
    found = compare(copy_of(changed, parts, labels), signature)
    assert found.verdict == "altered-pixels"
    assert all(words in alarm for alarm in found.alarms), found.alarms


def test_faces_of_nobody_are_unknown(copy_of, signature):
    noise = np.random.default_rng(0).integers(0, 256, (1000, 48, 48), dtype=np.uint8)
    found = compare(copy_of(noise, ["Training"] * 800 + ["PublicTest"] * 200, [0] * 1000), signature)
    assert found.verdict == "unknown"
    assert found.known == []
    assert len(found.alarms) == 1
    assert "it is another" in found.alarms[0]


def test_one_missing_image_is_a_subset_and_one_moved_label_is_counted(release, copy_of, signature):
    images, parts, labels = release
    found = compare(copy_of(images[1:], parts[1:], labels[1:]), signature)
    assert (found.verdict, len(found.alarms)) == ("subset", 1)
    assert "1,599 of 1,600 images" in found.alarms[0]
    relabelled = labels.copy()
    relabelled[0] = (labels[0] + 1) % 7
    found = compare(copy_of(images, parts, relabelled), signature)
    assert (found.verdict, len(found.alarms)) == ("relabelled", 1)
    assert found.alarms[0] == "1 images carry another label than in the release"


# --- of several signatures, and of none


def test_without_a_signature_a_copy_is_unknown_without_alarm(release, copy_of):
    found = identify(copy_of(*(column[:50] for column in release)), [])
    assert (found.verdict, found.alarms, found.release) == ("unknown", [], "")


def test_the_signature_that_fits_is_kept(release, copy_of, signature):
    copy = copy_of(*release)
    assert identify(copy, [builtin_signature("fer2013"), signature]).release == "Drawn faces"
    assert identify(copy, [signature, builtin_signature("fer2013")]).verdict == "official"
    assert identify(copy, [builtin_signature("fer2013")]).verdict == "unknown"


# --- the published file


def with_file(signature: Signature, path: Path, md5: str) -> Signature:
    return replace(signature, files={path.name: {"bytes": path.stat().st_size, "md5": md5}})


def test_a_file_is_published_by_its_size_and_md5(tmp_path, release, copy_of, signature):
    path = tmp_path / "fer2013.csv"
    path.write_bytes(b"the published bytes")
    copy = copy_of(*release, entries=(path,))
    md5 = hashlib.md5(path.read_bytes()).hexdigest()
    assert compare(copy, with_file(signature, path, md5)).known == ["the published file, by its md5"]
    assert compare(copy, with_file(signature, path, "0" * 32)).known == []
    path.write_bytes(b"other size")
    assert compare(copy, replace(signature, files={"fer2013.csv": {"bytes": 19, "md5": md5}})).known == []


# --- copies whose parts or labels are partly known


def test_prefixes_that_were_lost_are_known_and_no_alarm(release, copy_of, signature):
    images, parts, labels = release
    halves = parts.copy()
    halves[1800:] = "PrivateTest"
    both = replace(measure(copy_of(images, halves, labels), "drawn", "Drawn faces", "fer2013", ""), mixtures=MIXTURE)
    mixed = np.where(halves == "Training", "Training", "test").astype(object)
    found = compare(copy_of(images, mixed, labels), both)
    assert (found.verdict, found.alarms) == ("official", [])
    assert any("PublicTest and PrivateTest, which cannot be told apart" in line for line in found.known)


def test_a_test_part_without_labels_is_compared_by_its_number(release, copy_of, signature):
    images, parts, labels = release
    halves = parts.copy()
    halves[1800:] = "PrivateTest"
    both = replace(measure(copy_of(images, halves, labels), "drawn", "Drawn faces", "fer2013", ""), mixtures=MIXTURE)
    mixed = np.where(halves == "Training", "Training", "test").astype(object)
    hidden = np.where(halves == "Training", labels, -1)
    assert compare(copy_of(images, mixed, hidden), both).alarms == []
    (alarm,) = compare(copy_of(images[:-40], mixed[:-40], hidden[:-40]), both).alarms
    assert alarm.startswith("test: 360 of 400 images")


def counted(signature: Signature) -> Signature:
    """A signature that holds counts only."""
    parts = {name: Part(part.counts, part.size_px) for name, part in signature.parts.items()}
    return replace(signature, parts=parts, rows=None)


def test_a_release_known_by_counts_alone_says_so(release, copy_of, signature):
    found = compare(copy_of(*release), counted(signature))
    assert (found.verdict, found.alarms) == ("official-counts", [])
    assert found.known == ["counts agree with the release; ferlab knows no pixels of it"]
    images, parts, labels = release
    found = compare(copy_of(images[9:], parts[9:], labels[9:]), counted(signature))
    assert found.verdict == "subset"
    assert not any("counts agree" in line for line in found.known)


def with_private(signature: Signature, total: int) -> Signature:
    counts = dict(zip(signature.classes, [total, *[0] * 6], strict=True))
    parts = signature.parts | {"PrivateTest": Part(counts, (48, 48))}
    return replace(signature, parts=parts, optional=("PrivateTest",))


def private_copy(release: tuple, copy_of, change=lambda face: face) -> Copy:
    images, parts, labels = release
    more = [change(face[:, ::-1]) for face in images[1600:]]
    return copy_of([*images, *more], [*parts, *["PrivateTest"] * 400], [*labels, *[0] * 400])


def test_private_test_of_which_no_pixels_are_known_must_look_like_public_test(release, copy_of, signature):
    fine = compare(private_copy(release, copy_of), with_private(signature, 400))
    assert (fine.verdict, fine.alarms) == ("official-privatetest-unverified", [])
    assert any("ferlab does not know its pixels" in line for line in fine.known)
    darker = private_copy(release, copy_of, lambda face: (0.7 * face).astype(np.uint8))
    found = compare(darker, with_private(signature, 400))
    assert found.verdict == "altered-pixels"
    assert any(alarm.startswith("PrivateTest: its mean contrast is 0.7") for alarm in found.alarms)


def test_private_test_that_is_missing_is_known(release, copy_of, signature):
    found = compare(copy_of(*release), with_private(signature, 400))
    assert (found.verdict, found.alarms) == ("official-without-privatetest", [])
    assert found.known == ["PrivateTest (400 images) is not there"]


# --- the releases that ferlab knows


def test_fer2013_has_the_published_counts_size_and_md5():
    known = builtin_signature("fer2013")
    assert known.classes == FER2013.classes
    assert {name: tuple(part.counts.values()) for name, part in known.parts.items()} == PUBLISHED
    assert {part.size_px for part in known.parts.values()} == {(48, 48)}
    assert known.files == {"fer2013.csv": {"bytes": 301_072_766, "md5": "f8428a1edbd21e88f42c73edd2a14f95"}}
    assert known.parts["PrivateTest"].twins == {"Training": 288, "PublicTest": 44}
    assert (known.conflicts, known.flat) == (57, 12)


def test_a_fingerprint_keeps_its_lists_to_itself():
    assert Fingerprint("unknown", "").alarms is not Fingerprint("unknown", "").alarms
