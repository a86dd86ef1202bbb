"""``ferlab train`` on machines of the cloud: sent with all that they need, watched, brought home."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ferlab import interrupts
from ferlab.commands.cloud_session import Session
from ferlab.commands.homecoming import bring_home
from ferlab.commands.launch import NO_PATHS, Context
from ferlab.commands.training_record import Trained, trained_of
from ferlab.compute.container import ORDER
from ferlab.compute.failures import UnreachableError
from ferlab.compute.ledger import OPEN, TRAINING, Entry
from ferlab.compute.shipping import ship_code, ship_weights
from ferlab.compute.target import label_text, new_job
from ferlab.compute.training import ENDED, REFUSAL, Sent, Trainings, attempts_of, machines_of, new_entry
from ferlab.config.machines import gpus_of
from ferlab.errors import UserError
from ferlab.storage import places
from ferlab.storage.objects import is_remote
from ferlab.storage.places import joined
from ferlab.tracking.records import find_run
from ferlab.tracking.run import Run
from ferlab.tracking.store import is_open_server

PROGRESS = "progress.json"
"""In the folder of a training: what its last epoch came to."""
IN_WORDS = {"QUEUED": "waits for quota or machines", "PENDING": "its machine starts", "RUNNING": "runs"}


Start = tuple[str, Callable[[], Entry]]
"""Name of a training, and what writes all that it needs into its folder."""


@dataclass
class Order:
    """A training to be sent: its name, its composed config as plain data, and the tags of its run."""

    name: str
    raw: dict[str, Any]
    study: str
    tags: dict[str, str] = field(default_factory=dict)


def train_in_cloud(
    orders: Sequence[Order], place: str, prepare_run: str | None, parent: Run | None, context: Context
) -> list[Trained]:
    """Train all of them, some at a time, on the prepared data at ``place``; their runs are in this store afterwards.

    When this is interrupted, everything that is under way is cancelled.

    Raises:
        UserError: one of them cannot be trained; the others go on to their end and are brought home all the same.

    """
    session = _session(context)
    session.agree()
    code = ship_code(session.target)

    def starting(order: Order) -> Start:
        return order.name, lambda: _write_order(order, place, prepare_run, parent, code, session, context)

    return _carried_out([starting(order) for order in orders], trainings_of(session), session, context)


def resume_in_cloud(reference: str, context: Context) -> Trained:
    """Go on with a training of the cloud that did not finish, after its last epoch there; with its code and settings.

    ``reference``: its run, or the name of its job where there was no run yet.

    Raises:
        UserError: there is no such training, it has finished, it is under way.

    """
    session = _session(context)
    session.prepares = False
    entry, trainer = _interrupted(reference, session), session.compute.trainer
    if trainer.replicas != entry.about["replicas"]:
        message = (
            f"resume={reference}: was trained on {entry.about['replicas']} replicas; give compute.trainer.replicas."
        )
        raise UserError(message)
    if not all(job.state.name in ENDED for job in attempts_of(session.clients, entry, session.compute.cloud.regions)):
        message = f"resume={reference}: {entry.job} is under way. `ferlab cloud status` tells more."
        raise UserError(message)
    session.agree()

    def start() -> Entry:
        places.remove(joined(entry.folder, REFUSAL))
        order = json.loads(places.read_bytes(joined(entry.folder, ORDER)))
        _place_order(entry.folder, order | {"gpus": _gpus(session)})
        about = {**entry.about, "attempts_before": entry.about["attempts"]}
        region, machines = session.compute.cloud.regions[0], machines_of(trainer)
        return session.ledger.change(
            entry, state=OPEN, region=region, machines=machines, began_s=time.time(), ended_s=0.0, about=about
        )

    return _carried_out([(str(entry.about["name"]), start)], trainings_of(session), session, context)[0]


def _interrupted(reference: str, session: Session) -> Entry:
    """The training that is meant; UserError when there is none to go on with."""
    ours = [
        entry
        for entry in session.ledger.entries()
        if (entry.kind, entry.target, entry.project) == (TRAINING, session.target.name, session.target.project)
    ]
    named = [entry for entry in ours if entry.job == reference]
    run_id = named[-1].about["run_id"] if named else reference
    record = find_run(run_id, "resume") if run_id else None
    found = named or [entry for entry in ours if record and entry.about["run_id"] == record.id]
    if not found:
        where = f"compute={session.target.name}, project {session.target.project}"
        message = f"resume={reference}: was not trained there ({where}). Leave compute out to go on on this machine."
        raise UserError(message)
    if record and record.status == "FINISHED":
        message = f"resume={reference}: run {record.id} is FINISHED: nothing to resume."
        raise UserError(message)
    return found[-1]


def trainings_of(session: Session) -> Trainings:
    """What sends, watches and ends the trainings of a session."""
    compute = session.compute
    return Trainings(session.clients, compute.cloud, compute.trainer, session.ledger, session.terminal.say)


def _carried_out(starts: Sequence[Start], trainings: Trainings, session: Session, context: Context) -> list[Trained]:
    """Send them, some at a time, and watch them to their end."""
    say = session.terminal.say
    waiting, under_way, trained = list(enumerate(starts)), dict[int, Sent](), dict[int, Trained]()
    problems, given_up = list[str](), list[Sent]()
    watched = {position: _Progress(name, session) for position, (name, _) in enumerate(starts)}
    try:
        while waiting or under_way:
            while waiting and len(under_way) < session.compute.trainer.at_once:
                position, (name, start) = waiting.pop(0)
                try:
                    with interrupts.held():  # what is reserved is known from here on
                        under_way[position] = Sent(start())
                    under_way[position] = trainings.send(under_way[position].entry, name)
                except UserError as error:  # the others go on
                    given_up += [under_way.pop(position)] if position in under_way else []
                    problems.append(f"{name}: {error}")
            for position in list(under_way):
                name, _ = starts[position]
                try:
                    sent = under_way[position] = trainings.look(under_way[position], name)
                    watched[position].look(sent)
                    if sent.state:
                        del under_way[position]
                        trained[position] = _ended(sent, name, session, context)
                except UnreachableError as error:
                    say(f"warning: {error} The trainings go on.")
                except UserError as error:
                    given_up += [under_way.pop(position)] if position in under_way else []
                    problems.append(str(error))
            if under_way:
                time.sleep(session.poll_s)
    finally:
        with interrupts.held():
            _leave([*under_way.values(), *given_up], trainings, session, context)
    if problems:
        raise UserError("\n".join(problems))
    return [trained[position] for position in range(len(starts))]


def _session(context: Context) -> Session:
    if context.cloud is None:
        message = "no session with the cloud was begun"
        raise RuntimeError(message)
    return context.cloud


def _write_order(
    order: Order, place: str, prepare_run: str | None, parent: Run | None, code: str, session: Session, context: Context
) -> Entry:
    """The entry of a training whose folder in the bucket says all that there is to do."""
    store = context.store
    # replicas find out together where to go on, from the store that the snapshot holds
    alone = session.compute.trainer.replicas == 1
    inside = session.compute.trainer.network is not None
    server = store.uri if alone and is_open_server(store.uri, session.target.is_rehearsal, inside) else None
    name, tags = store.named(order.name, order.tags, "train", parent)
    run_id = store.reserve("train", order.study, name, tags) if server else None
    replicas = session.compute.trainer.replicas
    about = {"name": name, "run_id": run_id, "server": server, "store": store.uri, "replicas": replicas}
    job = new_job(label_text(order.name))
    entry = new_entry(session.clients, session.compute.cloud, session.compute.trainer, job, about)
    entry = session.ledger.write(entry)
    content = {
        "name": name,
        "tags": tags,
        "study": order.study,
        "config": _reachable(order.raw, session),
        "prepared": place,
        "prepare_run": prepare_run,
        "code": code,
        "commit": store.code.commit,
        "diff": store.code.diff,
        "server": server,
        "run_id": run_id,
        "gpus": _gpus(session),
    }
    _place_order(entry.folder, content)
    return entry


def _place_order(folder: str, content: Mapping[str, Any]) -> None:
    places.write_bytes(joined(folder, ORDER), json.dumps(content, indent=1).encode())


def _gpus(session: Session) -> int:
    """How many the container must see; a rehearsal has none."""
    return 0 if session.target.is_rehearsal else gpus_of(session.compute.trainer.machine)[1]


def _reachable(raw: dict[str, Any], session: Session) -> dict[str, Any]:
    """The config with weights of this machine brought into the bucket."""
    weights = raw["backbone"]["weights"]
    if weights in NO_PATHS or is_remote(weights):
        return raw
    if not Path(weights).exists():
        message = f"backbone.weights={weights}: no such file or folder."
        raise UserError(message)
    return {**raw, "backbone": {**raw["backbone"], "weights": ship_weights(session.target, Path(weights))}}


def _ended(sent: Sent, name: str, session: Session, context: Context) -> Trained:
    """What a training came to, its run brought home; UserError when it did not end well."""
    run_id = bring_home(sent.entry, session.ledger, context)
    if not sent.is_done:
        where = f"run {run_id}" if run_id else f"its folder {sent.entry.folder}"
        message = f"{name}: the training did not end well ({sent.reason or sent.state}); see {where}."
        raise UserError(message)
    if run_id is None:
        message = f"{name}: {sent.entry.folder} holds no run although the training ended well; please report this."
        raise RuntimeError(message)
    return trained_of(run_id)


def _leave(every: Sequence[Sent], trainings: Trainings, session: Session, context: Context) -> None:
    """End what was interrupted; what there is of a run comes home as it is, once nothing writes to it any more."""
    trainings.cancel(every)
    for sent in every:
        entry = session.ledger.newest(sent.entry)
        if not trainings.has_ended(entry):
            session.terminal.warn(f"{entry.job} is still ending; `ferlab cloud sync` brings its run home")
            continue
        try:
            bring_home(entry, session.ledger, context)
        except UserError as error:
            session.terminal.warn(f"{entry.job}: {error} `ferlab cloud sync` brings its run home.")


class _Progress:
    """Says once how a training stands, and what each of its epochs came to."""

    def __init__(self, name: str, session: Session) -> None:
        self.name, self.session, self.said, self.standing = name, session, 0, ""

    def look(self, sent: Sent) -> None:
        """Read what the service says, and what the training wrote of its last epoch."""
        if sent.standing not in ("", self.standing):
            self.standing = sent.standing
            self.session.terminal.say(f"  {self.name}  {IN_WORDS.get(sent.standing, sent.standing)}")
        try:
            row: Mapping[str, Any] = json.loads(places.read_bytes(joined(sent.entry.folder, PROGRESS)))
        except (FileNotFoundError, ValueError, UserError):  # it only shows progress
            return
        if row["epoch"] > self.said:
            self.said = row["epoch"]
            best = 100 * row["best_accuracy"]
            self.session.terminal.say(f"  {self.name}  epoch {self.said:>2}  best val {best:.1f}")
