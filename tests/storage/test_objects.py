"""The real client against an emulator: every byte arrives or the error says why."""

import errno
import http.client
import http.server
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote, urlsplit

import pyarrow as pa
import pytest
import requests

from ferlab.errors import UserError
from ferlab.storage import objects
from ferlab.storage.objects import (
    OBJECT_SCHEMA,
    crc32c_of,
    delete_all,
    fetch,
    fetch_all,
    in_parallel,
    is_remote,
    put,
    put_all,
    read_bytes,
    stated,
    write_bytes,
)


def listed(url: str) -> list[dict]:
    return pa.Table.from_batches(objects.objects(url), OBJECT_SCHEMA).to_pylist()


def spoil(url: str) -> None:
    """Make the service state another checksum than that of the bytes it holds."""
    bucket, name = objects.split_url(url)
    address = f"{os.environ['STORAGE_EMULATOR_HOST']}/storage/v1/b/{bucket}/o/{quote(name, safe='')}"
    requests.patch(address, json={"crc32c": "AAAAAA=="}, timeout=10).raise_for_status()


@pytest.fixture
def front(bucket, monkeypatch) -> Iterator[Callable[[Callable], list[str]]]:
    """``front(refuse)`` puts a server before the emulator; ``refuse(method, path, n)`` names a status, or None to pass.

    Gives the list of requests that it has seen.
    """
    behind = urlsplit(os.environ["STORAGE_EMULATOR_HOST"]).netloc
    servers = []

    def start(refuse: Callable[[str, str, int], int | None]) -> list[str]:
        seen: list[str] = []

        class Front(http.server.BaseHTTPRequestHandler):
            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                seen.append(f"{self.command} {self.path}")
                status = refuse(self.command, self.path, len(seen))
                if status:
                    self.send_response(status)
                    self.send_header("content-length", "0")
                    self.end_headers()
                    return
                connection = http.client.HTTPConnection(behind)
                connection.request(self.command, self.path, body, dict(self.headers))
                reply = connection.getresponse()
                content = reply.read()
                self.send_response(reply.status)
                for name, value in reply.getheaders():
                    if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                        self.send_header(name, value)
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = answer  # noqa: N815

            def log_message(self, *args: object) -> None:
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Front)
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{server.server_port}")
        return seen

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


# --- one object


@pytest.mark.parametrize("data", [b"", b"\x00\xffbytes", os.urandom(9 << 20)], ids=["empty", "small", "9 MiB"])
def test_what_is_written_is_read_and_fetched(bucket, tmp_path, data):
    write_bytes(f"{bucket}/a/b c#ä.bin", data)
    assert read_bytes(f"{bucket}/a/b c#ä.bin") == data
    fetch(f"{bucket}/a/b c#ä.bin", tmp_path / "new" / "file")
    assert (tmp_path / "new" / "file").read_bytes() == data
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["file"]


def test_a_file_is_put_and_its_size_and_checksum_stated(bucket, tmp_path):
    file = tmp_path / "file"
    file.write_bytes(b"123456789")
    put(file, f"{bucket}/x")
    # the check value of CRC32C is e3069283
    assert stated(f"{bucket}/x") == (9, "4waSgw==")
    assert crc32c_of(file) == "4waSgw=="
    assert file.exists()


def test_an_absent_object_is_a_file_not_found_with_its_address(bucket, tmp_path):
    assert stated(f"{bucket}/nothing") is None
    for ask in (read_bytes, lambda url: fetch(url, tmp_path / "file")):
        with pytest.raises(FileNotFoundError) as caught:
            ask(f"{bucket}/nothing")
        assert caught.value.filename == f"{bucket}/nothing"
        assert caught.value.errno == errno.ENOENT
    assert list(tmp_path.iterdir()) == []


def test_an_object_whose_bytes_do_not_fit_its_checksum_is_never_given(bucket, tmp_path):
    write_bytes(f"{bucket}/x", b"some bytes")
    spoil(f"{bucket}/x")
    for ask in (read_bytes, lambda url: fetch(url, tmp_path / "file")):
        with pytest.raises(OSError, match="do not fit its checksum") as caught:
            ask(f"{bucket}/x")
        assert (caught.value.errno, caught.value.filename) == (errno.EIO, f"{bucket}/x")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_told_as_such(bucket, unwritable):
    write_bytes(f"{bucket}/x", b"bytes")
    with pytest.raises(UserError, match="cannot be written"):
        fetch(f"{bucket}/x", unwritable / "file")


@pytest.fixture
def unwritable(tmp_path) -> Path:
    (tmp_path / "file").write_text("no folder")
    return tmp_path / "file"


# --- many objects


def test_2500_objects_are_put_listed_in_pages_fetched_and_removed(bucket, tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    names = [f"{number:04d}.txt" for number in range(2500)]
    for name in names:
        (source / name).write_text(name * 3)
    put_all((source / name, f"{bucket}/in/{name}") for name in names)
    write_bytes(f"{bucket}/inside", b"beside the folder")
    pages = list(objects.objects(f"{bucket}/in"))
    assert [len(page) for page in pages] == [1000, 1000, 500]
    rows = pa.Table.from_batches(pages).to_pylist()
    assert [row["name"] for row in rows] == names
    assert rows[17] == {"name": "0017.txt", "size": 24, "checksum": crc32c_of(source / "0017.txt")}
    fetch_all((f"{bucket}/in/{name}", tmp_path / "back" / name) for name in names)
    assert all((tmp_path / "back" / name).read_text() == name * 3 for name in names)
    delete_all(f"{bucket}/in/{name}" for name in [*names, "absent"])
    assert [row["name"] for row in listed(bucket)] == ["inside"]


def test_no_object_is_no_page(bucket):
    assert list(objects.objects(f"{bucket}/nothing")) == []


def test_the_first_error_of_many_ends_them(bucket, tmp_path):
    write_bytes(f"{bucket}/x", b"bytes")
    with pytest.raises(FileNotFoundError, match="no such object"):
        fetch_all((f"{bucket}/{name}", tmp_path / name) for name in ("x", "absent"))


def test_work_is_drawn_as_it_is_done_and_ends_with_an_error():
    drawn = 0

    def items() -> Iterator[tuple[int]]:
        nonlocal drawn
        for drawn in range(100_000):
            yield (drawn,)

    def work(number: int) -> None:
        if number == 50:
            raise ValueError(number)

    with pytest.raises(ValueError, match="50"):
        in_parallel(work, items())
    assert drawn < 50 + 8 * objects.TRANSFERS


# --- what goes wrong around them


def test_a_service_that_is_busy_twice_is_asked_again(bucket, front, tmp_path):
    seen = front(lambda method, path, n: 503 if n in (1, 2) else None)
    write_bytes(f"{bucket}/x", b"bytes")
    assert len(seen) == 3
    assert read_bytes(f"{bucket}/x") == b"bytes"
    assert len(seen) == 4
    seen.clear()
    fetch(f"{bucket}/x", tmp_path / "file")
    assert len(seen) == 3
    assert (tmp_path / "file").read_bytes() == b"bytes"


def test_a_service_that_stays_busy_is_one_line(bucket, front, monkeypatch):
    monkeypatch.setattr(objects, "RETRY_S", 0.5)
    front(lambda method, path, n: 503)
    with pytest.raises(UserError, match=rf"^{bucket}/x: Google Cloud Storage refuses \(503") as caught:
        read_bytes(f"{bucket}/x")
    assert "\n" not in str(caught.value)


def test_what_an_account_may_not_use_is_a_permission_error(bucket, front, tmp_path):
    front(lambda method, path, n: 403)
    for ask in (read_bytes, lambda url: fetch(url, tmp_path / "x"), stated):
        with pytest.raises(PermissionError, match="this account may not use it") as caught:
            ask(f"{bucket}/x")
        assert caught.value.filename == f"{bucket}/x"


def test_a_bucket_that_an_account_may_not_use_is_one_line(bucket, front):
    front(lambda method, path, n: 403)
    for ask in (lambda url: write_bytes(url, b""), listed):
        with pytest.raises(UserError, match=rf"^{bucket}/x: this account may not use {bucket} so"):
            ask(f"{bucket}/x")


def test_rejected_credentials_tell_how_to_log_in(bucket, front):
    front(lambda method, path, n: 401)
    with pytest.raises(UserError, match=r"/x: no valid credentials.*gcloud auth application-default login"):
        read_bytes(f"{bucket}/x")


def test_a_machine_without_credentials_is_told_how_to_log_in(tmp_path):
    script = "import sys; from ferlab.storage.objects import read_bytes; read_bytes('gs://somewhere/x')"
    environment = os.environ | {
        "HOME": str(tmp_path),
        "CLOUDSDK_CONFIG": str(tmp_path),
        "NO_GCE_CHECK": "true",
    }
    environment.pop("STORAGE_EMULATOR_HOST", None)
    environment.pop("GOOGLE_APPLICATION_CREDENTIALS", None)
    run = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False)
    assert "UserError: gs://somewhere/x: no valid credentials" in run.stderr.splitlines()[-1]


@pytest.mark.parametrize("ask", [lambda url: write_bytes(url, b""), listed])
def test_a_bucket_that_does_not_exist_is_named(bucket, ask):
    with pytest.raises(UserError, match=r"^gs://no-such-bucket/x: there is no bucket gs://no-such-bucket\."):
        ask("gs://no-such-bucket/x")


def test_no_network_is_one_line(monkeypatch):
    monkeypatch.setattr(objects, "RETRY_S", 0.5)
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "http://127.0.0.1:9")
    with pytest.raises(UserError, match=r"^gs://b/x: Google Cloud Storage cannot be reached .*Check the network\.$"):
        read_bytes("gs://b/x")


def test_a_forked_process_has_a_client_of_its_own(bucket):
    write_bytes(f"{bucket}/x", b"bytes")
    before = objects._client()
    child = os.fork()
    if child == 0:
        good = objects._client() is not before and read_bytes(f"{bucket}/x") == b"bytes"
        os._exit(0 if good else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert objects._client() is before


@pytest.mark.parametrize("url", ["gs://", "gs:///x", "/x"])
def test_an_address_without_a_bucket_is_refused(url):
    with pytest.raises(UserError, match="not the address of a bucket"):
        read_bytes(url)


def test_a_bucket_is_no_object():
    with pytest.raises(UserError, match="a bucket, not an object in it"):
        read_bytes("gs://bucket")


def test_remote_is_what_begins_with_the_scheme():
    assert is_remote("gs://b/x")
    assert not is_remote(Path("/gs/x"))
    assert not is_remote("")
