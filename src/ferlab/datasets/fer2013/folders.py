"""FER-2013 as class folders of image files: ``train|test/<class>/<name>``.

A prefix of the file name (``Training_``, ``PublicTest_``, ``PrivateTest_``) tells the official part; without it the two
test sets of a ``test`` folder cannot be told apart.
"""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ferlab.datasets.class_folders import Images, joined_rows, walk_class_folders
from ferlab.datasets.fer2013.parts import MIXED, PRIVATE_TEST, PUBLIC_TEST, TRAINING, USAGES
from ferlab.datasets.listing import Reading, Rows, Source

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
NAMES = (*USAGES, MIXED)


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
    tables, moved = [], []
    for images in found.images:
        parts, contradicting = _parts(images)
        tables.append(images.rows(source.root, parts))
        moved.append(contradicting)
    problems = _problems(pa.chunked_array(moved, pa.string()), source.root)
    table = joined_rows(tables)
    return Rows(table, reading.taxonomy, tuple(found.rejected), dict(found.excluded), problems=problems)


def _parts(images: Images) -> tuple[pa.Array, pa.Array]:
    """The part of each image: its folder's, told apart by the prefix; and which have another prefix, in words."""
    part = PARTS[images.folder.name.lower()]
    numbers = np.full(len(images.ids), NAMES.index(part), dtype=np.int8)
    prefixes = numbers.copy()
    for usage in USAGES:
        prefixed = pc.match_substring_regex(images.ids, f"/{usage}_[^/]*$").to_numpy(zero_copy_only=False)
        prefixes[prefixed] = NAMES.index(usage)
        if part == MIXED and usage != TRAINING:
            numbers[prefixed] = NAMES.index(usage)
    moved = pa.array(prefixes != numbers)
    words = pc.binary_join_element_wise(images.ids.filter(moved), _named(prefixes).filter(moved), " is named ")
    return _named(numbers), words


def _named(numbers: np.ndarray) -> pa.Array:
    return pa.DictionaryArray.from_arrays(numbers, pa.array(NAMES)).cast(pa.string())


def _problems(moved: pa.ChunkedArray, root: Path) -> tuple[str, ...]:
    if not len(moved):
        return ()
    return (
        f"{root}: this copy was split anew ({len(moved):,} files, the first: {moved[0].as_py()}). Use another one.",
    )
