"""``ferlab cloud``: what is under way is ended, and one thing that fails keeps nothing else from its end."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ferlab.commands.cloud import clean, standing_of, status, sync
from ferlab.commands.cloud_session import Session
from ferlab.commands.launch import Context
from ferlab.compute.ledger import GONE, HOME, OPEN, Entry
from ferlab.compute.rehearsal import service
from ferlab.compute.target import owner_of
from ferlab.compute.training import hours, new_entry
from ferlab.compute.vertex import custom_job_request
from ferlab.config.cloud_nodes import Cloud, Trainer
from ferlab.config.nodes import Compute
from ferlab.errors import UserError
from ferlab.storage import places
from ferlab.storage.places import joined

COMPUTE = Compute(
    name="rehearsal", cloud=Cloud(project="ferlab-rehearsal", bucket="rehearsal"),
    trainer=Trainer(image="x", machine="n1-standard-4"),
)  # fmt: skip


@pytest.fixture
def session(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Session, Context]]:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "")
    context = Context("cloud", home, {})
    context.begin_cloud(COMPUTE, trainings=None)
    assert context.cloud
    yield context.cloud, context
    service.stop(home / "rehearsal")


def begun(
    session: Session, context: Context, job: str, code: str = "import time; time.sleep(60)", **about: Any
) -> Entry:
    """A training that runs, with its entry."""
    said = {"name": job, "run_id": None, "server": None, "store": context.store.uri, "replicas": 1, **about}
    entry = session.ledger.write(new_entry(session.clients, COMPUTE.cloud, COMPUTE.trainer, job, said))
    request = custom_job_request(
        session.target, COMPUTE.cloud, COMPUTE.trainer, f"{job}-1", "us-central1", entry.folder, job
    )
    container = request["customJob"]["jobSpec"]["workerPoolSpecs"][0]["containerSpec"]
    container |= {"command": ["python", "-c", code], "args": []}
    made = session.clients.create_custom_job(request)
    return session.ledger.change(entry, resource=made.name, about={**entry.about, "attempts": 1})


def test_what_cannot_come_home_keeps_nothing_else_from_its_end(session):
    session, context = session
    first = begun(session, context, "first", store="sqlite:////another.db")
    second = begun(session, context, "second")
    with pytest.raises(UserError, match=r"first: was sent from the store sqlite:////another\.db") as said:
        clean(session, context)
    assert "second" not in str(said.value)
    states = {one.job: one.state for one in session.ledger.entries()}
    assert states == {"first": OPEN, "second": HOME}
    assert all(standing_of(one, session)[0] == "JOB_STATE_CANCELLED" for one in (first, second))


@pytest.mark.slow
def test_a_snapshot_that_is_damaged_is_given_up_and_said(session):
    session, context = session
    entry = begun(session, context, "broken")
    places.write_bytes(joined(entry.folder, "state", "index.json"), b'{"mlflow.db": "0123"}')
    assert clean(session, context)["cleaned"] == [entry.resource]
    assert session.ledger.newest(entry).state == GONE
    assert clean(session, context) == {"cleaned": []}


@pytest.mark.slow
def test_a_training_that_has_ended_costs_no_more_hours(session):
    session, context = session
    entry = begun(session, context, "short", "pass")
    until = time.monotonic() + 30
    while not (ended_s := standing_of(entry, session)[1]):
        assert time.monotonic() < until
        time.sleep(0.1)
    time.sleep(2)
    (job,) = status(session, context)["jobs"]
    assert job["hours"] == round(hours(entry, ended_s), 3)
    assert hours(entry, ended_s) < hours(entry)
    assert sync(session, context) == {"synced": [{"job": "short", "run_id": None}]}


def test_a_home_that_is_moved_stays_the_owner_of_what_it_asked_for(tmp_path):
    before = owner_of(tmp_path / "a")
    assert before == owner_of(tmp_path / "a") != owner_of(tmp_path / "b")
    (tmp_path / "a").rename(tmp_path / "c")
    assert owner_of(tmp_path / "c") == before
