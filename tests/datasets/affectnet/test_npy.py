"""The fast reader of ``.npy`` files gives what NumPy gives, and refuses what NumPy refuses."""

import io
import pickle
from pathlib import Path

import numpy as np
import pytest

from ferlab.datasets.affectnet.npy import load

VALUES = np.random.default_rng(0).uniform(-300, 300, 136)

ARRAYS = {
    "<U1": np.array("3"),
    "<U9": np.array("-0.055556"),
    ">U4": np.array("0.25", dtype=">U4"),
    "S": np.array(b"0.785714"),
    "int64": np.array(7),
    "int64 scalar": np.int64(-2),
    "uint8": np.array(5, np.uint8),
    "big-endian": np.array(5, ">i4"),
    "float32": np.array(0.5, np.float32),
    "float64": np.array(-0.25),
    "bool": np.array(True),
    "nan": np.array(np.nan),
    "(1,)": np.array(["1"]),
    "(1,) float": np.array([0.125]),
    "(136,)": VALUES,
    "(136, 1)": VALUES.reshape(136, 1).astype(np.float32),
    "(68, 2)": VALUES.reshape(68, 2),
    "(68, 2) columns first": np.asfortranarray(VALUES.reshape(68, 2)),
    "(136, 1) columns first": np.asfortranarray(VALUES.reshape(136, 1)),
    "(2, 4, 17)": VALUES.reshape(2, 4, 17).astype(">f4"),
    "text (136,)": np.array([f"{value:.2f}" for value in VALUES]),
    "half": VALUES.astype(np.float16),
    "empty": np.array([]),
    "(0, 2)": np.zeros((0, 2)),
    "no text": np.array(""),
    "structured": np.array([(1, 2.5)], dtype=[("a", "i4"), ("b", "f8")]),
    "larger than a block": np.arange(30_000.0),
}


@pytest.mark.parametrize("kind", ARRAYS)
@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_the_same_array_as_numpy_reads(tmp_path, kind, version):
    file = tmp_path / "a.npy"
    with file.open("wb") as opened:
        np.lib.format.write_array(opened, np.asanyarray(ARRAYS[kind]), version=version)
    for _ in range(2):
        ours, theirs = load(file), np.load(file)
        assert ours.dtype == theirs.dtype
        assert ours.shape == theirs.shape
        np.testing.assert_array_equal(ours, theirs)


def saved(array: np.ndarray, allow_pickle: bool = False) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=allow_pickle)
    return file.getvalue()


class Trap:
    """Unpickling it leaves a file behind."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple:
        return Path.touch, (self.file,)


def test_pickled_objects_are_refused_and_never_run(tmp_path):
    sprung = tmp_path / "sprung"
    for content in (
        saved(np.array([Trap(sprung)], dtype=object), allow_pickle=True),
        saved(np.array({"exp": Trap(sprung)}, dtype=object), allow_pickle=True),
        pickle.dumps(Trap(sprung)),
    ):
        (tmp_path / "a.npy").write_bytes(content)
        with pytest.raises(ValueError, match="pickle"):
            load(tmp_path / "a.npy")
    assert not sprung.exists()


@pytest.mark.parametrize("array", [np.array("3"), np.array(0.5), VALUES])
def test_a_file_cut_anywhere_is_refused(tmp_path, array):
    content = saved(array)
    for end in range(len(content)):
        (tmp_path / "a.npy").write_bytes(content[:end])
        with pytest.raises(ValueError, match=r"."):
            load(tmp_path / "a.npy")


def test_what_follows_the_array_is_overlooked_as_numpy_does(tmp_path):
    (tmp_path / "a.npy").write_bytes(saved(np.array("3")) + b"more")
    assert load(tmp_path / "a.npy") == np.load(tmp_path / "a.npy") == "3"


@pytest.mark.parametrize(
    "header",
    [
        "{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000000,), }",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (-1,), }",
        "{'descr': '<f8', 'fortran_order': False, }",
        "{'descr': '<q9', 'fortran_order': False, 'shape': (), }",
        "__import__('os').getcwd()",
        "{" * 500,
        "\x00" * 60,
    ],
)
def test_a_header_that_promises_nonsense_is_refused(tmp_path, header):
    text = header.encode() + b"\n"
    (tmp_path / "a.npy").write_bytes(b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + bytes(8))
    with pytest.raises(ValueError, match=r"."):
        load(tmp_path / "a.npy")


def test_an_archive_is_no_array(tmp_path):
    np.savez(tmp_path / "a.npz", exp=np.array(3))
    with pytest.raises(ValueError, match="archive"):
        load(tmp_path / "a.npz")


def test_a_missing_file_and_a_folder_are_told_apart(tmp_path):
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "absent.npy")
    with pytest.raises(IsADirectoryError):
        load(tmp_path)
