"""Processes that outlive the server which began them, and whose end is written down for the next one.

``python -m ferlab.compute.rehearsal.children FOLDER`` runs what ``FOLDER/command.json`` names, in a session of its own,
and writes ``exit.json`` when it has ended.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

from ferlab.storage.files import write_text
from ferlab.tracking.processes import is_alive

LOST = -9
"""The exit code of a process that vanished with its keeper: both were killed outright, or the machine went down."""
START_S = 30.0
STOP = "stop"
"""File that says that the process shall end, or not begin."""


class Child:
    """One process, known by its folder; a server that was started anew finds it there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def start(self, command: list[str], environment: dict[str, str], log: Path, directory: Path | None = None) -> None:
        """Run ``command`` with exactly that environment; its output is added to ``log``."""
        directory = directory or self.folder
        for place in (self.folder, directory, log.parent):
            place.mkdir(parents=True, exist_ok=True)
        what = {"command": command, "environment": environment, "log": str(log), "directory": str(directory)}
        write_text(self.folder / "command.json", json.dumps(what))
        keeper = [sys.executable, "-m", __name__, str(self.folder)]
        with subprocess.Popen(
            ["/bin/sh", "-c", '"$@" </dev/null >/dev/null 2>&1 &', "sh", *keeper], start_new_session=True
        ):
            pass  # the shell leaves the keeper to init, so that no zombie of it stays with this server

    @property
    def begun(self) -> bool:
        """Whether it was ever started."""
        return (self.folder / "command.json").exists()

    @property
    def began(self) -> float | None:
        """When it began, in seconds since 1970; None when it has not yet."""
        file = self.folder / "running.json"
        return float(json.loads(file.read_text())["at"]) if file.exists() else None

    def exit_code(self) -> int | None:
        """How it ended, minus a signal's number where it was killed; None while it runs. One never begun is LOST."""
        ended = self.folder / "exit.json"
        if not ended.exists() and self._keeper_lives():
            return None
        # it may have ended since the first look
        return int(json.loads(ended.read_text())["code"]) if ended.exists() else LOST

    def pid(self) -> int | None:
        """Its process number while it runs."""
        file = self.folder / "running.json"
        if not file.exists() or (self.folder / "exit.json").exists():
            return None
        told = json.loads(file.read_text())
        return int(told["pid"]) if is_alive(str(told["pid"]), told["began"]) else None

    def tree(self) -> list[psutil.Process]:
        """The process and all that came from it."""
        pid = self.pid()
        with contextlib.suppress(psutil.NoSuchProcess):
            if pid is not None:
                process = psutil.Process(pid)
                return [process, *process.children(recursive=True)]
        return []

    def signal(self, number: int) -> None:
        """Send a signal to it and all that came from it."""
        for process in self.tree():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(number)

    def ask_to_end(self) -> None:
        """SIGTERM for it and all that came from it; one that is just being started does not begin."""
        write_text(self.folder / STOP, "")
        self.signal(signal.SIGTERM)

    def _keeper_lives(self) -> bool:
        keeper = self.folder / "keeper.json"
        if keeper.exists():
            told = json.loads(keeper.read_text())
            return is_alive(str(told["pid"]), told["began"])
        return self.begun and time.time() - (self.folder / "command.json").stat().st_mtime < START_S


def keep(folder: Path) -> None:
    """Run the command of a folder to its end. Signals are for the command, not for the one who keeps its exit code."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    write_text(folder / "keeper.json", _told(os.getpid()))
    if (folder / STOP).exists():
        write_text(folder / "exit.json", json.dumps({"code": -signal.SIGTERM, "ended": time.time()}))
        return
    what = json.loads((folder / "command.json").read_text())
    with Path(what["log"]).open("ab") as log:
        try:
            process = subprocess.Popen(
                what["command"], env=what["environment"], cwd=what["directory"], stdin=subprocess.DEVNULL, stdout=log,
                stderr=subprocess.STDOUT, start_new_session=True, preexec_fn=_heed_signals,
            )  # fmt: skip
        except OSError as error:
            log.write(f"{what['command'][0]}: {error.strerror}\n".encode())
            write_text(folder / "exit.json", json.dumps({"code": 127, "ended": time.time()}))
            return
    write_text(folder / "running.json", _told(process.pid))
    if (folder / STOP).exists():  # written after the first look, by one that found no process yet
        process.terminate()
    code = process.wait()
    write_text(folder / "exit.json", json.dumps({"code": code, "ended": time.time()}))


def _heed_signals() -> None:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def _told(pid: int) -> str:
    try:
        began = psutil.Process(pid).create_time()
    except psutil.NoSuchProcess:
        began = time.time()
    # the system's clock of processes may differ from the wall's by a second
    return json.dumps({"pid": pid, "began": f"{began:.1f}", "at": time.time()})


if __name__ == "__main__":
    keep(Path(sys.argv[1]))
