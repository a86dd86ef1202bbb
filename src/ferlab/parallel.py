"""Work in threads, its results in the order of its items, with a bounded number under way."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Result = TypeVar("Result")


def in_order(
    work: Callable[..., Result], items: Iterable[tuple[object, ...]], threads: int, ahead: int
) -> Iterator[Result]:
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
