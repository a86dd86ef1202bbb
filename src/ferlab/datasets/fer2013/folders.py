"""FER-2013 as class folders of image files: ``train|test/<class>/<name>``.

A prefix of the file name (``Training_``, ``PublicTest_``, ``PrivateTest_``) tells the official part; without it the two
test sets of a ``test`` folder cannot be told apart.
"""

from pathlib import Path

from ferlab.datasets.class_folders import walk_class_folders
from ferlab.datasets.fer2013.parts import MIXED, PRIVATE_TEST, PUBLIC_TEST, TRAINING, USAGES
from ferlab.datasets.listing import Reading, Rows, Source, row_table

PARTS = {
    "train": TRAINING,
    "training": TRAINING,
    "publictest": PUBLIC_TEST,
    "privatetest": PRIVATE_TEST,
    "val": PUBLIC_TEST,
    "valid": PUBLIC_TEST,
    "validation": PUBLIC_TEST,
    "test": MIXED,
}
"""What the folders of the first level, in any case, are called by whom: the part they stand for."""


def find_folders(root: Path) -> tuple[Path, ...]:
    """The folders of ``PARTS`` in ``root``, Training among them; empty when there is none."""
    found = tuple(sorted(path for path in root.iterdir() if path.is_dir() and path.name.lower() in PARTS))
    return found if any(PARTS[path.name.lower()] == TRAINING for path in found) else ()


def read_folders(source: Source, reading: Reading) -> Rows:
    """Every image file; the id is its path below the root.

    Raises:
        UserError: a class folder that is no category, or a folder that cannot be read.

    """
    found = walk_class_folders(source, reading)
    moved: list[str] = []
    parts = [_part(folder, name, moved) for folder, name in zip(found.folders, found.ids, strict=True)]
    table = row_table(found.ids, parts, found.labels, path=[f"{source.root}/{name}" for name in found.ids])
    problems = _problems(moved, source.root)
    return Rows(table, reading.taxonomy, tuple(found.rejected), dict(found.excluded), problems=problems)


def _part(folder: Path, name: str, moved: list[str]) -> str:
    """The part that the folder stands for, told apart by the prefix; a prefix that contradicts goes into ``moved``."""
    part, prefix = PARTS[folder.name.lower()], name.rpartition("/")[2].split("_")[0]
    if prefix not in USAGES:
        return part
    if part == MIXED and prefix != TRAINING:
        return prefix
    if part != prefix:
        moved.append(f"{name} is named {prefix}")
    return part


def _problems(moved: list[str], root: Path) -> tuple[str, ...]:
    if not moved:
        return ()
    return (f"{root}: this copy was split anew ({len(moved):,} files, the first: {moved[0]}). Use another one.",)
