"""Recognise and read FER-2013 in every layout in which it circulates."""

from pathlib import Path

from ferlab.datasets.fer2013.folders import find_folders, read_folders
from ferlab.datasets.fer2013.tables import read_challenge, read_table
from ferlab.datasets.image_files import entries_of, is_folder
from ferlab.datasets.listing import Reading, Rows, Source
from ferlab.errors import UserError

TABLES = ("fer2013.csv", "icml_face_data.csv")
CHALLENGE = ("train.csv", "test.csv")
"""Kaggle's files of the challenge: Training with labels, the two test sets together without."""


def locate(root: Path) -> Source:
    """Recognise the layout in ``root`` (a folder, one folder inside it, or a CSV); UserError when there is none."""
    if root.is_file() and root.suffix.lower() == ".csv":
        return Source("fer2013-csv", root.parent, (root,))
    if not root.is_dir():
        message = f"dataset.root={root}: no such folder. Point it at the folder that holds {TABLES[0]}."
        raise UserError(message)
    inner = [Path(entry.path) for entry in entries_of(root) if is_folder(entry)]
    for folder in (root, *(inner if len(inner) == 1 else ())):
        source = _recognise(folder)
        if source:
            return source
    message = (
        f"dataset.root={root}: no {', '.join(TABLES)}, {CHALLENGE[0]} or train/ folder found there. "
        "Point dataset.root at the folder (or .zip, .tar.gz) that holds one of them."
    )
    raise UserError(message)


def _recognise(folder: Path) -> Source | None:
    for name in TABLES:
        if (folder / name).is_file():
            return Source("fer2013-icml" if name == TABLES[1] else "fer2013-csv", folder, (folder / name,))
    parts = find_folders(folder)
    if parts:
        return Source("fer2013-folder", folder, parts)
    if (folder / CHALLENGE[0]).is_file():
        return Source("fer2013-kaggle", folder, tuple(folder / name for name in CHALLENGE if (folder / name).is_file()))
    return None


def read(source: Source, reading: Reading) -> Rows:
    """Every row of the copy; UserError when the files do not fit the layout."""
    if source.layout == "fer2013-folder":
        return read_folders(source, reading)
    if source.layout == "fer2013-kaggle":
        return read_challenge(source.entries, reading.taxonomy)
    return read_table(source.entries[0], reading.taxonomy)
