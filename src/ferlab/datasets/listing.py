"""What a reader finds: first where the files are (cheap), then every row (a full look), then a protocol's samples."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ferlab.datasets.image_files import ObjectStatus, entries_of
from ferlab.emotions import Taxonomy
from ferlab.manifest import Rejection
from ferlab.samples import SAMPLE_SCHEMA
from ferlab.storage.mirror import indexed

ROW_SCHEMA = pa.schema(
    [spec.with_name("part") if spec.name == "split" else spec for spec in SAMPLE_SCHEMA if spec.name != "twin"]
)
"""One row an image, as a copy of a dataset holds it; the columns are explained in ``samples.SAMPLE_SCHEMA``.

``part``: the release's own name of its split (``Training``, ``val``).
"""


@dataclass(frozen=True)
class Source:
    """Files of one copy of a dataset: the layout recognised, its root, and the files and folders to read.

    ``archive`` is the file it was unpacked from, if any; ``votes`` the file of FERPlus votes that belongs to it;
    ``url`` the address in a bucket that ``root``, or the archive, mirrors, None where it is itself the copy.
    """

    layout: str
    root: Path
    entries: tuple[Path, ...]
    archive: Path | None = None
    votes: Path | None = None
    url: str | None = None

    @property
    def name(self) -> str:
        """What the user calls it: the address in a bucket, the archive, or the folder."""
        return str(self.url or self.archive or self.root)

    def signature(self) -> str:
        """SHA-256 over names, sizes and modification times of all files: changes when any file does.

        Of a copy in a bucket, the checksums take the place of the times: every machine computes the same.
        """
        digest = hashlib.sha256(self.layout.encode())
        # what was unpacked has the times of the unpacking
        files = self.entries if self.archive is None else (self.archive,)
        for entry in filter(None, (*files, self.votes)):
            below = entry.is_relative_to(self.root)
            name = os.path.relpath(entry, self.root) if below or self.url is None else entry.name
            for line in _files_below(entry) if self.url is None else _objects_below(entry):
                digest.update(f"\n{name}\t{line}".encode("utf-8", "surrogateescape"))
        return digest.hexdigest()


@dataclass(frozen=True)
class Reading:
    """How to read: the classes wanted, and what a copy may leave open.

    ``label_order`` names the taxonomy whose numbers name the class folders of a repack.
    """

    taxonomy: Taxonomy
    label_order: str | None = None


@dataclass(frozen=True)
class Rows:
    """Every row of a copy (``ROW_SCHEMA``) before a protocol says what it is used for.

    ``label`` is a position in ``taxonomy``, -1 where the copy gives none. ``rejected`` could not be used, ``excluded``
    counts by reason what the taxonomy leaves out, ``policy`` says in words what was decided (Contempt, boxes),
    ``problems`` why no protocol may use this copy.
    """

    table: pa.Table
    taxonomy: Taxonomy
    rejected: tuple[Rejection, ...] = ()
    excluded: dict[str, int] = field(default_factory=dict)
    policy: dict[str, str] = field(default_factory=dict)
    problems: tuple[str, ...] = ()

    def located(self, source: Source) -> "Rows":
        """The same rows with ``gs://`` paths where the images stayed in the bucket that ``source.root`` stands for."""
        if source.url is None or source.archive:
            return self
        column = self.table.schema.get_field_index("path")
        paths = pc.replace_substring(self.table["path"], str(source.root), source.url, max_replacements=1)
        return replace(self, table=self.table.set_column(column, self.table.schema.field(column), paths))


@dataclass(frozen=True)
class Listing:
    """All samples of a dataset under one protocol (schema: ``samples.SAMPLE_SCHEMA``); the rest as in ``Rows``."""

    table: pa.Table
    taxonomy: Taxonomy
    rejected: tuple[Rejection, ...] = ()
    excluded: dict[str, int] = field(default_factory=dict)
    policy: dict[str, str] = field(default_factory=dict)


def row_table(ids: Sequence[str], parts: Sequence[str], labels: Sequence[int] | np.ndarray, **columns: Any) -> pa.Table:
    """A table of ``ROW_SCHEMA`` from columns; what is not given is null. TypeError for a column it does not have."""
    given = {"id": ids, "part": parts, "label": np.asarray(labels, dtype=np.int32), **columns}
    unknown = set(given) - set(ROW_SCHEMA.names)
    if unknown:
        message = f"no such columns: {', '.join(sorted(unknown))}"
        raise TypeError(message)
    arrays = [
        pa.nulls(len(ids), spec.type) if given.get(spec.name) is None else pa.array(given[spec.name], spec.type)
        for spec in ROW_SCHEMA
    ]
    return pa.Table.from_arrays(arrays, schema=ROW_SCHEMA)


def _files_below(entry: Path) -> Iterator[str]:
    """Name below ``entry``, size and time of every file and broken link in it; a linked folder is entered once."""
    if entry.is_file():
        yield _line("", entry.stat())
        return
    folders, entered = [""], set()
    while folders:
        folder = folders.pop()
        status = (entry / folder).stat()
        if (status.st_dev, status.st_ino) in entered:
            continue
        entered.add((status.st_dev, status.st_ino))
        for item in entries_of(entry / folder):
            name = f"{folder}{item.name}"
            if item.is_dir():
                folders.append(f"{name}/")
            else:
                yield _line(name, item.stat(follow_symlinks=item.is_file()))


def _objects_below(entry: Path) -> Iterator[str]:
    """Name below ``entry``, size and checksum of every object mirrored there; a file that mirrors none as it is."""
    if entry.is_file():
        start = f"{entry.name}\t"
        yield next((line for line in _indexed_lines(entry.parent) if line.startswith(start)), _line("", entry.stat()))
        return
    for folder, folders, _ in os.walk(entry):
        folders.sort()
        below = Path(folder).relative_to(entry).as_posix()
        for line in _indexed_lines(Path(folder)):
            yield f"{below}/{line}"


def _indexed_lines(folder: Path) -> Iterator[str]:
    for batch in indexed(folder):
        columns = (batch["name"], batch["size"].cast(pa.string()), batch["checksum"], "\t")
        yield from pc.binary_join_element_wise(*columns).to_pylist()


def _line(name: str, status: os.stat_result | ObjectStatus) -> str:
    return f"{name}\t{status.st_size}\t{status.st_mtime_ns}"
