"""A command's connection to the cloud: checked before anything is created, and agreed to before anything costs."""

import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ferlab.commands.confirmation import confirm
from ferlab.commands.terminal import Terminal
from ferlab.compute import cluster, training
from ferlab.compute.clients import Clients
from ferlab.compute.ledger import GONE, HOME, OPEN, Ledger
from ferlab.compute.preflight import check_access, check_regions, credentials_and_project
from ferlab.compute.quotas import check_gpu_quota, check_processor_quota
from ferlab.compute.target import Target
from ferlab.compute.training import hours
from ferlab.config.cloud_rules import REHEARSAL
from ferlab.config.nodes import Compute
from ferlab.errors import UserError
from ferlab.storage.objects import create_bucket, split_url

EMULATOR = "STORAGE_EMULATOR_HOST"
BUCKET_AREA = "US"
POLL_S = {REHEARSAL: 0.5}
USUAL_POLL_S = 10.0
NO_IMAGE = (
    "compute.trainer.image: must name the container to train in (REGION-docker.pkg.dev/PROJECT/REPOSITORY/ferlab:TAG); "
    "docs/cloud.md says how it is made."
)
OUTCOMES = {OPEN: "not seen to its end: ferlab cloud clean", HOME: "ended", GONE: "deleted"}
NO_AGREEMENT = "Nothing was created."


@dataclass
class Session:
    """Where the work goes, and who carries it there.

    ``trainings``: how many this command will send; ``prepares``: whether it may ask for a cluster.
    """

    compute: Compute
    target: Target
    clients: Clients
    ledger: Ledger
    terminal: Terminal
    trainings: int
    prepares: bool = True
    began_s: float = field(default_factory=time.time)
    _agreed: bool = field(default=False, repr=False)
    _has_room: bool = field(default=False, repr=False)

    @property
    def poll_s(self) -> float:
        """Seconds between looks at what is under way."""
        return POLL_S.get(self.target.name, USUAL_POLL_S)

    def agree(self) -> None:
        """Ask the person once, with the upper bound of what this command may use.

        Raises:
            UserError: no, or nobody is there to ask.

        """
        if self._agreed or self.target.is_rehearsal:
            return
        if not confirm(self.question()):
            raise UserError(NO_AGREEMENT)
        self._agreed = True

    def check_room_for_cluster(self) -> None:
        """Ask once whether a cluster may be as large as it is to be.

        Raises:
            UserError: the quota of processors does not suffice.

        """
        if not self._has_room:
            check_processor_quota(self.clients, self.compute.cloud, self.compute.cluster, self.terminal.warn)
            self._has_room = True

    def account(self) -> None:
        """Say what this command had in the cloud, for how long, and whether it is gone."""
        rows = [
            [entry.resource or entry.job, entry.region, entry.machines, OUTCOMES[entry.state], f"{hours(entry):.2f}"]
            for entry in self.ledger.entries()
            if entry.began_s >= self.began_s and entry.target == self.target.name
        ]
        if rows:
            self.terminal.table("In the cloud", ["resource", "region", "machines", "", "hours"], rows, 4)

    def question(self) -> str:
        """What is going to be used, and for how long at most."""
        cloud, spark, trainer = self.compute.cloud, self.compute.cluster, self.compute.trainer
        machines = cluster.machines_of(spark)
        times = f", {spark.tries} times if it fails" if spark.serverless else ""
        kind = f"a cluster for at most {spark.max_hours:g} h{times} ({machines}) unless the data is prepared"
        parts = [kind] if self.prepares else []
        if self.trainings:
            machines, most = training.machines_of(trainer), trainer.max_hours
            parts.append(
                f"{self.trainings} x training for at most {most:g} h, {trainer.tries} times if taken away ({machines})"
            )
        where = f"project {self.target.project}, {', '.join(cloud.regions)}"
        return f"In {where} this uses {'; '.join(parts)}. Begin?"


def stand_in(compute: Compute, home: Path, with_faults: bool) -> Any:
    """Start the services of a rehearsal, or find them under way; the storage client of this process uses them.

    Commands that send nothing leave the faults of others alone: ``with_faults`` false.
    """
    from ferlab.compute.rehearsal.faults import Faults
    from ferlab.compute.rehearsal.service import start

    faults = compute.faults
    asked = Faults(
        tuple(faults.preempt_after_s),
        faults.lost_workers,
        tuple(faults.no_capacity),
        tuple(faults.no_quota),
        faults.unavailable,
        faults.latency_ms,
        faults.wrong_project,
        faults.restarts,
    )
    endpoints = start(home / REHEARSAL, asked if with_faults else None)
    os.environ[EMULATOR] = str(endpoints.storage)
    return endpoints


def begin(compute: Compute, home: Path, terminal: Terminal, trainings: int | None) -> Session:
    """Connect, and say whatever can be known to fail; ``trainings`` None: nothing new is going to be sent.

    Raises:
        UserError: no container is named for trainings; credentials, project, bucket or regions are wrong; a service is
            not switched on; the quota of GPUs does not suffice.

    """
    if trainings and not compute.trainer.image:
        raise UserError(NO_IMAGE)
    if compute.name == REHEARSAL:
        endpoints = stand_in(compute, home, with_faults=trainings is not None)
        credentials, project = None, str(compute.cloud.project)
        target = Target.of(compute, project, home, endpoints)
        for bucket in {split_url(place)[0] for place in (target.raw, target.processed, target.runs)}:
            create_bucket(bucket, BUCKET_AREA)
    else:
        credentials, project = credentials_and_project(compute.cloud.project)
        target = Target.of(compute, project, home)
    clients = Clients(target, credentials)
    if trainings is not None:
        check_regions((target.raw, target.processed, target.runs), compute.cloud)
    check_access(clients, compute.cloud)
    check_gpu_quota(clients, compute.cloud, compute.trainer, trainings or 0, terminal.warn)
    return Session(compute, target, clients, Ledger(home), terminal, trainings or 0)


def clock(seconds: float) -> str:
    """A moment as people of all time zones read it."""
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(seconds))
