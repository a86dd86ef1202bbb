"""Workers that carry out jobs side by side: warm processes, each with its share of the cores and one GPU."""

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait as wait_for
from pathlib import Path
from typing import Any, TypeVar

from ferlab import interrupts
from ferlab.errors import UserError

Result = TypeVar("Result")
ENDING_S = 30.0
"""How long interrupted jobs may take to close their runs."""

_idle = threading.Event()
"""Whether this worker has no job under way."""


def visible_gpus() -> list[str]:
    """The GPUs that this process may use, as ``CUDA_VISIBLE_DEVICES`` names them."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        return [one for one in chosen.split(",") if one.strip() not in ("", "-1")]
    return [file.name.removeprefix("nvidia") for file in sorted(Path("/dev").glob("nvidia[0-9]*"))]


def in_workers(
    work: Callable[..., Result], jobs: Iterable[tuple[Any, ...]], count: int
) -> Iterator[tuple[int, Result | Exception]]:
    """Yield position and result of ``work(*job)`` as jobs end; a job is taken when a worker is free for it.

    A worker whose process is killed gives a UserError for its job, and is replaced. When the block around this is left
    by an interrupt, jobs under way are interrupted, too, and given ``ENDING_S`` to end.
    """
    workers = [_Worker(number, count) for number in range(count)]
    free, busy = list(reversed(workers)), dict[Future[Any], tuple[int, _Worker]]()
    waiting = enumerate(jobs)
    try:
        while True:
            while free and (taken := next(waiting, None)) is not None:
                worker = free.pop()
                busy[worker.submit(work, taken[1])] = taken[0], worker
            if not busy:
                return
            done, _ = wait(busy, return_when=FIRST_COMPLETED)
            for future in done:
                position, worker = busy.pop(future)
                free.append(worker)
                yield position, worker.result(future)
    finally:
        if busy:
            for worker in workers:
                worker.interrupt()
            wait(busy, timeout=ENDING_S)
        for worker in workers:
            worker.end()


class _Worker:
    """One process after another; each starts with its first job."""

    def __init__(self, number: int, count: int) -> None:
        self.number, self.count = number, count
        self.pool: ProcessPoolExecutor | None = None
        self.process_id: Future[int] | None = None

    def submit(self, work: Callable[..., Any], job: tuple[Any, ...]) -> Future[Any]:
        try:
            return self._submit(work, job)
        except BrokenProcessPool:  # it was killed between two jobs
            self.end()
            return self._submit(work, job)

    def _submit(self, work: Callable[..., Any], job: tuple[Any, ...]) -> Future[Any]:
        if self.pool is None:
            spawn = multiprocessing.get_context("spawn")
            self.pool = ProcessPoolExecutor(1, spawn, _begin, (self.number, self.count))
            self.process_id = self.pool.submit(os.getpid)
        return self.pool.submit(_watched, work, job)

    def result(self, future: Future[Any]) -> Any:
        try:
            return future.result()
        except BrokenProcessPool:
            self.end()
            return UserError("the process of this job was killed: the machine may be out of memory.")
        except Exception as error:
            return error

    def interrupt(self) -> None:
        if self.process_id is not None and self.process_id.done() and not self.process_id.exception():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.process_id.result(), signal.SIGTERM)

    def end(self) -> None:
        if self.pool is not None:
            self.pool.shutdown(wait=False, cancel_futures=True)
        self.pool = self.process_id = None


def _begin(number: int, count: int) -> None:
    """Make this process the worker ``number`` of ``count``: its cores, its GPU, its end with its parent."""
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        own = [core for position, core in enumerate(cores) if position % count == number]
        os.sched_setaffinity(0, own or [cores[number % len(cores)]])
    gpus = visible_gpus()
    if gpus:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpus[number % len(gpus)]
    if count > len(gpus):  # workers that share a GPU must not each take all of its memory
        os.environ["TF_FORCE_GPU_ALLOW_GROWTH"] = "true"
        os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"
    interrupts.install(once=True)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _watched(work: Callable[..., Result], job: tuple[Any, ...]) -> Result:
    _idle.clear()
    try:
        return work(*job)
    finally:
        _idle.set()


def _end_with_parent() -> None:
    """When the sweep is killed outright, its jobs end as if they were interrupted: whoever resumes it finds them so."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait_for([parent.sentinel])
        os.kill(os.getpid(), signal.SIGTERM)
        _idle.wait(ENDING_S)
        os._exit(1)
