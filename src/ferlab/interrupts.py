"""Ctrl-C and SIGTERM, also when Python drops the exception.

An exception raised in a weak reference's callback or a finaliser is ignored, so an interrupt that arrives there would
be lost. The signal is remembered, and ``check`` raises it again at the next safe point.
"""

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any


class Terminated(KeyboardInterrupt):
    """SIGTERM: ends a run like Ctrl-C does."""


_received: list[type[KeyboardInterrupt]] = []


def install(once: bool = False) -> None:
    """Answer SIGINT and SIGTERM of this process; with ``once`` the first of them alone.

    Ctrl-C reaches a worker directly and by its parent; the second must not end what the first has begun to close.
    """
    signal.signal(signal.SIGINT, _handler(KeyboardInterrupt, once))
    signal.signal(signal.SIGTERM, _handler(Terminated, once))
    sys.unraisablehook = _tell_unless_interrupted


@contextlib.contextmanager
def held() -> Iterator[None]:
    """Ctrl-C and SIGTERM wait until the block is over: it ends what would go on costing money."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    arrived: list[int] = []
    for number in before:
        signal.signal(number, lambda number, frame: arrived.append(number))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if arrived:
            signal.raise_signal(arrived[0])


def check() -> None:
    """Raise KeyboardInterrupt (or Terminated) when a signal has come since the process began."""
    if _received:
        raise _received[0]


def _tell_unless_interrupted(ignored: Any) -> None:
    """Python reports an exception that it ignores; an interrupt is not lost, so nothing needs to be said of it."""
    if not issubclass(ignored.exc_type, KeyboardInterrupt):
        sys.__unraisablehook__(ignored)


def _handler(kind: type[KeyboardInterrupt], once: bool) -> Any:
    def handle(number: int, frame: Any) -> None:
        if once and _received:
            return
        _received.append(kind)
        raise kind

    return handle
