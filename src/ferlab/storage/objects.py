"""Objects in Google Cloud Storage (``gs://bucket/name``): the only module that talks to its client.

Every transfer is checked by CRC32C, and repeated with growing pauses where the network or the service fails. A write
replaces the whole object or nothing of it, so that repeating it does no harm.

Errors of all functions: what is wrong with one object is an OSError whose ``filename`` is its URL (FileNotFoundError,
PermissionError, or errno EIO when it arrives damaged); what would hit every object (no bucket, no credentials, no
network) is a UserError.
"""

import base64
import contextlib
import errno
import functools
import os
from collections.abc import Callable, Iterable, Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pyarrow as pa

from ferlab.errors import UserError
from ferlab.parallel import in_order
from ferlab.storage.files import atomic_path

SCHEME = "gs://"
OBJECT_SCHEMA = pa.schema([("name", pa.string()), ("size", pa.int64()), ("checksum", pa.string())])
"""``name`` below the prefix, ``size`` in bytes, ``checksum``: CRC32C (else MD5) in base64, as the service states it."""

TRANSFERS = 32
"""Requests at a time: small objects wait for the network, large ones fill it with fewer."""
RETRY_S = 120.0
"""How long one request is repeated before its error counts."""
ANSWER_S = 60.0
DAMAGED_TRIES = 3
LOGIN = "Log in with `gcloud auth application-default login`, or set GOOGLE_APPLICATION_CREDENTIALS."


class GoneError(UserError):
    """What was kept in a bucket is damaged or not there any more; asking again will not help."""


def is_remote(place: str | Path) -> bool:
    """Whether it is a ``gs://`` URL and no path of this machine."""
    return str(place).startswith(SCHEME)


def split_url(url: str) -> tuple[str, str]:
    """Bucket and object name (empty for a whole bucket) of a ``gs://`` URL; UserError when it names no bucket."""
    bucket, _, name = url.removeprefix(SCHEME).partition("/")
    if not is_remote(url) or not bucket:
        message = f"{url}: not the address of a bucket. Write it as gs://BUCKET/FOLDER."
        raise UserError(message)
    return bucket, name


def read_bytes(url: str) -> bytes:
    """The whole object."""
    return _undamaged(url, lambda: _blob(url).download_as_bytes(checksum="crc32c", **_patience()))


def write_bytes(url: str, data: bytes) -> None:
    """Create the object, or replace it."""
    with _errors(url, of_bucket=True):
        _blob(url).upload_from_string(data, "application/octet-stream", checksum="crc32c", **_patience())


def fetch(url: str, file: Path) -> None:
    """Write the object into ``file``, which is complete or absent."""
    try:
        with atomic_path(file) as partial:
            _undamaged(url, lambda: _blob(url).download_to_filename(str(partial), checksum="crc32c", **_patience()))
    except UserError as error:
        # what forbids the object is not what forbids the file
        if isinstance(error.__cause__, PermissionError) and error.__cause__.filename == url:
            raise error.__cause__ from None
        raise


def put(file: Path, url: str) -> None:
    """Create or replace the object with the bytes of ``file``."""
    with _errors(url, of_bucket=True):
        _blob(url).upload_from_filename(str(file), checksum="crc32c", **_patience())


def put_new(file: Path, url: str) -> bool:
    """Create the object with the bytes of ``file``; False when one of that name is there, which stays as it is."""
    from google.api_core.exceptions import PreconditionFailed

    with _errors(url, of_bucket=True):
        try:
            _blob(url).upload_from_filename(str(file), checksum="crc32c", if_generation_match=0, **_patience())
        except PreconditionFailed:
            return False
    return True


def bucket_location(url: str) -> str:
    """Where the bucket of ``url`` lies, as the service writes it: ``US``, ``EUROPE-WEST4``; UserError without it."""
    bucket, _ = split_url(url)
    with _errors(url, of_bucket=True):
        return str(_client().get_bucket(bucket, **_patience()).location).upper()


def create_bucket(bucket: str, location: str) -> None:
    """Make a bucket unless there is one of that name."""
    from google.api_core.exceptions import Conflict

    with _errors(f"{SCHEME}{bucket}", of_bucket=True), contextlib.suppress(Conflict):
        _client().create_bucket(bucket, location=location, **_patience())


def fetch_all(pairs: Iterable[tuple[str, Path]]) -> None:
    """``fetch`` for many (URL, file), at the same time; the first error ends it."""
    in_parallel(fetch, pairs)


def put_all(pairs: Iterable[tuple[Path, str]]) -> None:
    """``put`` for many (file, URL), at the same time; the first error ends it."""
    in_parallel(put, pairs)


def delete_all(urls: Iterable[str]) -> None:
    """Remove objects, at the same time; absent ones are fine."""
    in_parallel(_delete, ((url,) for url in urls))


def in_parallel(work: Callable[..., None], items: Iterable[tuple[Any, ...]]) -> None:
    """Call ``work(*item)`` for all items in threads; the first error ends it. Few items are drawn ahead."""
    for _ in in_order(work, items, TRANSFERS, 4 * TRANSFERS):
        pass


def stated(url: str) -> tuple[int, str] | None:
    """Size in bytes and checksum (as in ``OBJECT_SCHEMA``) of an object, None when there is none."""
    blob = _blob(url)
    try:
        with _errors(url):
            blob.reload(**_patience())
    except FileNotFoundError:
        return None
    return int(blob.size), _checksum(blob)


def objects(prefix_url: str) -> Iterator[pa.RecordBatch]:
    """Every object below a prefix as batches of ``OBJECT_SCHEMA``, in order of name, one page (1,000) at a time.

    The prefix is a folder: ``gs://bucket/a`` lists ``a/b``, not ``ab``.
    """
    bucket, name = split_url(prefix_url)
    prefix = f"{name.rstrip('/')}/" if name.rstrip("/") else ""
    wanted = "items(name,size,crc32c,md5Hash),nextPageToken"
    with _errors(prefix_url, of_bucket=True):
        for page in _client().list_blobs(bucket, prefix=prefix, fields=wanted, **_patience()).pages:
            rows = [(blob.name[len(prefix) :], int(blob.size), _checksum(blob)) for blob in page]
            if rows:
                yield pa.record_batch([pa.array(column) for column in zip(*rows, strict=True)], schema=OBJECT_SCHEMA)


def crc32c_of(file: Path) -> str:
    """CRC32C of a file's bytes, written as in ``OBJECT_SCHEMA``."""
    import google_crc32c

    checksum = google_crc32c.Checksum()
    with file.open("rb") as content:
        while piece := content.read(1 << 20):
            checksum.update(piece)
    return base64.b64encode(checksum.digest()).decode()


def _checksum(blob: Any) -> str:
    return blob.crc32c or blob.md5_hash or ""


def _blob(url: str) -> Any:
    bucket, name = split_url(url)
    if not name:
        message = f"{url}: a bucket, not an object in it. Write the object's name behind it."
        raise UserError(message)
    with _errors(url):
        return _client().bucket(bucket).blob(name)


def _delete(url: str) -> None:
    blob = _blob(url)
    with contextlib.suppress(FileNotFoundError), _errors(url):
        blob.delete(**_patience())


def _client() -> Any:
    # a client's connections do not survive a fork
    return _client_of(os.getpid(), os.environ.get("STORAGE_EMULATOR_HOST"))


@functools.lru_cache(maxsize=2)
def _client_of(process: int, emulator: str | None) -> Any:
    import requests.adapters
    from google.cloud import storage

    # for traces that nobody reads, the client would ask for every bucket's metadata in a thread of its own
    os.environ.setdefault("DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA", "true")
    # objects belong to buckets: no project is needed, and credentials need not name one
    client = storage.Client(project=None)
    for scheme in ("https://", "http://"):
        client._http.mount(scheme, requests.adapters.HTTPAdapter(pool_maxsize=TRANSFERS))
    return client


def _patience() -> dict[str, Any]:
    from google.cloud.storage.retry import DEFAULT_RETRY

    return {"timeout": ANSWER_S, "retry": DEFAULT_RETRY.with_timeout(RETRY_S)}


def _undamaged(url: str, transfer: Callable[[], Any]) -> Any:
    """What ``transfer`` gives; repeated when its checksum does not fit."""
    from google.cloud.storage.exceptions import DataCorruption

    for _ in range(DAMAGED_TRIES):
        with contextlib.suppress(DataCorruption), _errors(url):
            return transfer()
    raise OSError(errno.EIO, "its bytes do not fit its checksum", url)


@contextlib.contextmanager
def _errors(url: str, of_bucket: bool = False) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        told = _told(error, url, of_bucket)
        if told is None:
            raise
        raise told from error


def _told(error: Exception, url: str, of_bucket: bool) -> Exception | None:
    """The error in our words, None when it is not one of the service. ``of_bucket``: only that can be missing."""
    import requests
    from google.api_core import exceptions as api
    from google.auth import exceptions as auth
    from google.cloud.storage.exceptions import InvalidResponse

    cause = error.cause if isinstance(error, api.RetryError) and error.cause else error
    cause = api.from_http_response(cause.response) if isinstance(cause, InvalidResponse) else cause
    bucket = SCHEME + split_url(url)[0]
    if isinstance(cause, api.NotFound):
        if not of_bucket and "bucket does not exist" not in str(cause):
            return FileNotFoundError(errno.ENOENT, "no such object", url)
        return GoneError(f"{url}: there is no bucket {bucket}. Check its name with `gcloud storage ls`.")
    if isinstance(cause, api.Forbidden):
        if of_bucket:
            return UserError(f"{url}: this account may not use {bucket} so. Ask for the right, or name another bucket.")
        return PermissionError(errno.EACCES, "this account may not use it", url)
    if isinstance(cause, auth.TransportError | requests.RequestException | ConnectionError | api.RetryError):
        return UserError(f"{url}: Google Cloud Storage cannot be reached ({_words(cause)}). Check the network.")
    if isinstance(cause, api.Unauthorized | auth.GoogleAuthError):
        return UserError(f"{url}: no valid credentials for Google Cloud Storage. {LOGIN}")
    if isinstance(cause, api.GoogleAPICallError):
        status = f"{int(cause.code)} {HTTPStatus(cause.code).phrase}" if cause.code else _words(cause)
        return UserError(f"{url}: Google Cloud Storage refuses ({status}). Check the address, or try again later.")
    return None


def _words(error: BaseException) -> str:
    lines = str(error).splitlines() or [type(error).__name__]
    return lines[0][:160]
