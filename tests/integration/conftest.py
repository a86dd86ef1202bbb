"""Whole commands as real processes, each module with a FERLAB_HOME of its own."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

TIMEOUT_S = 540
REPOSITORY = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Done:
    """How a command ended; ``result`` is what ``--json`` wrote."""

    code: int
    out: str
    err: str
    result: Any

    @property
    def complaint(self) -> str:
        """The one line of a user error."""
        lines = [line for line in self.err.splitlines() if line.startswith("ferlab: ")]
        assert len(lines) == 1, self.err
        assert "Traceback" not in self.err + self.out
        assert self.code == 2
        return lines[0]


@dataclass(frozen=True)
class Workplace:
    """A FERLAB_HOME with an empty store, and commands on it."""

    home: Path

    @property
    def environment(self) -> dict[str, str]:
        dropped = ("MLFLOW", "FERLAB", "HYDRA")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(dropped)}
        return kept | {"FERLAB_HOME": str(self.home)}

    def ferlab(self, *arguments: str) -> Done:
        """Run to the end."""
        out = self.home / "result.json"
        out.unlink(missing_ok=True)
        command = [sys.executable, "-m", "ferlab", *arguments, "--json", str(out)]
        done = subprocess.run(
            command, env=self.environment, cwd=self.home, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
        )
        result = json.loads(out.read_text()) if out.exists() else None
        return Done(done.returncode, done.stdout, done.stderr, result)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Begin and do not wait; output and errors are pipes."""
        return subprocess.Popen(
            [sys.executable, "-u", "-m", "ferlab", *arguments],
            env=self.environment,
            cwd=self.home,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    @contextmanager
    def running(self, *arguments: str, until_epoch: int = 1) -> Iterator[None]:
        """A training that has ended that epoch inside the block, and is killed after it."""
        process = self.start(*arguments)
        try:
            assert any(f" epoch {until_epoch:>2}/" in line for line in process.stdout), process.stderr.read()
            yield
            assert process.poll() is None, "the training ended too early for what the block shows"
        finally:
            process.kill()
            process.communicate(timeout=TIMEOUT_S)

    def interrupt(self, sent: signal.Signals, *arguments: str) -> Done:
        """Run until the first epoch is reported, then send a signal."""
        process = self.start(*arguments)
        lines = []
        for line in process.stdout:
            lines.append(line)
            if " epoch  1/" in line:
                process.send_signal(sent)
                break
        rest, err = process.communicate(timeout=TIMEOUT_S)
        return Done(process.returncode, "".join(lines) + rest, err, None)

    def runs(self) -> list[Any]:
        """Every run in the store, oldest first."""
        from mlflow.tracking import MlflowClient

        client = MlflowClient(f"sqlite:///{self.home / 'mlflow.db'}")
        experiments = [item.experiment_id for item in client.search_experiments()]
        return list(client.search_runs(experiments, order_by=["attributes.start_time ASC"]))

    def run(self, run_id: str) -> Any:
        """One run."""
        return next(run for run in self.runs() if run.info.run_id == run_id)

    def curve(self, run_id: str, metric: str) -> list[Any]:
        """Every value of a metric, in order."""
        from mlflow.tracking import MlflowClient

        return list(MlflowClient(f"sqlite:///{self.home / 'mlflow.db'}").get_metric_history(run_id, metric))

    def artifacts(self, run_id: str) -> Path:
        """The folder of a run's artifacts."""
        return Path(self.run(run_id).info.artifact_uri.removeprefix("file://"))


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory, store_template: Path) -> Workplace:
    home = tmp_path_factory.mktemp("home")
    shutil.copy(store_template / "mlflow.db", home / "mlflow.db")
    return Workplace(home)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def checked_out(folder: Path) -> Path:
    """The working tree as it is now, committed in a repository of its own."""
    subprocess.run(["git", "clone", "--quiet", str(REPOSITORY), str(folder)], check=True)
    listed = ["git", "ls-files", "--modified", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout.splitlines()
    for name in names:
        if (REPOSITORY / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes((REPOSITORY / name).read_bytes())
    commit(folder, "now")
    return folder


def commit(folder: Path, message: str) -> str:
    """Commit all that is in a checkout; the commit."""
    author = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", "add", "-A"], cwd=folder, check=True)
    subprocess.run(["git", *author, "commit", "--quiet", "--allow-empty", "-m", message], cwd=folder, check=True)
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=folder, capture_output=True, text=True, check=True)
    return head.stdout.strip()
