"""Copies of FER-2013 with faces of noise: rows, their text as CSV, and the files that hold them."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from ferlab.datasets.fer2013.reader import locate, read
from ferlab.datasets.listing import Reading, Rows
from ferlab.emotions import FER2013

HEADER = "emotion,pixels,Usage"
Row = tuple[int | str, np.ndarray | str, str]


def noise_rows(training: int = 70, public: int = 14, private: int = 14) -> list[Row]:
    rng = np.random.default_rng(0)
    usages = ["Training"] * training + ["PublicTest"] * public + ["PrivateTest"] * private
    return [(i % 7, rng.integers(0, 256, (48, 48), dtype=np.uint8), usage) for i, usage in enumerate(usages)]


def lines(samples: list[Row]) -> list[str]:
    def text(pixels: np.ndarray | str) -> str:
        return pixels if isinstance(pixels, str) else " ".join(map(str, pixels.ravel()))

    return [f"{label},{text(pixels)},{usage}" for label, pixels, usage in samples]


def written(folder: Path, samples: list[Row], name: str = "fer2013.csv") -> Path:
    (folder / name).write_text("\n".join([HEADER, *lines(samples), ""]))
    return folder


@pytest.fixture(scope="session")
def make_rows() -> Callable[..., list[Row]]:
    """``make_rows(training=70, public=14, private=14)``: (label, pixels, Usage), labels in turn, pixels distinct."""
    return noise_rows


@pytest.fixture(scope="session")
def csv_lines() -> Callable[[list[Row]], list[str]]:
    """``csv_lines(rows)``: the rows as text, ``emotion,pixels,Usage``; pixels may already be text."""
    return lines


@pytest.fixture(scope="session")
def write_csv() -> Callable[..., Path]:
    """``write_csv(folder, rows, name="fer2013.csv")`` gives the folder."""
    return written


@pytest.fixture(scope="session")
def read_rows() -> Callable[..., Rows]:
    """``read_rows(root, label_order=None)``: everything a copy holds, recognised from its root."""

    def read_copy(root: Path, label_order: str | None = None) -> Rows:
        return read(locate(root), Reading(FER2013, label_order))

    return read_copy


@pytest.fixture(scope="session")
def write_folders() -> Callable[..., Path]:
    """``write_folders(root, rows, encode, name_of, folder_of, class_of)``: a file a row below ``part/class/``.

    ``name_of(usage, number)``, ``folder_of(usage)`` and ``class_of(label)`` give the three steps of the path; by
    default the names of Kaggle's repack, ``test`` for both test parts, and the classes by name. PNG unless ``suffix``
    says otherwise.
    """

    def write(
        root: Path,
        samples: list[Row],
        suffix: str = ".png",
        name_of: Callable[[str, int], str] = lambda usage, number: f"{usage}_{number:08d}",
        folder_of: Callable[[str], str] = lambda usage: "train" if usage == "Training" else "test",
        class_of: Callable[[int], str] = lambda label: FER2013.classes[label],
    ) -> Path:
        for number, (label, pixels, usage) in enumerate(samples):
            folder = root / folder_of(usage) / class_of(int(label))
            folder.mkdir(parents=True, exist_ok=True)
            assert isinstance(pixels, np.ndarray)
            encoded = cv2.imencode(suffix.lower(), pixels)[1].tobytes()
            (folder / f"{name_of(usage, number)}{suffix}").write_bytes(encoded)
        return root

    return write
