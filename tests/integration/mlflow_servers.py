"""MLflow servers of this machine, as a team would run one."""

import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .conftest import free_port

START_S = 120


@contextmanager
def mlflow_server(backend: str, kept: Path, *options: str, **environment: str) -> Iterator[str]:
    """The address of an MLflow server on a database; artifacts go to the folder ``kept``."""
    port = free_port()
    command = [
        sys.executable, "-m", "mlflow", "server", "--port", str(port), "--workers", "1",
        "--backend-store-uri", backend, "--artifacts-destination", str(kept), *options,
    ]  # fmt: skip
    kept.mkdir(exist_ok=True)
    clean = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW")}
    with (kept.parent / f"{kept.name}.log").open("w") as log:
        process = subprocess.Popen(
            command, start_new_session=True, cwd=kept.parent, env=clean | environment, stdout=log, stderr=log
        )
    url = f"http://127.0.0.1:{port}"
    try:
        _wait_for(url, process, Path(log.name))
        yield url
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)


def _wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + START_S
    while time.monotonic() < until:
        assert process.poll() is None, log.read_text()[-3000:]
        try:
            urllib.request.urlopen(f"{url}/health", timeout=1)
            return
        except OSError:
            time.sleep(0.5)
    message = f"the server does not answer: {log.read_text()[-3000:]}"
    raise AssertionError(message)
