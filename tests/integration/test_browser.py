"""What a person sees in a browser: MLflow's UI on our store, and the report; headless Chromium where there is one."""

import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from .conftest import free_port

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine"),
]


def opened(url: str, profile: Path, patience_ms: int) -> tuple[str, str]:
    """The DOM after the page's scripts have run, and what the browser logged."""
    done = subprocess.run(
        [CHROMIUM, *FLAGS, "--enable-logging=stderr", f"--user-data-dir={profile}",
         f"--virtual-time-budget={patience_ms}", "--dump-dom", url],
        capture_output=True, text=True, timeout=180, check=True,
    )  # fmt: skip
    return done.stdout, done.stderr


def page_text(url: str, profile: Path, patience_ms: int) -> str:
    """The DOM after the page's scripts have run."""
    return opened(url, profile, patience_ms)[0]


@pytest.fixture(scope="module")
def pipeline_home(tmp_path_factory):
    home = tmp_path_factory.mktemp("browser") / "home"
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW")}
    command = [sys.executable, "-m", "ferlab", "pipeline", "experiments=quickstart", "debug=fast"]
    subprocess.run(command, env=environment | {"FERLAB_HOME": str(home)}, cwd=home.parent, check=True, timeout=600)
    return home


@pytest.fixture(scope="module")
def ui(pipeline_home):
    port = free_port()
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


def test_what_the_console_says_would_be_seen(tmp_path):
    page = tmp_path / "page.html"
    page.write_text("<script>console.error('broken on purpose')</script>")
    assert "CONSOLE" in opened(page.as_uri(), tmp_path / "profile", 1_000)[1]


@pytest.fixture(scope="module")
def pages(pipeline_home):
    """The report of the pipeline's ensemble, and a comparison of its runs on the test split."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW")}
    command = [sys.executable, "-m", "ferlab", "compare", "study=quickstart", "split=test", "evaluation.resamples=100"]
    subprocess.run(
        command, env=environment | {"FERLAB_HOME": str(pipeline_home)}, cwd=pipeline_home, check=True, timeout=300
    )
    reports = list(pipeline_home.glob("artifacts/*/artifacts/report.html"))
    (ensemble,) = {one.read_bytes(): one for one in reports if b"Runs side by side" in one.read_bytes()}.values()
    (comparison,) = pipeline_home.glob("artifacts/*/artifacts/comparison.html")
    return {"report": ensemble, "comparison": comparison}


@pytest.mark.parametrize("name", ["report", "comparison"])
def test_pages_show_numbers_and_pictures_without_a_network_and_without_errors(pages, name, tmp_path):
    text, log = opened(pages[name].as_uri(), tmp_path / "profile", 5_000)
    assert text.count('src="data:image/png') >= 4
    assert "http://" not in text
    assert "https://" not in text
    assert "CONSOLE" not in log
    assert "p (Holm)" in text
    if name == "report":
        assert "as perceived by the annotators" in text


@pytest.mark.parametrize("name", ["report", "comparison"])
def test_pages_print_on_paper(pages, name, tmp_path):
    paper = tmp_path / "page.pdf"
    subprocess.run(
        [CHROMIUM, *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", f"--print-to-pdf={paper}", pages[name].as_uri()],
        capture_output=True, timeout=180, check=True,
    )  # fmt: skip
    assert paper.read_bytes().startswith(b"%PDF")
    assert paper.read_bytes().count(b"/Type /Page\n") >= 2
