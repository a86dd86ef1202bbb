"""What the workers of ``test_workers`` are given to do; a module that their processes can import."""

import os
import signal
import threading
import time
from pathlib import Path

from ferlab.errors import UserError


def double(number: int) -> int:
    return 2 * number


def refuse(number: int) -> int:
    message = f"{number} is refused"
    raise UserError(message)


def die_if_odd(number: int) -> int:
    if number % 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def place(number: int) -> tuple[int, frozenset[int], str]:
    time.sleep(0.5)  # so that both workers get some
    return os.getpid(), frozenset(os.sched_getaffinity(0)), os.environ.get("CUDA_VISIBLE_DEVICES", "")


def announce_and_sleep(folder: str, number: int) -> None:
    file = Path(folder) / str(number)
    file.write_text(str(os.getpid()))
    try:
        time.sleep(120)
    except KeyboardInterrupt:
        file.with_suffix(".ended").touch()
        raise


def die_soon(number: int) -> int:
    threading.Timer(0.2, lambda: os.kill(os.getpid(), signal.SIGKILL)).start()
    return number
