"""Nothing that costs is asked for before somebody has agreed to it, with what it is and how long it may run."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ferlab.commands.cloud_preparation import in_bucket
from ferlab.commands.cloud_session import Session
from ferlab.commands.cloud_training import Order, train_in_cloud
from ferlab.commands.confirmation import YES_VARIABLE
from ferlab.commands.launch import Context
from ferlab.compute.ledger import TRAINING, Entry, Ledger
from ferlab.compute.target import Target
from ferlab.config.cloud_nodes import Cloud, Cluster, Trainer
from ferlab.config.nodes import Compute, Dataset
from ferlab.errors import UserError

COMPUTE = Compute(
    name="gcp",
    cloud=Cloud(project="p", bucket="b"),
    cluster=Cluster(workers=2, secondary_workers=8, max_hours=3),
    trainer=Trainer(image="x", machine="a2-highgpu-4g", max_hours=5, tries=2),
)


@dataclass
class Unasked:
    """Services of which nothing but their quotas may be asked."""

    target: Target
    asked: list[str] = field(default_factory=list)

    def quotas(self, _service: str) -> list[Any]:
        return []

    def __getattr__(self, name: str) -> Any:
        self.asked.append(name)
        raise AssertionError(name)


@pytest.fixture
def session(home: Path) -> Session:
    context = Context("train", home, {})
    target = Target.of(COMPUTE, "p", home)
    return Session(COMPUTE, target, Unasked(target), Ledger(home), context.terminal, trainings=3)  # type: ignore[arg-type]


def answer(monkeypatch: pytest.MonkeyPatch, said: str) -> list[str]:
    """Somebody is there and says so; the questions that are put."""
    questions: list[str] = []
    monkeypatch.delenv(YES_VARIABLE, raising=False)
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda question: questions.append(question) or said)
    return questions


def test_the_question_names_machines_hours_and_how_often(session, monkeypatch):
    questions = answer(monkeypatch, "y")
    session.agree()
    session.agree()
    (question,) = questions
    for part in ("project p, us-central1", "a cluster for at most 3 h", "1 n2-standard-4, 2 + 8 spot n2-standard-8",
                 "3 x training for at most 5 h, 2 times if taken away", "(4 x NVIDIA_TESLA_A100)"):  # fmt: skip
        assert part in question


@pytest.mark.parametrize("said", ["n", "", "no"])
def test_after_a_no_no_training_is_sent_and_nothing_is_written(session, home, monkeypatch, said):
    answer(monkeypatch, said)
    context = Context("train", home, {}, cloud=session)
    with pytest.raises(UserError, match="Nothing was created"):
        train_in_cloud([Order("one", {}, "study")], "gs://b/processed/x", None, None, context)
    assert session.clients.asked == []
    assert session.ledger.entries() == []


def test_where_nobody_is_there_images_stay_where_they_are(session, home, monkeypatch):
    monkeypatch.delenv(YES_VARIABLE, raising=False)
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)
    monkeypatch.setattr("ferlab.commands.cloud_preparation.upload", lambda *_: pytest.fail("something was sent"))
    faces = home / "faces"
    faces.mkdir(parents=True)
    Image.fromarray(np.zeros((48, 48), np.uint8)).save(faces / "0.png")
    with pytest.raises(UserError, match="nobody to ask here; --yes goes on"):
        in_bucket(Dataset(name="affectnet8", root=str(faces)), session)
    assert session.clients.asked == []


def test_the_account_lists_what_this_command_had(session, capsys):
    for job, began_s in (("before", session.began_s - 60), ("now", session.began_s + 1)):
        session.ledger.write(
            Entry(job, TRAINING, "gcp", "p", "us-central1", "gs://b/runs/x", "4 machines", began_s, began_s + 1800,
                  machine_count=4)
        )  # fmt: skip
    session.account()
    said = capsys.readouterr()
    shown = said.out + said.err
    assert "now" in shown
    assert "2.00" in shown
    assert "before" not in shown
