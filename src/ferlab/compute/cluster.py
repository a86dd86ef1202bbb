"""A Spark cluster for one preparation: made, used, and deleted whatever happens."""

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from ferlab import interrupts
from ferlab.compute.clients import Clients
from ferlab.compute.dataproc import Shipped, batch_request, cluster_name, cluster_request, job_request
from ferlab.compute.failures import NoCapacityError, UnreachableError, lacks_capacity
from ferlab.compute.ledger import BATCH, CLUSTER, GONE, Entry, Ledger
from ferlab.config.cloud_nodes import Cloud, Cluster
from ferlab.errors import UserError

RUNNING, ERROR, DELETING = "RUNNING", "ERROR", "DELETING"
JOB_DONE, JOB_FAILED = ("DONE",), ("ERROR", "CANCELLED")
BATCH_DONE, BATCH_FAILED = ("SUCCEEDED",), ("FAILED", "CANCELLED")
DELETE_S = 600.0
SETTLE_S = 5.0

Say = Callable[[str], None]


@dataclass(frozen=True)
class Work:
    """A preparation that waits at ``folder`` of the bucket, as the job ``job``.

    ``poll_s``: seconds between looks at what is under way. ``say`` tells the person what happens, ``look`` is called at
    every look.
    """

    job: str
    folder: str
    shipped: Shipped
    poll_s: float
    say: Say
    look: Callable[[], None]


def carry_out(clients: Clients, cloud: Cloud, cluster: Cluster, work: Work, ledger: Ledger) -> None:
    """Make all shards on a Spark of Google's, in the first region that has machines.

    Raises:
        UserError: no region has machines, the quota does not suffice, or the job failed ``cluster.tries`` times.

    """
    carried = _on_batch if cluster.serverless else _on_cluster
    for region in cloud.regions:
        try:
            carried(clients, cloud, cluster, work, ledger, region)
            return
        except NoCapacityError as error:
            work.say(f"no machines in {region}: {error}")
    message = (
        f"compute.cloud.regions={','.join(cloud.regions)}: none has machines for the cluster now. Name more regions, "
        "ask for fewer or other machines, or try again later."
    )
    raise UserError(message)


def machines_of(cluster: Cluster) -> str:
    """What a cluster consists of, in words."""
    if cluster.serverless:
        return f"serverless Spark of at most {max(2, cluster.workers + cluster.secondary_workers)} executors"
    more = f" + {cluster.secondary_workers} {cluster.preemptibility}" if cluster.secondary_workers else ""
    return f"1 {cluster.master_machine}, {cluster.workers}{more} {cluster.worker_machine}"


def _on_cluster(clients: Clients, cloud: Cloud, cluster: Cluster, work: Work, ledger: Ledger, region: str) -> None:
    with _live_cluster(clients, cloud, cluster, work, ledger, region):
        reason = ""
        for attempt in range(1, cluster.tries + 1):
            request = job_request(clients.target, work.shipped, work.job, region, work.folder, attempt)
            job_id = clients.submit_job(request).reference.job_id
            work.say(f"Spark job {job_id}" + (f" (attempt {attempt} of {cluster.tries})" if attempt > 1 else ""))
            state, reason = _ended(partial(clients.job, region, job_id), _job_state, work)
            if state in JOB_DONE:
                return
        message = f"Spark job {work.job}: failed {cluster.tries} times ({reason}). What was made is kept; run it again."
        raise UserError(message)


def _on_batch(clients: Clients, cloud: Cloud, cluster: Cluster, work: Work, ledger: Ledger, region: str) -> None:
    reason = ""
    for attempt in range(1, cluster.tries + 1):
        request = batch_request(clients.target, cloud, cluster, work.shipped, work.job, region, work.folder, attempt)
        batch_id = request["batchId"]
        entry = ledger.write(_entry(clients, cluster, work, region, BATCH, batch_id))
        try:
            clients.create_batch(request)
            work.say(f"Spark batch {batch_id}")
            state, reason = _ended(partial(clients.batch, region, batch_id), _batch_state, work)
        finally:
            with interrupts.held():
                end_batch(clients, region, batch_id, work.poll_s)
            ledger.change(entry, state=GONE, ended_s=time.time())
        if state in BATCH_DONE:
            return
        if lacks_capacity(reason):
            raise NoCapacityError(reason)
    message = f"Spark batch {work.job}: failed {cluster.tries} times ({reason}). What was made is kept; run it again."
    raise UserError(message)


@contextlib.contextmanager
def _live_cluster(
    clients: Clients, cloud: Cloud, cluster: Cluster, work: Work, ledger: Ledger, region: str
) -> Iterator[None]:
    """A cluster that runs, deleted at the end in every outcome."""
    name = cluster_name(work.job)
    entry = ledger.write(_entry(clients, cluster, work, region, CLUSTER, name))
    operation = None
    try:
        operation = clients.create_cluster(
            cluster_request(clients.target, cloud, cluster, work.shipped, work.job, region)
        )
        work.say(f"cluster {name} in {region}: {entry.machines}")
        state, reason = _ended(partial(clients.cluster, region, name), _cluster_state, work)
        if state != RUNNING:
            reason = " ".join(filter(None, dict.fromkeys((reason, clients.failure(operation)))))
            if lacks_capacity(reason):
                raise NoCapacityError(reason)
            message = f"cluster {name} ({region}): did not start ({reason}). Its log is in the project's Dataproc page."
            raise UserError(message)
        yield
    finally:
        with interrupts.held():
            try:
                delete_cluster(clients, region, name, work.poll_s, 0 if operation else SETTLE_S)
            except UserError as error:
                message = f"cluster {name} ({region}) may still run: {error} `ferlab cloud clean` deletes it."
                raise UserError(message) from error
        ledger.change(entry, state=GONE, ended_s=time.time())
        work.say(f"cluster {name} is deleted")


def delete_cluster(clients: Clients, region: str, name: str, poll_s: float, settle_s: float = 0) -> None:
    """Delete a cluster and wait until it is gone; absent is fine.

    ``settle_s``: how long one may still appear that was asked for without an answer.

    Raises:
        UserError: it is still there after DELETE_S.

    """
    began = time.monotonic()
    until = began + DELETE_S
    while clients.cluster(region, name) is None:
        if time.monotonic() >= began + settle_s:
            return
        time.sleep(poll_s)
    asked = False
    while (cluster := clients.cluster(region, name)) is not None:
        asked = asked or cluster.status.state.name == DELETING
        if time.monotonic() > until:
            message = (
                f"cluster {name} ({region}): is not gone after {DELETE_S:.0f} s. `ferlab cloud clean` tries again."
            )
            raise UserError(message)
        if not asked:  # a second request is refused while the first is carried out
            clients.delete_cluster(region, name)
            asked = True
        time.sleep(poll_s)


def end_batch(clients: Clients, region: str, batch_id: str, poll_s: float) -> None:
    """End a batch that is under way, also one that appears a moment after it was asked for, and forget it.

    Raises:
        UserError: it is still under way after DELETE_S.

    """
    began, asked = time.monotonic(), False
    while True:
        batch = clients.batch(region, batch_id)
        if batch is not None and batch.state.name in (*BATCH_DONE, *BATCH_FAILED):
            clients.delete_batch(region, batch_id)
            return
        if batch is None and time.monotonic() >= began + SETTLE_S:
            return
        if batch is not None and not asked:
            clients.cancel(region, batch.operation)
            asked = True
        if time.monotonic() > began + DELETE_S:
            message = (
                f"batch {batch_id} ({region}): not ended after {DELETE_S:.0f} s. `ferlab cloud clean` tries again."
            )
            raise UserError(message)
        time.sleep(poll_s)


def _entry(clients: Clients, cluster: Cluster, work: Work, region: str, kind: str, resource: str) -> Entry:
    target = clients.target
    return Entry(
        f"{work.job}-{region}", kind, target.name, target.project, region, work.folder, machines_of(cluster),
        resource=resource, machine_count=1 + cluster.workers + cluster.secondary_workers,
    )  # fmt: skip


def _ended(found: Callable[[], Any], state_of: Callable[[Any], tuple[str, str]], work: Work) -> tuple[str, str]:
    """Look until something has come to an end, or is ready: its state and what the service says of it."""
    while True:
        try:
            thing = found()
        except UnreachableError as error:
            work.say(f"warning: {error} The work there goes on.")
            time.sleep(work.poll_s)
            continue
        if thing is None:
            return ERROR, "it is not there any more"
        state, said = state_of(thing)
        if state:
            return state, said
        with contextlib.suppress(UserError):  # it only shows progress
            work.look()
        time.sleep(work.poll_s)


def _cluster_state(cluster: Any) -> tuple[str, str]:
    state = cluster.status.state.name
    return (state if state in (RUNNING, ERROR) else "", cluster.status.detail)


def _job_state(job: Any) -> tuple[str, str]:
    state = job.status.state.name
    return (state if state in (*JOB_DONE, *JOB_FAILED) else "", job.status.details)


def _batch_state(batch: Any) -> tuple[str, str]:
    state = batch.state.name
    return (state if state in (*BATCH_DONE, *BATCH_FAILED) else "", batch.state_message)
