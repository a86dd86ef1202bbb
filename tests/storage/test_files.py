"""Files are complete or absent, whatever stops the writer; locks hold between real processes."""

import errno
import hashlib
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ferlab.errors import AlreadyRunningError, UserError
from ferlab.storage.files import (
    atomic_path,
    exclusive,
    remove_folder,
    sha256_of,
    sha256_of_text,
    write_text,
    writing_errors,
)


def files_below(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_a_text_is_written_whole_into_folders_that_do_not_exist_yet(tmp_path):
    write_text(tmp_path / "a" / "b" / "text.txt", "Grüße\n")
    assert (tmp_path / "a" / "b" / "text.txt").read_bytes() == "Grüße\n".encode()
    assert files_below(tmp_path) == ["a/b/text.txt"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_an_interrupted_writer_keeps_the_old_file_and_leaves_nothing_else(tmp_path, error):
    target = tmp_path / "result.json"
    write_text(target, "old")

    def write_half() -> None:
        with atomic_path(target) as partial:
            partial.write_text("half")
            raise error

    with pytest.raises(error):
        write_half()
    assert target.read_text() == "old"
    assert files_below(tmp_path) == ["result.json"]


def test_a_reader_never_sees_the_new_name_before_the_block_ends(tmp_path):
    target = tmp_path / "shard"
    with atomic_path(target) as partial:
        partial.write_bytes(b"half")
        assert not target.exists()
    assert target.read_bytes() == b"half"


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EFBIG, errno.EDQUOT])
def test_a_full_disk_is_one_line_that_names_the_place_and_what_to_do(code):
    with pytest.raises(UserError) as caught, writing_errors("/data/out"):
        raise OSError(code, os.strerror(code))
    assert "\n" not in str(caught.value)
    assert "/data/out" in str(caught.value)
    assert "FERLAB_HOME" in str(caught.value)


@pytest.mark.parametrize("code", [errno.EACCES, errno.EPERM, errno.EROFS])
def test_a_forbidden_folder_is_a_user_error(code):
    with pytest.raises(UserError, match="cannot be written"), writing_errors("/data/out"):
        raise OSError(code, os.strerror(code))


def test_an_error_that_has_nothing_to_do_with_writing_stays_what_it_is():
    with pytest.raises(IsADirectoryError), writing_errors("/data/out"):
        raise OSError(errno.EISDIR, "Is a directory")


def limit_file_size() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)


def test_a_real_file_size_limit_leaves_no_file(tmp_path):
    program = (
        "import sys\nfrom pathlib import Path\nfrom ferlab.storage.files import write_text\n"
        "from ferlab.errors import AlreadyRunningError, UserError\n"
        "try:\n    write_text(Path(sys.argv[1]), 'x' * 100_000)\n"
        "except UserError as error:\n    print(error); sys.exit(2)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "big.txt")],
        preexec_fn=limit_file_size,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert "disk is full" in done.stdout
    assert files_below(tmp_path) == []


HOLDER = (
    "import sys, time\nfrom pathlib import Path\nfrom ferlab.storage.files import exclusive\n"
    "with exclusive(Path(sys.argv[1])):\n    print('held', flush=True)\n    time.sleep(float(sys.argv[2]))\n"
)


def hold(lock: Path, seconds: float) -> subprocess.Popen:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(lock), str(seconds)], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    return holder


def test_a_second_process_waits_for_the_lock(tmp_path):
    holder = hold(tmp_path / "sub" / "work.lock", 0.7)
    started = time.monotonic()
    with exclusive(tmp_path / "sub" / "work.lock"):
        waited = time.monotonic() - started
        # the holder is past its last line: nobody else is inside
        assert holder.wait(5) == 0
    assert waited > 0.3


def test_a_killed_holder_frees_the_lock(tmp_path):
    holder = hold(tmp_path / "work.lock", 60)
    holder.kill()
    holder.wait(5)
    started = time.monotonic()
    with exclusive(tmp_path / "work.lock"):
        pass
    assert time.monotonic() - started < 5


def test_an_exception_in_the_block_frees_the_lock(tmp_path):
    with pytest.raises(RuntimeError), exclusive(tmp_path / "work.lock"):
        raise RuntimeError
    with exclusive(tmp_path / "work.lock"):
        pass


def test_checksums_are_sha256(tmp_path):
    data = bytes(range(256)) * 5000
    (tmp_path / "file").write_bytes(data)
    assert sha256_of(tmp_path / "file") == hashlib.sha256(data).hexdigest()
    assert sha256_of_text("Grüße") == hashlib.sha256("Grüße".encode()).hexdigest()


def test_removing_a_folder_twice_is_fine(tmp_path):
    write_text(tmp_path / "a" / "b" / "c.txt", "")
    remove_folder(tmp_path / "a")
    remove_folder(tmp_path / "a")
    assert list(tmp_path.iterdir()) == []


def test_a_lock_that_is_held_can_be_refused_at_once(tmp_path):
    refused = pytest.raises(AlreadyRunningError, match="busy now")
    with exclusive(tmp_path / "lock"), refused, exclusive(tmp_path / "lock", busy="busy now"):
        pass
    with exclusive(tmp_path / "lock", busy="busy now"):
        pass
