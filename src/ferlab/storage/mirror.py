"""A folder of this machine that stands for a prefix in a bucket, so that what reads folders reads buckets too.

Small files are brought here; those whose names end in ``left_there`` (images) stay in the bucket and are only named in
the index of their folder. Folders of the mirror exist where objects lie below them.
"""

import contextlib
import os
import re
from collections.abc import Iterable, Iterator
from hashlib import sha256
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from ferlab.errors import UserError
from ferlab.storage.files import exclusive, remove_folder, sha256_of_text, writing_errors
from ferlab.storage.objects import OBJECT_SCHEMA, crc32c_of, fetch_all, is_remote, objects, split_url, stated

INDEX_NAME = ".objects.arrows"
INDEX_SCHEMA = OBJECT_SCHEMA.append(pa.field("here", pa.bool_()))
"""The objects that lie directly in a folder, in order of name; ``here``: brought to this machine."""
NO_FILE_NAME = r"(^|/)\.{0,2}(/|$)|\x00|[^/]{256}"
"""Parts that are empty, ``.`` or ``..`` and would lead elsewhere, and what no file system takes."""
HIDDEN = r"(^|/)\."
PARTS = r"(?s)^(?:(?P<folder>.*)/)?(?P<name>[^/]+)$"
CRC32C_LENGTH = 8


def mirror(url: str, cache: Path, left_there: tuple[str, ...] = ()) -> Path:
    """The folder (or, where ``url`` names an object, the file) of this machine that stands for ``url``.

    It is made once for each state of the bucket (names, sizes, checksums), below ``cache``, complete or absent.
    ``left_there`` are endings in lower case. Hidden objects and those that only mark a folder are passed over.

    Raises:
        UserError: no object is there, a name cannot be a file's, an object changes meanwhile, or the bucket or the disk
            refuses.

    """
    url = url.rstrip("/")
    listing = cache / f"{sha256_of_text(url)[:16]}.listing-{os.getpid()}"
    try:
        with writing_errors(cache), _reading_errors():
            cache.mkdir(parents=True, exist_ok=True)
            state, single = _listed(url, listing)
            key = sha256_of_text(f"{url} {sorted(left_there)} {state}")[:16]
            folder = cache / f"{re.sub('[^A-Za-z0-9.-]+', '-', url.removeprefix('gs://'))[:80]}-{key}"
            with exclusive(cache / ".locks" / folder.name):
                if not folder.exists():
                    _make(url.rpartition("/")[0] if single else url, listing, folder, left_there)
        return folder / url.rpartition("/")[2] if single else folder
    finally:
        listing.unlink(missing_ok=True)


def indexed(folder: Path) -> Iterator[pa.RecordBatch]:
    """The objects that lie directly in a folder of a mirror (``INDEX_SCHEMA``); none in any other folder."""
    with contextlib.suppress(FileNotFoundError):
        yield from _batches(folder / INDEX_NAME)


def _listed(url: str, listing: Path) -> tuple[str, bool]:
    """Write all objects below ``url``, or the one that it names, into a file.

    Returns a digest over them, and whether it is that one.
    """
    digest, found = sha256(), False
    with pa.OSFile(str(listing), "wb") as file, pa.ipc.new_stream(file, OBJECT_SCHEMA) as out:
        for batch in objects(url):
            found = True
            lines = pc.binary_join_element_wise(batch["name"], batch["size"].cast("str"), batch["checksum"], "\t")
            digest.update(("\n".join(lines.to_pylist()) + "\n").encode())
            out.write_batch(batch)
        if not found:
            one = _named(url)
            digest.update(repr(one.to_pylist()).encode())
            out.write_batch(one)
    return digest.hexdigest(), not found


def _named(url: str) -> pa.RecordBatch:
    """The object of exactly this name as a row of ``OBJECT_SCHEMA``."""
    bucket, name = split_url(url)
    found = stated(url) if name else None
    if found is None:
        message = f"{url}: no object there. See what is there with `gcloud storage ls gs://{bucket}`."
        raise UserError(message)
    return pa.record_batch([[name.rpartition("/")[2]], [found[0]], [found[1]]], schema=OBJECT_SCHEMA)


def _make(url: str, listing: Path, folder: Path, left_there: tuple[str, ...]) -> None:
    for unfinished in folder.parent.glob(f"{folder.name}.partial-*"):
        remove_folder(unfinished)
    partial = folder.with_name(f"{folder.name}.partial-{os.getpid()}")
    partial.mkdir()
    try:
        folders = _folders(listing, url)
        for batch in _batches(listing):
            _index(_files(batch, folders, url), partial, left_there)
        fetch_all((f"{url}/{name}", partial / name) for name, _, _ in _brought(partial, folders))
        for name, size, checksum in _brought(partial, folders):
            file = partial / name
            if file.stat().st_size != size or (len(checksum) == CRC32C_LENGTH and crc32c_of(file) != checksum):
                message = f"{url}/{name}: changed while it was read. Run the same command again."
                raise UserError(message)
        partial.rename(folder)
    finally:
        remove_folder(partial)


def _folders(listing: Path, url: str) -> set[str]:
    """Every folder that holds an object or a folder, the root as an empty name; UserError for names of no file."""
    folders = {""}
    for batch in _batches(listing):
        names = pc.replace_substring_regex(batch["name"], "/$", "")
        wrong = pc.filter(
            names, pc.and_(pc.match_substring_regex(names, NO_FILE_NAME), pc.not_equal(batch["name"], ""))
        )
        if len(wrong):
            message = f"{url}: its object {wrong[0].as_py()!r} cannot be a file. Rename it, or remove it."
            raise UserError(message)
        for name in pc.unique(pc.replace_substring_regex(batch["name"], "(^|/)[^/]*$", "")).to_pylist():
            while name not in folders:
                folders.add(name)
                name = name.rpartition("/")[0]
    return folders


def _files(batch: pa.RecordBatch, folders: set[str], url: str) -> pa.RecordBatch:
    """The rows that are files: neither hidden, nor marks of a folder; UserError for a file that is a folder too."""
    names = batch["name"]
    marks = pc.is_in(names, pa.array(sorted(folders), pa.string()))
    both = pc.filter(names, pc.and_(marks, pc.greater(batch["size"], 0)))
    if len(both):
        message = f"{url}: {both[0].as_py()} is an object and a folder of others. Rename one of them."
        raise UserError(message)
    passed_over = pc.or_(pc.or_(marks, pc.ends_with(names, "/")), pc.match_substring_regex(names, HIDDEN))
    return batch.filter(pc.invert(passed_over))


def _index(files: pa.RecordBatch, mirrored: Path, left_there: tuple[str, ...]) -> None:
    """Append files to the indexes of their folders, which are made."""
    parts = pc.extract_regex(files["name"], PARTS)
    places, names = parts.field("folder"), parts.field("name")
    left = pa.repeat(False, len(files))
    for ending in left_there:
        left = pc.or_(left, pc.ends_with(pc.utf8_lower(names), ending))
    rows = pa.record_batch([names, files["size"], files["checksum"], pc.invert(left)], schema=INDEX_SCHEMA)
    for place in pc.unique(places).to_pylist():
        folder = mirrored / place
        folder.mkdir(parents=True, exist_ok=True)
        # one stream behind another: the objects of a folder come in several pages
        with (folder / INDEX_NAME).open("ab") as file, pa.ipc.new_stream(file, INDEX_SCHEMA) as out:
            out.write_batch(rows.filter(pc.equal(places, place)))


def _brought(mirrored: Path, folders: Iterable[str]) -> Iterator[tuple[str, int, str]]:
    """Name below the mirror, size and checksum of every object that is brought here."""
    for folder in sorted(folders):
        for batch in indexed(mirrored / folder):
            here = batch.filter(batch["here"])
            for name, size, checksum in zip(*(here[column].to_pylist() for column in OBJECT_SCHEMA.names), strict=True):
                yield f"{folder}/{name}" if folder else name, size, checksum


def _batches(file: Path) -> Iterator[pa.RecordBatch]:
    """The batches of all streams in a file."""
    with pa.OSFile(str(file)) as content:
        while content.tell() < content.size():
            with pa.ipc.open_stream(content) as reader:
                yield from reader


@contextlib.contextmanager
def _reading_errors() -> Iterator[None]:
    """Turn what is wrong with an object into one line that names it."""
    try:
        yield
    except OSError as error:
        if not is_remote(str(error.filename)):
            raise
        message = f"{error.filename}: cannot be read ({error.strerror}). See that it is there and that you may read it."
        raise UserError(message) from error
