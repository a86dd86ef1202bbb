"""A folder of this machine brought into a bucket: in parallel, going on where it stopped, overwriting nothing."""

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ferlab.errors import UserError
from ferlab.parallel import in_order
from ferlab.storage.files import sha256_of_text, write_text
from ferlab.storage.objects import TRANSFERS, crc32c_of, objects, put_new, stated
from ferlab.storage.places import joined

OnProgress = Callable[[int, int], None]


@dataclass(frozen=True)
class Uploaded:
    """How many files were sent, how many were there already, and the bytes of both."""

    sent: int
    there: int
    total_bytes: int


def upload(root: Path, url: str, on_progress: OnProgress, records: Path | None = None) -> Uploaded:
    """Bring a file, or all files below a folder, to ``url``; hidden ones are left out.

    What is there with the same checksum is left there, so the same call goes on where it was interrupted.
    ``on_progress`` is told (files done, files in all). ``records``: a folder that remembers what was brought whole;
    while names, sizes and times stay as they were here, and names, sizes and checksums there, no file is read again.

    Raises:
        UserError: there is no file, an object of that name has other content, the place holds more than the folder, or
            the bucket refuses.

    """
    files = {"": root} if root.is_file() else {name: root / name for name in _names(root)}
    if not files:
        message = f"{root}: nothing to upload: no such file or folder, or an empty one."
        raise UserError(message)
    sizes = {name: file.stat() for name, file in files.items()}
    total_bytes = sum(state.st_size for state in sizes.values())
    state = json.dumps([url, *((name, one.st_size, one.st_mtime_ns) for name, one in sizes.items())])
    record = records / sha256_of_text(state)[:32] if records else None
    there = _there(root, url)
    if record and record.exists() and record.read_text(encoding="utf-8") == _listed(there):
        return Uploaded(0, len(files), total_bytes)
    surplus = sorted(there.keys() - files.keys())
    if surplus:
        message = (
            f"{url}: holds {len(surplus):,} objects that {root} does not have ({surplus[0]}): what is prepared would "
            "not be what lies here. Remove them, or upload the folder under another name."
        )
        raise UserError(message)
    sent = 0
    moves = ((name, file, joined(url, name) if name else url, there.get(name)) for name, file in files.items())
    for done, was_sent in enumerate(in_order(_bring, moves, TRANSFERS, 4 * TRANSFERS), start=1):
        sent += was_sent
        on_progress(done, len(files))
    if record:
        write_text(record, _listed(_there(root, url)))
    return Uploaded(sent, len(files) - sent, total_bytes)


def _names(root: Path) -> Iterator[str]:
    """Names of all files but hidden ones, also in folders that are links; each folder once, whatever leads there."""
    seen, names = set[str](), list[str]()
    for folder, below, files in os.walk(root, followlinks=True):
        seen.add(os.path.realpath(folder))
        below[:] = [name for name in below
                    if not name.startswith(".") and os.path.realpath(Path(folder, name)) not in seen]  # fmt: skip
        names += [Path(folder, name).relative_to(root).as_posix() for name in files if not name.startswith(".")]
    yield from sorted(name for name in names if (root / name).is_file())


def _there(root: Path, url: str) -> dict[str, tuple[int, str]]:
    """Size and checksum of what is in the bucket, by name."""
    if root.is_file():
        found = stated(url)
        return {"": found} if found else {}
    rows = (row for batch in objects(url) for row in batch.to_pylist())
    return {row["name"]: (row["size"], row["checksum"]) for row in rows if not _is_marker(row["name"])}


def _is_marker(name: str) -> bool:
    """Whether an object only makes a folder of the console visible."""
    return name == "" or name.endswith("/")


def _listed(there: dict[str, tuple[int, str]]) -> str:
    return sha256_of_text(json.dumps(sorted(there.items())))


def _bring(name: str, file: Path, url: str, known: tuple[int, str] | None) -> bool:
    """Whether it had to be sent."""
    if known is None and put_new(file, url):
        return True
    state = known or stated(url)
    if state != (file.stat().st_size, crc32c_of(file)):
        message = f"{url}: holds something else than {file}. Objects are never overwritten: remove it, or rename yours."
        raise UserError(message)
    return False
