"""What lies in a folder of images: image files, folders, and files that do not belong there."""

import os
from pathlib import Path

from ferlab.errors import UserError
from ferlab.imaging.codec import IMAGE_SUFFIXES

LEFT_BY_DESKTOPS = frozenset({"thumbs.db", "desktop.ini", "__macosx"})
NOT_AN_IMAGE = "not an image file"


def entries_of(folder: Path) -> list[os.DirEntry[str]]:
    """The entries of a folder by name, without hidden files and those that desktops leave behind.

    Raises:
        UserError: the folder cannot be read.

    """
    try:
        with os.scandir(folder) as entries:
            found = [entry for entry in entries if not _is_overlooked(entry.name)]
    except OSError as error:
        message = f"{folder}: cannot be read ({error.strerror}). Change its permissions, or download it again."
        raise UserError(message) from error
    return sorted(found, key=lambda entry: entry.name)


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether it is a folder or a link to one; a broken link is none."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def is_image(entry: os.DirEntry[str]) -> bool:
    """Whether its name ends like an image and it is no folder; whether it can be decoded shows later."""
    return entry.name.lower().endswith(IMAGE_SUFFIXES) and not is_folder(entry)


def _is_overlooked(name: str) -> bool:
    return name.startswith(".") or name.lower() in LEFT_BY_DESKTOPS
