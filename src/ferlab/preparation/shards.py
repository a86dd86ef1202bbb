"""The executors' work: the rows of a shard in, a finished shard out. No TensorFlow, no Spark imports."""

import errno
import hashlib
import json
import tempfile
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa

from ferlab.errors import UserError
from ferlab.imaging.codec import ImageError, decode, encode, square_pixels
from ferlab.imaging.face import face_of_file, face_of_pixels
from ferlab.preparation.plan import Plan, Task
from ferlab.records.example import encode_example
from ferlab.records.tfrecord import ShardWriter
from ferlab.samples import pixel_digest
from ferlab.storage import places
from ferlab.storage.objects import is_remote

ROWS_PER_READ = 256
READERS = 16
"""Outcomes are tiny, so in a bucket the waiting is shared among some threads."""
READ_AHEAD = 16
MANY_ROWS = 20
LASTING = frozenset(
    {errno.ENOENT, errno.EACCES, errno.EPERM, errno.ELOOP, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG}
)
"""What the file itself is to blame for; other errors are the disk's or the network's."""
CONTENT_BITS = 256


@dataclass(frozen=True)
class Outcome:
    """What became of the rows of one shard.

    ``content`` is the sum, modulo 2 ** 256, of the SHA-256 of every sample's id, split, label, stored picture, votes,
    box and landmarks: it does not depend on how samples are spread over shards. ``counts`` maps a label to its number
    of samples; ``rejected`` holds pairs of id and reason, ``unread`` of them were not found or not to be opened, which
    may change; ``bytes_in`` is the size of the source images; times are seconds since 1970.
    """

    name: str
    split: str
    samples: int
    bytes: int
    sha256: str
    content: int
    counts: dict[int, int]
    twins: int
    rejected: list[tuple[str, str]]
    unread: int
    bytes_in: int
    started_s: float
    ended_s: float

    def save(self, plan: Plan) -> None:
        """Write it beside its shard, which counts as finished from this moment."""
        data = asdict(self) | {"content": f"{self.content:064x}"}
        places.write_bytes(plan.outcome(self.name), json.dumps(data).encode())


def load_outcomes(plan: Plan, names: Sequence[str]) -> list[Outcome | None]:
    """The outcome of each shard, None where it is not finished or what was written of it is damaged."""
    with ThreadPoolExecutor(READERS) as pool:
        return list(pool.map(partial(_load_outcome, plan), names))


def _load_outcome(plan: Plan, name: str) -> Outcome | None:
    try:
        data = json.loads(places.read_bytes(plan.outcome(name)))
        data["content"] = int(data["content"], 16)
        data["counts"] = {int(label): count for label, count in data["counts"].items()}
        data["rejected"] = [(sample_id, reason) for sample_id, reason in data["rejected"]]
        return Outcome(**data)
    except (OSError, ValueError, TypeError, KeyError):
        return None


def carry_out_task(plan: Plan, task: Task) -> int:
    """Make the shards of a task; the number of its samples.

    A task that is tried again, since its worker was lost, goes on after the shards that it had finished.
    """
    cv2.setNumThreads(1)
    done = [_load_outcome(plan, name) or make_shard(plan, name) for name in task.names]
    return sum(outcome.samples for outcome in done)


def make_shard(plan: Plan, name: str) -> Outcome:
    """Write one shard and its outcome; both are complete or absent, and the same whoever makes them.

    One image at a time is in memory, beside the rows of the shard.

    Raises:
        UserError: another OpenCV, or images that cannot be read although they are there, or none of them.

    """
    if cv2.__version__ != plan.opencv:
        message = f"a worker has OpenCV {cv2.__version__}, this machine {plan.opencv}: pictures would differ. Use one."
        raise UserError(message)
    rows = pa.ipc.open_file(places.read_bytes(plan.rows(name))).read_all()
    if is_remote(plan.folder):
        with tempfile.TemporaryDirectory(prefix="ferlab-") as scratch:
            outcome = _write(plan, name, rows, Path(scratch) / name)
            places.put(Path(scratch) / name, plan.shard(name))
    else:
        outcome = _write(plan, name, rows, Path(plan.shard(name)))
    outcome.save(plan)
    return outcome


@dataclass
class _Tally:
    """Counts of one shard while it is written."""

    counts: Counter[int] = field(default_factory=Counter)
    twins: int = 0
    rejected: list[tuple[str, str]] = field(default_factory=list)
    unread: int = 0
    content: int = 0
    bytes_in: int = 0


def _write(plan: Plan, name: str, rows: pa.Table, file: Path) -> Outcome:
    started = time.time()
    tally = _Tally()
    split = name.split("-")[0]
    samples = (sample for batch in rows.to_batches(max_chunksize=ROWS_PER_READ) for sample in batch.to_pylist())
    with ShardWriter(file) as writer:
        for sample, source in _sources(samples):
            payload = _record(sample, source, plan, split, tally)
            if payload:
                writer.write(payload)
    if tally.unread == rows.num_rows >= MANY_ROWS:
        reason = tally.rejected[0][1]
        message = f"{rows['path'][0]}: like all {rows.num_rows} images of its shard {reason}. Do all workers see it?"
        raise UserError(message)
    return Outcome(
        name,
        split,
        writer.samples,
        writer.bytes,
        writer.sha256,
        tally.content,
        dict(tally.counts),
        tally.twins,
        tally.rejected,
        tally.unread,
        tally.bytes_in,
        started,
        time.time(),
    )


def _sources(samples: Iterator[dict[str, Any]]) -> Iterator[tuple[dict[str, Any], Callable[[], bytes]]]:
    """Every sample in order with a function that gives its source bytes.

    Objects of a bucket are asked for ahead, READ_AHEAD at a time, since each answer takes many times the work on it.
    """
    waiting: deque[tuple[dict[str, Any], Callable[[], bytes]]] = deque()
    with ThreadPoolExecutor(READ_AHEAD) as pool:  # starts no thread before it gets work
        for sample in samples:
            in_bucket = sample["pixels"] is None and is_remote(sample["path"])
            source = pool.submit(source_bytes, sample).result if in_bucket else partial(source_bytes, sample)
            waiting.append((sample, source))
            if len(waiting) > READ_AHEAD:
                yield waiting.popleft()
        yield from waiting


def _record(sample: dict[str, Any], source: Callable[[], bytes], plan: Plan, split: str, tally: _Tally) -> bytes | None:
    """The record of a sample, counted; None when it cannot be used."""
    try:
        data = source()
        tally.bytes_in += len(data)
        pixels = picture(sample, data, plan)
    except ImageError as error:
        tally.rejected.append((sample["id"], str(error)))
        tally.unread += isinstance(error, UnreadError)
        return None
    tally.counts[sample["label"]] += 1
    tally.twins += bool(sample["twin"])
    image = encode(pixels, plan.settings.encoding)
    digest = stored_digest(pixels, image, plan.settings.encoding)
    tally.content = (tally.content + sample_content(sample, split, digest)) % 2**CONTENT_BITS
    return make_record(sample, image, digest)


class UnreadError(ImageError):
    """An image that is not there, or must not be opened."""


def source_bytes(sample: dict[str, Any]) -> bytes:
    """The image file of a sample, or its bare pixels.

    Raises:
        UnreadError: the file or object is not there, or must not be opened.
        UserError: the disk or the network fails; another attempt may succeed.

    """
    if sample["pixels"] is not None:
        return sample["pixels"]
    try:
        return places.read_bytes(sample["path"])
    except OSError as error:
        if error.errno in LASTING:
            message = f"cannot be read ({error.strerror})"
            raise UnreadError(message) from error
        message = f"{sample['path']}: cannot be read ({error.strerror}). Is its disk or share well? Then run it again."
        raise UserError(message) from error


def picture(sample: dict[str, Any], data: bytes, plan: Plan) -> np.ndarray:
    """What is stored of a sample, uint8 (size_px, size_px[, 3]).

    Raises:
        ImageError: the image cannot be decoded, or is not what the release has.

    """
    box, landmarks = sample["box"], sample["landmarks"]
    if sample["pixels"] is None and plan.exact_px is None:
        return face_of_file(data, plan.settings, box, landmarks)
    colour = plan.settings.colour
    pixels = square_pixels(data, colour) if sample["pixels"] is not None else decode(data, colour)
    side = plan.exact_px
    if side and pixels.shape[:2] != (side, side):
        message = f"{pixels.shape[1]}x{pixels.shape[0]} px, the release has {side}x{side} px"
        raise ImageError(message)
    return face_of_pixels(pixels, plan.settings, box, landmarks)


def stored_digest(pixels: np.ndarray, image: bytes, encoding: str) -> bytes:
    """16 bytes that identify a picture as it is stored: of its pixels, or of the file where that is lossy."""
    return pixel_digest(np.frombuffer(image, np.uint8) if encoding == "jpeg" else pixels)


def sample_content(sample: dict[str, Any], split: str, digest: bytes) -> int:
    """A number of CONTENT_BITS bits for everything that makes a sample what it is."""
    marks = [sample[name] for name in ("votes", "box", "landmarks") if sample[name] is not None]
    line = f"{sample['id']}\t{split}\t{sample['label']}\t{digest.hex()}\t{json.dumps(marks)}\n"
    return int.from_bytes(hashlib.sha256(line.encode()).digest(), "big")


def make_record(sample: dict[str, Any], image: bytes, digest: bytes) -> bytes:
    """The serialised ``tf.train.Example`` of a sample with its encoded picture and ``stored_digest``."""
    features: dict[str, Any] = {
        "id": sample["id"].encode(),
        "image": image,
        "label": [sample["label"]],
        "pixel_digest": digest,
    }
    for name in ("valence", "arousal"):
        if sample[name] is not None:
            features[name] = [float(sample[name])]
    if sample["votes"] is not None:
        features["votes"] = sample["votes"]
    if sample["twin"] is not None:
        features["twin"] = [int(sample["twin"])]
    return encode_example(features)
