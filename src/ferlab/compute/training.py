"""Trainings on Vertex AI: sent, watched, sent again when they were taken away, cancelled when nobody waits any more."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ferlab.compute.clients import Clients, labelled
from ferlab.compute.failures import NoCapacityError, lacks_capacity, was_preempted
from ferlab.compute.ledger import TRAINING, Entry, Ledger
from ferlab.compute.target import JOB
from ferlab.compute.vertex import custom_job_request
from ferlab.config.cloud_nodes import Cloud, Trainer
from ferlab.config.machines import gpus_of
from ferlab.errors import UserError
from ferlab.storage import places
from ferlab.storage.places import joined

STATE = "JOB_STATE_"
SUCCEEDED = "JOB_STATE_SUCCEEDED"
ENDED = (SUCCEEDED, "JOB_STATE_FAILED", "JOB_STATE_CANCELLED", "JOB_STATE_EXPIRED")
ENDING_S, ENDING_POLL_S = 60.0, 1.0
SETTLE_S = 5.0
"""How long a job may still appear that was asked for without an answer."""
ENDING_PATIENCE_S = 30.0
"""How long a request is repeated once everything is to end: somebody waits for it."""
REFUSAL = "error.txt"
"""In the folder of a training that ended with an error of the user's: one line."""

Say = Callable[[str], None]


@dataclass(frozen=True)
class Sent:
    """A training that was sent, and what became of it.

    ``state`` is empty while it is under way; ``standing`` is what the service called it last, ``QUEUED``, ``RUNNING``.
    """

    entry: Entry
    state: str = ""
    reason: str = ""
    standing: str = ""

    @property
    def is_done(self) -> bool:
        """Whether it ended well."""
        return self.state == SUCCEEDED


class Trainings:
    """Sends trainings to one target; ``look`` at them one by one."""

    def __init__(self, clients: Clients, cloud: Cloud, trainer: Trainer, ledger: Ledger, say: Say) -> None:
        self.clients, self.cloud, self.trainer, self.ledger, self.say = clients, cloud, trainer, ledger, say

    def send(self, entry: Entry, name: str) -> Sent:
        """Ask for the training whose folder is written; in the first region, from that of ``entry`` on, with machines.

        Raises:
            UserError: no region has machines, or the quota does not suffice.

        """
        regions = list(self.cloud.regions)
        for region in regions[regions.index(entry.region) :]:
            # a job's label finds it again, so every attempt has its own
            job = f"{entry.job}-{entry.about['attempts'] + 1}"
            entry = self.ledger.change(entry, region=region, resource="")
            request = custom_job_request(self.clients.target, self.cloud, self.trainer, job, region, entry.folder, name)
            try:
                made = self.clients.create_custom_job(request)
            except NoCapacityError as error:
                self.say(f"{name}: no machines in {region}: {error}")
                continue
            attempts = entry.about["attempts"] + 1
            entry = self.ledger.change(entry, resource=made.name, about={**entry.about, "attempts": attempts})
            self.say(f"{name}: training {made.name} ({entry.machines})" + (f", attempt {attempts}" * (attempts > 1)))
            return Sent(entry)
        raise UserError(self._nowhere())

    def look(self, sent: Sent, name: str) -> Sent:
        """How it stands; one whose machine was taken away, or whose region lacks machines, is sent again.

        Raises:
            UserError: it must not be sent again, and cannot go on.

        """
        job = self.clients.custom_job(sent.entry.region, sent.entry.resource)
        if job is None:
            return Sent(sent.entry, "JOB_STATE_FAILED", "it is not there any more")
        state, reason = job.state.name, job.error.message
        if state not in ENDED:
            return replace(sent, standing=state.removeprefix(STATE))
        if state == SUCCEEDED or self._refusal(sent.entry):
            return Sent(sent.entry, state, self._refusal(sent.entry) or reason)
        taken_away = was_preempted(reason) or (job.start_time and lacks_capacity(reason))
        if lacks_capacity(reason) and not taken_away:
            return self._elsewhere(sent.entry, name, reason)
        tried = sent.entry.about["attempts"] - sent.entry.about["attempts_before"]
        if state == "JOB_STATE_FAILED" and taken_away and tried < self.trainer.tries:
            self.say(f"{name}: was taken away ({reason}); it goes on after its last epoch")
            return self.send(sent.entry, name)
        return Sent(sent.entry, state, reason)

    def cancel(self, every: Sequence[Sent]) -> None:
        """End those under way, also one that was asked for without an answer, and wait a while until they have ended.

        One that cannot be cancelled is said, and keeps none of the others from it.
        """
        under_way = [self.ledger.newest(sent.entry) for sent in every if not sent.state]
        self.clients.patience_s = ENDING_PATIENCE_S
        for entry in under_way:
            try:
                for name in end_training(self.clients, entry, self.cloud.regions):
                    self.say(f"cancelled {name}")
            except UserError as error:
                self.say(f"warning: {entry.job} may still run ({error}); `ferlab cloud clean` ends it")
        self.wait_for_end(under_way)

    def wait_for_end(self, entries: Sequence[Entry]) -> None:
        """Wait until nothing of them is under way any more, ENDING_S at most."""
        until = time.monotonic() + ENDING_S
        while time.monotonic() < until and any(not self.has_ended(entry) for entry in entries):
            time.sleep(ENDING_POLL_S)

    def has_ended(self, entry: Entry) -> bool:
        """Whether nothing of an entry is under way any more, as far as the service says."""
        try:
            attempts = attempts_of(self.clients, self.ledger.newest(entry), self.cloud.regions)
        except UserError:
            return False
        return all(job.state.name in ENDED for job in attempts)

    def _elsewhere(self, entry: Entry, name: str, reason: str) -> Sent:
        self.say(f"{name}: no machines in {entry.region}: {reason}")
        regions = list(self.cloud.regions)
        following = regions[regions.index(entry.region) + 1 :]
        if not following:
            raise UserError(self._nowhere())
        return self.send(self.ledger.change(entry, region=following[0]), name)

    def _nowhere(self) -> str:
        return (
            f"compute.cloud.regions={','.join(self.cloud.regions)}: none has {machines_of(self.trainer)} now. Name "
            "more regions, another machine, or compute.trainer.strategy=flex_start, which waits for one."
        )

    @staticmethod
    def _refusal(entry: Entry) -> str:
        try:
            return places.read_bytes(joined(entry.folder, REFUSAL)).decode().strip()
        except FileNotFoundError:
            return ""


def attempts_of(clients: Clients, entry: Entry, regions: Sequence[str]) -> list[Any]:
    """The jobs of an entry in order, in whichever region; also one whose command was killed before it was answered.

    The last one that was answered is asked for by its name: a list may not have it yet.
    """
    searched = dict.fromkeys([*regions, entry.region])
    labels = (f"{entry.job}-{number}" for number in range(1, entry.about["attempts"] + 2))
    found = [
        job for label in labels for region in searched for job in clients.custom_jobs(region, labelled(JOB, label))
    ]
    if entry.resource and entry.resource not in [job.name for job in found]:
        found += [job for job in [clients.custom_job(entry.region, entry.resource)] if job is not None]
    return found


def end_training(clients: Clients, entry: Entry, regions: Sequence[str]) -> list[str]:
    """Cancel what is under way for an entry; the names of what was cancelled.

    What was asked for without an answer may appear a moment later: it is waited for.
    """
    until = time.monotonic() + (0 if entry.resource else SETTLE_S)
    while not (under_way := [job.name for job in attempts_of(clients, entry, regions) if job.state.name not in ENDED]):
        if time.monotonic() >= until:
            break
        time.sleep(ENDING_POLL_S)
    for name in under_way:
        clients.cancel_custom_job(name.split("/")[3], name)
    return under_way


def new_entry(clients: Clients, cloud: Cloud, trainer: Trainer, job: str, about: Mapping[str, object]) -> Entry:
    """The entry of a training that is about to be sent."""
    target = clients.target
    return Entry(
        job, TRAINING, target.name, target.project, cloud.regions[0], joined(target.runs, job), machines_of(trainer),
        about={"attempts": 0, "attempts_before": 0, **about}, machine_count=trainer.replicas,
    )  # fmt: skip


def machines_of(trainer: Trainer) -> str:
    """What one training gets, in words."""
    kind, count = gpus_of(trainer.machine)
    gpus = f" ({count} x {kind})" if kind else ""
    return f"{trainer.replicas} {trainer.machine}{gpus}, {trainer.strategy}"


def hours(entry: Entry, ended_s: float = 0.0) -> float:
    """Machine-hours since a piece of work began: an estimate, since machines start later and end earlier.

    ``ended_s``: when the service says that it ended, where the entry does not know yet.
    """
    return entry.machine_count * ((entry.ended_s or ended_s or time.time()) - entry.began_s) / 3600
