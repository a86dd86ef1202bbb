"""Image bytes to pixels and back (OpenCV), with reasons instead of silently damaged pictures."""

import warnings
from collections.abc import Iterator
from io import BytesIO

import cv2
import numpy as np

from ferlab.manifest import ENCODINGS

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff")
"""Endings of the files that ``decode`` reads, in lower case."""

MAGICS = {
    b"\xff\xd8": "JPEG",
    b"\x89PNG": "PNG",
    b"BM": "BMP",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"II+\0": "TIFF",
    b"MM\0+": "TIFF",
}
"""First bytes of a file to its format; ``+`` marks a BigTIFF."""

JPEG_QUALITY = 95
LARGEST_SEGMENT = 65_536
ORIENTATION, UPRIGHT = 0x0112, 1
"""EXIF's tag, and its value for a photo that is neither turned nor mirrored."""
MAX_PIXELS = 100_000_000
HEADER_ERRORS = (OSError, SyntaxError, ValueError, TypeError, LookupError, OverflowError)
STRIPS_AND_TILES = ((273, 279), (324, 325))
"""Tags of a TIFF that say where its pieces start and how many bytes they have."""

TILE_WIDTH, TILE_LENGTH, LEAST_TILE = 322, 323, 2**20
"""Tags of a TIFF, and the pixels that a tile may have in any image."""
FRAME_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
SEQUENTIAL = frozenset({0xC0, 0xC1})
BARE_MARKERS = frozenset({0x00, 0x01, *range(0xD0, 0xD9)})
"""Of a JPEG, those that no length follows (0: none at all)."""
SCAN, END, FILL = 0xDA, 0xD9, 0xFF
CHANNELS, SHORTEST_FRAME = 5, 10
"""Where a frame says how many channels it has, and its bytes up to there with marker and length."""
MOST_SCANS = 100
"""Of a JPEG; encoders make ten of a progressive one."""

DECODING = {
    "gray": {
        1: cv2.IMREAD_GRAYSCALE,
        2: cv2.IMREAD_REDUCED_GRAYSCALE_2,
        4: cv2.IMREAD_REDUCED_GRAYSCALE_4,
        8: cv2.IMREAD_REDUCED_GRAYSCALE_8,
    },
    "rgb": {
        1: cv2.IMREAD_COLOR_RGB,
        2: cv2.IMREAD_COLOR_RGB | cv2.IMREAD_REDUCED_GRAYSCALE_2,
        4: cv2.IMREAD_COLOR_RGB | cv2.IMREAD_REDUCED_GRAYSCALE_4,
        8: cv2.IMREAD_COLOR_RGB | cv2.IMREAD_REDUCED_GRAYSCALE_8,
    },
}
"""OpenCV's flag for a colour and how much smaller the picture is wanted; RGB beats the gray of the last three."""


class ImageError(ValueError):
    """An image that cannot be used; the message is the reason that goes into the rejection list."""


def decode(data: bytes, colour: str, shrink: int = 1) -> np.ndarray:
    """Decode a JPEG, PNG, BMP or TIFF file into uint8 pixels, (h, w) for gray or (h, w, 3) RGB.

    The orientation that the file names (EXIF, TIFF) is applied, 16-bit values keep their upper 8 bits, the transparency
    of a PNG is dropped. ``shrink`` (1, 2, 4, 8; JPEG only) gives ceil(side / shrink) pixels a side, averaged by the
    decoder itself (scaled inverse DCT).

    Raises:
        ImageError: empty, cut short, too large (``MAX_PIXELS``), another format or not an image.

    """
    _refuse_unusable(data)
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), DECODING[colour][shrink])
    except cv2.error as error:
        raise ImageError("not a readable image") from error
    if pixels is None:
        raise ImageError("not a readable image")
    return pixels


def shrink_for(data: bytes, wanted_px: int, region_px: float | None = None) -> int:
    """By how much a file may be decoded smaller (1, 2, 4 or 8) so that a region keeps ``wanted_px`` pixels a side.

    ``region_px`` is the side of the region in pixels of the photo, None for its shorter side. 1 for all but JPEG files.
    """
    if not data.startswith(b"\xff\xd8"):
        return 1
    side = min(jpeg_size(data)) if region_px is None else region_px
    return next((shrink for shrink in (8, 4, 2) if side >= shrink * wanted_px), 1)


def is_turned(data: bytes) -> bool:
    """Whether a JPEG names an orientation (EXIF) in which it is turned or mirrored."""
    if data.find(b"Exif\0\0", 0, LARGEST_SEGMENT) < 0:
        return False
    # loaded here because hardly any image of the datasets needs it
    from PIL import Image

    try:
        return Image.open(BytesIO(data)).getexif().get(ORIENTATION, UPRIGHT) != UPRIGHT
    except HEADER_ERRORS:
        return False


def square_pixels(data: bytes, colour: str) -> np.ndarray:
    """Row-major gray bytes of a square image as pixels, (s, s) for gray or (s, s, 3) for rgb."""
    side = round(len(data) ** 0.5)
    if not data or side * side != len(data):
        message = f"{len(data)} pixels are not a square image"
        raise ImageError(message)
    gray = np.frombuffer(data, np.uint8).reshape(side, side)
    return gray if colour == "gray" else np.repeat(gray[:, :, None], 3, axis=2)


def resize(pixels: np.ndarray, size_px: int) -> np.ndarray:
    """Resize to (size_px, size_px[, 3]) without aliasing.

    Enlarging is bilinear; shrinking averages over areas, or by less than two, which is the usual case after ``decode``
    has shrunk a JPEG, over four bilinear samples a pixel: as smooth, and in half the time.
    """
    longer = max(pixels.shape[:2])
    if pixels.shape[:2] == (size_px, size_px):
        return pixels
    if longer >= 2 * size_px:
        return cv2.resize(pixels, (size_px, size_px), interpolation=cv2.INTER_AREA)
    drawn_px = 2 * size_px if longer > size_px else size_px
    drawn = cv2.resize(pixels, (drawn_px, drawn_px), interpolation=cv2.INTER_LINEAR)
    return cv2.resize(drawn, (size_px, size_px), interpolation=cv2.INTER_AREA)


def encode(pixels: np.ndarray, encoding: str) -> bytes:
    """Pixels as the bytes of a record: ``png``, ``jpeg`` (quality 95), ``raw`` uint8 or ``float32`` in 0..1."""
    if encoding == "raw":
        return pixels.tobytes()
    if encoding == "float32":
        return (pixels.astype("<f4") / np.float32(255)).tobytes()
    stored = pixels if pixels.ndim == 2 else cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    if encoding == "png":
        return cv2.imencode(".png", stored)[1].tobytes()
    if encoding == "jpeg":
        return cv2.imencode(".jpg", stored, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1].tobytes()
    message = f"encoding {encoding!r} is none of {', '.join(ENCODINGS)}"
    raise ValueError(message)


def decode_record(data: bytes, encoding: str, size_px: int, colour: str) -> np.ndarray:
    """The pixels (size_px, size_px, channels) uint8 of a record written with ``encode``."""
    channels = 1 if colour == "gray" else 3
    shape = (size_px, size_px, channels)
    if encoding == "raw":
        return np.frombuffer(data, np.uint8).reshape(shape)
    if encoding == "float32":
        return np.rint(np.frombuffer(data, "<f4") * 255).astype(np.uint8).reshape(shape)
    return decode(data, colour).reshape(shape)


def _refuse_unusable(data: bytes) -> None:
    """What the first bytes and the header tell, before anything is decompressed."""
    if not data:
        raise ImageError("empty file")
    kind = next((kind for magic, kind in MAGICS.items() if data.startswith(magic)), None)
    if kind is None:
        raise ImageError("not a JPEG, PNG, BMP or TIFF image")
    if kind == "JPEG":
        _refuse_cut_jpeg(data)
        _refuse_jpeg_bomb(data)
    elif kind == "PNG":
        _refuse_cut_png(data)
        _refuse_bomb(*_png_size(data))
    else:
        width, height, end = _bmp_extent(data) if kind == "BMP" else _tiff_extent(data)
        _refuse_bomb(width, height)
        if end > len(data):
            message = f"cut {kind} file"
            raise ImageError(message)


def _refuse_cut_jpeg(data: bytes) -> None:
    """A decoder fills the missing part of a cut file with gray; the end marker tells."""
    if data.endswith(b"\xff\xd9") and b"\xff\xda" in data:
        return
    # inside entropy-coded data FF D9 cannot occur, so an end marker after the last scan start is the end
    if data.rfind(b"\xff\xd9") < data.rfind(b"\xff\xda") or b"\xff\xda" not in data:
        raise ImageError("cut JPEG file")


def _refuse_jpeg_bomb(data: bytes) -> None:
    """A frame that is too large, or scans without end, each a pass over the image however short it is itself."""
    segments = list(_jpeg_segments(data))
    kind, frame = next((one for one in segments if one[0] in FRAME_MARKERS), (0, 0))
    if not kind:
        raise ImageError("not a readable image")
    _refuse_bomb(*_frame_size(data, frame))
    # a first scan that holds all channels is the only one that is read; counting would look at every byte
    last, scan = segments[-1]
    is_only = kind in SEQUENTIAL and last == SCAN and data[scan] == data[frame + CHANNELS]
    if not is_only and (scans := data.count(b"\xff\xda")) > MOST_SCANS:
        message = f"JPEG of {scans} scans, more than {MOST_SCANS}"
        raise ImageError(message)


def _refuse_cut_png(data: bytes) -> None:
    if b"IEND" not in data[-4096:]:
        raise ImageError("cut PNG file")


def _refuse_bomb(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        message = f"image of {width}x{height} pixels is larger than {MAX_PIXELS:,} pixels"
        raise ImageError(message)


def _png_size(data: bytes) -> tuple[int, int]:
    return int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")


def jpeg_size(data: bytes) -> tuple[int, int]:
    """Width and height in the first frame header (ITU T.81, B.2.2); (0, 0) when there is none."""
    frames = (place for marker, place in _jpeg_segments(data) if marker in FRAME_MARKERS)
    place = next(frames, None)
    return (0, 0) if place is None else _frame_size(data, place)


def _frame_size(data: bytes, place: int) -> tuple[int, int]:
    return int.from_bytes(data[place + 3 : place + 5], "big"), int.from_bytes(data[place + 1 : place + 3], "big")


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, int]]:
    """Markers of a JPEG up to its first scan, and where what belongs to each begins, behind its length."""
    position = 2 if data.startswith(b"\xff\xd8") else len(data)
    # as libjpeg does, bytes before a marker that belong to nothing are passed over
    while 0 <= (position := data.find(b"\xff", position)) <= len(data) - SHORTEST_FRAME:
        marker = data[position + 1]
        if marker == FILL or marker in BARE_MARKERS:
            position += 1 if marker == FILL else 2
            continue
        if marker != END:
            yield marker, position + 4
        if marker in (SCAN, END):
            return
        position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")


def _bmp_extent(data: bytes) -> tuple[int, int, int]:
    """Width, height and where the pixels end in the file, from the header; nothing is decoded."""
    # loaded here because hardly any image of the datasets needs it
    from PIL.BmpImagePlugin import BmpImageFile

    try:
        image = BmpImageFile(BytesIO(data))
    except HEADER_ERRORS as error:
        raise ImageError("not a readable image") from error
    codec, _, start, arguments = image.tile[0]
    # run-length coded rows have no fixed length; their decoder notices a missing end itself
    row_bytes = arguments[1] if codec == "raw" and isinstance(arguments, tuple) else 0
    return image.width, image.height, start + row_bytes * image.height


def _refuse_wide_tiles(pixels: int, width: int, length: int) -> None:
    """A decoder makes room for whole tiles, however small the image is."""
    if width * length > max(4 * pixels, LEAST_TILE):
        message = f"tiles of {width}x{length} pixels in an image of {pixels:,} pixels"
        raise ImageError(message)


def _tiff_extent(data: bytes) -> tuple[int, int, int]:
    """Width, height and where the last strip or tile ends in the file, from the header; nothing is decoded."""
    # loaded here because hardly any image of the datasets needs it
    from PIL.TiffImagePlugin import TiffImageFile

    try:
        with warnings.catch_warnings():
            # a damaged directory is answered by an ImageError, here or by the decoder
            warnings.simplefilter("ignore")
            image = TiffImageFile(BytesIO(data))
            tags = image.tag_v2
            width, length = int(tags.get(TILE_WIDTH, 0)), int(tags.get(TILE_LENGTH, 0))
            pieces = [(tags.get(starts, ()), tags.get(lengths, ())) for starts, lengths in STRIPS_AND_TILES]
        ends = [start + length for starts, lengths in pieces for start, length in zip(starts, lengths, strict=False)]
    except HEADER_ERRORS as error:
        raise ImageError("not a readable image") from error
    _refuse_wide_tiles(image.width * image.height, width, length)
    return image.width, image.height, max(ends, default=0)
