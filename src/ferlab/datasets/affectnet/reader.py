"""Recognise and read AffectNet in every layout in which it circulates."""

from pathlib import Path

from ferlab.datasets.affectnet import folders, manual, release2021
from ferlab.datasets.listing import Reading, Rows, Source
from ferlab.errors import UserError

LAYOUTS = {module.LAYOUT: module for module in (manual, release2021, folders)}
"""By the name that a ``Source`` carries; in this order they are looked for."""

EXPECTED = (
    "Manually_Annotated_Images/ with training.csv (original release), train_set/ and val_set/ (2021 release), or "
    "train/ and val/ with class folders"
)


def locate(root: Path) -> Source:
    """Recognise the layout in ``root`` or in one folder inside it.

    Raises:
        UserError: none is there, a part of it is missing, or several folders hold one.

    """
    if not root.is_dir():
        message = f"dataset.root={root}: no such folder. Point dataset.root at the folder that holds {EXPECTED}."
        raise UserError(message)
    try:
        found = _found_in(root)
    except OSError as error:
        message = f"dataset.root={root}: cannot be read ({error}). Change its permissions."
        raise UserError(message) from error
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(f"{source.root.name}/" for source in found)
        message = f"dataset.root={root}: {names} each hold a copy of AffectNet. Point dataset.root at one of them."
        raise UserError(message)
    message = f"dataset.root={root}: no AffectNet found there. Point dataset.root at the folder that holds {EXPECTED}."
    raise UserError(message)


def _found_in(root: Path) -> list[Source]:
    for module in LAYOUTS.values():
        source = module.find(root)
        if source:
            return [source]
    # the names of the two releases are their own; train/ one level below could be any other dataset's
    inner = sorted(path for path in root.iterdir() if path.is_dir())
    return [source for folder in inner if (source := manual.find(folder) or release2021.find(folder))]


def read(source: Source, reading: Reading) -> Rows:
    """Every row of the copy; ``part`` is train, val or, in some repacks, test.

    Raises:
        UserError: the files do not fit the layout, or nothing in them can be used.

    """
    rows = LAYOUTS[source.layout].read(source, reading)
    if not rows.table.num_rows:
        message = (
            f"dataset.root={source.name}: no usable image of the {len(reading.taxonomy)} classes there "
            f"({len(rows.rejected):,} rejected, {sum(rows.excluded.values()):,} left out). Download the dataset again."
        )
        raise UserError(message)
    return rows
