"""Shards: TensorFlow reads ours, we read TensorFlow's, damage is noticed, and an unfinished shard is absent."""

import hashlib
import os
import resource
import signal
import struct
import subprocess
import sys

import numpy as np
import pytest

from ferlab.errors import UserError
from ferlab.records.tfrecord import ShardWriter, masked_crc, read_records

PAYLOADS = [b"", b"a", b"face" * 1000, bytes(range(256))]


def write(path, payloads=PAYLOADS) -> ShardWriter:
    with ShardWriter(path) as writer:
        for payload in payloads:
            writer.write(payload)
    return writer


@pytest.fixture
def shard(tmp_path):
    write(tmp_path / "s.tfrecord")
    return tmp_path / "s.tfrecord"


def test_tensorflow_reads_what_we_write(shard, tf):
    assert list(tf.data.TFRecordDataset(str(shard)).as_numpy_iterator()) == PAYLOADS


def test_our_bytes_are_the_bytes_that_tensorflow_writes(shard, tmp_path, tf):
    with tf.io.TFRecordWriter(str(tmp_path / "theirs")) as writer:
        for payload in PAYLOADS:
            writer.write(payload)
    assert (tmp_path / "theirs").read_bytes() == shard.read_bytes()
    assert list(read_records(tmp_path / "theirs")) == PAYLOADS


def test_the_masked_checksum_follows_its_published_definition():
    # rotate right by 15, add the constant; CRC32C of "123456789" is 0xE3069283 (RFC 3720)
    crc = 0xE3069283
    assert masked_crc(b"123456789") == (((crc >> 15) | (crc << 17)) + 0xA282EAD8) % 2**32


def test_the_writer_knows_its_file(tmp_path):
    writer = write(tmp_path / "s.tfrecord")
    data = (tmp_path / "s.tfrecord").read_bytes()
    assert (writer.samples, writer.bytes) == (len(PAYLOADS), len(data))
    assert writer.sha256 == hashlib.sha256(data).hexdigest()


def test_a_shard_without_samples_is_an_empty_file(tmp_path):
    writer = write(tmp_path / "empty", [])
    assert (writer.samples, writer.bytes, (tmp_path / "empty").read_bytes()) == (0, 0, b"")
    assert list(read_records(tmp_path / "empty")) == []


def test_every_single_flipped_bit_is_noticed(tmp_path):
    write(tmp_path / "s", [b"face", b"another face"])
    good = (tmp_path / "s").read_bytes()
    for position in range(len(good)):
        bad = bytearray(good)
        bad[position] ^= 1 << (position % 8)
        (tmp_path / "s").write_bytes(bad)
        with pytest.raises(UserError, match="damaged record"):
            list(read_records(tmp_path / "s"))


def test_a_shard_cut_inside_a_record_is_noticed(tmp_path):
    write(tmp_path / "s", [b"face", b"another face"])
    good = (tmp_path / "s").read_bytes()
    boundaries = {0, 16 + len(b"face"), len(good)}
    for end in set(range(len(good))) - boundaries:
        (tmp_path / "s").write_bytes(good[:end])
        with pytest.raises(UserError, match="ferlab prepare"):
            list(read_records(tmp_path / "s"))


def test_a_huge_length_with_a_wrong_checksum_is_not_believed(tmp_path):
    (tmp_path / "s").write_bytes(struct.pack("<QI", 2**62, 0) + b"face")
    with pytest.raises(UserError):
        list(read_records(tmp_path / "s"))


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_interrupted_shard_is_absent(tmp_path, error):
    def write_and_fail() -> None:
        with ShardWriter(tmp_path / "s.tfrecord") as writer:
            writer.write(b"face")
            raise error

    with pytest.raises(error):
        write_and_fail()
    assert list(tmp_path.iterdir()) == []


def test_a_killed_writer_leaves_nothing_under_the_shards_name(tmp_path):
    program = (
        "import os, signal, sys\nfrom pathlib import Path\nfrom ferlab.records.tfrecord import ShardWriter\n"
        "with ShardWriter(Path(sys.argv[1])) as writer:\n    writer.write(bytes(100_000))\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path / "s.tfrecord")], check=False)
    assert done.returncode == -signal.SIGKILL
    assert not (tmp_path / "s.tfrecord").exists()


@pytest.mark.parametrize("size", [5_000, 70_000])
def test_a_disk_that_fills_up_leaves_no_shard(tmp_path, size):
    # 5,000 bytes fit the buffer and fail on closing, 70,000 fail while writing
    program = (
        "import sys\nfrom pathlib import Path\nfrom ferlab.records.tfrecord import ShardWriter\n"
        "from ferlab.errors import UserError\n"
        "try:\n    with ShardWriter(Path(sys.argv[1])) as writer:\n        writer.write(bytes(int(sys.argv[2])))\n"
        "except UserError as error:\n    print(error)\n    sys.exit(2)\n"
    )

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    command = [sys.executable, "-c", program, str(tmp_path / "s.tfrecord"), str(size)]
    done = subprocess.run(command, preexec_fn=limit, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert "disk is full" in done.stdout
    assert os.listdir(tmp_path) == []  # noqa: PTH208


def test_many_records_come_back_in_order(tmp_path, tf):
    rng = np.random.default_rng(0)
    payloads = [rng.bytes(int(size)) for size in rng.integers(0, 3000, 200)]
    write(tmp_path / "s", payloads)
    assert list(read_records(tmp_path / "s")) == payloads
    assert list(tf.data.TFRecordDataset(str(tmp_path / "s")).as_numpy_iterator()) == payloads
