"""``tf.train.Example`` messages by hand: the wire format of three feature kinds, nothing else.

Source: protocol buffer encoding, and tensorflow/core/example/{example,feature}.proto: Example.features = 1,
Features.feature = map field 1, Feature.{bytes_list, float_list, int64_list} = 1, 2, 3, values = field 1.
Executors need no TensorFlow this way.
"""

import struct
from collections.abc import Container, Iterator, Mapping, Sequence
from numbers import Integral

Feature = bytes | Sequence[float] | Sequence[int]
LENGTH_DELIMITED = 2


def encode_example(features: Mapping[str, Feature]) -> bytes:
    """Serialise features: bytes, a list of floats or a list of ints each. Keys in sorted order, so it is stable."""
    entries = b"".join(
        _field(1, _field(1, name.encode()) + _field(2, _encode_feature(features[name]))) for name in sorted(features)
    )
    return _field(1, entries)


def decode_example(data: bytes, only: Container[str] | None = None) -> dict[str, Feature]:
    """Inverse of ``encode_example``; with ``only`` the other features are passed over, their bytes not copied."""
    features: dict[str, Feature] = {}
    for _, body in _fields(memoryview(data)):
        for _, entry in _fields(body):
            parts = dict(_fields(entry))
            name = str(parts[1], "utf-8")
            if only is None or name in only:
                features[name] = _decode_feature(parts[2])
    return features


def _encode_feature(value: Feature) -> bytes:
    if isinstance(value, bytes):
        return _field(1, _field(1, value))
    if any(not isinstance(v, Integral) for v in value):
        return _field(2, _field(1, struct.pack(f"<{len(value)}f", *value)))
    return _field(3, _field(1, b"".join(_varint(int(v) & (2**64 - 1)) for v in value)))


def _decode_feature(data: memoryview) -> Feature:
    kind, body = next(_fields(data))
    payload = next(_fields(body))[1] if body else memoryview(b"")
    if kind == 1:
        return bytes(payload)
    if kind == 2:
        return list(struct.unpack(f"<{len(payload) // 4}f", payload))
    values, position = [], 0
    while position < len(payload):
        value, position = _read_varint(payload, position)
        values.append(value - 2**64 if value >= 2**63 else value)
    return values


def _field(number: int, payload: bytes) -> bytes:
    return bytes([number << 3 | LENGTH_DELIMITED]) + _varint(len(payload)) + payload


def _fields(data: memoryview) -> Iterator[tuple[int, memoryview]]:
    position = 0
    while position < len(data):
        tag = data[position]
        length, start = _read_varint(data, position + 1)
        position = start + length
        yield tag >> 3, data[start:position]


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _read_varint(data: memoryview, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
