"""Files that are complete or absent: atomic writing, locking, checksums.

Every result of ferlab passes through here, so a full disk or a kill never leaves a file that the next run
would take for whole.
"""

import contextlib
import errno
import fcntl
import hashlib
import os
import platform
import shutil
from collections.abc import Iterator
from pathlib import Path

from ferlab.errors import AlreadyRunningError, UserError

NO_SPACE = frozenset({errno.ENOSPC, errno.EFBIG, errno.EDQUOT})
NO_SPACE_WORDS = (
    "No space left on device", "File too large", "Disk quota exceeded", "disk is full", "disk I/O error"
)  # fmt: skip


def no_space_error(where: str | Path) -> UserError:
    """The one line for a full disk, quota or file-size limit."""
    return UserError(
        f"{where}: the disk is full (or a size limit is reached) while writing. Nothing unfinished was kept; "
        "free some space, or point FERLAB_HOME at another disk, and run the same command again."
    )


@contextlib.contextmanager
def writing_errors(where: str | Path) -> Iterator[None]:
    """Turn a full disk or a forbidden folder into a UserError that names the place."""
    try:
        yield
    except OSError as error:
        if error.errno in NO_SPACE:
            raise no_space_error(where) from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST):
            message = f"{where}: cannot be written ({error.strerror}). Change its permissions or choose another place."
            raise UserError(message) from error
        raise


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary name beside ``path``, renamed onto it when the block ends well and removed when not.

    Raises:
        UserError: the disk is full or the folder cannot be written.

    """
    # two machines that share a folder may have processes of one number
    partial = path.with_name(f"{path.name}.partial-{platform.node()}-{os.getpid()}")
    with writing_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield partial
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a whole text file atomically."""
    with atomic_path(path) as partial:
        partial.write_text(text, encoding="utf-8")


def remove_folder(path: Path) -> None:
    """Remove a folder of ours and all below it; absent is fine."""
    shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def exclusive(lock: Path, busy: str | None = None) -> Iterator[None]:
    """Hold ``lock`` while the block runs; others that ask for it wait. A killed holder frees it.

    Raises:
        AlreadyRunningError: somebody holds it and ``busy``, the message, was given.

    """
    with writing_errors(lock):
        lock.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX if busy is None else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise AlreadyRunningError(busy) from error
        yield
    finally:
        os.close(descriptor)


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes as 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_of_text(text: str) -> str:
    """SHA-256 of a text's UTF-8 bytes as 64 hex digits."""
    return hashlib.sha256(text.encode()).hexdigest()
