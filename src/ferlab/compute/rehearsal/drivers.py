"""Spark jobs under way, whoever asked for them: begun, watched, tried again, ended."""

import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ferlab.compute.rehearsal.children import Child
from ferlab.compute.rehearsal.environment import NodeEnvironment
from ferlab.compute.rehearsal.faults import Trouble
from ferlab.compute.rehearsal.records import Record
from ferlab.compute.rehearsal.spark import last_error, lose_executor, start_spark
from ferlab.compute.rehearsal.storage import Buckets
from ferlab.storage.files import remove_folder

GRACE_S = 5.0
SPARKS_OWN = ("spark", "scratch", "files", "work")


class Drivers:
    """The drivers of jobs and batches; a record is told about as ``{"id", "attempt", "killed_at"}``."""

    def __init__(self, folder: Path, buckets: Buckets, storage: str, trouble: Trouble) -> None:
        self._folder, self._buckets, self._storage, self._trouble = folder, buckets, storage, trouble

    def start(
        self, record: Record, job: dict[str, Any], properties: dict[str, str], environment: NodeEnvironment | None,
        python: str,
    ) -> None:  # fmt: skip
        """Submit the next attempt of a job; a server that was killed before that was written finds it begun."""
        record["attempt"] = record.get("attempt", 0) + 1
        child, log = self._child(record), self.log(record)
        if not child.begun:
            start_spark(child, job, properties, environment, python, self._buckets, self._storage, log)

    def log(self, record: Record) -> Path:
        """The output of the driver, of all attempts."""
        return self._folder / "jobs" / str(record["id"]) / "driveroutput"

    def running(self, record: Record) -> bool:
        """Whether Spark runs; a worker is lost on the way where that is asked for."""
        child = self._child(record)
        if child.exit_code() is not None:
            return False
        if child.began is not None and self._trouble.wants_lost_worker() and lose_executor(child):
            self._trouble.count_lost_worker()
        return True

    def exit_code(self, record: Record) -> int:
        """How the attempt ended."""
        return self._child(record).exit_code() or 0

    def reason(self, record: Record) -> str:
        """What the driver's log says of its end."""
        return last_error(self.log(record)) or f"the driver ended with exit code {self.exit_code(record)}"

    def kill(self, record: Record, keep: Callable[[], None]) -> None:
        """Ask Spark to end, and end it when it has not after some seconds; ``keep`` the record where it changes."""
        child = self._child(record)
        if "killed_at" not in record:
            record["killed_at"] = time.time()
            keep()
            child.ask_to_end()
        elif time.time() - record["killed_at"] > GRACE_S:
            child.signal(signal.SIGKILL)

    def put_away(self, record: Record, place: str = "") -> None:
        """After the end: the driver's output goes to ``place`` in a bucket, Spark's own files are removed."""
        log, child = self.log(record), self._child(record)
        if place:
            self._buckets.write(place, log.read_bytes() if log.exists() else b"")
        for name in SPARKS_OWN:
            remove_folder(child.folder / name)

    def _child(self, record: Record) -> Child:
        return Child(self._folder / "jobs" / str(record["id"]) / f"attempt-{record['attempt']}")
