"""Start, find and stop the stand-ins of a folder."""

import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
import time
from http import HTTPStatus
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ferlab.compute.endpoints import Endpoints
from ferlab.compute.rehearsal.children import Child
from ferlab.compute.rehearsal.environment import python_path
from ferlab.compute.rehearsal.faults import Faults, hand_over
from ferlab.errors import UserError
from ferlab.storage.files import exclusive
from ferlab.tracking.processes import is_alive

ANNOUNCED, LOG = "endpoints.json", "server.log"
START_S, ANSWER_S = 60.0, 10.0


def start(folder: Path, faults: Faults | None) -> Endpoints:
    """The addresses of the stand-ins that keep their state below ``folder``; started unless they run.

    They run in a process of their own, which outlives this one. Faults that they have already go on where they are;
    None leaves them as they are.

    Raises:
        UserError: the emulator is not installed, or they do not start.

    """
    if find_spec("gcp_storage_emulator") is None:
        message = (
            'compute=rehearsal: gcp-storage-emulator is not installed. `pip install "ferlab[rehearsal]"` brings it.'
        )
        raise UserError(message)
    folder = folder.resolve()
    with exclusive(folder / "start.lock"):
        if faults is not None:
            hand_over(folder, faults)
        running = _running(folder)
        return Endpoints(**(running or _started(folder))["endpoints"])


def stop(folder: Path) -> None:
    """End the stand-ins of a folder and the processes of its jobs; what is written stays. Absent is fine."""
    folder = folder.resolve()
    if not folder.is_dir():
        return
    with exclusive(folder / "start.lock"):
        running = _running(folder)
        if running:
            _end(running)
        for kind in ("jobs", "clusters"):
            for command in (folder / kind).rglob("command.json"):
                child = Child(command.parent)
                if child.exit_code() is None:
                    child.ask_to_end()
                    child.signal(signal.SIGKILL)


def logs(folder: Path, job: str) -> Path:
    """The file with the output of a job: of a driver, or of a training's primary replica.

    ``job`` is its id or its resource name; the file need not be there yet.
    """
    place = folder / "jobs" / job.rpartition("/")[2]
    driver = place / "driveroutput"
    return driver if driver.exists() else place / "workerpool0-0.log"


def _running(folder: Path) -> dict[str, Any] | None:
    file = folder / ANNOUNCED
    if not file.exists():
        return None
    told: dict[str, Any] = json.loads(file.read_text())
    while is_alive(str(told["pid"]), told["began"]):
        # one that was just killed is alive for another moment
        if _answers(told["endpoints"]["vertex"]):
            return told
        time.sleep(0.05)
    return None


def _answers(address: str) -> bool:
    connection = http.client.HTTPConnection(address.removeprefix("http://"), timeout=ANSWER_S)
    try:
        connection.request("GET", "/")
        return connection.getresponse().status == HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _started(folder: Path) -> dict[str, Any]:
    log = folder / LOG
    command = [sys.executable, "-m", "ferlab.compute.rehearsal.server", str(folder)]
    path = os.pathsep.join(str(Path(place).resolve()) for place in python_path().split(os.pathsep))
    # what is asked for here must reach Google's libraries there only as the server sets it
    environment = {name: value for name, value in os.environ.items() if name != "STORAGE_EMULATOR_HOST"}
    with log.open("ab") as output:
        process = subprocess.Popen(
            command, env=environment | {"PYTHONPATH": path}, cwd=folder, stdin=subprocess.DEVNULL, stdout=output,
            stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
    until = time.monotonic() + START_S
    while time.monotonic() < until and process.poll() is None:
        running = _running(folder)
        if running and running["pid"] == process.pid:
            return running
        time.sleep(0.05)
    message = f"compute=rehearsal: its services do not start. {log} says why."
    raise UserError(message)


def _end(running: dict[str, Any]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(running["pid"], signal.SIGTERM)
    while is_alive(str(running["pid"]), running["began"]):
        time.sleep(0.05)
