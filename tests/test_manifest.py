"""The manifest: comes back as written, and a folder that is not whole does not count as prepared."""

import json
import shutil
from dataclasses import replace

import pytest

from ferlab.errors import UserError
from ferlab.manifest import MANIFEST_NAME, Manifest, Shard, load_complete
from ferlab.sealed import Opening, SealedSplitError


@pytest.fixture
def manifest(tmp_path) -> Manifest:
    shards = []
    for split, size in (("train", 10), ("train", 7), ("test", 3)):
        name = f"{split}-{len(shards)}.tfrecord"
        (tmp_path / name).write_bytes(b"x" * size)
        shards.append(Shard(name, split, size, size, "0" * 64))
    made = Manifest(
        dataset="fer2013",
        protocol="fer2013/carved",
        taxonomy="fer2013",
        classes=("angry", "happy"),
        size_px=48,
        colour="gray",
        encoding="png",
        margin=0.25,
        align=True,
        targets="multi_target",
        has_votes=True,
        weighting="capped",
        counts={"train": {"angry": 9, "happy": 8}, "validation": {"angry": 0, "happy": 0}, "test": {}},
        class_weights={"angry": 0.9, "happy": 1.1},
        shards=tuple(shards),
        rejected={"cut JPEG file": 1},
        excluded={"PrivateTest": 5},
        policy={"contempt": "left out"},
        twins={"validation": 0, "test": 2},
        verdict="subset",
        alarms=("Training: 9 of 10 images, 1 are missing",),
        digest="d" * 64,
        request_key="k" * 64,
        code_version="0",
        config={"a": {"b": [1, None]}},
        source="/data",
    )
    made.save(tmp_path)
    return made


def test_what_is_saved_comes_back(tmp_path, manifest):
    assert Manifest.load(tmp_path) == manifest


def test_totals_and_shards_of_a_split_follow_from_the_shards(manifest):
    assert manifest.total == 20
    assert [shard.samples for shard in manifest.split_shards("train")] == [10, 7]
    assert manifest.split_shards("validation") == ()
    assert (manifest.channels, replace(manifest, colour="rgb").channels) == (1, 3)


def test_pixels_that_were_not_compared_stay_unknown(tmp_path, manifest):
    replace(manifest, twins=None).save(tmp_path)
    assert Manifest.load(tmp_path).twins is None


def test_the_test_split_stays_sealed_without_an_opening(manifest):
    with pytest.raises(SealedSplitError, match="fer2013/carved: the test split is sealed"):
        manifest.split_shards("test")
    assert [shard.name for shard in manifest.split_shards("test", Opening("run", 1))] == ["test-2.tfrecord"]
    assert [shard.samples for shard in manifest.split_shards("train", Opening("run", 1))] == [10, 7]


def test_a_sealed_split_is_a_bug_and_not_a_user_error():
    assert not issubclass(SealedSplitError, UserError)


def test_the_request_that_made_it_finds_it_whole(tmp_path, manifest):
    assert load_complete(tmp_path, "k" * 64) == manifest


def test_another_request_does_not_find_it(tmp_path, manifest):
    assert load_complete(tmp_path, "j" * 64) is None


def remove_shard(folder):
    (folder / "train-1.tfrecord").unlink()


def cut_shard(folder):
    (folder / "train-1.tfrecord").write_bytes(b"x" * 6)


def remove_manifest(folder):
    (folder / MANIFEST_NAME).unlink()


@pytest.mark.parametrize("damage", [remove_shard, cut_shard, remove_manifest])
def test_a_folder_that_is_not_whole_does_not_count(tmp_path, manifest, damage):
    damage(tmp_path)
    assert load_complete(tmp_path, "k" * 64) is None


def test_an_absent_folder_does_not_count(tmp_path):
    assert load_complete(tmp_path / "absent", "k" * 64) is None


def test_a_missing_manifest_says_what_to_run(tmp_path):
    with pytest.raises(UserError, match="ferlab prepare"):
        Manifest.load(tmp_path)


@pytest.mark.usefixtures("manifest")
@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "\x00\x01",
        "{}",
        json.dumps({"schema_version": 99}),
        "[]",
        json.dumps({"schema_version": 1, "dataset": "fer2013"}),
        json.dumps({"schema_version": 2, "dataset": "fer2013"}),
    ],
)
def test_a_damaged_manifest_is_a_user_error_that_names_the_folder(tmp_path, text):
    (tmp_path / MANIFEST_NAME).write_text(text)
    with pytest.raises(UserError) as caught:
        Manifest.load(tmp_path)
    assert str(tmp_path) in str(caught.value)


def test_a_manifest_cut_in_the_middle_does_not_count_as_prepared(tmp_path, manifest):
    text = (tmp_path / MANIFEST_NAME).read_text()
    (tmp_path / MANIFEST_NAME).write_text(text[: len(text) // 2])
    assert load_complete(tmp_path, manifest.request_key) is None


def test_a_moved_folder_is_still_whole(tmp_path, manifest):
    moved = tmp_path.parent / (tmp_path.name + "-moved")
    shutil.copytree(tmp_path, moved)
    assert load_complete(moved, manifest.request_key) == manifest
