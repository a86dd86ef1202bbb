"""``ferlab cloud``: what is under way in the cloud, bringing runs home, removing what a killed command left behind."""

import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

from ferlab.commands.cloud_session import Session, clock
from ferlab.commands.cloud_training import trainings_of
from ferlab.commands.homecoming import bring_home
from ferlab.commands.launch import Context, Outcome, launch
from ferlab.compute.clients import Clients, labelled
from ferlab.compute.cluster import BATCH_DONE, BATCH_FAILED, delete_cluster, end_batch
from ferlab.compute.ledger import BATCH, CLUSTER, GONE, OPEN, TRAINING, Entry
from ferlab.compute.target import OWNER
from ferlab.compute.training import ENDED, STATE, attempts_of, hours
from ferlab.config.cloud_rules import REHEARSAL
from ferlab.config.schema import CloudConfig
from ferlab.errors import UserError
from ferlab.storage.objects import GoneError

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
    rows = [(entry, standing_of(entry, session)) for entry in _ours(session) if entry.state == OPEN]
    if not rows:
        context.terminal.say("nothing is under way")
    else:
        context.terminal.table("", COLUMNS, [_row(entry, standing, session) for entry, standing in rows], 6)
        context.terminal.say("home with the results: ferlab cloud sync   end all of it: ferlab cloud clean")
    return {"jobs": [{"job": entry.job, "kind": entry.kind, "state": state, "region": entry.region,
                      "resource": entry.resource, "machines": entry.machines, "hours": round(hours(entry, ended_s), 3)}
                     for entry, (state, ended_s) in rows]}  # fmt: skip


def sync(session: Session, context: Context) -> dict[str, Any]:
    """Bring the runs of trainings that have ended home; those under way are left alone."""
    synced, problems = [], []
    for entry in _ours(session):
        if entry.kind != TRAINING or entry.state != OPEN:
            continue
        try:
            state, _ = standing_of(entry, session)
            if state not in (*ENDED, GONE):
                context.terminal.say(f"{entry.about['name']}: {state}, not yet")
                continue
            run_id = bring_home(entry, session.ledger, context)
        except UserError as error:  # the others come home
            problems.append(f"{entry.job}: {error}")
            continue
        synced.append({"job": entry.job, "run_id": run_id})
        context.terminal.say(f"{entry.about['name']}: {state}, run {run_id or '(none: it had not begun)'}")
    if problems:
        raise UserError("\n".join(problems))
    if not synced:
        context.terminal.say("no run to bring home")
    return {"synced": synced}


def clean(session: Session, context: Context) -> dict[str, Any]:
    """End and delete whatever this FERLAB_HOME has in the cloud, also what no entry tells of; GPUs first.

    What is ended comes home. One that cannot be ended or brought home keeps none of the others.

    Raises:
        UserError: something may still run.

    """
    cleaned, problems, left = list[str](), list[str](), set[str]()
    for what, end in _endings(session, problems):
        try:
            if end():
                cleaned.append(what)
                context.terminal.say(f"ended {what}")
        except UserError as error:
            problems.append(f"{what}: {error}")
            left.add(what)
    for entry in (one for one in _ours(session) if one.state == OPEN):
        if entry.kind == TRAINING:
            try:
                _come_home(entry, session, context)
            except UserError as error:
                problems.append(f"{entry.job}: {error}")
        elif entry.resource not in left:
            session.ledger.change(entry, state=GONE, ended_s=time.time())
    if problems:
        raise UserError("\n".join(problems))
    context.terminal.say(f"{len(cleaned)} ended; nothing of this FERLAB_HOME is under way in {session.target.project}")
    return {"cleaned": cleaned}


def _endings(session: Session, problems: list[str]) -> Iterator[tuple[str, Callable[[], bool]]]:
    """Names of what may be under way, each with a function that ends it and says whether there was something to end.

    A service that cannot be asked is noted in ``problems``, the others are.
    """
    clients, owner, poll_s = session.clients, session.target.owner, session.poll_s
    ours = [entry for entry in _ours(session) if entry.state == OPEN]
    regions = list(dict.fromkeys([*session.compute.cloud.regions, *(entry.region for entry in _ours(session))]))

    def listed(ask: Callable[[], Iterable[Any]]) -> list[Any]:
        try:
            return list(ask())
        except UserError as error:
            problems.append(str(error))
            return []

    jobs = [job for region in regions for job in listed(partial(clients.custom_jobs, region, labelled(OWNER, owner)))]
    for entry in (one for one in ours if one.kind == TRAINING):
        jobs += listed(partial(attempts_of, clients, entry, regions))
    for name in dict.fromkeys(job.name for job in jobs if job.state.name not in ENDED):
        yield name, partial(_cancelled, clients, name)
    named = {(entry.region, entry.resource): entry.kind for entry in ours if entry.kind in (CLUSTER, BATCH)}
    for region in regions:
        for cluster in listed(partial(clients.clusters, region, f"labels.{OWNER} = {owner}")):
            named[region, cluster.cluster_name] = CLUSTER
        for batch in listed(partial(clients.batches, region, f"labels.{OWNER} = {owner}")):
            if batch.state.name not in (*BATCH_DONE, *BATCH_FAILED):
                named[region, batch.name.rpartition("/")[2]] = BATCH
    for (region, name), kind in named.items():
        yield name, partial(_deleted if kind == CLUSTER else _batch_ended, clients, region, name, poll_s)


def _cancelled(clients: Clients, name: str) -> bool:
    clients.cancel_custom_job(name.split("/")[3], name)
    return True


def _deleted(clients: Clients, region: str, name: str, poll_s: float) -> bool:
    there = clients.cluster(region, name)
    delete_cluster(clients, region, name, poll_s)
    return there is not None and there.status.state.name not in DELETING


def _batch_ended(clients: Clients, region: str, name: str, poll_s: float) -> bool:
    there = clients.batch(region, name)
    end_batch(clients, region, name, poll_s)
    return there is not None and there.state.name not in (*BATCH_DONE, *BATCH_FAILED)


def _come_home(entry: Entry, session: Session, context: Context) -> None:
    """The run of an ended training, once nothing writes to it any more; one whose snapshot is gone is given up."""
    trainings = trainings_of(session)
    trainings.wait_for_end([entry])
    if not trainings.has_ended(entry):
        message = "is still ending; the same command, a little later, brings its run home."
        raise UserError(message)
    try:
        bring_home(entry, session.ledger, context)
    except GoneError as error:
        context.terminal.warn(f"{entry.job}: there is no run to bring home any more ({error})")
        session.ledger.change(entry, state=GONE, ended_s=time.time())


def standing_of(entry: Entry, session: Session) -> tuple[str, float]:
    """What the service says of it now, and when it ended (seconds; 0 while it is under way, and of what is gone)."""
    if entry.kind == CLUSTER:
        cluster = session.clients.cluster(entry.region, entry.resource)
        return (GONE if cluster is None else str(cluster.status.state.name)), 0.0
    if entry.kind == BATCH:
        batch = session.clients.batch(entry.region, entry.resource)
        return (GONE if batch is None else str(batch.state.name)), 0.0
    attempts = attempts_of(session.clients, entry, session.compute.cloud.regions)
    if not attempts:
        return GONE, 0.0
    return str(attempts[-1].state.name), attempts[-1].end_time.timestamp() if attempts[-1].end_time else 0.0


def _ours(session: Session) -> list[Entry]:
    target = session.target
    return [one for one in session.ledger.entries() if (one.target, one.project) == (target.name, target.project)]


def _row(entry: Entry, standing: tuple[str, float], session: Session) -> list[str]:
    state, ended_s = standing
    return [
        entry.job, entry.kind, state.removeprefix(STATE), entry.region, entry.machines, clock(entry.began_s),
        f"{hours(entry, ended_s):.2f}", _logs(entry, session),
    ]  # fmt: skip


def _logs(entry: Entry, session: Session) -> str:
    """Where the log can be read."""
    if session.target.is_rehearsal:
        from ferlab.compute.rehearsal.service import logs

        folder, work = session.ledger.home / REHEARSAL, entry.job.removesuffix(f"-{entry.region}")
        drivers = sorted((folder / "jobs").glob(f"{work}-*")) if entry.kind == CLUSTER else []
        return str(logs(folder, drivers[-1].name if drivers else entry.resource))
    if entry.kind == TRAINING:
        number = entry.resource.rpartition("/")[2]
        return f"{CONSOLE}/agent-platform/locations/{entry.region}/training/{number}?project={entry.project}"
    kind = "batches" if entry.kind == BATCH else "clusters"
    return f"{CONSOLE}/dataproc/{kind}/{entry.resource}?region={entry.region}&project={entry.project}"
