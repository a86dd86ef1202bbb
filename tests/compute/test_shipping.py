"""What is shipped keeps what it is: Keras chooses how to read weights by the ending of their file."""

import pytest

from ferlab.compute.shipping import ship_weights
from ferlab.compute.target import Target
from ferlab.storage.objects import read_bytes


@pytest.mark.parametrize(
    ("name", "kept"), [("vgg16.weights.h5", ".weights.h5"), ("legacy.h5", "/legacy-"), ("whole.v2.keras", ".keras")]
)
def test_weights_keep_their_ending(bucket, tmp_path, name, kept):
    (tmp_path / name).write_bytes(b"weights")
    target = Target("gcp", "p", *(f"{bucket}/{part}" for part in ("raw", "processed", "runs", "shipped")), "me")
    url = ship_weights(target, tmp_path / name)
    assert kept in url
    assert url.endswith(name[name.index(".") :] if "v2" not in name else ".keras")
    assert read_bytes(url) == b"weights"
