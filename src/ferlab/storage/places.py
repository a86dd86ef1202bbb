"""The same verbs for a folder of this machine and for a prefix in a bucket: a place is a path or a ``gs://`` URL.

Errors: OSError with the place as ``filename`` for what is wrong with one file or object, UserError where the disk is
full, a folder cannot be written, or the bucket cannot be used at all.
"""

import contextlib
import errno
import os
import shutil
from pathlib import Path

from ferlab.storage import files, objects
from ferlab.storage.objects import is_remote


def joined(place: str, *names: str) -> str:
    """The place of ``names`` below another: ``joined("gs://b/a", "c", "d.txt")`` is ``gs://b/a/c/d.txt``."""
    return "/".join([place.rstrip("/"), *names])


def read_bytes(place: str) -> bytes:
    """All bytes of a file or object; FileNotFoundError when there is none."""
    return objects.read_bytes(place) if is_remote(place) else Path(place).read_bytes()


def write_bytes(place: str, data: bytes) -> None:
    """Write a file (with the folders above it) or object; it is complete or as it was."""
    if is_remote(place):
        objects.write_bytes(place, data)
        return
    with files.atomic_path(Path(place)) as partial:
        partial.write_bytes(data)


def sizes_below(place: str) -> dict[str, int]:
    """Bytes of all files below a folder or objects below a prefix, by name relative to it; empty when it is absent."""
    if is_remote(place):
        return {row["name"]: row["size"] for batch in objects.objects(place) for row in batch.to_pylist()}
    sizes = {}
    for folder, _, names in os.walk(place):
        for file in (Path(folder, name) for name in names):
            with contextlib.suppress(FileNotFoundError):  # another process may be tidying up
                sizes[file.relative_to(place).as_posix()] = file.stat().st_size
    return sizes


def names_below(place: str) -> list[str]:
    """Names of all files below a folder or objects below a prefix, relative to it, sorted; none when it is absent."""
    return sorted(sizes_below(place))


def remove(place: str) -> None:
    """Remove a file or object of that name and all below it; absent is fine."""
    if is_remote(place):
        below = (joined(place, name) for batch in objects.objects(place) for name in batch["name"].to_pylist())
        objects.delete_all(below)
        if objects.split_url(place)[1].strip("/"):
            objects.delete_all([place])
    elif Path(place).is_dir() and not Path(place).is_symlink():
        files.remove_folder(Path(place))
    else:
        Path(place).unlink(missing_ok=True)


def put(file: Path, place: str) -> None:
    """Move a finished file of this machine to a place, which holds all of it or what it held before."""
    if is_remote(place):
        objects.put(file, place)
        file.unlink()
        return
    target = Path(place)
    with files.writing_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            file.replace(target)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            with files.atomic_path(target) as partial:
                shutil.copyfile(file, partial)
            file.unlink()


def copy(file: Path, place: str) -> None:
    """Copy a file of this machine to a place, which holds all of it or what it held before."""
    if is_remote(place):
        objects.put(file, place)
        return
    with files.atomic_path(Path(place)) as partial:
        shutil.copyfile(file, partial)


def fetch(place: str, file: Path) -> None:
    """Copy a file or object to a file of this machine, which is complete or absent."""
    if is_remote(place):
        objects.fetch(place, file)
        return
    with files.atomic_path(file) as partial:
        shutil.copyfile(place, partial)
