"""Runs end the way their block ended, also when nobody was left to end them."""

import hashlib
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from mlflow.tracking import MlflowClient

from ferlab.errors import UserError
from ferlab.tracking.processes import identity, is_alive
from ferlab.tracking.store import Store, connect, is_open_server

REPOSITORY = Path(__file__).resolve().parents[2]
OPEN_A_RUN = """
import sys, time
from pathlib import Path
from ferlab.tracking.store import connect
with connect(Path(sys.argv[1]), Path(sys.argv[1])).run("train", "study", "orphan") as run:
    print(run.id, flush=True)
    time.sleep(120)
"""


@pytest.fixture
def store(home: Path) -> Store:
    return connect(home, home)


def recorded(run_id: str) -> Any:
    return MlflowClient().get_run(run_id)


def opened_elsewhere(home: Path) -> tuple[subprocess.Popen[str], str]:
    """Another process inside the block of a run, and the run's id."""
    command = [sys.executable, "-c", OPEN_A_RUN, str(home)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    return process, process.stdout.readline().strip()


def test_a_block_that_ends_well_is_finished(store: Store, home: Path) -> None:
    with store.run("train", "my study", "seq1-demo") as run:
        assert recorded(run.id).info.status == "RUNNING"
    ended = recorded(run.id)
    assert ended.info.status == "FINISHED"
    assert ended.info.run_name == "seq1-demo"
    assert ended.data.tags["ferlab.stage"] == "train"
    assert MlflowClient().get_experiment(ended.info.experiment_id).name == "my study"
    assert ended.info.artifact_uri.startswith((home / "artifacts").as_uri())
    assert ended.info.end_time >= ended.info.start_time


def test_an_error_is_failed_and_written_down(store: Store) -> None:
    with pytest.raises(ValueError, match="2 problems"), store.run("train", "study", "name") as run:  # noqa: PT012
        message = "config has 2 problems:\n  seed: one\n  recipe: two\n"
        raise ValueError(message)
    ended = recorded(run.id)
    assert ended.info.status == "FAILED"
    assert ended.data.tags["ferlab.error"] == "ValueError: config has 2 problems: seed: one; recipe: two"


def test_a_very_long_error_does_not_hide_itself(store: Store) -> None:
    with pytest.raises(UserError), store.run("train", "study", "name") as run:
        raise UserError("x" * 100_000)
    assert recorded(run.id).info.status == "FAILED"
    assert recorded(run.id).data.tags["ferlab.error"].startswith("UserError: xxx")


def test_an_interruption_is_killed(store: Store) -> None:
    with pytest.raises(KeyboardInterrupt), store.run("train", "study", "name") as run:
        raise KeyboardInterrupt
    assert recorded(run.id).info.status == "KILLED"


def test_a_nested_failure_ends_both(store: Store) -> None:
    with pytest.raises(KeyboardInterrupt), store.run("pipeline", "s", "p") as parent:  # noqa: PT012
        with store.run("prepare", "s", "done", parent=parent) as done:
            pass
        with store.run("train", "s", "c", parent=parent) as child:
            raise KeyboardInterrupt
    assert [recorded(run.id).info.status for run in (done, child, parent)] == ["FINISHED", "KILLED", "KILLED"]
    for run in (done, child):
        assert recorded(run.id).data.tags["mlflow.parentRunId"] == parent.id
    assert "mlflow.parentRunId" not in recorded(parent.id).data.tags


def test_resuming_goes_on_in_the_same_run(store: Store) -> None:
    with pytest.raises(ValueError, match="no"), store.run("train", "study", "name") as run:  # noqa: PT012
        run.log_metrics({"loss": 1.0}, 1)
        raise ValueError("no")
    with store.run("train", "study", "name", resume=run.id) as again:
        again.log_metrics({"loss": 0.5}, 2)
        assert recorded(run.id).info.status == "RUNNING"
    assert again.id == run.id
    ended = recorded(run.id)
    assert ended.info.status == "FINISHED"
    assert ended.data.tags["ferlab.error"] == ""
    assert [(m.step, m.value) for m in MlflowClient().get_metric_history(run.id, "loss")] == [(1, 1.0), (2, 0.5)]


def test_a_killed_process_is_closed_by_the_next_command(home: Path, store: Store) -> None:
    process, run_id = opened_elsewhere(home)
    try:
        os.kill(process.pid, signal.SIGKILL)
    finally:
        process.wait(30)
    assert recorded(run_id).info.status == "RUNNING"
    connect(home, home)
    ended = recorded(run_id)
    assert ended.info.status == "KILLED"
    assert "killed" in ended.data.tags["ferlab.error"]


def test_a_living_process_is_left_alone(home: Path, store: Store) -> None:
    process, run_id = opened_elsewhere(home)
    try:
        connect(home, home)
        assert recorded(run_id).info.status == "RUNNING"
        assert "ferlab.error" not in recorded(run_id).data.tags
    finally:
        process.kill()
        process.wait(30)


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ({"ferlab.process_started": "1000000000.0"}, "KILLED"),  # its number was given to another process
        ({"ferlab.pid": "not a number"}, "KILLED"),
        ({"ferlab.host": "another-host", "ferlab.pid": "1"}, "RUNNING"),  # cannot be seen from here
    ],
    ids=["reused number", "nonsense", "another host"],
)
def test_orphans_are_told_by_host_number_and_start(
    home: Path, store: Store, changed: dict[str, str], status: str
) -> None:
    with store.run("train", "study", "name") as run:
        for key, value in changed.items():
            MlflowClient().set_tag(run.id, key, value)
        connect(home, home)
        assert recorded(run.id).info.status == status


def test_this_process_is_alive_and_a_finished_one_is_not() -> None:
    mine = identity()
    assert is_alive(mine["ferlab.pid"], mine["ferlab.process_started"])
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    assert not is_alive(str(done.pid), mine["ferlab.process_started"])


def test_a_zombie_is_not_alive() -> None:
    import psutil

    child = subprocess.Popen([sys.executable, "-c", ""])
    process = psutil.Process(child.pid)
    started = f"{process.create_time():.1f}"
    while process.status() != psutil.STATUS_ZOMBIE:
        pass
    assert not is_alive(str(child.pid), started)
    child.wait()


def test_the_run_of_mlflow_run_is_joined_once(home: Path, store: Store) -> None:
    experiment = MlflowClient().create_experiment("of the project")
    made = MlflowClient().create_run(experiment, run_name="by mlflow run")
    MlflowClient().log_param(made.info.run_id, "dataset", "synthetic")
    joined = connect(home, home, made.info.run_id, "train")
    with joined.run("prepare", "study", "first of another stage") as other:
        pass
    with joined.run("train", "study", "seq1") as first:
        first.log_config({"dataset": "other", "seed": 1})
    with joined.run("train", "study", "seq2") as second:
        pass
    assert first.id == made.info.run_id
    assert len({other.id, first.id, second.id}) == 3
    ended = recorded(first.id)
    assert (ended.info.status, ended.info.run_name) == ("FINISHED", "seq1")
    assert ended.data.params == {"dataset": "synthetic", "seed": "1"}


def test_mlflow_tracking_uri_is_honoured(
    home: Path, store_template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    shutil.copy(store_template / "mlflow.db", elsewhere / "mlflow.db")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{elsewhere / 'mlflow.db'}")
    store = connect(home, home)
    assert store.uri == f"sqlite:///{elsewhere / 'mlflow.db'}"
    with store.run("train", "study", "name") as run:
        pass
    assert recorded(run.id).info.status == "FINISHED"
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    connect(home, home)
    assert run.id not in {found.info.run_id for found in MlflowClient().search_runs(["0", "1"])}


def test_a_store_that_cannot_be_reached_is_one_line(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "nonsense://host")
    with pytest.raises(UserError, match="nonsense://host") as refusal:
        connect(home, home)
    assert "\n" not in str(refusal.value)


def test_a_damaged_database_is_one_line(home: Path) -> None:
    (home / "mlflow.db").write_bytes(b"not a database" * 1000)
    with pytest.raises(UserError, match=r"mlflow\.db") as refusal:
        connect(home, home)
    assert "\n" not in str(refusal.value)


def test_a_deleted_study_is_said(store: Store) -> None:
    with store.run("train", "gone", "name") as run:
        pass
    MlflowClient().delete_experiment(recorded(run.id).info.experiment_id)
    with pytest.raises(UserError, match="study=gone"), store.run("train", "gone", "name"):
        pass


def test_two_processes_may_open_one_new_study(home: Path, store: Store) -> None:
    code = OPEN_A_RUN.replace("time.sleep(120)", "")
    both = [
        subprocess.Popen([sys.executable, "-c", code, str(home)], stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]
    ids = [process.communicate(timeout=120)[0].strip() for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert len({recorded(run_id).info.experiment_id for run_id in ids}) == 1


def test_code_and_packages_are_on_the_run(home: Path, tmp_path: Path) -> None:
    checkout = tmp_path / "checkout"
    checkout.mkdir()
    (checkout / "pyproject.toml").write_text("[project]\n")
    (checkout / "requirements.lock").write_text("numpy==2\n")

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(checkout), "-c", "user.name=t", "-c", "user.email=t@t", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    git("init", "-q")
    git("add", ".")
    git("commit", "-qm", "first")
    with connect(home, checkout).run("train", "study", "clean") as clean:
        pass
    (checkout / "pyproject.toml").write_text("[project]\nname = 'changed'\n")
    with connect(home, checkout).run("train", "study", "dirty") as dirty:
        pass
    tags = recorded(dirty.id).data.tags
    assert tags["git.commit"] == recorded(clean.id).data.tags["git.commit"] == git("rev-parse", "HEAD")
    assert (recorded(clean.id).data.tags["git.dirty"], tags["git.dirty"]) == ("false", "true")
    assert tags["lock.sha256"] == hashlib.sha256(b"numpy==2\n").hexdigest()
    client = MlflowClient()
    assert "+name = 'changed'" in Path(client.download_artifacts(dirty.id, "code/diff.patch")).read_text()
    assert "code/diff.patch" not in [item.path for item in client.list_artifacts(clean.id, "code")]
    packages = Path(client.download_artifacts(clean.id, "code/packages.txt")).read_text().splitlines()
    import keras

    assert f"keras=={keras.version()}" in packages


def test_outside_a_checkout_there_is_no_commit(home: Path, tmp_path: Path) -> None:
    with connect(home, tmp_path).run("train", "study", "name") as run:
        pass
    tags = recorded(run.id).data.tags
    assert (tags["git.commit"], tags["git.dirty"], tags["lock.sha256"]) == ("none", "false", "none")


@pytest.mark.parametrize(
    ("uri", "anywhere", "inside"),
    [
        ("https://mlflow.lab.example", True, True),
        ("http://8.8.8.8:5000", True, True),
        ("http://10.1.2.3:5000", False, True),
        ("http://mlflow.corp:5000", False, True),
        ("http://laptop.local:5000", False, False),
        ("http://192.168.0.4:5000", False, True),
        ("http://127.0.0.1:5000", False, False),
        ("http://[::1]:5000", False, False),
        ("http://0.0.0.0:5000", False, False),
        ("http://localhost:5000", False, False),
        ("http://me:secret@mlflow.lab.example", False, False),
        ("sqlite:////home/me/mlflow.db", False, False),
    ],
)
def test_a_server_is_joined_only_where_other_machines_reach_it_without_a_password(monkeypatch, uri, anywhere, inside):
    names = {"mlflow.lab.example": "8.8.4.4", "localhost": "127.0.0.1", "mlflow.corp": "10.0.0.7"}

    def leads_to(host: str, _port: None) -> list[Any]:
        if host == "laptop.local":
            raise OSError("unknown")
        return [(0, 0, 0, "", (names.get(host, host), 0))]

    monkeypatch.setattr("ferlab.tracking.store.socket.getaddrinfo", leads_to)
    assert is_open_server(uri, loopback=False) is anywhere
    assert is_open_server(uri, loopback=False, inside=True) is inside
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "secret")
    assert not is_open_server(uri, loopback=False, inside=True)


def test_a_rehearsal_joins_a_server_of_this_machine():
    assert is_open_server("http://127.0.0.1:5000", loopback=True)
    assert not is_open_server("sqlite:////home/me/mlflow.db", loopback=True)
