"""What is shipped keeps what it is: Keras chooses how to read weights by the ending of their file."""

import re

import pytest

from ferlab.compute.shipping import ship_weights
from ferlab.compute.target import Target
from ferlab.storage.objects import read_bytes


@pytest.mark.parametrize(
    ("name", "stem", "ending"),
    [("vgg16.weights.h5", "vgg16", ".weights.h5"), ("legacy.h5", "legacy", ".h5"), ("a.v2.keras", "a.v2", ".keras")],
)
def test_weights_keep_their_ending(bucket, tmp_path, name, stem, ending):
    (tmp_path / name).write_bytes(b"weights")
    target = Target("gcp", "p", *(f"{bucket}/{part}" for part in ("raw", "processed", "runs", "shipped")), "me")
    url = ship_weights(target, tmp_path / name)
    assert re.fullmatch(rf"{stem}-[0-9a-f]{{16}}{re.escape(ending)}", url.rpartition("/")[2])
    assert read_bytes(url) == b"weights"
