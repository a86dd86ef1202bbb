"""A prepared data set with annotators' votes; a network small enough to be trained in every test."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ferlab.datasets.synthetic.layouts import write_synthetic
from ferlab.preparation.prepare import Prepared, Request

VOTED_FACES, SEED = 320, 3

BORDERLINE = (
    (2, 2, 2, 1, 1, 1, 1, 0, 0, 0),  # nobody reaches 30 %
    (3, 3, 3, 0, 0, 0, 0, 0, 0, 0),  # nine votes, as one row of the real file has
    (3, 0, 0, 0, 0, 0, 0, 7, 0, 0),  # exactly 30 %
    (0, 3, 2, 0, 0, 0, 0, 0, 2, 3),  # level with not-a-face, which comes later
    (0, 0, 0, 0, 0, 0, 0, 1, 0, 0),  # a single vote
)
"""Votes of the first rows, where a rule is easily off by one."""


@pytest.fixture(scope="session")
def ferplus_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``fer2013.csv`` and ``fer2013new.csv`` of 320 synthetic faces: 256, 32 and 32."""
    folder = tmp_path_factory.mktemp("votes") / "ferplus"
    write_synthetic("ferplus", folder, VOTED_FACES, SEED)
    header, *rows = (folder / "fer2013new.csv").read_text().splitlines()
    for place, votes in enumerate(BORDERLINE):
        rows[place] = f"Training,fer{place:07d}.png,{','.join(map(str, votes))}"
    (folder / "fer2013new.csv").write_text("\n".join([header, *rows]) + "\n")
    return folder


@pytest.fixture(scope="session")
def prepared_ferplus(
    ferplus_folder: Path, make_request: Callable[..., Request], run_prepare: Callable[..., Prepared]
) -> Prepared:
    """The 320 voted faces prepared under protocol official for ``multi_target``. Do not write into its folder."""
    request = make_request(ferplus_folder, "ferplus", protocol="official", targets="multi_target")
    return run_prepare(request, ferplus_folder.parent / "prepared")


@pytest.fixture
def make_network(tf: Any) -> Callable[..., Any]:
    """``make_network(seed=0, dropout=0.0, dtype="uint8", activation="relu")``: 48 px gray images to 7 classes.

    Its parts are named as in every built model; the base has two blocks, each with BatchNormalization.
    """
    import keras
    from keras import layers

    def make(seed: int = 0, dropout: float = 0.0, dtype: str = "uint8", activation: str = "relu") -> Any:
        keras.utils.set_random_seed(seed)
        base = keras.Sequential(
            [
                keras.Input((48, 48, 1)),
                layers.AveragePooling2D(6),
                layers.Conv2D(4, 3, activation=activation, name="block1_conv"),
                layers.BatchNormalization(momentum=0.5, name="block1_bn"),
                layers.Flatten(),
                layers.Dense(8, activation=activation, name="block2_dense"),
                layers.BatchNormalization(momentum=0.5, name="block2_bn"),
            ],
            name="base",
        )
        image = keras.Input((48, 48, 1), dtype=dtype, name="image")
        x = layers.Dropout(dropout, name="dropout")(base(layers.Rescaling(1 / 127.5, -1)(image)))
        return keras.Model(image, layers.Softmax(name="probabilities")(layers.Dense(7, name="logits")(x)))

    return make
