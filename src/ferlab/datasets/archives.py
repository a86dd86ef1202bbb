"""Archives as people download them: unpacked once into a cache, and never outside it."""

import errno
import lzma
import os
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

from ferlab.datasets.listing import Source
from ferlab.errors import UserError, first_line
from ferlab.storage.files import NO_SPACE, exclusive, remove_folder, sha256_of_text, writing_errors

SUFFIXES = (".zip", ".tar.gz", ".tgz", ".tar")
LARGEST_RATIO = 200
"""Unpacked bytes a packed byte; text of pixels packs about ninefold, a decompression bomb a thousandfold."""
DAMAGED = (
    zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, NotImplementedError,
    RuntimeError,
)  # fmt: skip
NOT_ITS_FAULT = NO_SPACE | {errno.EACCES, errno.EPERM, errno.EROFS}
"""Errors of the disk, not of the archive."""
NESTED = 2
"""Kaggle's download is a .zip that holds .tar.gz files."""


def is_archive(path: Path) -> bool:
    """Whether the name says .zip, .tar, .tar.gz or .tgz."""
    return path.name.lower().endswith(SUFFIXES) and path.is_file()


def locate_in(root: Path, cache: Path, locate: Callable[[Path], Source]) -> Source:
    """What ``locate`` recognises in a folder, in an archive, or in an archive that lies in the folder.

    Raises:
        UserError: nothing is recognised (the reason is that of the folder itself), or an archive is damaged or unsafe.

    """
    return _locate(root, cache, locate, NESTED)


def _locate(root: Path, cache: Path, locate: Callable[[Path], Source], depth: int) -> Source:
    if is_archive(root):
        inner = _locate(unpacked(root, cache), cache, locate, depth - 1)
        return Source(inner.layout, inner.root, inner.entries, root)
    try:
        return locate(root)
    except UserError as reason:
        readable = depth and root.is_dir() and os.access(root, os.R_OK | os.X_OK)
        archives = sorted(path for path in root.iterdir() if is_archive(path)) if readable else []
        for archive in archives:
            try:
                return _locate(archive, cache, locate, depth)
            except UserError as error:
                if len(archives) == 1:
                    raise error from reason
        raise


def unpacked(archive: Path, cache: Path) -> Path:
    """The folder below ``cache`` with the contents of ``archive``, unpacked now or before.

    Raises:
        UserError: not an archive, damaged, or with members that would leave the folder or are no files.

    """
    status = archive.stat()
    key = sha256_of_text(f"{archive.resolve()}\t{status.st_size}\t{status.st_mtime_ns}")[:16]
    folder = cache / f"{archive.name.split('.')[0]}-{key}"
    with exclusive(cache / ".locks" / folder.name), writing_errors(folder):
        if not folder.exists():
            partial = folder.with_name(f"{folder.name}.partial-{os.getpid()}")
            partial.mkdir(parents=True)
            try:
                _unpack(archive, partial, status.st_size)
                partial.rename(folder)
            finally:
                remove_folder(partial)
    return folder


def _unpack(archive: Path, folder: Path, packed_bytes: int) -> None:
    try:
        if archive.name.lower().endswith(".zip"):
            with zipfile.ZipFile(archive) as content:
                _refuse_bomb(archive, sum(member.file_size for member in content.infolist()), packed_bytes)
                _refuse_outside(archive, content.namelist())
                content.extractall(folder)
        else:
            with tarfile.open(archive) as content:
                members = content.getmembers()
                _refuse_bomb(archive, sum(member.size for member in members), packed_bytes)
                content.extractall(folder, members, filter="data")
                # tarfile stops before the checksum at the end of the compressed stream
                while content.fileobj is not None and content.fileobj.read(1 << 20):
                    pass
    except (*DAMAGED, OSError) as error:
        if isinstance(error, OSError) and error.errno in NOT_ITS_FAULT:
            raise
        message = f"{archive}: cannot be unpacked ({first_line(error) if str(error) else 'damaged'})."
        raise UserError(message) from error


def _refuse_bomb(archive: Path, unpacked_bytes: int, packed_bytes: int) -> None:
    if unpacked_bytes > LARGEST_RATIO * max(packed_bytes, 1 << 20):
        message = (
            f"{archive}: {packed_bytes:,} bytes would become {unpacked_bytes:,}. If you trust it, unpack it and "
            "point dataset.root at the folder."
        )
        raise UserError(message)


def _refuse_outside(archive: Path, names: list[str]) -> None:
    """The zip module drops leading parts silently; a dataset has no business with them."""
    for name in names:
        if name.startswith(("/", "\\")) or ".." in Path(name.replace("\\", "/")).parts:
            message = f"{archive}: its member {name} would leave the folder. It is not a copy to trust."
            raise UserError(message)
