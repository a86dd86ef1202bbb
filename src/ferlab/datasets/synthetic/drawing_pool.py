"""Faces drawn by one or several processes, in the order of their indices."""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.synchronize import Event

import cv2

from ferlab.datasets.synthetic.copies import Copy, Draw, Drawn
from ferlab.errors import UserError

BATCH = 200
"""Faces a process is asked for at a time."""

AHEAD = 2
"""Batches that wait for each process, so that it never waits for the next."""

ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM)

Batch = Future[list[Drawn]]


def draw_all(draw: Draw, copy: Copy, cores: int) -> Generator[list[Drawn], None, None]:
    """Draw every face of the copy: lists of neighbours in index order, one face each with one core.

    Close the iterator when leaving it early: it returns once no process writes any more.

    Raises:
        UserError: a process died.

    """
    processes = min(cores, -(-copy.count // BATCH))
    if processes > 1:
        yield from _draw_in_processes(draw, copy, processes)
        return
    for index in range(copy.count):
        yield [draw(copy, index)]


def _draw_in_processes(draw: Draw, copy: Copy, processes: int) -> Iterator[list[Drawn]]:
    starts = iter(range(0, copy.count, BATCH))
    waiting: deque[Batch] = deque()
    with _pool(processes) as pool:

        def ask() -> None:
            start = next(starts, None)
            if start is not None:
                with _ending_signals_held():  # a new process inherits it: Ctrl-C ends this one, which ends the others
                    waiting.append(pool.submit(_draw_batch, draw, copy, start))

        for _ in range(processes * (1 + AHEAD)):
            ask()
        while waiting:
            done = waiting.popleft().result()
            ask()
            yield done


@contextmanager
def _pool(processes: int) -> Iterator[ProcessPoolExecutor]:
    """Lend new processes (not forks: OpenCV and TensorFlow have threads); at the end they finish their face and go."""
    context = multiprocessing.get_context("spawn")
    stop = context.Event()
    pool = ProcessPoolExecutor(processes, mp_context=context, initializer=_begin, initargs=(stop,))
    try:
        yield pool
    except BrokenProcessPool as error:
        message = "a process that draws faces died (out of memory?). Lower compute.cores and run again."
        raise UserError(message) from error
    finally:
        stop.set()
        pool.shutdown(cancel_futures=True)


@contextmanager
def _ending_signals_held() -> Iterator[None]:
    """Deliver Ctrl-C and SIGTERM to this thread only after the block."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


_stop: Event | None = None


def _begin(stop: Event) -> None:
    """In a new process: know when to stop, take one core, and end when the parent was killed."""
    global _stop
    _stop = stop
    cv2.setNumThreads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _draw_batch(draw: Draw, copy: Copy, start: int) -> list[Drawn]:
    """Faces from ``start`` on; cut short when nobody waits for them any more."""
    drawn: list[Drawn] = []
    for index in range(start, min(start + BATCH, copy.count)):
        if _stop is not None and _stop.is_set():
            break
        drawn.append(draw(copy, index))
    return drawn
