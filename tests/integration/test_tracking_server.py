"""A store moved from its file to a server: SQLite, PostgreSQL, with passwords; then ferlab goes on there."""

import importlib.util
import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from mlflow.tracking import MlflowClient

from .conftest import free_port
from .mlflow_servers import START_S, mlflow_server

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]

UV = Path(sys.executable).with_name("uv")
STUDY = "moved"
ADMIN = {"MLFLOW_TRACKING_USERNAME": "admin", "MLFLOW_TRACKING_PASSWORD": "a password of the test"}


def postgres_program(name: str) -> str | None:
    """Where it is: on the path, or where Debian has each version's."""
    folders = [os.environ["PATH"], *map(str, sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True))]
    return shutil.which(name, path=os.pathsep.join(folders))


@contextmanager
def postgres(log: Path) -> Iterator[str]:
    """The address of an empty PostgreSQL database; its server refuses to be run by root, so root borrows an account."""
    folder = Path(tempfile.mkdtemp(prefix="ferlab-postgres-"))
    account = None
    if os.geteuid() == 0:
        account = next((entry.pw_name for entry in pwd.getpwall() if entry.pw_name in ("postgres", "nobody")), None)
        shutil.chown(folder, account)
    port = free_port()
    data = folder / "data"
    subprocess.run(
        [postgres_program("initdb"), "-D", data, "-U", "mlflow", "-A", "trust", "--no-sync"],
        user=account, cwd=folder, check=True, capture_output=True,
    )  # fmt: skip
    with log.open("w") as file:
        process = subprocess.Popen(
            [postgres_program("postgres"), "-D", data, "-p", str(port), "-k", folder, "-c", "fsync=off"],
            user=account, cwd=folder, stdout=file, stderr=file,
        )  # fmt: skip
    try:
        until = time.monotonic() + START_S
        while "ready to accept connections" not in log.read_text():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < until, log.read_text()
            time.sleep(0.2)
        yield f"postgresql+psycopg://mlflow@127.0.0.1:{port}/postgres"
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)
        shutil.rmtree(folder, ignore_errors=True)


def extra_packages(folder: Path, **packages: str) -> dict[str, str]:
    """Environment of a server that finds packages by the names of their modules; fetched where they are missing."""
    missing = [package for module, package in packages.items() if importlib.util.find_spec(module) is None]
    if not missing:
        return {}
    fetch = [str(UV), "pip", "install", "--quiet", "--no-deps", "--python", sys.executable, "--target", str(folder)]
    done = subprocess.run([*fetch, *missing], capture_output=True, text=True, timeout=300, check=False)
    if done.returncode:
        pytest.skip(f"{', '.join(missing)}: not installed and not to be had")
    return {"PYTHONPATH": str(folder)}


@pytest.fixture(scope="module")
def recorded(workplace: Any) -> dict[str, str]:
    """A trained, an evaluated and a registered network in the workplace's file: ids by stage."""
    trained = workplace.ferlab("train", "debug=fast", f"study={STUDY}").result["run_id"]
    evaluated = workplace.ferlab("evaluate", f"run={trained}").result["run_id"]
    registered = workplace.ferlab("register", f"run={trained}", "model=faces").result["run_id"]
    return {"train": trained, "evaluate": evaluated, "register": registered}


@pytest.fixture(params=["sqlite", "postgresql"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A server without passwords on either kind of database."""
    if request.param == "sqlite":
        with mlflow_server(f"sqlite:///{tmp_path / 'server.db'}", tmp_path / "kept") as url:
            yield url
        return
    if not all(map(postgres_program, ("postgres", "initdb"))):
        pytest.skip("no PostgreSQL on this machine")
    extra = extra_packages(tmp_path / "packages", psycopg="psycopg", psycopg_binary="psycopg-binary")
    with postgres(tmp_path / "postgres.log") as database, mlflow_server(database, tmp_path / "kept", **extra) as url:
        yield url


def ferlab(workplace: Any, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ferlab", *arguments]
    everything = workplace.environment | environment
    return subprocess.run(
        command, env=everything, cwd=workplace.home, capture_output=True, text=True, timeout=600, check=False
    )


def copied(workplace: Any, url: str, **environment: str) -> dict[str, Any]:
    """What the copying command writes as its result."""
    out = workplace.home / "copied.json"
    done = ferlab(workplace, "runs", f"copy_to={url}", "--json", str(out), **environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return dict(json.loads(out.read_text()))


def test_a_store_moves_to_a_server_and_work_goes_on_there(workplace: Any, recorded: Any, server: str) -> None:
    first, second = copied(workplace, server), copied(workplace, server)
    assert (first["created"], first["updated"], first["same"], first["versions"]) == (len(workplace.runs()), 0, 0, 1)
    assert (second["created"], second["updated"], second["same"], second["versions"]) == (0, 0, first["created"], 0)
    copies, there = first["ids"], MlflowClient(server, server)
    here = MlflowClient(f"sqlite:///{workplace.home / 'mlflow.db'}")
    for run in workplace.runs():
        copy = there.get_run(copies[run.info.run_id])
        for attribute in ("run_name", "status", "start_time", "end_time"):
            assert getattr(copy.info, attribute) == getattr(run.info, attribute)
        for key in run.data.metrics:
            histories = [
                [(one.step, one.value, one.timestamp) for one in client.get_metric_history(run_id, key)]
                for client, run_id in ((here, run.info.run_id), (there, copy.info.run_id))
            ]
            assert histories[0] == histories[1]
    evaluated = there.get_run(copies[recorded["evaluate"]])
    assert evaluated.data.tags["ferlab.from.model"] == copies[recorded["train"]]
    assert evaluated.data.params["run"] == copies[recorded["train"]]
    assert there.get_model_version_by_alias("faces", "champion").run_id == copies[recorded["register"]]

    trained = recorded["train"]
    on_server = {"MLFLOW_TRACKING_URI": server}
    for arguments, said in (
        (["runs", f"study={STUDY}"], copies[trained][:12]),
        (["runs", f"show={trained}"], "is model of"),
        (["evaluate", f"run={trained}", "split=validation"], "accuracy"),
        (["register", f"run={trained}", "model=faces"], "models:/faces/2"),
        (["runs", f"delete=[{trained}]"], f"deleted {copies[trained]}"),
        (["runs", "gc=true", "--yes"], "the server keeps their files"),
    ):
        done = ferlab(workplace, *arguments, **on_server)
        assert done.returncode == 0, done.stdout + done.stderr
        assert said in done.stdout
    assert here.get_run(trained).info.lifecycle_stage == "active", "the origin is only read"


def test_a_server_with_passwords_wants_them(workplace: Any, recorded: Any, tmp_path: Path) -> None:
    extra = extra_packages(tmp_path / "packages", flask_wtf="flask-wtf", wtforms="wtforms")
    secrets = {
        "MLFLOW_AUTH_ADMIN_PASSWORD": ADMIN["MLFLOW_TRACKING_PASSWORD"],
        "MLFLOW_FLASK_SERVER_SECRET_KEY": "a key of the test",
    }
    database = f"sqlite:///{tmp_path / 'server.db'}"
    with mlflow_server(database, tmp_path / "kept", "--app-name", "basic-auth", **secrets, **extra) as url:
        refused = ferlab(workplace, "runs", f"copy_to={url}")
        assert refused.returncode == 2
        assert len(refused.stderr.strip().splitlines()) == 1, refused.stderr
        assert "not authenticated" in refused.stderr
        assert "MLFLOW_TRACKING_USERNAME" in refused.stderr
        assert copied(workplace, url, **ADMIN)["created"] == len(workplace.runs())
        create = (
            f"import mlflow.server as s; s.get_app_client('basic-auth', '{url}').create_user('ada', 'twelve or more')"
        )
        made = subprocess.run([sys.executable, "-c", create], env=os.environ | ADMIN | extra, check=False)
        assert made.returncode == 0
        ada = {"MLFLOW_TRACKING_USERNAME": "ada", "MLFLOW_TRACKING_PASSWORD": "twelve or more"}
        seen = ferlab(workplace, "runs", f"study={STUDY}", MLFLOW_TRACKING_URI=url, **ada)
        assert seen.returncode == 0, seen.stderr
        assert "evaluate" in seen.stdout
        wrong = ferlab(workplace, "runs", MLFLOW_TRACKING_URI=url, **{**ada, "MLFLOW_TRACKING_PASSWORD": "guessed"})
        assert wrong.returncode == 2
        assert len(wrong.stderr.strip().splitlines()) == 1, wrong.stderr
