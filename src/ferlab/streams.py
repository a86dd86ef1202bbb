"""Silence for native libraries that write to file descriptor 2 while they start."""

import contextlib
import os
from collections.abc import Iterator


@contextlib.contextmanager
def quiet_stderr() -> Iterator[None]:
    """Hide what C++ code and child processes started inside write to standard error; exceptions still pass."""
    saved = os.dup(2)
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(null)


def load_backend() -> str:
    """Import Keras with its backend, without banners that logging settings do not silence; the backend's name."""
    with quiet_stderr():
        import keras
    return str(keras.config.backend())
