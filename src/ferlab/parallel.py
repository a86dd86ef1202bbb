"""Work in threads, its results in the order of its items, with a bounded number under way."""

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from functools import partial
from itertools import repeat
from typing import TypeVar

Result = TypeVar("Result")
Item = TypeVar("Item")


def usable_cores() -> int:
    """Cores that this process may use, at least 1."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def in_order(
    work: Callable[..., Result], items: Iterable[tuple[object, ...]], threads: int, ahead: int
) -> Generator[Result, None, None]:
    """Yield ``work(*item)`` for every item; at most ``ahead`` more are begun or waiting than were taken.

    The first error is raised in its turn and ends it; what has not begun then is not done.
    """
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(work, *item))
                if len(waiting) > ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def taken_ahead(items: Iterable[Item], ahead: int) -> Iterator[Item]:
    """The items, taken in a thread of their own; at most ``ahead`` more than were asked for.

    An error of the items is raised in its turn.
    """
    end = object()
    take: Callable[[], Item | object] = partial(next, iter(items), end)
    with closing(in_order(take, repeat(()), 1, ahead)) as found:
        for item in found:
            if item is end:
                return
            yield item  # type: ignore[misc]  # all but the end are items
