"""Keys that rows share: numbers for them, whom they concern, and the groups that they join."""

import numpy as np
import pyarrow as pa
import pytest

from ferlab.datasets.grouping import disputed, joined_groups, key_codes, shared_with

NAMES = ["a", None, "b", "a", "", None, "b", "c"]


@pytest.mark.parametrize(
    "keys",
    [
        NAMES,
        [None if name is None else name.encode() for name in NAMES],
        [None if name is None else ord(name or "-") for name in NAMES],
        pa.array(NAMES),
        pa.chunked_array([NAMES[:3], [], NAMES[3:]]),
        pa.chunked_array([pa.array(NAMES[:3]).dictionary_encode(), pa.array(NAMES[3:]).dictionary_encode()]),
    ],
    ids=["text", "bytes", "numbers", "array", "pieces", "dictionaries"],
)
def test_equal_keys_have_equal_codes_and_none_has_no_key(keys):
    codes = key_codes(keys)
    assert [codes[i] for i in (1, 5)] == [-1, -1]
    assert codes[0] == codes[3] != codes[2] == codes[6]
    assert len(set(codes.tolist())) == 5


@pytest.mark.parametrize("keys", [[], [None] * 3, pa.nulls(3, pa.string()), pa.chunked_array([], pa.binary())])
def test_no_keys_are_no_codes(keys):
    assert (key_codes(keys) == -1).all()
    assert len(key_codes(keys)) == len(keys)


@pytest.mark.parametrize("seed", range(5))
def test_shared_and_disputed_keys_are_those_of_a_slow_search(seed):
    rng = np.random.default_rng(seed)
    keys = [None if rng.random() < 0.2 else int(rng.integers(200)) for _ in range(300)]
    labels, rows = rng.integers(0, 2, 300), rng.random(300) < 0.1
    codes = key_codes(keys)
    wanted = {key for key, row in zip(keys, rows, strict=True) if row} - {None}
    labels_of = {key: {int(labels[i]) for i in range(300) if keys[i] == key} for key in set(keys)}
    assert shared_with(codes, rows).tolist() == [key in wanted for key in keys]
    assert disputed(codes, labels).tolist() == [key is not None and len(labels_of[key]) > 1 for key in keys]
    assert 20 < shared_with(codes, rows).sum() < 150
    assert 20 < disputed(codes, labels).sum() < 200


def test_samples_that_share_any_key_are_in_one_group_however_long_the_chain():
    # photo a - twin 1 - photo b - twin 2: all of 0..4 hang together
    photos = ["a", "a", "b", "b", None, "c", None, None]
    twins = [None, "1", "1", "2", "2", "3", None, "4"]
    groups = joined_groups(photos, twins).tolist()
    assert len(set(groups[:5])) == 1
    assert len(set(groups)) == 4


@pytest.mark.parametrize("seed", range(5))
def test_groups_are_the_connected_components_of_a_slow_search(seed):
    rng = np.random.default_rng(seed)
    keys = [[None if rng.random() < 0.3 else int(rng.integers(60)) for _ in range(80)] for _ in range(2)]
    slow = list(range(80))
    for _ in range(80):
        for i in range(80):
            for j in range(80):
                if any(column[i] is not None and column[i] == column[j] for column in keys):
                    slow[i] = slow[j] = min(slow[i], slow[j])
    found = joined_groups(*keys).tolist()
    assert len(set(found)) == len(set(slow)) == len(set(zip(found, slow, strict=True)))
    assert len(set(found)) > 5


def test_codes_of_some_of_the_rows_join_like_the_keys_of_those_rows():
    keys = ["x", "a", None, "b", "a", "b", None, "y"]
    some = np.array([1, 2, 3, 5, 6])
    assert joined_groups(key_codes(keys)[some]).tolist() == joined_groups([keys[i] for i in some]).tolist()
    assert joined_groups(np.full(3, -1)).tolist() == [0, 1, 2]
