"""The sample contract: columns, hashes that never move, digests that tell pixels apart."""

import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest

from ferlab import samples
from ferlab.datasets.listing import ROW_SCHEMA, row_table
from ferlab.samples import SAMPLE_SCHEMA, hash_fraction, hash_fractions, pixel_digest


def test_a_table_keeps_the_columns_and_leaves_null_what_is_not_given():
    table = row_table(["0", "1"], ["Training", "PublicTest"], np.array([3, 6]), pixels=[b"\0" * 4, b"\1" * 4])
    assert table.schema == ROW_SCHEMA
    assert table["part"].to_pylist() == ["Training", "PublicTest"]
    assert table["id"].to_pylist() == ["0", "1"]
    assert table["label"].to_pylist() == [3, 6]
    assert table["pixels"].to_pylist() == [b"\0" * 4, b"\1" * 4]
    for name in ("path", "group", "box", "landmarks", "valence", "arousal", "votes"):
        assert table[name].null_count == 2


def test_a_sample_has_the_columns_of_a_row_with_its_split_in_place_of_the_part_and_whether_it_is_a_twin():
    rows, samples = ({spec.name: spec for spec in schema} for schema in (ROW_SCHEMA, SAMPLE_SCHEMA))
    assert samples.keys() - rows.keys() == {"split", "twin"}
    assert rows.keys() - samples.keys() == {"part"}
    assert all(rows[name] == samples[name] for name in rows.keys() & samples.keys())


def test_missing_annotations_stay_null_and_given_ones_keep_their_value():
    table = row_table(
        ["a", "b"],
        ["train"] * 2,
        [0, 1],
        path=["/a", "/b"],
        valence=[0.25, None],
        arousal=[None, -1],
        box=[[1, 2, 30.5, 40], None],
        votes=[None, [0, 10]],
    )
    assert table["valence"].to_pylist() == [0.25, None]
    assert table["arousal"].to_pylist() == [None, -1.0]
    assert table["box"].to_pylist() == [[1, 2, 30.5, 40], None]
    assert table["votes"].to_pylist() == [None, [0, 10]]


def test_columns_of_unequal_length_are_refused():
    with pytest.raises(pa.ArrowInvalid):
        row_table(["a", "b"], ["train"], [0, 1], path=["/a", "/b"])


def test_a_column_that_a_row_does_not_have_is_a_bug():
    with pytest.raises(TypeError, match="no such columns: paths"):
        row_table(["a"], ["train"], [0], paths=["/a"])


def test_hash_fractions_are_the_same_in_every_process_and_have_not_moved():
    # a change of these numbers would silently change every split and shard ever made
    program = "from ferlab.samples import hash_fraction; print(repr(hash_fraction('17', 0, 'carve')))"
    other = subprocess.run(
        [sys.executable, "-c", program], env={"PYTHONHASHSEED": "7"}, capture_output=True, text=True, check=True
    )
    assert float(other.stdout) == hash_fraction("17", 0, "carve") == pytest.approx(0.868711286239001)


@pytest.mark.parametrize("at_once", [1, 3, 1 << 16])
def test_a_column_of_ids_has_the_hash_fraction_of_each(monkeypatch, at_once):
    ids = [f"träin/{i}.jpg" for i in range(10)] + [""]
    monkeypatch.setattr(samples, "HASHED_AT_ONCE", at_once)
    for column in (pa.array(ids), pa.chunked_array([ids[:4], [], ids[4:]]), pa.array(["x", *ids])[1:]):
        assert hash_fractions(column, 5, "carve").tolist() == [hash_fraction(name, 5, "carve") for name in ids]
    assert hash_fractions(pa.array([], pa.string()), 0, "carve").shape == (0,)


def test_hash_fractions_fill_0_to_1_evenly_and_differ_by_seed_and_purpose():
    def draw(seed: int, purpose: str) -> np.ndarray:
        return np.array([hash_fraction(str(i), seed, purpose) for i in range(4000)])

    base, seeded, shards = draw(0, "carve"), draw(1, "carve"), draw(0, "shard")
    assert (base >= 0).all()
    assert (base < 1).all()
    counts = np.histogram(base, bins=10, range=(0, 1))[0]
    assert (np.abs(counts - 400) < 5 * np.sqrt(360)).all()
    for other in (seeded, shards):
        assert abs(np.corrcoef(base, other)[0, 1]) < 0.08


def test_ids_that_run_together_are_not_confused():
    assert hash_fraction("1", 12, "x") != hash_fraction("21", 1, "x")
    assert hash_fraction("b", 0, "a") != hash_fraction("", 0, "ab")


def test_equal_pixels_have_equal_digests_whatever_their_memory_layout():
    image = np.random.default_rng(0).integers(0, 256, (8, 6), dtype=np.uint8)
    assert pixel_digest(image) == pixel_digest(np.asfortranarray(image)) == pixel_digest(image.copy())
    assert pixel_digest(image.T.copy().T) == pixel_digest(image)


def test_one_changed_pixel_or_another_shape_changes_the_digest():
    image = np.zeros((8, 6), np.uint8)
    changed = image.copy()
    changed[7, 5] = 1
    digests = {pixel_digest(image), pixel_digest(changed), pixel_digest(image.reshape(6, 8)), pixel_digest(image.T)}
    assert len(digests) == 3
    assert all(len(digest) == 16 for digest in digests)
