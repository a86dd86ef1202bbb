"""What a person sees in a browser: MLflow's UI on our store, and the report; headless Chromium where there is one."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine"),
]


def page_text(url: str, profile: Path, patience_ms: int) -> str:
    """The DOM after the page's scripts have run."""
    done = subprocess.run(
        [CHROMIUM, *FLAGS, f"--user-data-dir={profile}", f"--virtual-time-budget={patience_ms}", "--dump-dom", url],
        capture_output=True, text=True, timeout=180, check=True,
    )  # fmt: skip
    return done.stdout


@pytest.fixture(scope="module")
def pipeline_home(tmp_path_factory):
    home = tmp_path_factory.mktemp("browser") / "home"
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW")}
    command = [sys.executable, "-m", "ferlab", "pipeline", "experiments=quickstart", "debug=fast"]
    subprocess.run(command, env=environment | {"FERLAB_HOME": str(home)}, cwd=home.parent, check=True, timeout=600)
    return home


@pytest.fixture(scope="module")
def ui(pipeline_home):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW")}
    server = subprocess.Popen(
        [sys.executable, "-m", "ferlab", "ui", f"port={port}"],
        env=environment | {"FERLAB_HOME": str(pipeline_home)},
        start_new_session=True,
    )
    url = f"http://127.0.0.1:{port}"
    for _ in range(120):
        try:
            urllib.request.urlopen(url, timeout=1)
            break
        except OSError:
            time.sleep(0.5)
    yield url
    os.killpg(server.pid, signal.SIGTERM)
    server.wait(30)


def test_the_ui_shows_every_stage_with_curves_and_lineage(pipeline_home, ui, tmp_path):
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{pipeline_home / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("quickstart").experiment_id
    runs = {run.data.tags["ferlab.stage"]: run for run in client.search_runs([experiment])}
    assert set(runs) == {"pipeline", "prepare", "train", "ensemble", "evaluate"}
    assert "pipeline-synthetic" in page_text(f"{ui}/#/experiments/{experiment}/runs", tmp_path / "list", 30_000)
    for stage in ("prepare", "train", "ensemble", "evaluate"):
        run = runs[stage]
        text = page_text(f"{ui}/#/experiments/{experiment}/runs/{run.info.run_id}", tmp_path / stage, 30_000)
        assert run.info.run_name in text
        assert "Finished" in text
        assert "synthetic-carved" in text, "the dataset input is shown"


def test_the_report_shows_numbers_and_pictures_without_a_network(pipeline_home, tmp_path):
    (report, *_) = pipeline_home.glob("artifacts/*/artifacts/report.html")
    text = page_text(report.as_uri(), tmp_path / "profile", 5_000)
    assert text.count('src="data:image/png') >= 2
    assert "http://" not in text
    assert "https://" not in text
    assert "as perceived by the annotators" in text
