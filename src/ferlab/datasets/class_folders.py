"""Class folders ``<part>/<class>/<image>``: a category is known by the name of its folder, never by its position."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ferlab.datasets.image_files import NOT_AN_IMAGE, Entry, entries_of, is_folder, is_image
from ferlab.datasets.listing import ROW_SCHEMA, Reading, Source, row_table
from ferlab.emotions import AFFECTNET8, TAXONOMIES, Taxonomy
from ferlab.errors import UserError
from ferlab.manifest import Rejection

NAMES_AT_ONCE = 1 << 16
"""So many file names are Python objects at a time."""


@dataclass(frozen=True)
class Images:
    """Some images of one class folder: the folder of their part, their label, and their ids (paths below the root)."""

    folder: Path
    label: int
    ids: pa.StringArray

    def rows(self, root: Path, part: str | pa.Array) -> pa.Table:
        """Their rows (``ROW_SCHEMA``): of one part, or of a part each."""
        count = len(self.ids)
        return row_table(
            self.ids,
            pa.repeat(part, count) if isinstance(part, str) else part,
            np.full(count, self.label),
            path=pc.binary_join_element_wise(str(root), self.ids, "/"),
        )


@dataclass
class ClassFolders:
    """What lies below the part folders, folder by folder in the order of their names."""

    images: list[Images] = field(default_factory=list)
    rejected: list[Rejection] = field(default_factory=list)
    excluded: Counter[str] = field(default_factory=Counter)


def walk_class_folders(source: Source, reading: Reading) -> ClassFolders:
    """Every image file below the part folders ``source.entries``; what is none is rejected, other classes are counted.

    Raises:
        UserError: a class folder that is no category, a number without ``label_order``, or an unreadable folder.

    """
    found = ClassFolders()
    for part in source.entries:
        for class_folder in _class_folders(part, source.root, found.rejected):
            label = class_of_folder(class_folder, reading.taxonomy, reading.label_order)
            ids = _ids(class_folder, source.root, found.rejected)
            if label is None:
                reason = f"{class_folder.name}, not one of the {len(reading.taxonomy)} classes"
                found.excluded[reason] += sum(map(len, ids))
            else:
                found.images += [Images(part, label, some) for some in ids]
    found.rejected.sort(key=lambda item: item.id)
    return found


def joined_rows(tables: list[pa.Table]) -> pa.Table:
    """The rows (``ROW_SCHEMA``) of all tables in turn; their columns are not copied."""
    return pa.concat_tables([ROW_SCHEMA.empty_table(), *tables])


def class_of_folder(folder: Path, taxonomy: Taxonomy, label_order: str | None) -> int | None:
    """Position in ``taxonomy`` of the category that ``folder`` is named after; None for one that it leaves out.

    A folder named by a number is read through ``label_order``, the name of a taxonomy.

    Raises:
        UserError: not a category, or a number without ``label_order``.

    """
    name = folder.name.strip()
    if name.isdecimal():
        name = _by_number(folder, int(name), label_order)
    try:
        return taxonomy.index_of(name)
    except KeyError:
        pass
    try:
        AFFECTNET8.index_of(name)
    except KeyError:
        message = f"{folder}: not a category. Expected folders named {', '.join(taxonomy.classes)}."
        raise UserError(message) from None
    return None


def _by_number(folder: Path, number: int, label_order: str | None) -> str:
    if label_order is None:
        message = (
            f"{folder}: class folders are numbers, and tools number categories differently. Say whose order it is: "
            f"dataset.label_order={'|'.join(TAXONOMIES)}."
        )
        raise UserError(message)
    order = TAXONOMIES[label_order]
    try:
        return order.classes[order.index_of_id(number)]
    except KeyError:
        message = f"{folder}: {number} is no class number of {label_order} ({', '.join(map(str, order.ids))})."
        raise UserError(message) from None


def _class_folders(part: Path, root: Path, rejected: list[Rejection]) -> list[Path]:
    found: list[Path] = []
    for entry in entries_of(part):
        if is_folder(entry):
            found.append(Path(entry.path))
        elif entry.is_symlink() and not Path(entry.path).exists():
            message = f"{entry.path}: a link that leads nowhere. Mend it, or remove it."
            raise UserError(message)
        else:
            reason = "not in a class folder" if is_image(entry) else NOT_AN_IMAGE
            rejected.append(Rejection(_below(root, entry), reason))
    return found


def _ids(class_folder: Path, root: Path, rejected: list[Rejection]) -> Iterator[pa.StringArray]:
    """Ids of the images in a class folder, some at a time."""
    names = _images(class_folder, root, rejected)
    below = class_folder.relative_to(root).as_posix()
    while batch := list(islice(names, NAMES_AT_ONCE)):
        yield pc.binary_join_element_wise(below, pa.array(batch, pa.string()), "/")


def _images(class_folder: Path, root: Path, rejected: list[Rejection]) -> Iterator[str]:
    """Names of the images in a class folder; everything else is rejected."""
    for entry in entries_of(class_folder):
        if is_folder(entry):
            # each image in it is one that the copy will lack
            lost = [_below(root, image) for image in entries_of(Path(entry.path)) if not is_folder(image)]
            rejected += [Rejection(name, "in a folder inside a class folder") for name in lost or [_below(root, entry)]]
        elif is_image(entry) and _is_text(entry.name):
            yield entry.name
        else:
            reason = "its name is not text (UTF-8)" if is_image(entry) else NOT_AN_IMAGE
            rejected.append(Rejection(_printable(_below(root, entry)), reason))


def _is_text(name: str) -> bool:
    """Whether a file name is text and not bytes of another encoding."""
    return _printable(name) == name


def _printable(name: str) -> str:
    return name.encode("utf-8", "replace").decode()


def _below(root: Path, entry: Entry) -> str:
    return Path(entry.path).relative_to(root).as_posix()
