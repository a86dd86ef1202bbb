"""A source's signature notices every change of its files, and only that; tables of rows have one schema."""

import os
from pathlib import Path

import pytest

from ferlab.datasets.listing import ROW_SCHEMA, Source, row_table
from ferlab.errors import UserError


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


def test_the_votes_and_the_archive_that_belong_to_a_source_count_as_its_files(root, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    seen = set()
    for name in ("votes", "archive"):
        (other / name).write_bytes(b"x")
        source = Source("folder", root, (root / "train",), **{name: other / name})
        seen.add(source.signature())
        (other / name).write_bytes(b"changed")
        seen.add(source.signature())
    assert len(seen) == 4
    assert signature(root) not in seen


def test_a_link_to_a_folder_above_is_entered_once(root):
    (root / "train" / "loop").symlink_to(root / "train")
    first = signature(root)
    assert signature(root) == first


# --- tables of rows


def test_a_table_of_rows_has_every_column_and_null_where_nothing_was_given():
    table = row_table(["a", "b"], ["Training", "val"], [3, -1], votes=[[1, 2], None])
    assert table.schema == ROW_SCHEMA
    assert table.to_pylist()[1] == dict.fromkeys(ROW_SCHEMA.names) | {"id": "b", "part": "val", "label": -1}
    assert table["votes"].to_pylist() == [[1, 2], None]


def test_a_table_of_no_rows_keeps_the_schema():
    assert row_table([], [], []).schema == ROW_SCHEMA


def test_a_column_that_rows_do_not_have_is_a_type_error():
    with pytest.raises(TypeError, match="no such columns: split"):
        row_table(["a"], ["Training"], [0], split=["train"])


def test_an_unreadable_folder_is_one_line_that_names_it(unprivileged):
    (unprivileged / "train" / "happy").mkdir(parents=True)
    (unprivileged / "train" / "happy").chmod(0)
    with pytest.raises(UserError, match=r"train/happy: cannot be read \(Permission denied\)"):
        Source("folder", unprivileged, (unprivileged / "train",)).signature()
