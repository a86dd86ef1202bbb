"""What is known of a release is no alarm, what should not be there is one, and the result holds what was counted."""

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest

from ferlab.datasets.audit.scan import scan
from ferlab.datasets.fingerprint.copy import Copy
from ferlab.datasets.fingerprint.signature import Part, Signature, measure
from ferlab.datasets.listing import Rows, Source, row_table
from ferlab.datasets.verification import Verification, flat_images, unusable, verify
from ferlab.emotions import FER2013
from ferlab.manifest import Rejection

TRAINING, PUBLIC = 800, 200
PARTS = np.array(["Training"] * TRAINING + ["PublicTest"] * PUBLIC, dtype=object)


def leaky(faces: np.ndarray, labels: np.ndarray, twins: int, near: int = 0, conflicts: int = 0, flat: int = 0):
    """Faces and labels of PARTS: so many of PublicTest are twins, near twins or conflicts of Training, or flat."""
    images, classes = faces[: len(PARTS)].copy(), labels[: len(PARTS)].copy()
    first = TRAINING
    for number in range(twins + conflicts):
        images[first], classes[first] = images[number], classes[number]
        if number >= twins:
            classes[first] = (classes[number] + 1) % 7
        first += 1
    for number in range(near):
        images[first], classes[first] = cv2.convertScaleAbs(images[100 + number], alpha=0.9), classes[100 + number]
        first += 1
    for number in range(flat):
        images[first] = 10 + number
        first += 1
    return images, PARTS, classes


@pytest.fixture(scope="module")
def signature(drawn_faces, copy_of) -> Signature:
    """A release with 20 twins, 10 near twins, 5 conflicts and 3 flat pictures."""
    return measure(copy_of(*leaky(*drawn_faces, 20, 10, 5, 3)), "drawn", "Drawn faces", "fer2013", "")


def lines(found: list[str], words: str) -> list[str]:
    return [line for line in found if words in line]


# --- known of the release, or not


def test_the_faults_of_a_release_are_known(drawn_faces, copy_of, signature):
    found = verify(copy_of(*leaky(*drawn_faces, 20, 10, 5, 3)), [signature])
    assert found.alarms == []
    assert found.fingerprint.verdict == "official"
    expected = {
        "25 PublicTest images have the same pixels as a Training image; the release has 25",
        "10 more PublicTest images are near duplicates (shifted, mirrored, re-encoded) of a Training image; "
        "the release has 10",
        "5 groups of equal pixels carry different labels; the release has 5",
        "3 images are of one colour; the release has 3",
    }
    assert set(found.known) == expected


@pytest.mark.parametrize(
    ("more", "alarm"),
    [
        ({"twins": 60}, "65 PublicTest images have the same pixels as a Training image, the release has 25"),
        (
            {"near": 80},
            "80 more PublicTest images are near duplicates (shifted, mirrored, re-encoded) of a Training image",
        ),
        ({"conflicts": 30}, "30 groups of equal pixels carry different labels, the release has 5"),
        ({"flat": 9}, "9 images are of one colour, the release has 3"),
    ],
)
def test_more_faults_than_the_release_has_are_alarms(drawn_faces, copy_of, signature, more, alarm):
    usual = {"twins": 20, "near": 10, "conflicts": 5, "flat": 3}
    found = verify(copy_of(*leaky(*drawn_faces, **(usual | more))), [signature])
    assert lines(found.alarms, alarm)
    assert not lines(found.known, alarm)


def test_fewer_twins_than_the_release_has_are_known(drawn_faces, copy_of, signature):
    found = verify(copy_of(*leaky(*drawn_faces, 12, 10, 5, 3)), [signature])
    assert lines(found.known, "17 PublicTest images have the same pixels")
    assert not lines(found.alarms, "same pixels")


def test_of_an_unknown_dataset_every_twin_is_an_alarm(drawn_faces, copy_of):
    found = verify(copy_of(*leaky(*drawn_faces, 20, 10, 5, 3)), [])
    assert found.fingerprint.verdict == "unknown"
    assert lines(found.alarms, "25 PublicTest images have the same pixels as a Training image")
    assert lines(found.alarms, "10 more PublicTest images are near duplicates")
    assert lines(found.alarms, "5 groups of equal pixels carry different labels")
    assert lines(found.alarms, "3 images are of one colour")
    assert not any("the release has" in line for line in found.alarms)


def test_an_unknown_dataset_without_faults_has_no_alarm(drawn_faces, copy_of):
    found = verify(copy_of(*leaky(*drawn_faces, 0)), [])
    assert found.alarms == []
    assert found.known == ["no signature of a release to compare with"]


@pytest.mark.parametrize(("count", "fine"), [(12, True), (60, False)])
def test_near_twins_of_a_part_of_unknown_pixels_are_known_up_to_the_share_of_the_others(
    drawn_faces, copy_of, signature, count, fine
):
    images, parts, labels = leaky(*drawn_faces, 20, 10, 5, 3)
    others, classes = drawn_faces[0][1000:1200].copy(), drawn_faces[1][1000:1200].copy()
    for number in range(count):
        others[number], classes[number] = cv2.convertScaleAbs(images[300 + number], alpha=0.9), labels[300 + number]
    more = copy_of([*images, *others], [*parts, *["PrivateTest"] * 200], [*labels, *classes])
    private = Part(more.counts["PrivateTest"], (48, 48))
    found = verify(more, [replace(signature, parts=signature.parts | {"PrivateTest": private})])
    told = lines(found.known if fine else found.alarms, f"{count} more PrivateTest images are near duplicates")
    assert len(told) == 1
    assert bool(lines(found.alarms, "near duplicates")) != fine


# --- unusable files, sizes, problems


def copy_with_broken_files(tmp_path, drawn_faces) -> Copy:
    paths = []
    for number, face in enumerate(drawn_faces[0][:100]):
        paths.append(tmp_path / f"{number}.png")
        cv2.imwrite(str(paths[-1]), face)
    paths[3].write_bytes(b"")
    paths[4].write_bytes(b"")
    paths[5].write_bytes(b"<html>")
    parts = ["Training"] * 80 + ["PublicTest"] * 20
    table = row_table([path.name for path in paths], parts, [0] * 100, path=[str(path) for path in paths])
    rows = Rows(table, FER2013, (Rejection("notes.txt", "not an image file"),), {"contempt": 2}, {"boxes": "none"})
    return Copy(Source("fer2013-folder", tmp_path, ()), rows, scan(table, 2, lambda done, total: None))


def test_unusable_files_are_one_alarm_with_their_reasons(tmp_path, drawn_faces):
    copy = copy_with_broken_files(tmp_path, drawn_faces)
    assert unusable(copy) == [
        ("notes.txt", "not an image file"),
        ("3.png", "empty file"),
        ("4.png", "empty file"),
        ("5.png", "not a JPEG, PNG, BMP or TIFF image"),
    ]
    (alarm,) = verify(copy, []).alarms
    assert alarm.startswith("4 files or rows cannot be used (2 x empty file; ")
    assert alarm.endswith("first: notes.txt")


def test_problems_of_the_copy_are_alarms(drawn_faces, copy_of):
    copy = copy_of(*leaky(*drawn_faces, 0))
    split_anew = replace(copy, rows=replace(copy.rows, problems=("this copy was split anew",)))
    assert verify(split_anew, []).alarms == ["this copy was split anew"]


def test_a_few_pictures_of_another_size_are_an_alarm_where_the_release_has_one_size(drawn_faces, copy_of, signature):
    images, parts, labels = leaky(*drawn_faces, 20, 10, 5, 3)
    mixed = [cv2.resize(face, (40, 40)) if i in (5, 6, 7) else face for i, face in enumerate(images)]
    found = verify(copy_of(mixed, parts, labels), [signature])
    assert lines(found.alarms, "3 images are not 48x48 px")


# --- the result


@pytest.fixture(scope="module")
def verified(drawn_faces, copy_of, signature) -> Verification:
    return verify(copy_of(*leaky(*drawn_faces, 20, 10, 5, 3)), [signature])


def test_the_result_is_json_with_the_numbers_of_the_copy(verified):
    result = json.loads(json.dumps(verified.as_json()))
    assert set(result) >= {"verdict", "release", "known", "alarms", "counts", "images", "twins", "evidence"}
    assert (result["verdict"], result["release"]) == ("official", "Drawn faces")
    assert result["known"] == verified.known
    assert {part: sum(classes.values()) for part, classes in result["counts"].items()} == {
        "Training": TRAINING,
        "PublicTest": PUBLIC,
    }
    assert result["images"] == {
        "total": 1000,
        "usable": 1000,
        "unique": 975,
        "duplicate_groups": 25,
        "surplus": 25,
        "surplus_inside": {"Training": 0, "PublicTest": 0},
        "largest_group": 2,
        "conflict_groups": 5,
        "conflict_images": 10,
        "flat": 3,
    }
    assert result["twins"] == {"exact": {"PublicTest in Training": 25}, "near": {"PublicTest in Training": 10}}
    assert result["sizes"] == {"48x48": 1000}
    assert flat_images(verified.copy) == 3


def test_the_result_names_what_was_left_out(tmp_path, drawn_faces):
    result = verify(copy_with_broken_files(tmp_path, drawn_faces), []).as_json()
    assert (result["images"]["total"], result["images"]["usable"]) == (100, 97)
    assert [item["id"] for item in result["unusable"]] == ["notes.txt", "3.png", "4.png", "5.png"]
    assert (result["excluded"], result["policy"]) == ({"contempt": 2}, {"boxes": "none"})
    assert sum(result["counts"]["Training"].values()) == 77
