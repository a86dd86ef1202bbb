"""Records of shards: read in a thread of their own, decoded in others, in order."""

from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from ferlab.manifest import Manifest, Shard
from ferlab.parallel import in_order, taken_ahead
from ferlab.records.example import decode_example
from ferlab.records.load import UNREADABLE, Annotations, damaged, read_payloads, stored_sample
from ferlab.training.order import grouped

BLOCK_SIZE = 256
"""Samples that a network answers at a time where nothing is learned."""
READ_AHEAD = 2
"""Batches or blocks of records that are read before they are decoded."""


def image_bytes(manifest: Manifest) -> int:
    """Bytes of a decoded image."""
    return manifest.size_px**2 * manifest.channels


def stored_payloads(folder: Path, shards: Sequence[Shard]) -> Iterator[bytes]:
    """Serialised records of ``shards`` in order; errors as ``read_payloads``."""
    return chain.from_iterable(read_payloads(folder / shard.name, shard) for shard in shards)


def blocks_of(
    folder: Path, manifest: Manifest, shards: Sequence[Shard], threads: int, ahead: int
) -> Iterator[tuple[np.ndarray, Annotations]]:
    """Images and annotations of every sample of ``shards`` in order, BLOCK_SIZE at a time, the last of them fewer.

    ``threads`` decode them, at most ``ahead`` blocks more than were taken.
    """
    groups = taken_ahead(grouped(stored_payloads(folder, shards), BLOCK_SIZE, rest=True), READ_AHEAD)
    return in_order(decoded, ((payloads, folder, manifest) for payloads in groups), threads, ahead)


def decoded(payloads: Sequence[bytes], folder: Path, manifest: Manifest) -> tuple[np.ndarray, Annotations]:
    """Images uint8 (n, s, s, c) of records in ``folder``, and what is known of them; UserError when one is damaged."""
    images = np.empty((len(payloads), manifest.size_px, manifest.size_px, manifest.channels), np.uint8)
    known = Annotations.room_for(len(payloads), manifest)
    for place, payload in enumerate(payloads):
        try:
            sample = stored_sample(payload, manifest)
            images[place], known[place] = sample.pixels, sample.annotation
        except UNREADABLE as error:
            raise damaged(folder, str(error)) from error
    return images, known


def stored_label(payload: bytes, folder: Path) -> int:
    """Label of a record in ``folder``, the picture left as it is; UserError when it is damaged."""
    try:
        row: dict[str, Any] = decode_example(payload, only=("label",))
        return int(row["label"][0])
    except UNREADABLE as error:
        raise damaged(folder, str(error)) from error
