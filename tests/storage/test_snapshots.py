"""Snapshots: all files of one moment, what did not change sent once, the older ones gone."""

from pathlib import Path

import pytest

from ferlab.errors import UserError
from ferlab.storage import places
from ferlab.storage.snapshots import Snapshots


def content(folder: Path) -> dict[str, bytes]:
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.fixture(params=["folder", "bucket"])
def place(request, tmp_path):
    return str(tmp_path / "kept") if request.param == "folder" else f"{request.getfixturevalue('bucket')}/state"


def test_the_newest_snapshot_comes_back_whole(place, tmp_path):
    work = tmp_path / "work"
    work.mkdir()
    (work / "a").write_bytes(b"one")
    (work / "b").write_bytes(b"same")
    kept = Snapshots(place)
    kept.save({"x/a": work / "a", "b": work / "b"})
    (work / "a").write_bytes(b"two, longer")
    kept.save({"x/a": work / "a", "b": work / "b"})
    assert Snapshots(place).restore(tmp_path / "back")
    assert content(tmp_path / "back") == {"x/a": b"two, longer", "b": b"same"}
    assert len(places.names_below(f"{place}/content")) == 2


def test_a_snapshot_that_breaks_off_leaves_the_one_before(place, tmp_path):
    (tmp_path / "a").write_bytes(b"one")
    Snapshots(place).save({"a": tmp_path / "a"})
    (tmp_path / "a").write_bytes(b"another one")
    with pytest.raises(FileNotFoundError):
        Snapshots(place).save({"a": tmp_path / "a", "b": tmp_path / "absent"})
    assert Snapshots(place).restore(tmp_path / "back")
    assert content(tmp_path / "back") == {"a": b"one"}


def test_damage_is_seen_and_nothing_is_nothing(place, tmp_path):
    assert not Snapshots(place).restore(tmp_path / "back")
    (tmp_path / "a").write_bytes(b"one")
    Snapshots(place).save({"a": tmp_path / "a"})
    (name,) = places.names_below(f"{place}/content")
    places.write_bytes(f"{place}/content/{name}", b"0ne")
    with pytest.raises(UserError, match="damaged"):
        Snapshots(place).restore(tmp_path / "back")
    places.remove(f"{place}/content/{name}")
    with pytest.raises(UserError, match="missing"):
        Snapshots(place).restore(tmp_path / "back")
