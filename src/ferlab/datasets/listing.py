"""What a reader finds: first where the files are (cheap), then every sample (a full look)."""

import os
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from ferlab.emotions import Taxonomy
from ferlab.manifest import Rejection
from ferlab.storage import sha256_of_text


@dataclass(frozen=True)
class Source:
    """Files of one copy of a dataset: the layout recognised, its root, and the files and folders to read."""

    layout: str
    root: Path
    entries: tuple[Path, ...]

    def signature(self) -> str:
        """SHA-256 over names, sizes and modification times of all files: changes when any file does."""
        lines = [
            f"{file.relative_to(self.root)}\t{status.st_size}\t{status.st_mtime_ns}"
            for entry in self.entries
            for file, status in _files_below(entry)
        ]
        return sha256_of_text(self.layout + "\n" + "\n".join(sorted(lines)))


@dataclass(frozen=True)
class Listing:
    """All samples of a dataset under one protocol (schema: ``samples.SAMPLE_SCHEMA``).

    ``rejected`` could not be used; ``excluded`` counts, by reason, samples the protocol leaves out.
    """

    table: pa.Table
    taxonomy: Taxonomy
    rejected: tuple[Rejection, ...] = ()
    excluded: dict[str, int] = field(default_factory=dict)


def _files_below(entry: Path) -> list[tuple[Path, os.stat_result]]:
    """Files and broken links below a folder; a linked folder is entered once."""
    if entry.is_file():
        return [(entry, entry.stat())]
    found, folders, entered = [], [str(entry)], set()
    while folders:
        folder = folders.pop()
        status = Path(folder).stat()
        if (status.st_dev, status.st_ino) in entered:
            continue
        entered.add((status.st_dev, status.st_ino))
        with os.scandir(folder) as listing:
            for item in listing:
                if item.is_dir():
                    folders.append(item.path)
                else:
                    found.append((Path(item.path), item.stat(follow_symlinks=item.is_file())))
    return found
