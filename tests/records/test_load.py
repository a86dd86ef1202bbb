"""A prepared split comes back as it was stored, or not at all."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ferlab.errors import UserError
from ferlab.imaging.codec import encode
from ferlab.manifest import Manifest, Shard
from ferlab.records.example import encode_example
from ferlab.records.load import load_split, read_samples, split_bytes
from ferlab.records.tfrecord import ShardWriter, read_records
from ferlab.sealed import Opening, SealedSplitError

SIZE, PER_SHARD = 16, 5
Stored = tuple[Path, Manifest, np.ndarray]
CLASSES = tuple("abcdefg")
OPENING = Opening("run", 1)


def votes_of(i: int) -> list[int]:
    return [(i * k) % 4 for k in range(1, 8)]


@pytest.fixture
def store(tmp_path) -> Callable[..., Stored]:
    def make(encoding: str = "png", colour: str = "gray", annotated: bool = False) -> Stored:
        channels = 1 if colour == "gray" else 3
        images = np.random.default_rng(0).integers(0, 256, (2 * PER_SHARD, SIZE, SIZE, channels), dtype=np.uint8)
        shards = []
        for number in range(2):
            with ShardWriter(tmp_path / f"train-{number}") as writer:
                for i in range(number * PER_SHARD, (number + 1) * PER_SHARD):
                    stored = encode(images[i].squeeze(), encoding)
                    row = {"id": f"face {i}".encode(), "image": stored, "label": [i % 7]}
                    if annotated:
                        row |= {"votes": votes_of(i), "twin": [int(i % 3 == 0)]}
                    writer.write(encode_example(row))
            shards.append(Shard(f"train-{number}", "train", PER_SHARD, writer.bytes, writer.sha256))
        shards.append(Shard("test-0", "test", 0, 0, ""))
        manifest = Manifest(
            dataset="d", protocol="d/p", taxonomy="fer2013", classes=CLASSES, size_px=SIZE, colour=colour,
            encoding=encoding, margin=0.0, align=False, targets="majority", has_votes=annotated, weighting="none",
            counts={}, class_weights={}, shards=tuple(shards), rejected=(), excluded={}, policy={}, twins=None,
            verdict="", alarms=(), digest="", request_key="", code_version="",
        )  # fmt: skip
        return tmp_path, manifest, images

    return make


@pytest.mark.parametrize("encoding", ["png", "raw", "float32"])
@pytest.mark.parametrize("colour", ["gray", "rgb"])
def test_arrays_hold_every_sample_in_the_order_of_the_shards(store, encoding, colour):
    folder, manifest, images = store(encoding, colour)
    arrays = load_split(folder, manifest, "train")
    np.testing.assert_array_equal(arrays.images, images)
    assert arrays.images.dtype == np.uint8
    assert arrays.labels.tolist() == [i % 7 for i in range(10)]
    assert arrays.ids == tuple(f"face {i}" for i in range(10))
    assert arrays.images.nbytes == split_bytes(manifest, "train")
    assert arrays.annotations.votes.shape == (10, 0)
    assert np.isnan(arrays.annotations.affect).all()


def test_samples_come_one_by_one_with_the_same_content(store):
    folder, manifest, images = store()
    samples = list(read_samples(folder, manifest, "train"))
    assert [sample.id for sample in samples] == [f"face {i}" for i in range(10)]
    np.testing.assert_array_equal(np.stack([sample.pixels for sample in samples]), images)


def test_votes_and_twins_come_back_where_they_were_stored(store):
    folder, manifest, _ = store(annotated=True)
    samples = list(read_samples(folder, manifest, "train"))
    assert [list(sample.votes) for sample in samples] == [votes_of(i) for i in range(10)]
    assert [sample.twin for sample in samples] == [i % 3 == 0 for i in range(10)]
    arrays = load_split(folder, manifest, "train")
    votes = arrays.annotations.votes
    assert votes.dtype == np.float32
    np.testing.assert_array_equal(votes, [votes_of(i) for i in range(10)])


def test_what_was_not_stored_is_not_made_up(store):
    folder, manifest, _ = store()
    assert {(sample.votes, sample.twin) for sample in read_samples(folder, manifest, "train")} == {((), None)}


@pytest.mark.parametrize(("split", "opening"), [("test", OPENING), ("validation", None), ("validation", OPENING)])
def test_an_empty_split_is_a_user_error_that_names_it(store, split, opening):
    folder, manifest, _ = store()
    with pytest.raises(UserError, match=f"{split} split is empty"):
        list(read_samples(folder, manifest, split, opening))


def test_an_empty_validation_split_cannot_be_loaded(store):
    folder, manifest, _ = store()
    with pytest.raises(UserError, match="validation split is empty"):
        load_split(folder, manifest, "validation")


def test_the_test_split_is_sealed(store):
    folder, manifest, _ = store()
    with pytest.raises(SealedSplitError):
        list(read_samples(folder, manifest, "test"))
    for read in (load_split, lambda folder, manifest, split: split_bytes(manifest, split)):
        with pytest.raises(SealedSplitError):
            read(folder, manifest, "test")


def missing(shard: Path) -> None:
    shard.unlink()


def flipped(shard: Path) -> None:
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.write_bytes(data)


def cut(shard: Path) -> None:
    shard.write_bytes(shard.read_bytes()[:-7])


def no_image(shard: Path) -> None:
    rewrite(shard, [encode_example({"id": b"x", "image": b"no image", "label": [0]})] * PER_SHARD)


def no_label(shard: Path) -> None:
    rewrite(shard, [encode_example({"id": b"x", "image": b""})] * PER_SHARD)


def one_record_lost(shard: Path) -> None:
    rewrite(shard, list(read_records(shard))[:-1])


def one_record_more(shard: Path) -> None:
    payloads = list(read_records(shard))
    rewrite(shard, [*payloads, payloads[0]])


def rewrite(shard: Path, payloads: list[bytes]) -> None:
    with ShardWriter(shard) as writer:
        for payload in payloads:
            writer.write(payload)


@pytest.mark.parametrize(
    "damage",
    [
        missing,
        flipped,
        cut,
        no_image,
        no_label,
        one_record_lost,
        one_record_more,
    ],
)
def test_a_damaged_shard_is_a_user_error_that_says_what_to_do(store, damage):
    folder, manifest, _ = store()
    damage(folder / "train-1")
    with pytest.raises(UserError, match="ferlab prepare"):
        load_split(folder, manifest, "train")
