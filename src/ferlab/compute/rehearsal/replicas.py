"""The containers of a custom job: one process for each replica, with what Vertex AI puts into its environment."""

import json
import os
import shutil
import signal
import socket
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ferlab.compute.rehearsal.children import Child
from ferlab.compute.rehearsal.environment import machine_environment, python_path
from ferlab.compute.rehearsal.records import stamp
from ferlab.storage.files import remove_folder

OUTPUTS = {"AIP_MODEL_DIR": "model/", "AIP_CHECKPOINT_DIR": "checkpoints/", "AIP_TENSORBOARD_LOG_DIR": "logs/"}
PYTHONS = ("python", "python3")
MACHINE = "machine"
"""Folder of a replica's disk, which is lost with its machine."""


@dataclass(frozen=True)
class Replica:
    """One replica of one attempt: ``name`` is ``workerpool0-0``."""

    name: str
    child: Child
    log: Path


class Replicas:
    """All replicas of one attempt (from 1) of a job, with its files below ``folder``."""

    def __init__(self, folder: Path, job: dict[str, Any], attempt: int) -> None:
        self._folder, self._job, self._attempt = folder, job, attempt
        self._pools: list[dict[str, Any]] = job["jobSpec"]["workerPoolSpecs"]

    def __iter__(self) -> Iterator[Replica]:
        """The primary replica first."""
        for number, pool in enumerate(self._pools):
            for index in range(replica_count(pool)):
                name = f"workerpool{number}-{index}"
                place = self._folder / f"attempt-{self._attempt}" / name
                yield Replica(name, Child(place), self._folder / f"{name}.log")

    def start(self, storage: str) -> None:
        """Begin all that have not; ``storage`` is the address of the rehearsal's Cloud Storage."""
        cluster = self._cluster()
        for replica in (replica for replica in self if not replica.child.begun):
            pool, _, index = replica.name.removeprefix("workerpool").partition("-")
            spec = self._pools[int(pool)]
            container = spec["containerSpec"]
            words = [*container.get("command", []), *container.get("args", [])]
            home = replica.child.folder / MACHINE
            home.mkdir(parents=True, exist_ok=True)
            task = {"type": f"workerpool{pool}", "index": int(index)}
            service = {"cluster": cluster, "environment": "cloud", "task": task, "job": _job_words()}
            say(replica.log, f"Attempt {self._attempt}: {replica.name} begins.")
            replica.child.start(
                [sys.executable if words[0] in PYTHONS else words[0], *words[1:]],
                self._environment(spec, home, storage) | {"CLUSTER_SPEC": json.dumps(service)},
                replica.log,
                home,
            )

    def began(self) -> float | None:
        """When the primary replica began, in seconds since 1970; None when it has not yet."""
        return next(iter(self)).child.began

    def exit_codes(self) -> dict[str, int | None]:
        """How each ended, None for one that runs."""
        return {replica.name: replica.child.exit_code() for replica in self}

    def end(self, since: float, grace_s: float) -> bool:
        """Whether all have ended; those that have not by ``grace_s`` after ``since`` are killed."""
        running = [replica for replica in self if replica.child.exit_code() is None]
        number = signal.SIGKILL if time.time() - since > grace_s else None
        for replica in running:
            if number:
                replica.child.signal(number)
        return not running

    def ask_to_end(self) -> None:
        """SIGTERM for all."""
        for replica in self:
            replica.child.ask_to_end()

    def forget_machines(self) -> None:
        """Their disks are gone."""
        for replica in self:
            remove_folder(replica.child.folder / MACHINE)

    def _cluster(self) -> dict[str, list[str]]:
        ports = iter(_free_ports(sum(map(replica_count, self._pools))))
        return {
            f"workerpool{number}": [f"127.0.0.1:{next(ports)}" for _ in range(replica_count(pool))]
            for number, pool in enumerate(self._pools)
            if replica_count(pool)
        }

    def _environment(self, pool: dict[str, Any], home: Path, storage: str) -> dict[str, str]:
        output = self._job["jobSpec"].get("baseOutputDirectory", {}).get("outputUriPrefix", "").rstrip("/")
        _, project, _, region, _, job_id = self._job["name"].split("/")
        own = machine_environment(home)
        accelerators = int(pool.get("machineSpec", {}).get("acceleratorCount", 0))
        return (
            own
            | {
                "PATH": os.pathsep.join([str(Path(sys.executable).parent), own.get("PATH", os.defpath)]),
                "PYTHONPATH": python_path(),
                "FERLAB_HOME": str(home / ".ferlab"),
                "STORAGE_EMULATOR_HOST": storage,
                "CLOUD_ML_JOB_ID": job_id,
                "CLOUD_ML_PROJECT_ID": project,
                "CLOUD_ML_REGION": region,
            }
            | ({name: f"{output}/{below}" for name, below in OUTPUTS.items()} if output else {})
            | ({"FERLAB_LOGICAL_DEVICES": str(accelerators)} if accelerators > 1 else {})
            | {variable["name"]: variable.get("value", "") for variable in pool["containerSpec"].get("env", [])}
        )


def replica_count(pool: dict[str, Any]) -> int:
    """Replicas of a worker pool; 0 for one that is left out."""
    return int(pool.get("replicaCount", 0))


def runnable(pool: dict[str, Any]) -> str:
    """Why a rehearsal cannot run the container of a pool; empty when it can."""
    container = pool["containerSpec"]
    words = [*container.get("command", []), *container.get("args", [])]
    if not container.get("command"):
        return "a rehearsal cannot look into an image for its entry point: containerSpec.command is needed"
    if any("/gcs/" in word for word in [*words, *(variable.get("value", "") for variable in container.get("env", []))]):
        return "a rehearsal mounts no bucket below /gcs (that takes the rights of root): read and write gs:// places"
    if words[0] not in PYTHONS and shutil.which(words[0]) is None:
        return f"a rehearsal runs the command on this machine, which has no '{words[0]}'"
    return ""


def say(log: Path, message: str) -> None:
    """A line of the service in the log of a replica."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a", encoding="utf-8") as file:
        file.write(f"{stamp()} service: {message}\n")


def _job_words() -> str:
    return json.dumps({"python_module": "", "package_uris": [], "job_args": []})


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for probe in sockets:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in sockets]
    finally:
        for probe in sockets:
            probe.close()
