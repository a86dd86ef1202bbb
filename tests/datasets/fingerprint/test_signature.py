"""A signature is small, exact after a round trip, recognises what it was made of, and a damaged one is one line."""

import json
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ferlab.datasets.audit.features import BITS
from ferlab.datasets.catalog import FAMILIES
from ferlab.datasets.fingerprint import signature as signature_room
from ferlab.datasets.fingerprint.compare import compare
from ferlab.datasets.fingerprint.copy import Copy
from ferlab.datasets.fingerprint.signature import (
    FOLDER,
    KEY_BYTES,
    SAMPLED,
    Signature,
    builtin_signature,
    builtin_signatures,
    load,
    measure,
    save,
)
from ferlab.emotions import FER2013
from ferlab.errors import UserError
from ferlab.samples import pixel_digest


@pytest.fixture(scope="module")
def copy(drawn_faces, copy_of) -> Copy:
    """1,500 drawn faces in two parts; ten of PublicTest are exact twins of Training, two with another label."""
    images, labels = drawn_faces[0][:1500].copy(), drawn_faces[1][:1500].copy()
    images[1300:1310], labels[1300:1310] = images[:10], labels[:10]
    labels[1300:1302] = (labels[1300:1302] + 1) % 7
    images[1400] = 128
    return copy_of(images, ["Training"] * 1200 + ["PublicTest"] * 300, labels)


@pytest.fixture(scope="module")
def made(copy) -> Signature:
    return measure(copy, "ours", "Our faces", "fer2013", "measured by a test")


def assert_equal(one: Any, other: Any) -> None:
    """Dataclasses with arrays, compared field by field with their types."""
    assert type(one) is type(other)
    if isinstance(one, np.ndarray):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)
    elif isinstance(one, dict):
        assert list(one) == list(other)
        for key in one:
            assert_equal(one[key], other[key])
    elif hasattr(one, "__dataclass_fields__"):
        for spec in fields(one):
            assert_equal(getattr(one, spec.name), getattr(other, spec.name))
    else:
        assert one == other


# --- what is measured


def test_counts_twins_conflicts_and_flat_pictures_are_those_of_the_copy(made, copy):
    assert {name: part.total for name, part in made.parts.items()} == {"Training": 1200, "PublicTest": 300}
    for name, part in made.parts.items():
        assert list(part.counts.values()) == np.bincount(copy.labels[copy.parts == name], minlength=7).tolist()
        assert part.size_px == (48, 48)
    assert made.parts["PublicTest"].twins == {"Training": 10}
    assert made.parts["Training"].twins == {}
    assert (made.conflicts, made.flat) == (2, 1)
    assert made.classes == FER2013.classes


def test_the_sample_is_the_smallest_digests_of_single_lively_pictures(made, copy):
    images = [np.frombuffer(row, np.uint8).reshape(48, 48) for row in copy.rows.table["pixels"].to_pylist()]
    digests = [pixel_digest(picture) for picture in images]
    for name, part in made.parts.items():
        rows = [i for i in range(1500) if copy.parts[i] == name and digests.count(digests[i]) == 1 and i != 1400]
        chosen = sorted(rows, key=lambda i: digests[i][:8])[:SAMPLED]
        sample = part.sample
        assert [row.tobytes() for row in sample.digests] == [digests[i][:8] for i in chosen]
        assert sample.labels.tolist() == [copy.labels[i] for i in chosen]
        np.testing.assert_allclose(sample.contrasts, [images[i].std() for i in chosen], rtol=1e-3)
        np.testing.assert_allclose(sample.means, [images[i].mean() for i in chosen], rtol=1e-3)
    assert len(made.parts["Training"].sample.labels) == SAMPLED


def test_every_row_is_known_in_order_and_of_large_releases_none_is(made, copy, monkeypatch):
    pixels = copy.rows.table["pixels"]
    names = list(made.parts)
    for row in (0, 700, 1305, 1499):
        picture = np.frombuffer(pixels[row].as_py(), np.uint8).reshape(48, 48)
        assert int(made.rows.keys[row]).to_bytes(8, "little")[:KEY_BYTES] == pixel_digest(picture)[:KEY_BYTES]
        assert (made.rows.labels[row], names[made.rows.parts[row]]) == (copy.labels[row], copy.parts[row])
    assert len(made.rows.keys) == len(made.rows.labels) == len(made.rows.parts) == 1500
    monkeypatch.setattr(signature_room, "MOST_ROWS", 1000)
    assert measure(copy, "ours", "Our faces", "fer2013", "").rows is None


# --- a file of it


def test_a_round_trip_changes_nothing(tmp_path, made):
    save(made, tmp_path / "deep" / "ours.json")
    again = load(tmp_path / "deep" / "ours.json")
    assert_equal(again, made)
    save(again, tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == (tmp_path / "deep" / "ours.json").read_bytes()


@pytest.mark.parametrize("bare", ["without pixels", "without sizes"])
def test_a_round_trip_keeps_what_is_not_known(tmp_path, made, bare):
    parts = {
        name: replace(part, sample=None) if bare == "without pixels" else replace(part, size_px=None)
        for name, part in made.parts.items()
    }
    more = {"files": {"fer2013.csv": {"bytes": 3, "md5": "x"}}, "mixtures": {"test": ("PublicTest", "PrivateTest")}}
    known = replace(made, parts=parts, optional=("PrivateTest",), rows=None, **more)
    save(known, tmp_path / "ours.json")
    assert_equal(load(tmp_path / "ours.json"), known)
    assert known.knows_pixels == (bare == "without sizes")


def test_no_picture_can_be_drawn_from_the_file(tmp_path, made):
    save(made, tmp_path / "ours.json")
    size = (tmp_path / "ours.json").stat().st_size
    pictures = sum(len(part.sample.labels) for part in made.parts.values())
    assert size < 64 * pictures + 10 * 1500 + 8 * BITS + 4000
    assert size < 0.1 * 48 * 48 * pictures


def test_a_folder_without_space_keeps_no_half_a_file(tmp_path, made):
    (tmp_path / "ours.json").mkdir()
    with pytest.raises((UserError, OSError)):
        save(made, tmp_path / "ours.json")
    assert [path.name for path in tmp_path.iterdir()] == ["ours.json"]


def as_json(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        data = json.loads(path.read_text())
        changed = change(data)
        path.write_text(json.dumps(data if changed is None else changed))

    return damage


def set_key(*keys: str, value: Any) -> Callable[[Path], None]:
    def change(data: dict[str, Any]) -> None:
        for key in keys[:-1]:
            data = data[key]
        data[keys[-1]] = value

    return as_json(change)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def gone(path: Path) -> None:
    path.unlink()


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


DAMAGES = {
    "cut short": cut,
    "gone": gone,
    "a folder": folder,
    "empty": lambda path: path.write_bytes(b""),
    "binary": lambda path: path.write_bytes(b"\xff\xfe\x00\x80"),
    "another version": set_key("schema_version", value=99),
    "no version": as_json(lambda data: {key: data[key] for key in data if key != "schema_version"}),
    "a list": as_json(lambda data: [data]),
    "no parts": as_json(lambda data: {key: data[key] for key in data if key != "parts"}),
    "parts are a list": set_key("parts", value=[]),
    "a part without a sample entry": set_key("parts", "Training", value={"counts": {}}),
    "an unknown key": set_key("colour", value="gray"),
    "no base64": set_key("medians", value="???"),
    "medians are cut": set_key("medians", value="AAAA"),
    "too few medians": set_key("medians", value="AAAAAAAAAAA="),
    "hashes are cut": set_key("parts", "Training", "sample", "hashes", value="AAAA"),
    "fewer hashes than digests": set_key("parts", "Training", "sample", "hashes", value="A" * 56),
    "counts are text": set_key("parts", "Training", "counts", value="many"),
    "another release file": lambda path: path.write_text('{"schema_version": 1, "verdict": "official"}'),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_signature_is_one_line_that_names_it(tmp_path, made, damage):
    path = tmp_path / "ours.json"
    save(made, path)
    damage(path)
    with pytest.raises(UserError, match=r"ours\.json") as caught:
        load(path)
    assert "\n" not in str(caught.value)


def test_another_version_says_how_to_make_it_anew(tmp_path, made):
    save(made, tmp_path / "ours.json")
    set_key("schema_version", value=0)(tmp_path / "ours.json")
    with pytest.raises(UserError, match=r"another version of ferlab .*write_signature"):
        load(tmp_path / "ours.json")


# --- what it recognises


def test_a_loaded_signature_recognises_its_copy_as_official_and_a_share_as_subset(tmp_path, made, copy, copy_of):
    save(made, tmp_path / "ours.json")
    loaded = load(tmp_path / "ours.json")
    found = compare(copy, loaded)
    assert (found.verdict, found.alarms, found.release) == ("official", [], "Our faces")
    pixels = copy.rows.table["pixels"].to_pylist()
    rows = np.flatnonzero(np.arange(1500) % 3 > 0)
    images = [np.frombuffer(pixels[row], np.uint8).reshape(48, 48) for row in rows]
    share = compare(copy_of(images, copy.parts[rows], copy.labels[rows]), loaded)
    assert share.verdict == "subset"
    assert any("800 of 1,200 images, 400 are missing" in alarm for alarm in share.alarms)


# --- those that ferlab brings


def test_every_signature_that_ferlab_brings_is_whole(tmp_path):
    names = sorted(path.stem for path in FOLDER.glob("*.json"))
    assert "fer2013" in names
    for name in names:
        known = builtin_signature(name)
        assert known.name == name
        assert known.family in FAMILIES
        assert {tuple(part.counts) for part in known.parts.values()} == {known.classes}
        save(known, tmp_path / f"{name}.json")
        assert_equal(load(tmp_path / f"{name}.json"), known)
        assert (FOLDER / f"{name}.json").stat().st_size < 400_000


def test_a_family_has_its_own_signatures():
    assert [known.name for known in builtin_signatures("fer2013")] == ["fer2013"]
    assert {known.family for known in builtin_signatures("affectnet")} == {"affectnet"}
    assert builtin_signatures("nothing") == []


def test_fer2013_keeps_768_pictures_a_known_part_and_a_digest_a_known_row():
    known = builtin_signature("fer2013")
    assert {name: part.sample and len(part.sample.labels) for name, part in known.parts.items()} == {
        "Training": 768,
        "PublicTest": 768,
        "PrivateTest": None,
    }
    assert known.rows.keys.shape == known.rows.labels.shape == known.rows.parts.shape == (32_298,)
    assert np.bincount(known.rows.parts).tolist() == [28_709, 3_589]
    assert known.medians.shape == (BITS,)
