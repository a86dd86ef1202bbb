"""A source's signature notices every change of its files, and only that."""

import os
from pathlib import Path

import pytest

from ferlab.datasets.listing import Source


@pytest.fixture
def root(tmp_path) -> Path:
    for name in ("train/happy/a.jpg", "train/sad/b.jpg", "test/happy/c.jpg", "readme.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
        os.utime(tmp_path / name, (1_600_000_000, 1_600_000_000))
    return tmp_path


def signature(root: Path, layout: str = "folder") -> str:
    return Source(layout, root, (root / "train", root / "test")).signature()


def grown(root):
    (root / "train/happy/a.jpg").write_bytes(b"longer than it was before")


def touched(root):
    os.utime(root / "train/happy/a.jpg", ns=(1_600_000_000 * 10**9, 1_600_000_000 * 10**9 + 1))


def added(root):
    (root / "test/happy/d.jpg").write_bytes(b"")


def removed(root):
    (root / "train/sad/b.jpg").unlink()


def renamed(root):
    (root / "train/sad/b.jpg").rename(root / "train/sad/z.jpg")


def moved(root):
    (root / "train/sad/b.jpg").rename(root / "train/happy/b.jpg")


@pytest.mark.parametrize("change", [grown, touched, added, removed, renamed, moved])
def test_every_change_of_a_file_changes_the_signature(root, change):
    before = signature(root)
    change(root)
    assert signature(root) != before


def test_files_that_are_not_read_do_not_matter(root):
    before = signature(root)
    (root / "readme.txt").write_text("changed")
    assert signature(root) == before


def test_the_same_files_under_another_root_have_the_same_signature(root, tmp_path_factory):
    before = signature(root)
    other = tmp_path_factory.mktemp("other") / "root"
    root.rename(other)
    assert signature(other) == before


def test_another_layout_of_the_same_files_is_another_source(root):
    assert signature(root, "folder") != signature(root, "affectnet")


def test_a_single_file_can_be_the_source(root):
    source = Source("csv", root, (root / "readme.txt",))
    before = source.signature()
    (root / "readme.txt").write_text("changed")
    assert source.signature() != before
