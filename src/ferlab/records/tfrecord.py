"""TFRecord framing: length, masked CRC32C of the length, payload, masked CRC32C of the payload.

Source: tensorflow/core/lib/io/record_writer.h.
"""

import hashlib
import struct
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import google_crc32c

from ferlab.errors import UserError
from ferlab.storage.files import atomic_path

MASK_DELTA = 0xA282EAD8
BUFFER_BYTES = 1 << 20


def masked_crc(data: bytes) -> int:
    """CRC32C rotated and offset as TensorFlow stores it."""
    crc = google_crc32c.value(data)
    return ((crc >> 15 | crc << 17) + MASK_DELTA) & 0xFFFFFFFF


class ShardWriter:
    """Writes one TFRecord file that appears under its name only when it is whole.

    After the ``with`` block ``samples``, ``bytes`` and ``sha256`` describe the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.samples = 0
        self.bytes = 0
        self._hash = hashlib.sha256()
        self._atomic = atomic_path(path)

    @property
    def sha256(self) -> str:
        """SHA-256 of the bytes written so far, 64 hex digits."""
        return self._hash.hexdigest()

    def __enter__(self) -> "ShardWriter":
        self._file = self._atomic.__enter__().open("wb", BUFFER_BYTES)
        return self

    def write(self, payload: bytes) -> None:
        """Append one record."""
        length = struct.pack("<Q", len(payload))
        frame = b"".join(
            (length, struct.pack("<I", masked_crc(length)), payload, struct.pack("<I", masked_crc(payload)))
        )
        self._file.write(frame)
        self._hash.update(frame)
        self.samples += 1
        self.bytes += len(frame)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._file.close()
        except OSError as late:
            self._atomic.__exit__(type(late), late, late.__traceback__)
            raise
        self._atomic.__exit__(kind, error, trace)


def read_records(path: Path) -> Iterator[bytes]:
    """Payloads of a TFRecord file in order, every checksum verified.

    Raises:
        UserError: the file is cut or damaged.

    """
    with path.open("rb") as file:
        while header := file.read(12):
            length = struct.unpack("<Q", header[:8])[0] if len(header) == 12 else -1
            whole = length >= 0 and struct.unpack("<I", header[8:])[0] == masked_crc(header[:8])
            payload = file.read(length) if whole else b""
            checksum = file.read(4)
            if len(checksum) < 4 or struct.unpack("<I", checksum)[0] != masked_crc(payload):
                message = f"{path}: damaged record. Remove its folder and run `ferlab prepare` again."
                raise UserError(message)
            yield payload
