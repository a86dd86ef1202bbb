"""What MLflow serves refuses what is no image of faces, and says why."""

import numpy as np
import pytest

from ferlab.tracking.served_model import MOST_IMAGES, Expressions


class Network:
    """Gives the mean of each image to the first of two classes."""

    input_shape = (None, 4, 4, 1)

    def predict(self, images, verbose):
        assert images.dtype == np.uint8
        first = images.mean(axis=(1, 2, 3)) / 255
        return np.stack([first, 1 - first], axis=1)


@pytest.fixture
def served():
    expressions = Expressions()
    expressions.model, expressions.classes = Network(), ["happy", "sad"]
    return lambda images: expressions.predict(None, images)


def test_every_image_has_a_row(served):
    images = np.stack([np.full((4, 4, 1), shade, np.uint8) for shade in (255, 0)])
    table = served(images)
    assert table["label"].tolist() == ["happy", "sad"]
    assert table["happy"].tolist() == [1, 0]


@pytest.mark.parametrize(
    ("images", "said"),
    [
        (np.ones((2, 4, 4, 1), np.uint8), r"uint8 0\.\.255, not 0\.\.1"),
        (np.random.default_rng(0).uniform(size=(2, 4, 4, 1)), r"uint8 0\.\.255, not 0\.\.1"),
        (np.full((MOST_IMAGES + 1, 4, 4, 1), 9), "257 images, at most 256 a call"),
        (np.full((4, 4), 9), r"must have the shape \(n, 4, 4, 1\)"),
    ],
)
def test_other_arrays_are_refused(served, images, said):
    with pytest.raises(ValueError, match=said):
        served(images)
