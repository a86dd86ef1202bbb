"""Trainings that are to end: what was asked for is ended also where the service's list lags or it never answered."""

from types import SimpleNamespace
from typing import Any

import pytest

from ferlab.compute import training
from ferlab.compute.ledger import TRAINING, Entry
from ferlab.compute.training import attempts_of, end_training

REGION = "us-central1"
NAME = f"projects/p/locations/{REGION}/customJobs/7"


class Service:
    """Vertex AI with one job, which its list shows only from the ``lag``-th look on."""

    def __init__(self, lag: int) -> None:
        self.lag, self.cancelled = lag, list[str]()

    def custom_jobs(self, region: str, label_filter: str) -> list[Any]:
        self.lag -= "one-1" in label_filter
        return [self._job()] if "one-1" in label_filter and self.lag < 0 else []

    def custom_job(self, region: str, name: str) -> Any:
        return self._job() if name == NAME else None

    def cancel_custom_job(self, region: str, name: str) -> None:
        self.cancelled.append(f"{region} {name}")

    def _job(self) -> Any:
        return SimpleNamespace(name=NAME, state=SimpleNamespace(name="JOB_STATE_RUNNING"))


def entry(resource: str) -> Entry:
    return Entry("one", TRAINING, "gcp", "p", REGION, "gs://b/runs/one", "1", resource=resource, about={"attempts": 0})


def test_a_job_that_the_list_does_not_show_yet_is_ended_by_its_name():
    service = Service(lag=99)
    assert [job.name for job in attempts_of(service, entry(NAME), [REGION])] == [NAME]
    assert end_training(service, entry(NAME), [REGION]) == [NAME]
    assert service.cancelled == [f"{REGION} {NAME}"]


def test_a_job_without_an_answer_that_appears_a_moment_later_is_ended(monkeypatch):
    monkeypatch.setattr(training, "ENDING_POLL_S", 0.01)
    service = Service(lag=3)
    assert end_training(service, entry(""), [REGION]) == [NAME]
    assert service.cancelled == [f"{REGION} {NAME}"]


def test_what_was_never_taken_is_not_waited_for_long(monkeypatch):
    monkeypatch.setattr(training, "SETTLE_S", 0.05)
    monkeypatch.setattr(training, "ENDING_POLL_S", 0.01)
    service = Service(lag=9999)
    assert end_training(service, entry(""), [REGION]) == []
    assert not service.cancelled


def test_a_job_is_counted_once():
    assert len(attempts_of(Service(lag=0), entry(NAME), [REGION])) == 1


@pytest.mark.parametrize("gone", [True, False])
def test_a_job_that_is_not_there_any_more_is_no_attempt(gone):
    found = attempts_of(Service(lag=99), entry("projects/p/locations/x/customJobs/8" if gone else NAME), [REGION])
    assert len(found) == (not gone)
