"""Rows that share a key (a photo, the same pixels): keys as small numbers, and the groups that they join rows into."""

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

NO_KEY = -1

Keys: TypeAlias = Sequence[object] | np.ndarray | pa.Array | pa.ChunkedArray
"""One key a row, None where it has none; a NumPy array holds codes (``key_codes``)."""


def key_codes(keys: Keys) -> np.ndarray:
    """Integers (n,) that are equal where keys are; ``NO_KEY`` where there is none, which is shared with nobody."""
    if isinstance(keys, np.ndarray):
        return keys
    column = keys if isinstance(keys, pa.Array | pa.ChunkedArray) else pa.array(keys)
    if column.null_count == len(column):
        return np.full(len(column), NO_KEY, dtype=np.int32)
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    return pc.fill_null(pc.dictionary_encode(column).indices, NO_KEY).to_numpy()


def shared_with(codes: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Whether each row's key is also that of one of ``rows`` (a mask): bool (n,), true for those rows themselves."""
    marked = np.zeros(codes.max(initial=NO_KEY) + 2, dtype=bool)
    marked[codes[rows]] = True
    # NO_KEY, the last place
    marked[NO_KEY] = False
    return marked[codes]


def disputed(codes: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Whether each row's key also stands there under another label: bool (n,)."""
    one_label = np.zeros(codes.max(initial=NO_KEY) + 2, dtype=labels.dtype)
    one_label[codes] = labels
    return shared_with(codes, one_label[codes] != labels)


def joined_groups(*keys: Keys) -> np.ndarray:
    """Group number (n,) of each sample: samples that share any key (None shares with nobody) are in one group."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    columns = [key_codes(column) for column in keys]
    count = len(columns[0])
    rows, nodes, first = [], [], count
    for codes in columns:
        # a key that only one sample has joins nothing
        often = np.flatnonzero(np.bincount(codes[codes != NO_KEY]) > 1)
        sharing = np.flatnonzero(np.isin(codes, often))
        rows.append(sharing)
        nodes.append(first + np.searchsorted(often, codes[sharing]))
        first += len(often)
    places = (np.concatenate(rows), np.concatenate(nodes))
    edges = coo_array((np.ones(len(places[0]), np.int8), places), shape=(first, first))
    return connected_components(edges, directed=False)[1][:count]
