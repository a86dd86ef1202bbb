"""What lies in a folder of images: image files, folders, and files that do not belong there.

In the mirror of a bucket the images are not files but rows of the folder's index; both are entries.
"""

import heapq
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow.compute as pc

from ferlab.errors import UserError
from ferlab.imaging.codec import IMAGE_SUFFIXES
from ferlab.storage.mirror import indexed

LEFT_BY_DESKTOPS = frozenset({"thumbs.db", "desktop.ini", "__macosx"})
NOT_AN_IMAGE = "not an image file"


@dataclass(frozen=True, slots=True)
class ObjectStatus:
    """Size in bytes of an object; its content, not its age, says whether it changed."""

    st_size: int
    st_mtime_ns: int = 0


@dataclass(frozen=True, slots=True)
class ObjectEntry:
    """An object that was left in its bucket, as ``os.DirEntry`` shows a file; at ``path`` there is none."""

    folder: str
    name: str
    size: int

    @property
    def path(self) -> str:
        """Where the file would be in the mirror."""
        return f"{self.folder}/{self.name}"

    def is_dir(self, *, follow_symlinks: bool = True) -> bool:
        """Never."""
        return False

    def is_file(self, *, follow_symlinks: bool = True) -> bool:
        """Always."""
        return True

    def is_symlink(self) -> bool:
        """Never."""
        return False

    def stat(self, *, follow_symlinks: bool = True) -> ObjectStatus:
        """Its size; the time is always 0."""
        return ObjectStatus(self.size)


Entry = os.DirEntry[str] | ObjectEntry


def entries_of(folder: Path) -> Iterator[Entry]:
    """The entries of a folder by name, without hidden files and those that desktops leave behind.

    Raises:
        UserError: the folder cannot be read.

    """
    try:
        with os.scandir(folder) as entries:
            found = [entry for entry in entries if not _is_overlooked(entry.name)]
    except OSError as error:
        message = f"{folder}: cannot be read ({error.strerror}). Change its permissions, or download it again."
        raise UserError(message) from error
    found.sort(key=_name)
    return heapq.merge(found, _left_in_bucket(folder), key=_name)


def is_folder(entry: Entry) -> bool:
    """Whether it is a folder or a link to one; a broken link is none."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def is_image(entry: Entry) -> bool:
    """Whether its name ends like an image and it is no folder; whether it can be decoded shows later."""
    return entry.name.lower().endswith(IMAGE_SUFFIXES) and not is_folder(entry)


def _left_in_bucket(folder: Path) -> Iterator[ObjectEntry]:
    for batch in indexed(folder):
        left = batch.filter(pc.invert(batch["here"]))
        for name, size in zip(left["name"].to_pylist(), left["size"].to_pylist(), strict=True):
            if not _is_overlooked(name):
                yield ObjectEntry(str(folder), name, size)


def _name(entry: Entry) -> str:
    return entry.name


def _is_overlooked(name: str) -> bool:
    return name.startswith(".") or name.lower() in LEFT_BY_DESKTOPS
