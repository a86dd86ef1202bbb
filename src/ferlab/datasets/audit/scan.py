"""Every image of a copy, decoded once: digest of its pixels, size, brightness, contrast, sharpness, thumbnail."""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import pyarrow as pa

from ferlab.datasets.audit.features import THUMBNAIL_PX, thumbnail
from ferlab.imaging.codec import ImageError, decode, square_pixels
from ferlab.imaging.geometry import crop
from ferlab.samples import pixel_digest
from ferlab.storage import places

BATCH = 256
Progress = Callable[[int, int], None]


def unwatched(_done: int, _total: int) -> None:
    """Progress that nobody watches."""


@dataclass(frozen=True)
class Scan:
    """One entry a row of the table that was scanned.

    ``digests`` uint64 (n, 2): ``samples.pixel_digest`` of the gray pixels (of the face box where there is one);
    ``sizes`` int32 (n, 2): width and height in pixels; ``means`` and ``contrasts`` (standard deviation) float32 (n,) in
    gray levels; ``sharpness`` float32 (n,): mean absolute Laplacian; ``thumbnails`` uint8 (n, 32, 32). ``unusable``
    maps a row to the reason why it could not be decoded; its entries are zero.
    """

    digests: np.ndarray
    sizes: np.ndarray
    means: np.ndarray
    contrasts: np.ndarray
    sharpness: np.ndarray
    thumbnails: np.ndarray
    unusable: dict[int, str]

    def digest_list(self) -> list[bytes | None]:
        """``samples.pixel_digest`` of every row; None where it could not be decoded."""
        return [None if row in self.unusable else pair.tobytes() for row, pair in enumerate(self.digests)]

    @property
    def usable(self) -> np.ndarray:
        """Boolean (n,): rows that were decoded."""
        mask = np.ones(len(self.digests), dtype=bool)
        mask[list(self.unusable)] = False
        return mask


def scan(table: pa.Table, cores: int, on_progress: Progress) -> Scan:
    """Look at every row of a table (``ROW_SCHEMA``) with ``cores`` threads."""
    count = table.num_rows
    result = Scan(
        digests=np.zeros((count, 2), np.uint64),
        sizes=np.zeros((count, 2), np.int32),
        means=np.zeros(count, np.float32),
        contrasts=np.zeros(count, np.float32),
        sharpness=np.zeros(count, np.float32),
        thumbnails=np.zeros((count, THUMBNAIL_PX, THUMBNAIL_PX), np.uint8),
        unusable={},
    )

    def look(start: int, rows: list[dict[str, Any]]) -> None:
        for position, row in enumerate(rows, start):
            try:
                gray = gray_pixels(row)
            except ImageError as error:
                result.unusable[position] = str(error)
                continue
            deviation = cv2.meanStdDev(gray)
            result.digests[position] = np.frombuffer(pixel_digest(gray), np.uint64)
            result.sizes[position] = gray.shape[::-1]
            result.means[position], result.contrasts[position] = deviation[0][0, 0], deviation[1][0, 0]
            result.sharpness[position] = cv2.mean(np.abs(cv2.Laplacian(gray, cv2.CV_16S)))[0]
            result.thumbnails[position] = thumbnail(gray)

    _over_batches(table, look, cores, on_progress)
    return result


def pixel_digests(table: pa.Table, cores: int, on_progress: Progress = unwatched) -> list[bytes | None]:
    """``samples.pixel_digest`` of every row's gray pixels; None where they cannot be decoded."""
    digests: list[bytes | None] = [None] * table.num_rows

    def look(start: int, rows: list[dict[str, Any]]) -> None:
        for position, row in enumerate(rows, start):
            try:
                digests[position] = pixel_digest(gray_pixels(row))
            except ImageError:
                continue

    _over_batches(table, look, cores, on_progress)
    return digests


def gray_pixels(row: dict[str, Any]) -> np.ndarray:
    """Gray pixels uint8 (h, w) of a row, cut to its face box where it has one; ImageError when there are none."""
    if row["pixels"] is not None:
        return square_pixels(row["pixels"], "gray")
    try:
        data = places.read_bytes(row["path"])
    except OSError as error:
        message = f"cannot be read ({error.strerror})"
        raise ImageError(message) from error
    gray = decode(data, "gray")
    return gray if row["box"] is None else crop(gray, row["box"], 0.0)


COLUMNS = ("path", "pixels", "box")


def _over_batches(
    table: pa.Table, look: Callable[[int, list[dict[str, Any]]], None], cores: int, on_progress: Progress
) -> None:
    """Call ``look(start, rows)`` on all batches in threads: decoding leaves Python's lock, so they run side by side."""
    columns = table.select(COLUMNS)

    def batches() -> Iterator[tuple[int, pa.Table]]:
        for start in range(0, table.num_rows, BATCH):
            yield start, columns.slice(start, BATCH)

    def work(start: int, batch: pa.Table) -> int:
        look(start, batch.to_pylist())
        return batch.num_rows

    done = 0
    pool = ThreadPoolExecutor(cores)
    waiting: deque[Future[int]] = deque()
    try:
        for start, batch in batches():
            waiting.append(pool.submit(work, start, batch))
            if len(waiting) > 2 * cores:
                done += waiting.popleft().result()
                on_progress(done, table.num_rows)
        while waiting:
            done += waiting.popleft().result()
            on_progress(done, table.num_rows)
    finally:
        pool.shutdown(cancel_futures=True)
