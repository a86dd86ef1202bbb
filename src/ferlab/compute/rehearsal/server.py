"""The process of a rehearsal: three servers on loopback, and a clock that lets jobs go on.

``python -m ferlab.compute.rehearsal.server FOLDER``. All that it knows lies below FOLDER, the jobs are processes of
their own: killed and started again, it goes on. It ends by itself when nobody has asked for anything for some time and
no job runs.
"""

import contextlib
import json
import os
import sys
import threading
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil

from ferlab.compute.rehearsal.batches import Batches
from ferlab.compute.rehearsal.clusters import Clusters
from ferlab.compute.rehearsal.custom_jobs import CustomJobs
from ferlab.compute.rehearsal.drivers import Drivers
from ferlab.compute.rehearsal.faults import Trouble
from ferlab.compute.rehearsal.jobs import Jobs
from ferlab.compute.rehearsal.operations import Operations
from ferlab.compute.rehearsal.quotas import Quotas
from ferlab.compute.rehearsal.records import Records
from ferlab.compute.rehearsal.storage import Buckets, storage_server
from ferlab.compute.rehearsal.web import JsonHandler, LoopbackServer, Request, Route
from ferlab.storage.files import AlreadyRunningError, exclusive, write_text

TICK_S = 0.2
IDLE_S = 15 * 60.0
ENDPOINTS = "endpoints.json"
OPERATIONS = "/v1/projects/{project}/{kind}/{place}/operations"


class Rehearsal:
    """The services of one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._touched_at = time.monotonic()
        self._records = Records(folder / "state")
        trouble, buckets = Trouble(folder), Buckets(folder / "buckets")
        ports = self._former_ports()
        self._storage = _bound(
            lambda port: storage_server(buckets, trouble, port, self._touch), ports.get("storage", 0)
        )
        storage = self._storage.address
        drivers = Drivers(folder, buckets, storage, trouble)
        self._clusters = Clusters(folder, self._records, buckets, storage, trouble)
        self._jobs = Jobs(self._records, self._clusters, buckets, drivers)
        self._batches = Batches(self._records, buckets, drivers, trouble)
        self._custom_jobs = CustomJobs(folder, self._records, storage, trouble)
        dataproc = (*self._operation_routes(), *self._clusters.routes, *self._jobs.routes, *self._batches.routes)
        vertex = (*self._operation_routes(), *self._custom_jobs.routes, *Quotas(trouble).routes)
        self._dataproc = _bound(
            lambda port: self._server("dataproc", dataproc, trouble, port), ports.get("dataproc", 0)
        )
        self._vertex = _bound(lambda port: self._server("vertex", vertex, trouble, port), ports.get("vertex", 0))

    def run(self, idle_s: float = IDLE_S) -> None:
        """Serve until nobody has asked for anything, and nothing has run, for ``idle_s``."""
        for server in (self._storage, self._dataproc, self._vertex):
            threading.Thread(target=server.serve_forever, daemon=True).start()
        self._announce()
        while time.monotonic() - self._touched_at < idle_s:
            # one job that cannot go on must not stop the clock of the others
            try:
                if self._proceed():
                    self._touch()
            except Exception:
                traceback.print_exc()
                time.sleep(1)
            time.sleep(TICK_S)

    def _proceed(self) -> bool:
        """Whether anything is under way."""
        busy = self._jobs.proceed()
        return any([self._clusters.proceed(busy), bool(busy), self._batches.proceed(), self._custom_jobs.proceed()])

    def _touch(self) -> None:
        self._touched_at = time.monotonic()

    def _server(self, service: str, routes: Sequence[Route], trouble: Trouble, port: int) -> LoopbackServer:
        told = {"service": service, "routes": routes, "trouble": trouble, "touched": staticmethod(self._touch)}
        return LoopbackServer(type("Handler", (JsonHandler,), told), port)

    def _operation_routes(self) -> tuple[Route, ...]:
        operations = Operations(self._records)
        return (
            Route("GET", f"{OPERATIONS}/{{operation}}", operations.get),
            Route("GET", OPERATIONS, operations.list, frozenset({"filter", "pageSize", "pageToken"})),
            Route("POST", f"{OPERATIONS}/{{operation}}:cancel", self._cancel),
        )

    def _cancel(self, request: Request) -> dict[str, Any]:
        with self._records.lock:
            self._batches.cancel(Operations(self._records).get(request)["name"])
        return {}

    def _announce(self) -> None:
        me = psutil.Process()
        addresses = {
            "dataproc": self._dataproc.address,
            "vertex": self._vertex.address,
            "storage": self._storage.address,
            "quotas": self._vertex.address,
        }
        told = {"pid": os.getpid(), "began": f"{me.create_time():.1f}", "endpoints": addresses}
        write_text(self._folder / ENDPOINTS, json.dumps(told))

    def _former_ports(self) -> dict[str, int]:
        """Jobs that outlived the last server still talk to its addresses."""
        file = self._folder / ENDPOINTS
        told = json.loads(file.read_text())["endpoints"] if file.exists() else {}
        return {name: int(address.rpartition(":")[2]) for name, address in told.items()}


def _bound(make: Any, port: int) -> LoopbackServer:
    """A server on that port, or on another where somebody has it meanwhile."""
    with contextlib.suppress(OSError):
        server: LoopbackServer = make(port)
        return server
    other: LoopbackServer = make(0)
    return other


def main(folder: Path) -> None:
    """Serve a folder, unless another process does."""
    with contextlib.suppress(AlreadyRunningError), exclusive(folder / "server.lock", busy="it is served"):
        Rehearsal(folder).run()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
