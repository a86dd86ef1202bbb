"""The same verbs do the same in a folder and in a bucket."""

from collections.abc import Callable
from pathlib import Path

import pytest

from ferlab.storage import places
from ferlab.storage.places import joined


@pytest.fixture(params=["folder", "bucket"])
def place(request, tmp_path) -> str:
    return str(tmp_path / "place") if request.param == "folder" else f"{request.getfixturevalue('bucket')}/a/place"


@pytest.fixture
def finished(tmp_path) -> Callable[[bytes], Path]:
    def write(data: bytes) -> Path:
        (tmp_path / "finished").write_bytes(data)
        return tmp_path / "finished"

    return write


def test_what_is_written_is_read_named_and_measured(place):
    for name in ("b/2.txt", "a.txt", "b/1.txt", "b-x"):
        places.write_bytes(joined(place, name), name.encode())
    assert places.read_bytes(joined(place, "b", "2.txt")) == b"b/2.txt"
    assert places.names_below(place) == ["a.txt", "b-x", "b/1.txt", "b/2.txt"]
    assert places.sizes_below(joined(place, "b")) == {"1.txt": 7, "2.txt": 7}


def test_writing_again_replaces(place):
    places.write_bytes(joined(place, "x"), b"old and long")
    places.write_bytes(joined(place, "x"), b"new")
    assert places.read_bytes(joined(place, "x")) == b"new"


def test_absent_is_told_apart(place):
    assert places.names_below(place) == []
    assert places.sizes_below(place) == {}
    with pytest.raises(FileNotFoundError) as caught:
        places.read_bytes(joined(place, "x"))
    assert caught.value.filename == joined(place, "x")
    places.remove(place)


def test_removing_takes_all_below_and_nothing_beside(place):
    for name in ("in/a", "in/deep/b", "inside", "x"):
        places.write_bytes(joined(place, name), b"1")
    places.remove(joined(place, "in"))
    assert places.names_below(place) == ["inside", "x"]
    places.remove(joined(place, "x"))
    assert places.names_below(place) == ["inside"]


def test_a_finished_file_moves_there_and_a_copy_comes_back(place, finished, tmp_path):
    places.put(finished(b"first"), joined(place, "deep", "x"))
    places.put(finished(b"second"), joined(place, "deep", "x"))
    assert not (tmp_path / "finished").exists()
    assert places.names_below(place) == ["deep/x"]
    for _ in range(2):
        places.fetch(joined(place, "deep", "x"), tmp_path / "back" / "y")
        assert (tmp_path / "back" / "y").read_bytes() == b"second"
    assert [path.name for path in (tmp_path / "back").iterdir()] == ["y"]


def test_a_file_moves_to_another_disk_too(tmp_path, finished):
    disk = Path("/dev/shm")
    if not disk.is_dir() or disk.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no second disk")
    target = disk / f"ferlab-{tmp_path.name}-{id(finished)}"
    try:
        places.put(finished(b"bytes"), str(target))
        assert target.read_bytes() == b"bytes"
        assert not (tmp_path / "finished").exists()
    finally:
        target.unlink(missing_ok=True)


def test_removing_a_link_leaves_what_it_leads_to(tmp_path):
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "x").write_text("x")
    (tmp_path / "link").symlink_to(tmp_path / "kept")
    places.remove(str(tmp_path / "link"))
    assert not (tmp_path / "link").exists()
    assert (tmp_path / "kept" / "x").exists()


@pytest.mark.parametrize(
    ("place", "names", "expected"),
    [
        ("gs://b", ["x"], "gs://b/x"),
        ("gs://b/a/", ["c", "d.txt"], "gs://b/a/c/d.txt"),
        ("gs://b/a", [], "gs://b/a"),
        ("/", ["x"], "/x"),
        ("/data/", ["x"], "/data/x"),
    ],
)
def test_names_are_joined_with_one_slash(place, names, expected):
    assert joined(place, *names) == expected
