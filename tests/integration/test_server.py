"""A tracking server of one's own: `MLFLOW_TRACKING_URI` with http is honoured by every stage."""

import os
import signal
import subprocess
import sys
import time
import urllib.request

import pytest

from .conftest import free_port

pytestmark = pytest.mark.slow


@pytest.fixture
def server(tmp_path):
    port = free_port()
    command = [
        sys.executable, "-m", "mlflow", "server", "--port", str(port), "--workers", "1",
        "--backend-store-uri", f"sqlite:///{tmp_path / 'server.db'}", "--artifacts-destination", str(tmp_path / "kept"),
    ]  # fmt: skip
    process = subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    for _ in range(120):
        try:
            urllib.request.urlopen(f"{url}/health", timeout=1)
            break
        except OSError:
            time.sleep(0.5)
    yield url
    os.killpg(process.pid, signal.SIGTERM)
    process.wait(30)


def test_a_pipeline_runs_against_a_server(server, tmp_path):
    environment = os.environ | {"FERLAB_HOME": str(tmp_path / "home"), "MLFLOW_TRACKING_URI": server}
    command = [sys.executable, "-m", "ferlab", "pipeline", "experiments=quickstart", "debug=fast"]
    done = subprocess.run(
        command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=500, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert (tmp_path / "kept").is_dir(), "artifacts lie with the server"
    assert not list((tmp_path / "home").glob("mlflow.db"))


def test_a_server_that_does_not_answer_is_one_line(tmp_path):
    environment = os.environ | {"FERLAB_HOME": str(tmp_path / "home"), "MLFLOW_TRACKING_URI": "http://127.0.0.1:9"}
    command = [sys.executable, "-m", "ferlab", "compare"]
    done = subprocess.run(
        command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 2, done.stderr[-3000:]
    assert len(done.stderr.strip().splitlines()) == 1
    assert "tracking store" in done.stderr
