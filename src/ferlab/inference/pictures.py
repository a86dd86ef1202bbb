"""Photos: one file, or all below a folder; what cannot be read is a problem of that file alone."""

from pathlib import Path

import numpy as np

from ferlab.errors import UserError
from ferlab.imaging.codec import IMAGE_SUFFIXES, ImageError, decode
from ferlab.inference.pipeline import Picture

LARGEST_FILE = 200_000_000
"""Bytes of a photo that is read at all."""


def picture_files(folder: Path) -> list[Path]:
    """Every file below a folder that ends like a photo, by path; hidden ones and those behind links are left out.

    Raises:
        UserError: there is none.

    """
    files = [
        path
        for path in sorted(folder.rglob("*"))
        if path.suffix.lower() in IMAGE_SUFFIXES
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and path.is_file()
    ]
    if not files:
        message = f"input={folder}: no photo in it or below it (looked for {', '.join(IMAGE_SUFFIXES)})."
        raise UserError(message)
    return files


def read_picture(file: Path, source: str, colour: str) -> Picture:
    """A photo upright (EXIF), for the detector and in the ``colour`` that faces are cut in, which is the decoder's own.

    Raises nothing: what cannot be read has a ``problem``.
    """
    try:
        if file.stat().st_size > LARGEST_FILE:
            return Picture(source, None, f"file of more than {LARGEST_FILE // 1_000_000} MB")
        return picture_of_bytes(file.read_bytes(), source, colour)
    except OSError as error:
        return Picture(source, None, f"cannot be read ({error.strerror or error})")


def picture_of_bytes(data: bytes, source: str, colour: str) -> Picture:
    """As ``read_picture``, of the bytes of an image file."""
    try:
        pixels = decode(data, "rgb")
        if colour == "rgb":
            return Picture(source, pixels, cut_from=pixels, data=data)
        gray = pixels[:, :, 0] if _is_gray(pixels) else decode(data, "gray")
        return Picture(source, pixels, cut_from=gray, data=data)
    except ImageError as error:
        return Picture(source, None, str(error))


def _is_gray(pixels: np.ndarray) -> bool:
    """Whether all channels are the same, so that any of them is what the decoder's own gray would be."""
    red, green, blue = pixels[:, :, 0], pixels[:, :, 1], pixels[:, :, 2]
    return bool(np.array_equal(red, green) and np.array_equal(red, blue))
