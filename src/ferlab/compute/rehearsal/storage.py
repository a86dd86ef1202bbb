"""Cloud Storage: gcp-storage-emulator with what it lacks of the service.

That is lists in pages and in order, preconditions, locations of buckets, errors that say what is missing, many
connections at a time, and objects on disk that survive a kill without all that is known being written after every
request. Soft-deleted objects are not kept.
"""

import hashlib
import io
import json
import re
import threading
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from gcp_storage_emulator import server as emulator
from gcp_storage_emulator.handlers.buckets import CONFLICT, create_bucket
from gcp_storage_emulator.storage import RESUMABLE_DIR, Storage

from ferlab.compute.rehearsal.faults import Trouble
from ferlab.compute.rehearsal.web import LARGEST_PAGE, Handler, LoopbackServer

BUCKETS = re.compile(r"(?:/storage/v1)?/b")
PLACE = re.compile(r"(?:/(?:upload/|download/)?storage/v1)?/b/(?P<bucket>[-.\w]+)(?:/o(?:/(?P<name>.+))?)?")
BUCKET_NAME = re.compile(r"[a-z0-9][-_.a-z0-9]{1,220}[a-z0-9]")
JOURNAL = "journal.jsonl"


class Buckets(Storage):
    """Buckets and objects, in memory or below ``folder``; hold ``lock`` while using them.

    On disk an object lies under the SHA-256 of its name, because names may be longer than a file's and one may be a
    folder of another. What is known of it is a line in a journal, and the last line of a name holds.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.lock = threading.RLock()
        self.query: dict[str, str] = {}
        self.unmet = False
        self._journal: io.TextIOWrapper | None = None
        self._on_disk = folder is not None
        super().__init__(use_memory_fs=folder is None, data_dir=str(folder) if folder else None)
        if folder is not None:
            file = folder / JOURNAL
            self._replay(file)
            self._compact(file)
            self._journal = file.open("a", encoding="utf-8")

    # --- for the other stand-ins

    def content(self, url: str) -> bytes:
        """All bytes of ``gs://BUCKET/NAME``; KeyError when there is no such object."""
        bucket, name = _split(url)
        with self.lock:
            if name not in self.objects.get(bucket, {}):
                raise KeyError(url)
            content: bytes = self.get_file(bucket, name)
            return content

    def has(self, url: str) -> bool:
        """Whether there is such an object, or such a bucket where ``url`` names no object."""
        bucket, name = _split(url)
        with self.lock:
            return name in self.objects.get(bucket, {}) if name else bucket in self.buckets

    def write(self, url: str, content: bytes) -> None:
        """Create or replace an object; nothing happens where its bucket is gone."""
        from gcp_storage_emulator.handlers.objects import _checksums, _make_object_resource

        bucket, name = _split(url)
        with self.lock:
            if bucket in self.buckets:
                known = _make_object_resource("", bucket, name, "text/plain", str(len(content)))
                self.query = {}
                self.create_file(bucket, name, content, _checksums(content, known))

    def make(self, bucket: str, location: str) -> dict[str, Any] | None:
        """A new bucket as the service tells of it; None when there is one of that name."""
        with self.lock:
            made: dict[str, Any] | None = create_bucket(bucket, self) or None
            if made:
                kind = "region" if re.search(r"\d", location) else "multi-region"
                made |= {"location": location.upper(), "locationType": kind}
                self.create_bucket(bucket, made)
            return made

    # --- preconditions

    def meets(self, bucket: str, name: str) -> bool:
        """Whether the object is as the conditions of the request want it."""
        known = self.objects.get(bucket, {}).get(name, {"generation": "0", "metageneration": "0"})
        for prefix, field in (("ifGeneration", "generation"), ("ifMetageneration", "metageneration")):
            if self.query.get(f"{prefix}Match", known[field]) != known[field]:
                return False
            if self.query.get(f"{prefix}NotMatch") == known[field]:
                return False
        return True

    def create_file(self, bucket_name: str, file_name: str, content: bytes, file_obj: Any, file_id: Any = None) -> None:
        """Create or replace an object, unless a condition forbids it: then ``unmet`` is set."""
        self.unmet = not self.meets(bucket_name, file_name)
        if not self.unmet:
            super().create_file(bucket_name, file_name, content, file_obj, file_id)
            self._note("objects", bucket_name, file_name, file_obj)

    def create_resumable_upload(self, bucket_name: str, file_name: str, file_obj: Any) -> Any:
        """Begin an upload in parts, unless a condition forbids the object."""
        self.unmet = not self.meets(bucket_name, file_name)
        return super().create_resumable_upload(bucket_name, file_name, file_obj)

    def delete_file(self, bucket_name: str, file_name: str) -> None:
        """Remove an object for good."""
        self._hard_delete_file(bucket_name, file_name)
        self._note("objects", bucket_name, file_name, None)

    def patch_object(self, bucket_name: str, file_name: str, file_obj: Any) -> None:
        """Change what is known of an object."""
        super().patch_object(bucket_name, file_name, file_obj)
        self._note("objects", bucket_name, file_name, file_obj)

    def create_bucket(self, bucket_name: str, bucket_obj: Any) -> Any:
        """Create a bucket, or change what is known of it."""
        self._note("buckets", bucket_name, "", bucket_obj)
        return super().create_bucket(bucket_name, bucket_obj)

    def delete_bucket(self, bucket_name: str) -> None:
        """Remove an empty bucket."""
        super().delete_bucket(bucket_name)
        self._note("buckets", bucket_name, "", None)

    # --- on disk

    def _object_path(self, bucket_name: str, file_name: str) -> str:
        if not self._on_disk or bucket_name == RESUMABLE_DIR:
            path: str = super()._object_path(bucket_name, file_name)
            return path
        return f"{bucket_name}/{hashlib.sha256(file_name.encode()).hexdigest()}"

    def _write_config_to_file(self) -> None:
        """The journal has it; the emulator would write all it knows about all objects after every request."""

    def _note(self, kind: str, bucket: str, name: str, known: Any) -> None:
        if self._journal is not None:
            self._journal.write(json.dumps([kind, bucket, name, known]) + "\n")
            self._journal.flush()

    def _replay(self, file: Path) -> None:
        lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
        for line in lines:
            try:
                kind, bucket, name, known = json.loads(line)
            except ValueError:  # the last line of a server that was killed
                continue
            held, key = (self.buckets, bucket) if kind == "buckets" else (self.objects.setdefault(bucket, {}), name)
            if known is None:
                held.pop(key, None)
            else:
                held[key] = known

    def _compact(self, file: Path) -> None:
        lines = [json.dumps(["buckets", bucket, "", known]) for bucket, known in self.buckets.items()]
        for bucket, names in self.objects.items():
            lines.extend(json.dumps(["objects", bucket, name, known]) for name, known in names.items())
        partial = file.with_suffix(".partial")
        partial.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
        partial.replace(file)


class StorageHandler(Handler, emulator.RequestHandler):
    """The emulator's own handlers, with ours before them."""

    service = "storage"
    buckets: Buckets

    def __init__(self, *words: Any) -> None:
        emulator.RequestHandler.__init__(self, self.buckets, *words)

    def respond(self, body: bytes) -> bytes:
        """What we answer ourselves, else the emulator."""
        address = urlsplit(self.path)
        query = {name: values[-1] for name, values in parse_qs(address.query, keep_blank_values=True).items()}
        with self.buckets.lock:
            self.buckets.query, self.buckets.unmet = query, False
            return self._ours(address.path, query, body) or self._emulated(body)

    def _ours(self, path: str, query: dict[str, str], body: bytes) -> bytes | None:
        if BUCKETS.fullmatch(path) and self.command == "POST":
            return self._new_bucket(json.loads(body))
        place = PLACE.fullmatch(path)
        if place is None:
            return None
        bucket, name = place["bucket"], unquote(place["name"] or "")
        if bucket not in self.buckets.buckets:
            return self._refused(404, "The specified bucket does not exist.", "notFound")
        if not name:
            lists = path.endswith("/o") and self.command == "GET" and "softDeleted" not in query
            return self._page(bucket, query) if lists else None
        if self.command in ("GET", "DELETE", "PATCH"):
            if name not in self.buckets.objects.get(bucket, {}):
                return self._refused(404, f"No such object: {bucket}/{name}", "notFound")
            if not self.buckets.meets(bucket, name):
                return self._unmet()
        return None

    def _emulated(self, body: bytes) -> bytes:
        rfile, wfile = self.rfile, self.wfile
        del self.headers["content-length"]
        self.headers["content-length"] = str(len(body))
        self.rfile, self.wfile = io.BytesIO(body), io.BytesIO()
        try:
            emulator.Router(self).handle(self.command)
            answer = self.wfile.getvalue()
        except Exception as error:
            self._headers_buffer = []
            answer = self._refused(500, f"{type(error).__name__}: {error}", "internalError")
        finally:
            self.rfile, self.wfile = rfile, wfile
        return self._unmet() if self.buckets.unmet else answer

    def _new_bucket(self, wanted: dict[str, Any]) -> bytes:
        name = wanted.get("name", "")
        if not BUCKET_NAME.fullmatch(name):
            return self._refused(400, f"Invalid bucket name: '{name}'", "invalid")
        made = self.buckets.make(name, wanted.get("location", "US"))
        if made is None:
            return self.packed(409, CONFLICT)
        made |= {
            field: wanted[field]
            for field in ("labels", "storageClass", "lifecycle", "iamConfiguration")
            if field in wanted
        }
        self.buckets.create_bucket(name, made)
        return self.packed(200, made)

    def _page(self, bucket: str, query: dict[str, str]) -> bytes:
        whole, prefixes = self.buckets.get_file_list(
            bucket, query.get("prefix"), query.get("delimiter"), query.get("matchGlob")
        )
        items = sorted(whole, key=lambda item: item["name"].encode())
        start = int(query.get("pageToken", 0))
        end = start + min(int(query.get("maxResults", LARGEST_PAGE)), LARGEST_PAGE)
        following = {"nextPageToken": str(end)} if end < len(items) else {}
        listed = {"kind": "storage#objects", "prefixes": [] if start else prefixes, "items": items[start:end]}
        return self.packed(200, listed | following)

    def _unmet(self) -> bytes:
        return self._refused(412, "At least one of the pre-conditions you specified did not hold.", "conditionNotMet")

    def _refused(self, code: int, message: str, reason: str) -> bytes:
        error = {"message": message, "domain": "global", "reason": reason}
        return self.packed(code, {"error": {"code": code, "message": message, "errors": [error]}})

    def send_response(self, code: int, message: str | None = None) -> None:
        """Also for a status that the standard library has no words for."""
        super().send_response(int(code), message or HTTPStatus(int(code)).phrase)

    log_message = Handler.log_message
    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = Handler.handle_one  # noqa: N815


def storage_server(
    buckets: Buckets, trouble: Trouble, port: int = 0, touched: Callable[[], None] = lambda: None
) -> LoopbackServer:
    """A server of these buckets, not yet running; ``touched`` is called at every request."""
    told = {"buckets": buckets, "trouble": trouble, "touched": staticmethod(touched)}
    return LoopbackServer(type("Handler", (StorageHandler,), told), port)


def _split(url: str) -> tuple[str, str]:
    bucket, _, name = url.removeprefix("gs://").partition("/")
    return bucket, name
