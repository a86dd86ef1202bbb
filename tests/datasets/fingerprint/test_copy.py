"""A copy after its scan: counts of usable rows by part and class, the largest part first."""

import numpy as np

from ferlab.emotions import FER2013


def test_counts_are_of_usable_rows_by_part_and_class(copy_of):
    pictures = np.random.default_rng(0).integers(0, 256, (60, 8, 8), dtype=np.uint8)
    parts = ["PublicTest"] * 10 + ["Training"] * 40 + ["test"] * 10
    labels = [i % 7 for i in range(50)] + [-1] * 10
    copy = copy_of(pictures, parts, labels)
    copy.scan.unusable[10] = "cut"
    assert list(copy.counts) == ["Training", "PublicTest", "test"]
    for part in ("Training", "PublicTest"):
        own = [labels[i] for i in range(60) if parts[i] == part and i != 10]
        assert copy.counts[part] == {name: own.count(position) for position, name in enumerate(FER2013.classes)}
    assert copy.counts["test"] == dict.fromkeys(FER2013.classes, 0) | {"no label": 10}


def test_digest_bytes_are_the_digests(copy_of):
    pictures = np.random.default_rng(0).integers(0, 256, (5, 8, 8), dtype=np.uint8)
    copy = copy_of(pictures, ["Training"] * 5, [0] * 5)
    assert copy.digest_bytes().shape == (5, 16)
    assert [row.tobytes() for row in copy.digest_bytes()] == [row.tobytes() for row in copy.scan.digests]
