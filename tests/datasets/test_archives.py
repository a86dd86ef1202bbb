"""Archives give the rows of the plain files, are unpacked once, and an unsafe one leaves nothing anywhere."""

import io
import os
import random
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from ferlab.datasets.archives import LARGEST_RATIO, is_archive, locate_in, unpacked
from ferlab.datasets.catalog import FAMILIES
from ferlab.datasets.fer2013.reader import locate, read
from ferlab.datasets.listing import Reading, Rows, Source
from ferlab.datasets.synthetic.layouts import write_synthetic
from ferlab.emotions import FER2013
from ferlab.errors import UserError

LAYOUTS = ("fer2013-csv", "fer2013-icml", "fer2013-kaggle", "fer2013-folder")
SUFFIXES = (".zip", ".tar.gz", ".tgz", ".tar")
Members = dict[str, bytes]


def rows_of(source: Source) -> Rows:
    return read(source, Reading(FER2013))


def members_of(folder: Path, inside: str = "") -> Members:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {inside + path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def pack(archive: Path, members: Members, mtime: int = 1_600_000_000) -> Path:
    archive.parent.mkdir(parents=True, exist_ok=True)
    if archive.name.endswith(".zip"):
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as content:
            for name, data in members.items():
                content.writestr(name, data)
        return archive
    with tarfile.open(archive, "w" if archive.suffix == ".tar" else "w:gz") as content:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size, member.mtime = len(data), mtime
            content.addfile(member, io.BytesIO(data))
    return archive


def left_in(cache: Path) -> list[str]:
    """What lies in the cache beside its locks."""
    return sorted(path.name for path in cache.iterdir() if path.name != ".locks") if cache.exists() else []


@pytest.fixture(scope="module")
def drawn(tmp_path_factory) -> dict[str, Path]:
    """The same 70 drawn faces in every layout; read-only."""
    folder = tmp_path_factory.mktemp("drawn")
    for layout in LAYOUTS:
        write_synthetic(layout, folder / layout, 70, 1)
    return {layout: folder / layout for layout in LAYOUTS}


@pytest.fixture
def cache(tmp_path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def find(cache) -> Callable[[Path], Source]:
    """``find(root)`` recognises FER-2013 in a folder or archive."""
    return lambda root: locate_in(root, cache, locate)


# --- the same rows


@pytest.mark.parametrize("where", ["the root", "in the root"])
@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_archive_has_the_rows_of_its_files(tmp_path, drawn, find, layout, suffix, where):
    archive = pack(tmp_path / "packed" / f"faces{suffix}", members_of(drawn[layout], "fer2013/"))
    (tmp_path / "packed" / "readme.txt").write_text("beside it")
    plain, source = rows_of(locate(drawn[layout])), find(archive if where == "the root" else archive.parent)
    assert (source.layout, source.archive, source.name) == (layout, archive, str(archive))
    found = rows_of(source)
    assert (found.rejected, found.excluded, found.problems) == ((), {}, ())
    for column in ("id", "part", "label", "pixels"):
        assert found.table[column].equals(plain.table[column]), column


def test_kaggles_download_is_an_archive_in_an_archive(tmp_path, drawn, find):
    inner = pack(tmp_path / "fer2013.tar.gz", members_of(drawn["fer2013-csv"], "fer2013/") | {"fer2013/README": b"x"})
    members = {"fer2013.tar.gz": inner.read_bytes(), "example_submission.csv": b"emotion\n1\n"}
    outer = pack(tmp_path / "packed" / "challenges-in-representation-learning.zip", members)
    for root in (outer, outer.parent):
        source = find(root)
        assert source.archive == outer
        assert rows_of(source).table.equals(rows_of(locate(drawn["fer2013-csv"])).table)


def test_of_several_archives_the_one_that_holds_the_dataset_is_found(tmp_path, drawn, find):
    folder = tmp_path / "downloads"
    pack(folder / "a.zip", {"holiday.txt": b"x"})
    wanted = pack(folder / "b.tar.gz", members_of(drawn["fer2013-csv"]))
    (folder / "c.zip").write_bytes(b"not an archive")
    assert find(folder).archive == wanted


def test_plain_files_are_taken_before_an_archive_beside_them(tmp_path, drawn, find, cache):
    shutil.copytree(drawn["fer2013-csv"], tmp_path / "both")
    pack(tmp_path / "both" / "fer2013.tar.gz", {"fer2013.csv": b"other"})
    assert find(tmp_path / "both").archive is None
    assert left_in(cache) == []


def test_upper_case_endings_are_archives_and_folders_are_none(tmp_path):
    pack(tmp_path / "x.zip", {"a": b"x"}).rename(tmp_path / "X.ZIP")
    (tmp_path / "folder.zip").mkdir()
    assert is_archive(tmp_path / "X.ZIP")
    assert not is_archive(tmp_path / "folder.zip")


def test_an_archive_without_the_dataset_says_what_was_looked_for(tmp_path, find):
    archive = pack(tmp_path / "holiday.zip", {"beach.jpg": b"x"})
    with pytest.raises(UserError, match=r"holiday.*no fer2013\.csv"):
        find(archive)


# --- once


def test_the_second_opening_unpacks_nothing(tmp_path, drawn, find, cache):
    archive = pack(tmp_path / "faces.zip", members_of(drawn["fer2013-folder"]))
    first = find(archive)
    stamps = {path: path.stat().st_mtime_ns for path in cache.rglob("*") if ".locks" not in path.parts}
    second = find(archive)
    assert second == first
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps
    assert len(left_in(cache)) == 1
    assert second.signature() == first.signature()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_changed_archive_is_noticed(tmp_path, find, make_request, suffix):
    def text(label: int) -> bytes:
        return f"emotion,pixels,Usage\n{label},{' '.join(['7'] * 2304)},Training\n".encode()

    archive = pack(tmp_path / f"faces{suffix}", {"fer2013.csv": text(3)})
    os.utime(archive, (1_600_000_000, 1_600_000_000))
    before = rows_of(find(archive)).table["label"].to_pylist()
    first = make_request(archive, dataset="fer2013").key
    pack(archive, {"fer2013.csv": text(4)})
    assert (before, rows_of(find(archive)).table["label"].to_pylist()) == ([3], [4])
    assert make_request(archive, dataset="fer2013").key != first


def test_a_copy_of_the_archive_elsewhere_is_its_own(tmp_path, drawn, find):
    archive = pack(tmp_path / "faces.zip", members_of(drawn["fer2013-csv"]))
    other = tmp_path / "elsewhere" / "faces.zip"
    other.parent.mkdir()
    shutil.copy2(archive, other)
    assert find(archive).root != find(other).root


# --- unsafe


def zip_with(name: str, data: bytes = b"x") -> Callable[[Path], Path]:
    return lambda folder: pack(folder / "bad.zip", {"fer2013.csv": b"x", name: data})


def tar_with(member: tarfile.TarInfo, data: bytes = b"") -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        with tarfile.open(folder / "bad.tar.gz", "w:gz") as content:
            member.size = len(data)
            content.addfile(member, io.BytesIO(data))
        return folder / "bad.tar.gz"

    return make


def tar_member(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


def zip_bomb(folder: Path) -> Path:
    with zipfile.ZipFile(folder / "bad.zip", "w", zipfile.ZIP_DEFLATED) as content:
        content.writestr("fer2013.csv", bytes(LARGEST_RATIO * (1 << 20) + 1))
    return folder / "bad.zip"


def tar_bomb(folder: Path) -> Path:
    with tarfile.open(folder / "bad.tar.gz", "w:gz") as content:
        member = tarfile.TarInfo("fer2013.csv")
        member.size = LARGEST_RATIO * (1 << 20) + 1
        content.addfile(member, io.BytesIO(bytes(member.size)))
    return folder / "bad.tar.gz"


def encrypted_zip(folder: Path) -> Path:
    """A zip whose member is marked as encrypted, in both of its headers."""
    archive = pack(folder / "bad.zip", {"fer2013.csv": b"emotion,pixels,Usage\n"})
    data = bytearray(archive.read_bytes())
    data[6] |= 1
    data[data.index(b"PK\x01\x02") + 8] |= 1
    archive.write_bytes(data)
    return archive


def not_an_archive(name: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / name).write_bytes(b"<html>404</html>" * 100)
        return folder / name

    return make


UNSAFE = {
    "zip: path outside": zip_with("../outside.txt"),
    "zip: path outside, deeper": zip_with("a/../../outside.txt"),
    "zip: absolute path": zip_with("/outside.txt"),
    "zip: backslashes": zip_with("..\\outside.txt"),
    "zip: bomb": zip_bomb,
    "zip: encrypted": encrypted_zip,
    "zip: a file that is a folder too": zip_with("fer2013.csv/inside.txt"),
    "zip: none": not_an_archive("bad.zip"),
    "tar: path outside": tar_with(tar_member("../outside.txt"), b"x"),
    "tar: symlink outside": tar_with(tar_member("fer2013.csv", tarfile.SYMTYPE, "../../outside.txt")),
    "tar: symlink to a file of the system": tar_with(tar_member("fer2013.csv", tarfile.SYMTYPE, "/etc/passwd")),
    "tar: hard link outside": tar_with(tar_member("fer2013.csv", tarfile.LNKTYPE, "../../outside.txt")),
    "tar: device": tar_with(tar_member("fer2013.csv", tarfile.CHRTYPE)),
    "tar: fifo": tar_with(tar_member("fer2013.csv", tarfile.FIFOTYPE)),
    "tar: bomb": tar_bomb,
    "tar: none": not_an_archive("bad.tar.gz"),
    "tgz: none": not_an_archive("bad.tgz"),
}


@pytest.mark.parametrize("make", UNSAFE.values(), ids=UNSAFE)
def test_an_unsafe_archive_is_one_line_and_leaves_nothing(tmp_path, find, cache, make):
    (tmp_path / "packed").mkdir()
    archive = make(tmp_path / "packed")
    with pytest.raises(UserError, match=r"bad") as caught:
        find(archive)
    assert "\n" not in str(caught.value)
    assert left_in(cache) == []
    assert {path.name for path in tmp_path.iterdir()} == {"packed", "cache"}
    assert [path.name for path in (tmp_path / "packed").iterdir()] == [archive.name]


def test_a_link_inside_a_zip_is_no_way_out(tmp_path, find):
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as content:
        link = zipfile.ZipInfo("fer2013.csv")
        link.external_attr = 0o120777 << 16
        content.writestr(link, "/etc/passwd")
    with pytest.raises(UserError, match=r"fer2013\.csv"):
        rows_of(find(tmp_path / "bad.zip"))


def test_a_member_with_an_absolute_path_in_a_tar_stays_inside(tmp_path, find, drawn):
    data = (drawn["fer2013-csv"] / "fer2013.csv").read_bytes()
    archive = tar_with(tar_member(f"{tmp_path}/outside/fer2013.csv"), data)(tmp_path)
    with pytest.raises(UserError):
        find(archive)
    assert not (tmp_path / "outside").exists()


# --- damaged


def test_an_archive_that_was_cut_short_is_refused(tmp_path, drawn, cache):
    members = members_of(drawn["fer2013-csv"])
    for suffix in (".zip", ".tar.gz", ".tgz", ".tar"):
        archive = pack(tmp_path / f"faces{suffix}", members)
        data = archive.read_bytes()
        for share in (0.0, 0.01, 0.5, 0.9):
            archive.write_bytes(data[: int(share * len(data))])
            with pytest.raises(UserError, match=r"faces.*cannot be unpacked") as caught:
                unpacked(archive, cache)
            assert "\n" not in str(caught.value)
    assert left_in(cache) == []


@pytest.mark.parametrize("suffix", [".zip", ".tar.gz"])
def test_a_flipped_bit_never_gives_other_rows(tmp_path, drawn, suffix):
    """A packed file carries a checksum: damage is one line, or does not touch the contents."""
    members = members_of(drawn["fer2013-csv"])
    data = pack(tmp_path / f"faces{suffix}", members).read_bytes()
    refused = 0
    for seed in range(60):
        damaged, rng = bytearray(data), random.Random(seed)
        damaged[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        archive = tmp_path / str(seed) / f"faces{suffix}"
        archive.parent.mkdir()
        archive.write_bytes(damaged)
        try:
            folder = unpacked(archive, tmp_path / str(seed) / "cache")
        except UserError:
            refused += 1
            assert left_in(tmp_path / str(seed) / "cache") == []
        else:
            assert members_of(folder) == members, seed
    assert refused > 40


def test_an_unreadable_archive_or_folder_is_one_line(unprivileged):
    pack(unprivileged / "faces" / "faces.zip", {"fer2013.csv": b"x"}).chmod(0)
    for path in (unprivileged / "faces" / "faces.zip", unprivileged / "faces"):
        with pytest.raises(UserError, match="faces") as caught:
            FAMILIES["fer2013"].locate(path, unprivileged / "cache")
        assert "\n" not in str(caught.value)
    (unprivileged / "faces").chmod(0)
    with pytest.raises(UserError, match="cannot be read"):
        FAMILIES["fer2013"].locate(unprivileged / "faces", unprivileged / "cache")
