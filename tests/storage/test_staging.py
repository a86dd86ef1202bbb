"""Shards come to this machine once, verified; what was cut short is continued and nothing half is taken for whole."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ferlab.errors import UserError
from ferlab.manifest import MANIFEST_NAME, Manifest, Shard
from ferlab.storage.objects import delete_all, read_bytes, write_bytes
from ferlab.storage.staging import stage

CONTENTS = {f"train-{number:05d}.tfrecord": os.urandom(1000 + number) for number in range(20)}


def manifest_of(contents: dict[str, bytes]) -> Manifest:
    shards = tuple(
        Shard(name, "train", 1, len(data), hashlib.sha256(data).hexdigest()) for name, data in contents.items()
    )
    digest = hashlib.sha256(b"".join(contents.values())).hexdigest()
    return Manifest(
        dataset="synthetic",
        protocol="carved",
        taxonomy="fer2013",
        classes=("angry", "happy"),
        size_px=48,
        colour="gray",
        encoding="png",
        margin=0.0,
        align=False,
        targets="majority",
        has_votes=False,
        weighting="none",
        counts={},
        class_weights={},
        shards=shards,
        rejected={},
        excluded={},
        policy={},
        twins=None,
        verdict="",
        alarms=(),
        digest=digest,
        request_key="key",
        code_version="1",
    )


def upload(bucket: str, contents: dict[str, bytes]) -> tuple[str, Manifest]:
    manifest = manifest_of(contents)
    for name, data in contents.items():
        write_bytes(f"{bucket}/prepared/{name}", data)
    manifest.save(f"{bucket}/prepared")
    return f"{bucket}/prepared", manifest


def contents_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != MANIFEST_NAME}


@pytest.fixture
def prepared(bucket) -> tuple[str, Manifest]:
    return upload(bucket, CONTENTS)


@pytest.fixture
def times(tmp_path) -> Callable[[], dict[str, int]]:
    """Inode of every staged file: whoever writes one anew changes it."""
    return lambda: {path.name: path.stat().st_ino for path in (tmp_path / "staged").iterdir()}


def test_all_shards_arrive_with_their_manifest(prepared, tmp_path):
    place, manifest = prepared
    folder = stage(place, manifest, tmp_path / "staged")
    assert folder == tmp_path / "staged"
    assert contents_of(folder) == CONTENTS
    assert Manifest.load(folder) == manifest


def test_a_local_place_is_returned_as_it_is(tmp_path):
    assert stage(str(tmp_path / "here"), manifest_of(CONTENTS), tmp_path / "staged") == tmp_path / "here"
    assert not (tmp_path / "staged").exists()


def test_a_second_call_needs_no_bucket(prepared, tmp_path, times):
    place, manifest = prepared
    stage(place, manifest, tmp_path / "staged")
    before = times()
    delete_all(f"{place}/{name}" for name in (*CONTENTS, MANIFEST_NAME))
    stage(place, manifest, tmp_path / "staged")
    assert times() == before


def test_a_staging_that_was_cut_short_is_continued(prepared, tmp_path, times):
    place, manifest = prepared
    missing = list(CONTENTS)[7]
    delete_all([f"{place}/{missing}"])
    with pytest.raises(UserError, match=rf"^{place}/{missing}: the shard cannot be read \(no such object\)"):
        stage(place, manifest, tmp_path / "staged")
    kept = times()
    assert MANIFEST_NAME not in kept
    assert all(CONTENTS[name] == data for name, data in contents_of(tmp_path / "staged").items())
    write_bytes(f"{place}/{missing}", CONTENTS[missing])
    stage(place, manifest, tmp_path / "staged")
    assert contents_of(tmp_path / "staged") == CONTENTS
    assert {name: inode for name, inode in times().items() if name in kept} == kept


def test_a_shard_damaged_while_the_folder_was_unfinished_is_fetched_again(prepared, tmp_path):
    place, manifest = prepared
    stage(place, manifest, tmp_path / "staged")
    (tmp_path / "staged" / MANIFEST_NAME).unlink()
    name = next(iter(CONTENTS))
    (tmp_path / "staged" / name).write_bytes(bytes(len(CONTENTS[name])))
    stage(place, manifest, tmp_path / "staged")
    assert contents_of(tmp_path / "staged") == CONTENTS


@pytest.mark.parametrize("damage", [lambda path: path.unlink(), lambda path: path.write_bytes(b"short")])
def test_a_shard_that_is_gone_or_short_later_is_brought_back(prepared, tmp_path, damage):
    place, manifest = prepared
    stage(place, manifest, tmp_path / "staged")
    damage(tmp_path / "staged" / next(iter(CONTENTS)))
    stage(place, manifest, tmp_path / "staged")
    assert contents_of(tmp_path / "staged") == CONTENTS


@pytest.mark.parametrize("change", [lambda data: data[:-1], lambda data: bytes(len(data))], ids=["short", "other"])
def test_an_object_that_is_not_the_shard_is_named_and_never_staged(prepared, tmp_path, change):
    place, manifest = prepared
    name = list(CONTENTS)[3]
    write_bytes(f"{place}/{name}", change(read_bytes(f"{place}/{name}")))
    with pytest.raises(UserError, match=rf"^{place}/{name}: not the shard that the manifest describes"):
        stage(place, manifest, tmp_path / "staged")
    found = {path.name for path in (tmp_path / "staged").iterdir()}
    assert found <= set(CONTENTS) - {name}


def test_a_folder_staged_for_another_manifest_is_not_taken_for_this_one(bucket, tmp_path):
    first = dict.fromkeys(CONTENTS, bytes(100))
    second = dict.fromkeys(CONTENTS, b"x" * 100)
    stage(*upload(f"{bucket}/one", first), tmp_path / "staged")
    stage(*upload(f"{bucket}/two", second), tmp_path / "staged")
    assert contents_of(tmp_path / "staged") == second


def test_several_processes_stage_at_once(prepared, tmp_path):
    place, manifest = prepared
    script = (
        "import sys; from pathlib import Path; from ferlab.manifest import Manifest;"
        "from ferlab.storage.staging import stage;"
        "stage(sys.argv[1], Manifest.load(sys.argv[1]), Path(sys.argv[2]))"
    )
    command = [sys.executable, "-c", script, place, str(tmp_path / "staged")]
    processes = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    for process in processes:
        assert process.communicate()[1] == ""
        assert process.returncode == 0
    assert contents_of(tmp_path / "staged") == CONTENTS
    assert Manifest.load(tmp_path / "staged") == manifest
