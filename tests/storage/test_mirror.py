"""A mirror shows a bucket as a folder, brings what it must, and leaves the images where they are."""

import http.server
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests

from ferlab.datasets.catalog import FAMILIES
from ferlab.datasets.image_files import entries_of, is_folder, is_image
from ferlab.datasets.listing import Reading, Rows, Source
from ferlab.datasets.synthetic.layouts import write_synthetic
from ferlab.emotions import TAXONOMIES
from ferlab.errors import UserError
from ferlab.imaging.codec import IMAGE_SUFFIXES
from ferlab.storage import places
from ferlab.storage.mirror import indexed, mirror
from ferlab.storage.objects import crc32c_of, put_all, write_bytes


def upload(folder: Path, url: str) -> None:
    put_all((folder / name, f"{url}/{name}") for name in places.names_below(str(folder)))


def files_below(folder: Path) -> list[str]:
    """Files that were brought, without the indexes."""
    return [name for name in places.names_below(str(folder)) if not Path(name).name.startswith(".")]


def seen(folder: Path) -> list[tuple[str, str, int]]:
    """All entries below a folder as the readers walk it."""
    found = []
    for entry in entries_of(folder):
        if is_folder(entry):
            found += [(f"{entry.name}/{name}", kind, size) for name, kind, size in seen(Path(entry.path))]
        else:
            found.append((entry.name, "image" if is_image(entry) else "file", entry.stat().st_size))
    return found


@pytest.fixture
def copy(tmp_path) -> Path:
    """A folder with images and other files in folders whose names sort differently with and without a slash."""
    for name in ("a/1.jpg", "a/2.PNG", "a/notes.txt", "a-b/3.jpg", "a/deep/4.jpg", "list.csv", "zero.jpg", "ä/ö.jpeg"):
        (tmp_path / "copy" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "copy" / name).write_bytes(name.encode() * len(name) if name != "zero.jpg" else b"")
    return tmp_path / "copy"


def test_images_stay_in_the_bucket_and_are_entries_all_the_same(copy, bucket, tmp_path):
    upload(copy, f"{bucket}/data")
    write_bytes(f"{bucket}/data-2/x.txt", b"beside it")
    found = mirror(f"{bucket}/data/", tmp_path / "cache", IMAGE_SUFFIXES)
    assert files_below(found) == ["a/notes.txt", "list.csv"]
    assert (found / "a/notes.txt").read_bytes() == (copy / "a/notes.txt").read_bytes()
    assert seen(found) == seen(copy)
    left = {entry.name: entry for entry in entries_of(found / "a")}["1.jpg"]
    assert (left.is_dir(), left.is_file(), left.is_symlink(), left.stat().st_mtime_ns) == (False, True, False, 0)
    assert Path(left.path) == found / "a" / "1.jpg"


def test_without_endings_everything_is_brought(copy, bucket, tmp_path):
    upload(copy, bucket)
    found = mirror(bucket, tmp_path / "cache")
    assert files_below(found) == places.names_below(str(copy))
    assert all((found / name).read_bytes() == (copy / name).read_bytes() for name in files_below(found))
    assert seen(found) == seen(copy)


def test_the_index_tells_size_and_checksum_of_every_object(copy, bucket, tmp_path):
    upload(copy, bucket)
    found = mirror(bucket, tmp_path / "cache", IMAGE_SUFFIXES)
    rows = [row for batch in indexed(found / "a") for row in batch.to_pylist()]
    assert [(row["name"], row["here"]) for row in rows] == [("1.jpg", False), ("2.PNG", False), ("notes.txt", True)]
    assert all(row["checksum"] == crc32c_of(copy / "a" / row["name"]) for row in rows)
    assert list(indexed(copy)) == []


def test_the_same_state_is_brought_once_and_every_change_anew(copy, bucket, tmp_path):
    upload(copy, bucket)
    cache = tmp_path / "cache"
    first = mirror(bucket, cache, IMAGE_SUFFIXES)
    before = {path: path.stat().st_ino for path in first.rglob("*")}
    assert mirror(bucket, cache, IMAGE_SUFFIXES) == first
    assert {path: path.stat().st_ino for path in first.rglob("*")} == before
    size = (copy / "a/1.jpg").stat().st_size
    write_bytes(f"{bucket}/a/1.jpg", b"x" * size)
    second = mirror(bucket, cache, IMAGE_SUFFIXES)
    write_bytes(f"{bucket}/a/9.jpg", b"x")
    third = mirror(bucket, cache, IMAGE_SUFFIXES)
    assert len({first, second, third}) == 3
    assert [name for name, *_ in seen(third / "a")] == ["1.jpg", "2.PNG", "9.jpg", "deep/4.jpg", "notes.txt"]
    assert sorted(path.name for path in cache.iterdir()) == sorted(
        [".locks", *(p.name for p in (first, second, third))]
    )


def test_a_mirror_that_fails_leaves_nothing(copy, bucket, tmp_path):
    upload(copy, bucket)
    address = f"{os.environ['STORAGE_EMULATOR_HOST']}/storage/v1/b/{bucket[5:]}/o/list.csv"
    requests.patch(address, json={"crc32c": "AAAAAA=="}, timeout=10).raise_for_status()
    with pytest.raises(UserError, match=rf"^{bucket}/list.csv: cannot be read \(its bytes do not fit its checksum\)"):
        mirror(bucket, tmp_path / "cache")
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [".locks"]


def test_what_a_killed_process_left_is_cleared(copy, bucket, tmp_path):
    upload(copy, bucket)
    name = mirror(bucket, tmp_path / "elsewhere").name
    left = tmp_path / "cache" / f"{name}.partial-1"
    left.mkdir(parents=True)
    (left / "list.csv").write_text("half")
    assert mirror(bucket, tmp_path / "cache").name == name
    assert not left.exists()


def test_2500_images_in_one_folder_keep_their_order_over_the_pages(bucket, tmp_path):
    (tmp_path / "faces").mkdir()
    names = [f"{number:04d}.jpg" for number in range(2500)]
    for name in names:
        (tmp_path / "faces" / name).write_bytes(name.encode())
    (tmp_path / "faces" / "1500.txt").write_text("in between")
    upload(tmp_path, f"{bucket}/x")
    found = mirror(f"{bucket}/x", tmp_path / "cache", IMAGE_SUFFIXES)
    assert [entry.name for entry in entries_of(found / "faces")] == sorted([*names, "1500.txt"])
    assert len(list((found / "faces").iterdir())) == 2


def test_an_address_of_one_object_is_a_file(copy, bucket, tmp_path):
    write_bytes(f"{bucket}/data/fer2013.csv", b"emotion,pixels\n")
    write_bytes(f"{bucket}/data/fer2013.csv.bak", b"")
    found = mirror(f"{bucket}/data/fer2013.csv", tmp_path / "cache")
    assert found.name == "fer2013.csv"
    assert found.read_bytes() == b"emotion,pixels\n"
    assert mirror(f"{bucket}/data/fer2013.csv", tmp_path / "cache") == found
    write_bytes(f"{bucket}/data/fer2013.csv", b"emotion,pixelz\n")
    assert mirror(f"{bucket}/data/fer2013.csv", tmp_path / "cache").read_bytes() == b"emotion,pixelz\n"


@pytest.mark.parametrize("url", ["", "/nothing", "/nothing/"])
def test_a_prefix_without_objects_is_one_line(bucket, tmp_path, url):
    with pytest.raises(UserError, match=rf"^{bucket}{url.rstrip('/')}: no object there"):
        mirror(f"{bucket}{url}", tmp_path / "cache")


@pytest.fixture
def lists(monkeypatch) -> Iterator[Callable[[str], None]]:
    """``lists(name)`` starts a service whose every list is of that object; the emulator cannot hold all names."""
    items: list[dict[str, str]] = []

    class Service(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer = json.dumps({"items": items}).encode()
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Service) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{server.server_port}")
        yield lambda name: items.append({"name": name, "size": "4", "crc32c": "AAAAAA=="})
        server.shutdown()


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/x", "a//x", "./x", "a\0b", "n" * 300])
def test_names_that_cannot_be_files_are_refused_and_write_nothing(name, lists, tmp_path):
    lists("data/a/ok.txt")
    lists(f"data/{name}")
    with pytest.raises(UserError, match=r"^gs://b/data: its object .* cannot be a file"):
        mirror("gs://b/data", tmp_path / "cache")
    assert {path.parent for path in tmp_path.rglob("*") if path.is_file()} == {tmp_path / "cache" / ".locks"}


def test_marks_of_folders_and_hidden_objects_are_passed_over(bucket, tmp_path):
    for name in ("data/", "data/a/", "data/b", "data/.hidden/x.txt", "data/.objects.arrows"):
        write_bytes(f"{bucket}/{name}", b"")
    for name in ("data/a/x.txt", "data/b/y.txt"):
        write_bytes(f"{bucket}/{name}", b"text")
    found = mirror(f"{bucket}/data", tmp_path / "cache")
    assert files_below(found) == ["a/x.txt", "b/y.txt"]
    assert seen(found) == [("a/x.txt", "file", 4), ("b/y.txt", "file", 4)]


@pytest.mark.parametrize("name", ["a.txt", "a.jpg"])
def test_an_object_that_is_a_folder_too_is_refused(bucket, tmp_path, name):
    write_bytes(f"{bucket}/{name}", b"text")
    write_bytes(f"{bucket}/{name}/below.txt", b"text")
    with pytest.raises(UserError, match=f"{name} is an object and a folder of others"):
        mirror(bucket, tmp_path / "cache", IMAGE_SUFFIXES)


def test_two_processes_at_once_make_one_mirror(copy, bucket, tmp_path):
    upload(copy, bucket)
    script = (
        "import sys; from pathlib import Path; from ferlab.storage.mirror import mirror;"
        "print(mirror(sys.argv[1], Path(sys.argv[2])))"
    )
    command = [sys.executable, "-c", script, bucket, str(tmp_path / "cache")]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    first, second = (process.communicate()[0].strip() for process in both)
    assert first == second
    assert files_below(Path(first)) == places.names_below(str(copy))


# --- readers and signatures


def rows_of(layout: str, root: Path) -> tuple[Source, Rows]:
    family = FAMILIES["affectnet"]
    source = family.locate(root, root.parent / "unpacked")
    assert source.layout == layout
    return source, family.read(source, Reading(TAXONOMIES["affectnet8"]))


@pytest.mark.parametrize("layout", ["affectnet-folder", "affectnet-manual", "affectnet-2021"])
def test_a_reader_gives_the_same_rows_from_a_bucket_as_from_a_folder(layout, bucket, tmp_path):
    local = tmp_path / "local"
    write_synthetic(layout, local, 70, 3, size_px=32)
    image = next(path for path in sorted(local.rglob("*")) if path.suffix.lower() in IMAGE_SUFFIXES)
    (image.parent / "stray.docx").write_text("not an image")
    upload(local, f"{bucket}/data")
    found = mirror(f"{bucket}/data", tmp_path / "cache", IMAGE_SUFFIXES)
    assert not [path for path in found.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES]
    (source, there), (_, here) = rows_of(layout, found), rows_of(layout, local)
    paths = [path.replace(str(source.root), str(local), 1) for path in there.table["path"].to_pylist()]
    assert paths == here.table["path"].to_pylist()
    assert all(Path(path).is_file() for path in paths) or layout == "affectnet-manual"
    assert there.table.drop_columns("path").equals(here.table.drop_columns("path"))
    assert there.table.num_rows > 40
    assert (there.rejected, there.excluded, there.policy) == (here.rejected, here.excluded, here.policy)


def signature(found: Path, url: str) -> str:
    return Source("folder", found, (found / "a", found / "list.csv"), url=url).signature()


def test_a_signature_is_the_same_on_every_machine_and_changes_with_the_bucket_alone(copy, bucket, tmp_path):
    upload(copy, bucket)
    first = mirror(bucket, tmp_path / "one", IMAGE_SUFFIXES)
    second = mirror(bucket, tmp_path / "two" / "deeper", IMAGE_SUFFIXES)
    for path in second.rglob("*"):
        os.utime(path, (1_600_000_000, 1_600_000_000))
    seen_signatures = [signature(first, bucket)]
    assert signature(second, bucket) == seen_signatures[0]
    size = (copy / "a/1.jpg").stat().st_size
    changes = [("a/1.jpg", b"x" * size), ("a/deep/5.jpg", b""), ("list.csv", b"x" * len("list.csv") * 8)]
    for name, data in changes:
        write_bytes(f"{bucket}/{name}", data)
        seen_signatures.append(signature(mirror(bucket, tmp_path / "one", IMAGE_SUFFIXES), bucket))
    assert len(set(seen_signatures)) == 4
    write_bytes(f"{bucket}/a-b/3.jpg", b"not among the entries")
    assert signature(mirror(bucket, tmp_path / "one", IMAGE_SUFFIXES), bucket) == seen_signatures[-1]


def test_votes_beside_a_mirror_count_by_content_wherever_they_lie(copy, bucket, tmp_path):
    upload(copy, f"{bucket}/data")
    write_bytes(f"{bucket}/votes.csv", b"votes")
    found = mirror(f"{bucket}/data", tmp_path / "cache")

    def with_votes(cache: str) -> str:
        votes = mirror(f"{bucket}/votes.csv", tmp_path / cache)
        return Source("folder", found, (found / "a",), votes=votes, url=f"{bucket}/data").signature()

    before = with_votes("cache")
    assert with_votes("other/deeper") == before
    write_bytes(f"{bucket}/votes.csv", b"vetos")
    assert with_votes("cache") != before


def test_a_source_in_a_bucket_is_named_by_its_address(tmp_path):
    assert Source("folder", tmp_path, (), url="gs://b/data").name == "gs://b/data"
    assert Source("folder", tmp_path, ()).name == str(tmp_path)
