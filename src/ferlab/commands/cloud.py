"""``ferlab cloud``: what is under way in the cloud, bringing runs home, removing what a killed command left behind."""

import time
from collections.abc import Callable
from typing import Any

from ferlab.commands.cloud_session import Session, clock
from ferlab.commands.homecoming import bring_home
from ferlab.commands.launch import Context, Outcome, launch
from ferlab.compute.cluster import BATCH_DONE, BATCH_FAILED, delete_cluster, end_batch
from ferlab.compute.ledger import BATCH, CLUSTER, GONE, OPEN, TRAINING, Entry
from ferlab.compute.target import OWNER
from ferlab.compute.training import ENDED, attempts_of, end_training, hours
from ferlab.config.cloud_rules import REHEARSAL
from ferlab.config.schema import CloudConfig

COLUMNS = ("job", "kind", "state", "region", "machines", "began", "hours", "logs")
CONSOLE = "https://console.cloud.google.com"
DELETING = ("DELETING",)


def main() -> list[Outcome]:
    """Entry point of ``ferlab cloud``."""
    return launch("cloud", CloudConfig, run)


def run(config: CloudConfig, context: Context) -> dict[str, Any]:
    """Do what ``action`` says; the result has ``jobs``, ``synced``, ``cleaned``."""
    context.begin_cloud(config.compute, trainings=None)
    session = context.cloud
    actions: dict[str, Callable[[Session, Context], dict[str, Any]]] = {"status": status, "sync": sync, "clean": clean}
    return actions[config.action](session, context) if session else {}


def status(session: Session, context: Context) -> dict[str, Any]:
    """Every piece of work whose end was not seen, as the services have it now."""
    rows = [(entry, state_of(entry, session)) for entry in _ours(session) if entry.state == OPEN]
    if not rows:
        context.terminal.say("nothing is under way")
    else:
        context.terminal.table("", COLUMNS, [_row(entry, state, session) for entry, state in rows], 6)
        context.terminal.say("home with the results: ferlab cloud sync   end all of it: ferlab cloud clean")
    return {"jobs": [{"job": entry.job, "kind": entry.kind, "state": state, "region": entry.region,
                      "resource": entry.resource, "machines": entry.machines, "hours": round(hours(entry), 3)}
                     for entry, state in rows]}  # fmt: skip


def sync(session: Session, context: Context) -> dict[str, Any]:
    """Bring the runs of trainings that have ended home; those under way are left alone."""
    synced = []
    for entry in _ours(session):
        if entry.kind != TRAINING or entry.state != OPEN:
            continue
        state = state_of(entry, session)
        if state not in (*ENDED, GONE):
            context.terminal.say(f"{entry.about['name']}: {state}, not yet")
            continue
        run_id = bring_home(entry, session.ledger, context)
        synced.append({"job": entry.job, "run_id": run_id})
        context.terminal.say(f"{entry.about['name']}: {state}, run {run_id or '(none: it had not begun)'}")
    if not synced:
        context.terminal.say("no run to bring home")
    return {"synced": synced}


def clean(session: Session, context: Context) -> dict[str, Any]:
    """End and delete whatever this FERLAB_HOME has in the cloud, also what no entry tells of."""
    cleaned = []
    for region in dict.fromkeys([*session.compute.cloud.regions, *(entry.region for entry in _ours(session))]):
        for cluster in session.clients.clusters(region, f"labels.{OWNER} = {session.target.owner}"):
            if cluster.status.state.name not in DELETING:
                delete_cluster(session.clients, region, cluster.cluster_name, session.poll_s)
                cleaned.append(cluster.cluster_name)
        for batch in session.clients.batches(region, f"labels.{OWNER} = {session.target.owner}"):
            if batch.state.name not in (*BATCH_DONE, *BATCH_FAILED):
                batch_id = batch.name.rpartition("/")[2]
                end_batch(session.clients, region, batch_id, session.poll_s)
                cleaned.append(batch_id)
        for job in session.clients.custom_jobs(region, f'labels.{OWNER}="{session.target.owner}"'):
            if job.state.name not in ENDED:
                session.clients.cancel_custom_job(region, job.name)
                cleaned.append(job.name)
    for entry in _ours(session):
        if entry.state != OPEN:
            continue
        if entry.kind == TRAINING:
            end_training(session.clients, entry, session.compute.cloud.regions)
            bring_home(entry, session.ledger, context)
        else:
            session.ledger.change(entry, state=GONE, ended_s=time.time())
    for name in cleaned:
        context.terminal.say(f"ended {name}")
    context.terminal.say(f"{len(cleaned)} ended; nothing of this FERLAB_HOME is under way in {session.target.project}")
    return {"cleaned": cleaned}


def state_of(entry: Entry, session: Session) -> str:
    """What the service says of it now."""
    if entry.kind == CLUSTER:
        cluster = session.clients.cluster(entry.region, entry.resource)
        return GONE if cluster is None else str(cluster.status.state.name)
    if entry.kind == BATCH:
        batch = session.clients.batch(entry.region, entry.resource)
        return GONE if batch is None else str(batch.state.name)
    attempts = attempts_of(session.clients, entry, session.compute.cloud.regions)
    return str(attempts[-1].state.name) if attempts else GONE


def _ours(session: Session) -> list[Entry]:
    target = session.target
    return [one for one in session.ledger.entries() if (one.target, one.project) == (target.name, target.project)]


def _row(entry: Entry, state: str, session: Session) -> list[str]:
    return [
        entry.job, entry.kind, state.removeprefix("JOB_STATE_"), entry.region, entry.machines, clock(entry.began_s),
        f"{hours(entry):.2f}", _logs(entry, session),
    ]  # fmt: skip


def _logs(entry: Entry, session: Session) -> str:
    """Where the log can be read."""
    if session.target.is_rehearsal:
        from ferlab.compute.rehearsal.service import logs

        return str(logs(session.ledger.home / REHEARSAL, entry.resource))
    if entry.kind == TRAINING:
        number = entry.resource.rpartition("/")[2]
        return f"{CONSOLE}/vertex-ai/training/custom-jobs?project={entry.project}&job={number}"
    kind = "batches" if entry.kind == BATCH else "clusters"
    return f"{CONSOLE}/dataproc/{kind}/{entry.resource}?region={entry.region}&project={entry.project}"
