"""AffectNet as class folders of image files, as it is packed anew: ``train|val|test/<class>/<name>``."""

from pathlib import Path

from ferlab.datasets.affectnet.expressions import policy_of
from ferlab.datasets.class_folders import joined_rows, walk_class_folders
from ferlab.datasets.listing import Reading, Rows, Source

LAYOUT = "affectnet-folder"
PARTS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
"""Folders of the first level, in any case, and the part they stand for."""


def find(root: Path) -> Source | None:
    """The folders of ``PARTS`` in ``root``, train among them; None when there is no train."""
    found = tuple(sorted(path for path in root.iterdir() if path.name.lower() in PARTS and path.is_dir()))
    return Source(LAYOUT, root, found) if any(path.name.lower() == "train" for path in found) else None


def read(source: Source, reading: Reading) -> Rows:
    """Every image file; the id is its path below the root, its class the name of its folder.

    Raises:
        UserError: a class folder that is no category, a number without ``label_order``, or an unreadable folder.

    """
    found = walk_class_folders(source, reading)
    tables = [images.rows(source.root, PARTS[images.folder.name.lower()]) for images in found.images]
    table = joined_rows(tables)
    return Rows(table, reading.taxonomy, tuple(found.rejected), dict(found.excluded), policy_of(reading.taxonomy))
