"""The shards of a prepared dataset, brought from a bucket to this machine once."""

from pathlib import Path

from ferlab.errors import UserError
from ferlab.manifest import MANIFEST_NAME, Manifest, Shard
from ferlab.storage.files import exclusive, sha256_of, writing_errors
from ferlab.storage.objects import fetch, in_parallel, is_remote
from ferlab.storage.places import joined

TRIES = 2
"""A shard that is not what the manifest says is fetched once more, as it may have been damaged on its way."""


def stage(place: str, manifest: Manifest, folder: Path) -> Path:
    """The folder of this machine with all shards of ``manifest`` and ``manifest.json``; a local place as it is.

    Every shard is verified by size and SHA-256 when it arrives; later calls look at the sizes only. The manifest is
    written last: a folder without it is continued. Several processes may ask at the same time.

    Raises:
        UserError: a shard is missing or is not what the manifest says, or the bucket or the disk refuses.

    """
    if not is_remote(place):
        return Path(place)
    if _is_staged(folder, manifest):
        return folder
    with exclusive(folder.parent / ".locks" / folder.name), writing_errors(folder):
        if not _is_staged(folder, manifest):
            (folder / MANIFEST_NAME).unlink(missing_ok=True)
            in_parallel(_bring, ((joined(place, shard.name), shard, folder / shard.name) for shard in manifest.shards))
            manifest.save(folder)
    return folder


def _is_staged(folder: Path, manifest: Manifest) -> bool:
    """Whether this manifest's shards are there in full size, all of them once verified."""
    if not (folder / MANIFEST_NAME).is_file():
        return False
    try:
        found = Manifest.load(folder)
    except UserError:
        return False
    return (found.digest, found.shards) == (manifest.digest, manifest.shards) and all(
        (folder / shard.name).is_file() and (folder / shard.name).stat().st_size == shard.bytes
        for shard in manifest.shards
    )


def _bring(url: str, shard: Shard, file: Path) -> None:
    if file.is_file() and _is(shard, file):
        return
    arriving = file.with_name(f".{file.name}.arriving")
    try:
        for _ in range(TRIES):
            _fetch(url, arriving)
            if _is(shard, arriving):
                arriving.replace(file)
                return
    finally:
        arriving.unlink(missing_ok=True)
    message = f"{url}: not the shard that the manifest describes (size or SHA-256). Run `ferlab prepare` again."
    raise UserError(message)


def _fetch(url: str, file: Path) -> None:
    try:
        fetch(url, file)
    except OSError as error:
        if error.filename != url:
            raise
        message = f"{url}: the shard cannot be read ({error.strerror}). Run `ferlab prepare` again."
        raise UserError(message) from error


def _is(shard: Shard, file: Path) -> bool:
    return file.stat().st_size == shard.bytes and sha256_of(file) == shard.sha256
