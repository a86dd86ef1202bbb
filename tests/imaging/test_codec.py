"""Pixels survive the codec, and a damaged file is refused instead of becoming a damaged picture."""

import struct
import zlib
from io import BytesIO
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from ferlab.imaging import codec
from ferlab.imaging.codec import (
    IMAGE_SUFFIXES,
    MAX_PIXELS,
    MOST_SCANS,
    ImageError,
    decode,
    decode_record,
    encode,
    jpeg_size,
    resize,
    square_pixels,
)
from ferlab.manifest import ENCODINGS

WIDTH, HEIGHT = 40, 24


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    """Smooth colours (h, w, 3), so that JPEG keeps them well, and no two corners alike."""
    rng = np.random.default_rng(4)
    return cv2.resize(rng.integers(0, 256, (3, 4, 3), dtype=np.uint8), (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)


def jpeg(picture: np.ndarray, *flags: int) -> bytes:
    bgr = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
    return cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, 95, *flags])[1].tobytes()


def exif_segment(orientation: int, thumbnail: bytes) -> bytes:
    """An APP1 segment by hand (Exif 2.3): IFD0 with the orientation, IFD1 with an embedded JPEG."""
    ifd0 = struct.pack("<H", 1) + struct.pack("<HHIHH", 0x0112, 3, 1, orientation, 0)
    offset = 8 + len(ifd0) + 4
    ifd1 = struct.pack("<H", 2)
    ifd1 += struct.pack("<HHII", 0x0201, 4, 1, offset + 2 + 24 + 4)
    ifd1 += struct.pack("<HHII", 0x0202, 4, 1, len(thumbnail))
    tiff = b"II*\0" + struct.pack("<I", 8) + ifd0 + struct.pack("<I", offset) + ifd1 + struct.pack("<I", 0) + thumbnail
    body = b"Exif\0\0" + tiff
    return b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body


def with_exif(data: bytes, orientation: int) -> bytes:
    thumbnail = cv2.imencode(".jpg", np.full((8, 8, 3), 200, np.uint8))[1].tobytes()
    return data[:2] + exif_segment(orientation, thumbnail) + data[2:]


def saved(picture: np.ndarray, kind: str, mode: str = "RGB", **options: Any) -> bytes:
    """A file written by Pillow, so that what OpenCV reads is not what OpenCV wrote."""
    file = BytesIO()
    Image.fromarray(picture).convert(mode).save(file, kind, **options)
    return file.getvalue()


def run_length_bmp(gray: np.ndarray) -> bytes:
    """A BMP with 8-bit run lengths by hand (BITMAPINFOHEADER, compression 1): gray palette, bottom row first."""
    height, width = gray.shape
    rows = [b"".join(bytes((1, value)) for value in row) + b"\0\0" for row in gray[::-1].tolist()]
    body = b"".join(rows) + b"\0\1"
    palette = b"".join(bytes((level, level, level, 0)) for level in range(256))
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, len(body), 0, 0, 256, 0)
    start = 14 + len(header) + len(palette)
    return struct.pack("<2sIHHI", b"BM", start + len(body), 0, 0, start) + header + palette + body


FILES = {
    "baseline": lambda picture: jpeg(picture),
    "progressive": lambda picture: jpeg(picture, cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
    "restart markers": lambda picture: jpeg(picture, cv2.IMWRITE_JPEG_RST_INTERVAL, 2),
    "exif thumbnail": lambda picture: with_exif(jpeg(picture), 1),
    "progressive, exif thumbnail": lambda picture: with_exif(jpeg(picture, cv2.IMWRITE_JPEG_PROGRESSIVE, 1), 1),
    "png": lambda picture: encode(picture, "png"),
    "gray png": lambda picture: encode(np.ascontiguousarray(picture[:, :, 0]), "png"),
    "cmyk jpeg": lambda picture: saved(picture, "JPEG", "CMYK", quality=95),
    "gray jpeg": lambda picture: saved(picture, "JPEG", "L", quality=95),
    "bmp": lambda picture: saved(picture, "BMP"),
    "palette bmp": lambda picture: saved(picture, "BMP", "P"),
    "run-length bmp": lambda picture: run_length_bmp(picture[:, :, 0]),
    "tiff": lambda picture: saved(picture, "TIFF"),
    "lzw tiff": lambda picture: saved(picture, "TIFF", compression="tiff_lzw"),
    "deflate tiff": lambda picture: saved(picture, "TIFF", compression="tiff_adobe_deflate"),
    "jpeg tiff": lambda picture: saved(picture, "TIFF", compression="jpeg"),
    "gray tiff": lambda picture: saved(picture, "TIFF", "L"),
}


@pytest.mark.parametrize("kind", FILES)
def test_a_file_cut_anywhere_never_becomes_a_damaged_picture(picture, kind):
    data = FILES[kind](picture)
    whole = decode(data, "rgb")
    accepted = []
    for end in range(len(data)):
        try:
            pixels = decode(data[:end], "rgb")
        except ImageError:
            continue
        np.testing.assert_array_equal(pixels, whole, err_msg=f"cut at {end} of {len(data)}")
        accepted.append(end)
    # all pixels are there when only the end marker is hurt; anything shorter must be refused
    assert all(end > len(data) - 12 for end in accepted)


@pytest.mark.parametrize("kind", [name for name in FILES if name.endswith(("jpeg", "png"))])
def test_a_file_whose_tail_was_never_written_is_refused(picture, kind):
    data = FILES[kind](picture)
    with pytest.raises(ImageError):
        decode(data[: len(data) // 2] + bytes(len(data) - len(data) // 2), "rgb")


@pytest.mark.parametrize("kind", ["bmp", "tiff", "lzw tiff"])
def test_a_cut_file_with_its_header_says_so(picture, kind):
    # the headers of these TIFFs must come first, as cameras write them
    data = FILES[kind](picture)
    if kind == "lzw tiff":
        data = header_first(data)
    np.testing.assert_array_equal(decode(data, "rgb"), picture)
    with pytest.raises(ImageError, match=f"cut {kind.split()[-1].upper()} file"):
        decode(data[:-300], "rgb")


def header_first(data: bytes) -> bytes:
    """A little-endian TIFF of one strip with its directory moved from the end to the front (TIFF 6.0, section 2)."""
    start = int.from_bytes(data[4:8], "little")
    count = int.from_bytes(data[start : start + 2], "little")
    directory = bytearray(data[start : start + 2 + 12 * count + 4])
    strip = start_of_values = 8 + len(directory)
    values = bytearray()
    pixels = b""
    lengths = {tag: value for tag, _, _, value in struct.iter_unpack("<HHII", directory[2:-4])}
    for place in range(2, len(directory) - 4, 12):
        tag, kind, number, value = struct.unpack_from("<HHII", directory, place)
        size = number * {3: 2, 4: 4, 5: 8}[kind]
        if tag == 273:
            pixels = data[value : value + lengths[279]]
        elif size > 4:
            struct.pack_into("<I", directory, place + 8, start_of_values + len(values))
            values += data[value : value + size]
    strip += len(values)
    for place in range(2, len(directory) - 4, 12):
        if struct.unpack_from("<H", directory, place)[0] == 273:
            struct.pack_into("<I", directory, place + 8, strip)
    return data[:4] + struct.pack("<I", 8) + bytes(directory) + bytes(values) + pixels


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize(("colour", "shape"), [("rgb", (HEIGHT, WIDTH, 3)), ("gray", (HEIGHT, WIDTH))])
def test_a_whole_file_decodes_to_uint8_of_the_colour_asked_for(picture, kind, colour, shape):
    pixels = decode(FILES[kind](picture), colour)
    assert pixels.dtype == np.uint8
    assert pixels.shape == shape


def test_colours_come_out_as_rgb_not_bgr(picture):
    np.testing.assert_array_equal(decode(encode(picture, "png"), "rgb"), picture)
    assert np.abs(decode(jpeg(picture), "rgb").astype(int) - picture).mean() < 3


def test_gray_is_the_luma_of_the_colours(picture):
    luma = picture @ np.array([0.299, 0.587, 0.114])
    assert np.abs(decode(encode(picture, "png"), "gray") - luma).max() <= 1.5
    assert np.abs(decode(jpeg(picture), "gray") - luma).mean() < 2


ORIENTATIONS = {
    1: lambda p: p,
    2: lambda p: p[:, ::-1],
    3: lambda p: p[::-1, ::-1],
    4: lambda p: p[::-1],
    5: lambda p: p.swapaxes(0, 1),
    6: lambda p: np.rot90(p, -1),
    7: lambda p: np.rot90(p, 2).swapaxes(0, 1),
    8: lambda p: np.rot90(p, 1),
}


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("colour", ["rgb", "gray"])
def test_exif_orientation_stands_the_picture_up(picture, orientation, colour):
    data = jpeg(picture)
    upright = decode(with_exif(data, orientation), colour)
    np.testing.assert_array_equal(upright, ORIENTATIONS[orientation](decode(data, colour)))


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("colour", ["rgb", "gray"])
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_the_orientation_of_other_formats_is_applied_too(picture, orientation, colour, kind):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = saved(picture, kind, **({"exif": exif} if kind == "PNG" else {"tiffinfo": {0x0112: orientation}}))
    upright = ORIENTATIONS[orientation](decode(saved(picture, kind), colour))
    np.testing.assert_array_equal(decode(data, colour), upright)


OTHER = "not a JPEG, PNG, BMP or TIFF image"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty file"),
        (b"angry,disgust\n", OTHER),
        (b"<html>404 Not Found</html>", OTHER),
        (b"GIF89a\1\0\1\0\0\0\0", OTHER),
        (b"BMI of the sample", "not a readable image"),
        (b"BM", "not a readable image"),
        (b"II*\0", "not a readable image"),
        (b"MM\0*\0\0\0\x08\0\0", "not a readable image"),
        (b"\x89PNG\r\n\x1a\n", "cut PNG file"),
        (b"\xff\xd8", "cut JPEG file"),
        (b"\xff\xd8\xff\xd9", "cut JPEG file"),
        (bytes(5000), OTHER),
    ],
)
@pytest.mark.parametrize("colour", ["rgb", "gray"])
def test_what_is_no_image_is_refused_with_the_reason(data, reason, colour):
    with pytest.raises(ImageError, match=reason):
        decode(data, colour)


def png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def test_a_png_bomb_is_refused_from_its_header():
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0))
    data = b"\x89PNG\r\n\x1a\n" + header + png_chunk(b"IDAT", zlib.compress(bytes(60_001))) + png_chunk(b"IEND", b"")
    with pytest.raises(ImageError, match="60000x60000"):
        decode(data, "gray")


def test_a_jpeg_bomb_is_refused_from_its_header():
    data = bytearray(cv2.imencode(".jpg", np.zeros((16, 16), np.uint8))[1].tobytes())
    frame = data.index(b"\xff\xc0")
    width, height = 12_000, MAX_PIXELS // 12_000 + 1
    data[frame + 5 : frame + 9] = struct.pack(">HH", height, width)
    with pytest.raises(ImageError):
        decode(bytes(data), "gray")


def test_bytes_between_the_markers_of_a_jpeg_hide_no_bomb(picture):
    data = jpeg(picture)
    assert data[2:4] == b"\xff\xe0"
    behind = 4 + int.from_bytes(data[4:6], "big")
    stray = data[:behind] + b"ab" + data[behind:]
    assert jpeg_size(stray) == jpeg_size(data) == picture.shape[1::-1]
    np.testing.assert_array_equal(decode(stray, "rgb"), decode(data, "rgb"))
    frame = stray.index(b"\xff\xc0")
    bomb = stray[: frame + 5] + struct.pack(">HH", MAX_PIXELS // 12_000 + 1, 12_000) + stray[frame + 9 :]
    with pytest.raises(ImageError, match="12000x"):
        decode(bomb, "gray")


def test_a_jpeg_without_a_size_is_refused(picture):
    with pytest.raises(ImageError, match="not a readable image"):
        decode(jpeg(picture).replace(b"\xff\xc0", b"\xff\xe5"), "gray")


def test_scans_that_are_repeated_hold_nobody_up(picture):
    data = jpeg(picture, cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
    assert decode(data, "gray").shape == picture.shape[:2]
    last = data.rindex(b"\xff\xda")
    scan = data[last:-2]
    with pytest.raises(ImageError, match=r"JPEG of \d+ scans, more than"):
        decode(data[:-2] + scan * MOST_SCANS + data[-2:], "gray")
    plain = jpeg(picture)  # whose first scan is all that is read
    scan = plain[plain.rindex(b"\xff\xda") : -2]
    np.testing.assert_array_equal(decode(plain[:-2] + scan * MOST_SCANS + plain[-2:], "rgb"), decode(plain, "rgb"))


def tiled_tiff(side: int, tile: int) -> bytes:
    """A gray TIFF of one tile that is wider than its image; what it holds is less than it says."""
    content = bytes(side * side)
    tags = {256: side, 257: side, 258: 8, 259: 1, 262: 1, 277: 1, 322: tile, 323: tile, 324: 0, 325: len(content)}
    tags[324] = 8 + 2 + 12 * len(tags) + 4
    entries = b"".join(struct.pack("<HHII", tag, 4 if tag > 300 else 3, 1, value) for tag, value in tags.items())
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + content


def test_a_small_tiff_of_huge_tiles_is_refused_from_its_header():
    assert codec._tiff_extent(tiled_tiff(16, 16))[:2] == (16, 16)
    with pytest.raises(ImageError, match="tiles of 16000x16000 pixels in an image of 256 pixels"):
        decode(tiled_tiff(16, 16_000), "gray")


@pytest.mark.parametrize("position", range(45, 400, 20))
def test_a_png_with_a_flipped_byte_is_refused(picture, position):
    data = bytearray(encode(picture, "png"))
    data[position] ^= 0x40
    with pytest.raises(ImageError):
        decode(bytes(data), "rgb")


@pytest.mark.parametrize("kind", ["BMP", "TIFF"])
def test_a_bomb_of_another_format_is_refused_from_its_header(picture, kind):
    data = bytearray(saved(picture, kind))
    if kind == "BMP":
        data[18:26] = struct.pack("<ii", 60_000, 60_000)
    else:
        start = int.from_bytes(data[4:8], "little") + 2
        for place in range(start, len(data) - 12, 12):
            if struct.unpack_from("<H", data, place)[0] in (256, 257):
                struct.pack_into("<HII", data, place + 2, 4, 1, 60_000)
    with pytest.raises(ImageError, match="60000x60000"):
        decode(bytes(data), "gray")


def test_a_large_photo_below_the_limit_is_read_without_a_warning(recwarn):
    width, height = 9_500, 10_000
    data = saved(np.zeros((height, width), np.uint8), "TIFF", "1", compression="group4")
    assert decode(data, "gray").shape == (height, width)
    assert not recwarn.list


@pytest.mark.parametrize("suffix", [".webp", ".gif", ".ppm"])
def test_a_format_of_no_release_is_refused(picture, suffix):
    data = cv2.imencode(suffix, picture)[1].tobytes()
    with pytest.raises(ImageError, match=OTHER):
        decode(data, "rgb")


@pytest.mark.parametrize("suffix", IMAGE_SUFFIXES)
def test_every_ending_that_counts_as_an_image_is_read(picture, suffix):
    data = cv2.imencode(suffix, cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))[1].tobytes()
    assert np.abs(decode(data, "rgb").astype(int) - picture).mean() < 5


@pytest.mark.parametrize("kind", ["BMP", "TIFF", "PNG"])
@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB"])
def test_another_reader_sees_the_same_pixels(picture, kind, mode):
    data = saved(picture, kind, mode)
    np.testing.assert_array_equal(decode(data, "rgb"), np.asarray(Image.open(BytesIO(data)).convert("RGB")))
    theirs = np.asarray(Image.open(BytesIO(data)).convert("RGB").convert("L")).astype(int)
    assert np.abs(decode(data, "gray") - theirs).max() <= 1


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_sixteen_bits_keep_their_upper_eight(picture, suffix):
    gray = picture[:, :, 0]
    for pixels in (gray, picture[:, :, ::-1]):
        data = cv2.imencode(suffix, pixels.astype(np.uint16) * 256 + 255)[1].tobytes()
        expected = picture if pixels.ndim == 3 else np.dstack([gray] * 3)
        assert np.abs(decode(data, "rgb").astype(int) - expected).max() <= 1
        luma = expected @ np.array([0.299, 0.587, 0.114])
        assert np.abs(decode(data, "gray") - luma).max() <= 2


@pytest.mark.parametrize("opacity", [0, 7, 255])
def test_transparency_is_dropped_not_blended(picture, opacity):
    veil = np.full((HEIGHT, WIDTH), opacity, np.uint8)
    coloured = saved(np.dstack([picture, veil]), "PNG", "RGBA")
    np.testing.assert_array_equal(decode(coloured, "rgb"), picture)
    gray = np.ascontiguousarray(picture[:, :, 0])
    file = BytesIO()
    Image.merge("LA", [Image.fromarray(gray), Image.fromarray(veil)]).save(file, "PNG")
    np.testing.assert_array_equal(decode(file.getvalue(), "gray"), gray)
    np.testing.assert_array_equal(decode(file.getvalue(), "rgb"), np.dstack([gray] * 3))


@pytest.mark.parametrize("mode", ["CMYK", "L", "RGB"])
def test_print_and_gray_jpegs_have_their_colours(picture, mode):
    data = saved(picture, "JPEG", mode, quality=95)
    theirs = Image.open(BytesIO(data)).convert("RGB")
    assert np.abs(decode(data, "rgb").astype(int) - np.asarray(theirs)).mean() < 2.5
    assert np.abs(decode(data, "gray").astype(int) - np.asarray(theirs.convert("L"))).mean() < 2.5


def native(picture: np.ndarray, colour: str) -> np.ndarray:
    square = resize(picture, 24)
    return square if colour == "rgb" else np.ascontiguousarray(square[:, :, 1])


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("colour", ["gray", "rgb"])
def test_a_record_gives_back_its_pixels(picture, encoding, colour):
    pixels = native(picture, colour)
    back = decode_record(encode(pixels, encoding), encoding, 24, colour)
    assert back.dtype == np.uint8
    assert back.shape == (24, 24, 1 if colour == "gray" else 3)
    difference = np.abs(back.reshape(pixels.shape).astype(int) - pixels)
    assert difference.mean() < 3 if encoding == "jpeg" else not difference.any()


def test_every_gray_value_survives_float32(picture):
    values = np.arange(256, dtype=np.uint8).reshape(16, 16)
    np.testing.assert_array_equal(decode_record(encode(values, "float32"), "float32", 16, "gray")[:, :, 0], values)
    stored = np.frombuffer(encode(values, "float32"), "<f4")
    np.testing.assert_allclose(stored, np.arange(256) / 255, rtol=1e-6)
    assert (stored.min(), stored.max()) == (0, 1)


def test_tensorflow_decodes_the_same_png_and_nearly_the_same_jpeg(picture, tf):
    for colour, channels in (("gray", 1), ("rgb", 3)):
        pixels = native(picture, colour).reshape(24, 24, channels)
        png = tf.io.decode_png(encode(pixels.squeeze(), "png"), channels=channels).numpy()
        np.testing.assert_array_equal(png, pixels)
        theirs = tf.io.decode_jpeg(encode(pixels.squeeze(), "jpeg"), channels=channels, dct_method="INTEGER_ACCURATE")
        ours = decode_record(encode(pixels.squeeze(), "jpeg"), "jpeg", 24, colour)
        assert np.abs(theirs.numpy().astype(int) - ours).max() <= 3


def test_an_unknown_encoding_lists_the_known_ones(picture):
    with pytest.raises(ValueError, match="png, jpeg, raw, float32"):
        encode(picture, "webp")


def test_shrinking_averages_and_keeps_no_pixel_out():
    checker = np.indices((48, 48)).sum(axis=0) % 2 * 255
    assert set(np.unique(resize(checker.astype(np.uint8), 24))) <= {127, 128}
    blocks = np.random.default_rng(0).integers(0, 256, (48, 48, 3), dtype=np.uint8)
    means = blocks.reshape(24, 2, 24, 2, 3).mean(axis=(1, 3))
    assert np.abs(resize(blocks, 24) - means).max() <= 0.5


def test_enlarging_stays_within_the_range_of_the_picture(picture):
    large = resize(picture, 224)
    assert large.shape == (224, 224, 3)
    assert picture.min() <= large.min() <= large.max() <= picture.max()


def test_the_right_size_is_left_alone():
    pixels = np.random.default_rng(0).integers(0, 256, (48, 48), dtype=np.uint8)
    np.testing.assert_array_equal(resize(pixels, 48), pixels)


def test_square_bytes_become_rows_of_pixels():
    data = bytes(range(9))
    np.testing.assert_array_equal(square_pixels(data, "gray"), np.arange(9).reshape(3, 3))
    rgb = square_pixels(data, "rgb")
    assert rgb.shape == (3, 3, 3)
    assert (rgb == rgb[:, :, :1]).all()


@pytest.mark.parametrize("count", [1, 2303, 2305])
def test_bytes_that_are_no_square_are_refused(count):
    if count == 1:
        assert square_pixels(b"\7", "gray").shape == (1, 1)
        return
    with pytest.raises(ImageError, match=f"{count} pixels"):
        square_pixels(bytes(count), "gray")
