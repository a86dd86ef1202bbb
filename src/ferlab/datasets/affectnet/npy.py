"""Reading small ``.npy`` files by the million: what ``np.load`` gives, several times faster."""

import math
import os
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from tokenize import TokenError

import numpy as np

VERSION_1 = b"\x93NUMPY\x01\x00"
BLOCK_BYTES = 1 << 16
DAMAGED_HEADER = (ValueError, SyntaxError, TypeError, OverflowError, TokenError)
"""What NumPy raises on a header that is no Python literal of the right kind."""


def load(file: str | Path) -> np.ndarray:
    """The array in a ``.npy`` file (NumPy's NEP 1), perhaps read-only; never unpickles.

    Raises:
        FileNotFoundError: there is no such file.
        OSError: it cannot be read.
        ValueError: it is damaged, cut short, holds Python objects, or is no array.

    """
    data = _content(file)
    if data.startswith(VERSION_1):
        start = 10 + int.from_bytes(data[8:10], "little")
        plain = _plain_header(data[:start])
        if plain is not None:
            dtype, shape, count = plain
            # ValueError when fewer values follow
            return np.frombuffer(data, dtype, count, start).reshape(shape)
    return _load_by_numpy(data)


def _content(file: str | Path) -> bytes:
    # file objects of Python take as long as all the rest
    descriptor = os.open(file, os.O_RDONLY)
    try:
        blocks = []
        while block := os.read(descriptor, BLOCK_BYTES):
            blocks.append(block)
    finally:
        os.close(descriptor)
    return b"".join(blocks)


@lru_cache(maxsize=1024)
def _plain_header(header: bytes) -> tuple[np.dtype, tuple[int, ...], int] | None:
    """Type, shape and number of values that a header announces; None when NumPy itself has to look.

    Files of one kind share a few headers, and parsing one takes longer than all the rest.
    """
    try:
        shape, columns_first, dtype = np.lib.format.read_array_header_1_0(BytesIO(header[len(VERSION_1) :]))
    except DAMAGED_HEADER:
        return None
    count = math.prod(shape)
    if dtype.hasobject or (columns_first and len(shape) > 1) or min(shape, default=1) < 1 or not dtype.itemsize:
        return None
    return dtype, shape, count


def _load_by_numpy(data: bytes) -> np.ndarray:
    try:
        array = np.load(BytesIO(data), allow_pickle=False)
    except (*DAMAGED_HEADER, EOFError, MemoryError, OSError) as error:
        raise ValueError(str(error)) from error
    if not isinstance(array, np.ndarray):
        message = "an archive, not an array"
        raise ValueError(message)
    return array
