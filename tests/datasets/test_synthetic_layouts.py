"""A written copy is complete or absent, the same on every run and with any number of processes."""

import errno
import hashlib
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from ferlab.datasets.synthetic.layouts import LAYOUTS, write_synthetic
from ferlab.errors import UserError

# Written before there were other layouts, sizes and processes: 140 faces of population 3.
EARLIER = {
    "fer2013-csv": "e1670927b43529b3da7f434d48c68d227ded2eb0dc8d9fbb38216b194b36951c",
    "fer2013-folder": "cbf7513121c09aa753aa1c381560b14d9ab86f744b9ec38216a030f09ea73cb3",
    "affectnet-2021": "5ca6d6de8da9020110cc183699afd9ce14a6b0a2d1f0ad90a468ee00f478a613",
}

SCRIPT = """
import sys
from pathlib import Path
from ferlab import interrupts
from ferlab.datasets.synthetic.layouts import write_synthetic
from ferlab.errors import UserError

if __name__ == "__main__":
    interrupts.install()
    {before}
    try:
        write_synthetic({layout!r}, Path(sys.argv[1]), 100_000, 0, cores=2, size_px={size_px})
    except KeyboardInterrupt:
        sys.exit(130)
    except UserError as error:
        sys.exit(str(error))
"""


def digest(folder: Path) -> str:
    """SHA-256 over names and contents; landmarks to a thousandth of a pixel, because CPUs differ in the last bit."""
    total = hashlib.sha256()
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        content = np.load(file).round(3).tobytes() if file.name.endswith("_lnd.npy") else file.read_bytes()
        total.update(f"{file.relative_to(folder).as_posix()} {hashlib.sha256(content).hexdigest()}\n".encode())
    return total.hexdigest()


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def start(tmp_path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """``start(layout, size_px)``: a script that writes many faces with two processes into ``tmp_path/out/faces``.

    It has a process group of its own and is ended after the test.
    """
    started: list[subprocess.Popen[str]] = []

    def start(layout: str, size_px: int, before: str = "") -> subprocess.Popen[str]:
        script = tmp_path / "write.py"
        script.write_text(SCRIPT.format(layout=layout, size_px=size_px, before=before))
        (tmp_path / "out").mkdir()
        command = [sys.executable, script, tmp_path / "out" / "faces"]
        started.append(subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def wait_until_faces_are_written(process: subprocess.Popen[str], folder: Path) -> None:
    deadline = time.monotonic() + 60
    while not any(folder.glob("*.partial-*/*/*/*.jpg")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)


def wait_until_group_is_gone(group: int, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return
        assert time.monotonic() < deadline, "a drawing process lives on"
        time.sleep(0.05)


# --- the same bytes


@pytest.mark.parametrize("layout", EARLIER)
def test_faces_that_were_ever_written_are_still_the_same(tmp_path, layout):
    write_synthetic(layout, tmp_path / "faces", 140, 3)
    assert digest(tmp_path / "faces") == EARLIER[layout]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_several_processes_write_the_same_bytes_as_one(tmp_path, layout):
    done: list[int] = []
    one = write_synthetic(layout, tmp_path / "one", 450, 2, size_px=20)
    two = write_synthetic(layout, tmp_path / "two", 450, 2, on_progress=done.append, size_px=20, cores=3)
    assert one == two
    assert files_of(tmp_path / "one") == files_of(tmp_path / "two")
    assert done == sorted(done)
    assert done[-1] == 450


def test_another_seed_writes_other_faces_under_other_names(tmp_path):
    for seed in (0, 1):
        write_synthetic("affectnet-manual", tmp_path / str(seed), 70, seed, size_px=20)
    first, second = (files_of(tmp_path / str(seed)) for seed in (0, 1))
    assert first.keys() & second.keys() == {"training.csv", "validation.csv"}
    assert not {hashlib.sha256(data).digest() for data in first.values()} & {
        hashlib.sha256(data).digest() for data in second.values()
    }


@pytest.mark.parametrize("layout", LAYOUTS)
def test_counts_name_every_part_and_class_and_add_up(tmp_path, layout):
    counts = write_synthetic(layout, tmp_path / "faces", 300, 0, size_px=16)
    assert tuple(counts) == LAYOUTS[layout].parts
    assert all(tuple(part) == LAYOUTS[layout].classes for part in counts.values())
    assert sum(sum(part.values()) for part in counts.values()) == 300
    assert all(counts[LAYOUTS[layout].parts[0]].values()), "every class is in the first part"


# --- complete or absent


@pytest.mark.parametrize("layout", LAYOUTS)
def test_nothing_stays_behind_when_writing_is_interrupted(tmp_path, layout):
    def stop(written: int) -> None:
        if written == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_synthetic(layout, tmp_path / "faces", 70, 0, on_progress=stop)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_an_interrupt_of_the_whole_group_ends_all_processes_quietly(tmp_path, start, sent):
    process = start("fer2013-folder", 48)
    wait_until_faces_are_written(process, tmp_path / "out")
    began = time.monotonic()
    os.killpg(process.pid, sent)
    _, complaint = process.communicate(timeout=30)
    assert time.monotonic() - began < 5
    assert (process.returncode, complaint) == (130, "")
    wait_until_group_is_gone(process.pid, 5)
    assert list((tmp_path / "out").iterdir()) == []


def test_drawing_processes_do_not_outlive_a_killed_parent(tmp_path, start):
    process = start("fer2013-folder", 48)
    wait_until_faces_are_written(process, tmp_path / "out")
    process.kill()
    process.communicate(timeout=30)
    wait_until_group_is_gone(process.pid, 10)


def test_a_process_that_dies_is_a_user_error_and_leaves_nothing(tmp_path):
    def kill(_written: int) -> None:
        for child in multiprocessing.active_children():
            child.kill()

    with pytest.raises(UserError, match=r"process that draws faces died .* Lower compute\.cores"):
        write_synthetic("fer2013-csv", tmp_path / "faces", 3000, 0, on_progress=kill, cores=2)
    assert list(tmp_path.iterdir()) == []


def test_target_is_absent_until_everything_is_written(tmp_path):
    seen: list[tuple[int, bool]] = []
    out = tmp_path / "deep" / "faces"
    write_synthetic("fer2013-csv", out, 70, 0, on_progress=lambda n: seen.append((n, out.exists())))
    assert seen == [(n, False) for n in range(1, 71)]
    assert [path.name for path in out.parent.iterdir()] == ["faces"]


def test_empty_folder_is_filled_and_a_full_one_refused(tmp_path):
    out = tmp_path / "faces"
    out.mkdir()
    write_synthetic("fer2013-csv", out, 70, 0)
    before = (out / "fer2013.csv").read_bytes()
    with pytest.raises(UserError, match="already exists and is not an empty folder") as error:
        write_synthetic("fer2013-csv", out, 70, 1)
    assert str(out) in str(error.value)
    assert (out / "fer2013.csv").read_bytes() == before


# --- refusals


def test_full_disk_is_one_line_that_names_the_folder(tmp_path, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    with pytest.raises(UserError, match="disk is full") as error:
        write_synthetic("affectnet-2021", tmp_path / "faces", 70, 0)
    assert str(tmp_path / "faces") in str(error.value)
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_full_disk_in_another_process_is_the_same_line(tmp_path, start):
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000))"
    process = start("affectnet-folder", 200, before=limit)
    _, complaint = process.communicate(timeout=60)
    assert process.returncode == 1
    assert complaint.startswith(f"{tmp_path / 'out' / 'faces'}: the disk is full")
    assert complaint.count("\n") == 1
    assert list((tmp_path / "out").iterdir()) == []


def test_unwritable_place_is_a_user_error(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match="cannot be written"):
        write_synthetic("fer2013-csv", tmp_path / "file" / "faces", 70, 0)


def test_unknown_layout_lists_the_known(tmp_path):
    with pytest.raises(UserError, match="layout=fer2014: not known") as error:
        write_synthetic("fer2014", tmp_path / "faces", 100, 0)
    assert str(error.value).endswith(
        "Known: fer2013-csv, fer2013-icml, fer2013-kaggle, fer2013-folder, ferplus, affectnet-2021, affectnet-manual, "
        "affectnet-folder."
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"count": 69}, "count=69: at least 70"), ({"cores": 0}, "cores=0: at least one process")],
)
def test_too_few_faces_or_processes_are_refused(tmp_path, settings, message):
    with pytest.raises(UserError, match=message):
        write_synthetic("fer2013-csv", tmp_path / "faces", **({"count": 70, "seed": 0} | settings))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("layout", "missing"), [("fer2013-csv", 0.1), ("affectnet-manual", 1.1)])
def test_images_are_missing_only_where_a_table_names_them(tmp_path, layout, missing):
    with pytest.raises(ValueError, match=f"missing={missing}"):
        write_synthetic(layout, tmp_path / "faces", 70, 0, missing=missing)
