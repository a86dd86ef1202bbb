"""Real worker processes."""

import importlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from ferlab.errors import UserError
from ferlab.sweeping.workers import in_workers, visible_gpus

HOLDER = """
import sys
sys.path.insert(0, sys.argv[1])
from ferlab.sweeping.workers import in_workers
from jobs_of_workers import announce_and_sleep
if __name__ == "__main__":
    list(in_workers(announce_and_sleep, [(sys.argv[2], n) for n in range(2)], 2))
"""


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Worker processes import the jobs by the name of their module."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))


def test_results_come_with_their_positions() -> None:
    assert dict(in_workers(_job("double"), [(n,) for n in range(5)], 2)) == {n: 2 * n for n in range(5)}


def test_an_error_is_the_result_of_its_job() -> None:
    ((position, error),) = in_workers(_job("refuse"), [(3,)], 1)
    assert position == 0
    assert isinstance(error, UserError)
    assert str(error) == "3 is refused"


def test_a_killed_worker_costs_its_job_alone() -> None:
    found = dict(in_workers(_job("die_if_odd"), [(n,) for n in range(4)], 2))
    assert (found[0], found[2]) == (0, 2)
    assert all(isinstance(found[n], UserError) and "killed" in str(found[n]) for n in (1, 3))


def test_a_worker_that_was_killed_between_two_jobs_is_replaced() -> None:
    def jobs():
        yield (0,)
        time.sleep(1)
        yield (1,)

    assert dict(in_workers(_job("die_soon"), jobs(), 1)) == {0: 0, 1: 1}


def test_jobs_are_taken_when_a_worker_is_free() -> None:
    taken = []

    def jobs():
        for number in range(4):
            taken.append(number)
            yield (number,)

    results = in_workers(_job("double"), jobs(), 1)
    assert next(results) == (0, 0)
    assert taken == [0]
    assert len(list(results)) == 3


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one core cannot be shared out")
def test_workers_share_out_cores_and_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5")
    found = {
        process: (cores, gpu) for _, (process, cores, gpu) in in_workers(_job("place"), [(n,) for n in range(6)], 2)
    }
    (first, one), (second, other) = found.values()
    assert not first & second
    assert first | second == os.sched_getaffinity(0)
    assert {one, other} == {"2", "5"}


def test_gpus_that_are_hidden_are_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    assert visible_gpus() == []


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGTERM], ids=["SIGKILL", "SIGTERM"])
def test_jobs_are_interrupted_when_the_parent_is_killed(tmp_path: Path, sent: signal.Signals) -> None:
    script = tmp_path / "holder.py"
    script.write_text(HOLDER)
    parent = subprocess.Popen([sys.executable, str(script), str(Path(__file__).parent), str(tmp_path)])
    try:
        workers = [psutil.Process(int(_text(tmp_path / str(number)))) for number in range(2)]
        parent.send_signal(sent)
        for number in range(2):
            _wait_for(tmp_path / f"{number}.ended")
        _gone, alive = psutil.wait_procs(workers, timeout=40)
        assert not alive
    finally:
        parent.kill()
        parent.wait()


def _job(name: str) -> Callable[..., Any]:
    return getattr(importlib.import_module("jobs_of_workers"), name)


def _text(file: Path) -> str:
    _wait_for(file)
    while not (text := file.read_text()):
        time.sleep(0.05)
    return text


def _wait_for(file: Path) -> None:
    until = time.monotonic() + 60
    while not file.exists():
        assert time.monotonic() < until, f"{file.name} did not come"
        time.sleep(0.05)
