"""What is to be done, written down for the workers: the rows of every shard, and what all records have in common."""

import json
from collections.abc import Collection, Iterable, Iterator
from dataclasses import asdict, dataclass
from io import BytesIO

import cv2
import numpy as np
import pyarrow as pa

from ferlab.imaging.face import ImageSettings
from ferlab.parallel import in_order
from ferlab.samples import SPLITS, hash_fractions
from ferlab.storage import places

WORK = ".work"
"""Below the place of a prepared dataset until it is complete: the plan, the rows and the outcome of every shard."""

PLAN_NAME = "plan.json"
SHARDS_PER_SPLIT = 16
"""At least so many, so that every core has work."""
SHARD_BYTES = 150_000_000
WRITERS = 8
ROWS_PER_TASK = 1000
"""About a second of work, so that neither the start of a task nor the loss of one costs much."""
BYTES_PER_VALUE = {"jpeg": 0.2, "png": 0.8, "raw": 1.0, "float32": 4.0}
"""What a gray or colour value takes in a record, roughly; decides how many shards there are and nothing else."""


@dataclass(frozen=True)
class Task:
    """Shards that one worker makes one after the other, and the number of their rows."""

    names: tuple[str, ...]
    rows: int


@dataclass(frozen=True)
class Plan:
    """A preparation that any Spark can carry out, and go on with.

    ``folder`` is where the shards go (a folder that all workers see, or ``gs://``); ``names`` are those of all shards;
    ``sizes`` their numbers of rows; ``exact_px`` is the side that every source image must have, None when they vary;
    ``opencv`` is the version that decodes and encodes, for every worker the same.
    """

    folder: str
    settings: ImageSettings
    names: tuple[str, ...]
    sizes: tuple[int, ...]
    exact_px: int | None = None
    opencv: str = cv2.__version__

    def save(self) -> None:
        """Write it below its folder."""
        places.write_bytes(places.joined(self.folder, WORK, PLAN_NAME), json.dumps(asdict(self)).encode())

    @classmethod
    def load(cls, folder: str) -> "Plan":
        """The plan that was saved for a folder; FileNotFoundError when there is none."""
        data = json.loads(places.read_bytes(places.joined(folder, WORK, PLAN_NAME)))
        settings, names, sizes = ImageSettings(**data.pop("settings")), data.pop("names"), data.pop("sizes")
        return cls(settings=settings, names=tuple(names), sizes=tuple(sizes), **data)

    def tasks(self, done: Collection[str]) -> list[Task]:
        """The shards that are not ``done`` in pieces of work.

        Small ones go together, since each task costs some time, but never so many that cores would have no work.
        """
        tasks: list[Task] = []
        limit = min(ROWS_PER_TASK, sum(self.sizes) // SHARDS_PER_SPLIT)
        for name, size in zip(self.names, self.sizes, strict=True):
            if name in done:
                continue
            if tasks and tasks[-1].rows + size <= limit:
                tasks[-1] = Task((*tasks[-1].names, name), tasks[-1].rows + size)
            else:
                tasks.append(Task((name,), size))
        return tasks

    def shard(self, name: str) -> str:
        """Where a shard goes."""
        return places.joined(self.folder, name)

    def rows(self, name: str) -> str:
        """Where the rows of a shard lie."""
        return places.joined(self.folder, WORK, f"{name}.arrow")

    def outcome(self, name: str) -> str:
        """Where the outcome of a finished shard lies."""
        return places.joined(self.folder, WORK, f"{name}.json")


@dataclass(frozen=True)
class Layout:
    """Which rows of a table go into which shard: into ``names[i]`` those of ``order[starts[i]:starts[i + 1]]``."""

    names: tuple[str, ...]
    order: np.ndarray
    starts: np.ndarray

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of rows of each shard."""
        return tuple(np.diff(self.starts).tolist())

    def rows(self, table: pa.Table) -> Iterator[tuple[str, pa.Table]]:
        """Each shard's name and its rows in order."""
        # rows of a shard lie everywhere, and each chunk costs a search; large types hold more than 2 GiB in one
        whole = table.cast(_large(table.schema)).combine_chunks()
        for name, first, last in zip(self.names, self.starts[:-1], self.starts[1:], strict=True):
            yield name, whole.take(pa.array(self.order[first:last]))


def lay_out(table: pa.Table, settings: ImageSettings, shards: int | None = None) -> Layout:
    """Spread the rows of a sample table over shards: by hashes of their ids, so by nothing but the ids.

    A split has ``shards`` shards, or so many that each has about SHARD_BYTES, and at least SHARDS_PER_SPLIT.
    """
    fractions = hash_fractions(table["id"], 0, "shard")
    splits = table["split"].dictionary_encode().unify_dictionaries().combine_chunks()
    known = [SPLITS.index(name) for name in splits.dictionary.to_pylist()]
    split = np.array(known, np.int64)[splits.indices.to_numpy()]
    totals = np.bincount(split, minlength=len(SPLITS))
    per_shard = images_per_shard(settings)
    counts = np.array([shards or max(SHARDS_PER_SPLIT, -(-int(total) // per_shard)) for total in totals])
    numbers = (fractions * counts[split]).astype(np.int64)
    order = np.lexsort((fractions, numbers, split))
    shard = (np.cumsum(counts) - counts)[split[order]] + numbers[order]
    starts = np.flatnonzero(np.diff(shard, prepend=-1))
    firsts = order[starts].tolist()
    names = [f"{SPLITS[split[row]]}-{numbers[row]:05d}-of-{counts[split[row]]:05d}.tfrecord" for row in firsts]
    return Layout(tuple(names), order, np.append(starts, len(order)))


def images_per_shard(settings: ImageSettings) -> int:
    """How many records make about SHARD_BYTES."""
    values = settings.size_px**2 * (1 if settings.colour == "gray" else 3)
    return max(1, int(SHARD_BYTES / (values * BYTES_PER_VALUE[settings.encoding])))


def write_rows(plan: Plan, rows: Iterable[tuple[str, pa.Table]]) -> None:
    """Write the rows of shards where the workers look for them, a few at a time."""

    def write(name: str, table: pa.Table) -> None:
        buffer = BytesIO()
        with pa.ipc.new_file(buffer, table.schema) as writer:
            writer.write_table(table)
        places.write_bytes(plan.rows(name), buffer.getvalue())

    for _ in in_order(write, rows, WRITERS, WRITERS):
        pass


def _large(schema: pa.Schema) -> pa.Schema:
    """The schema with 64-bit offsets."""
    return pa.schema([field.with_type(_large_type(field.type)) for field in schema])


def _large_type(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_list(kind):
        return pa.large_list(kind.value_type)
    return {pa.string(): pa.large_string(), pa.binary(): pa.large_binary()}.get(kind, kind)
