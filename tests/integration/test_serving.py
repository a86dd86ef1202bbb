"""A registered model behind ``mlflow models serve``: a real server, asked over HTTP."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest

from .conftest import Workplace, free_port

pytestmark = pytest.mark.slow

CLASSES = {"angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"}


def answered(url: str, images: object) -> dict[str, object]:
    request = urllib.request.Request(
        f"{url}/invocations", json.dumps({"inputs": images}).encode(), {"Content-Type": "application/json"}
    )
    return json.loads(urllib.request.urlopen(request, timeout=60).read())


def test_a_champion_answers_with_class_names(workplace: Workplace) -> None:
    trained = workplace.ferlab("train", "debug=fast")
    registered = workplace.ferlab("register", f"run={trained.result['run_id']}", "model=faces")
    assert registered.code == 0, registered.err
    assert registered.result["crowned"]
    port = free_port()
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    server = subprocess.Popen(
        [sys.executable, "-m", "mlflow", "models", "serve", "-m", "models:/faces@champion", "--env-manager", "local",
         "-p", str(port)],
        env=workplace.environment | {"MLFLOW_TRACKING_URI": f"sqlite:///{workplace.home / 'mlflow.db'}", "PATH": path},
        start_new_session=True,
    )  # fmt: skip
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(240):
            assert server.poll() is None
            try:
                urllib.request.urlopen(f"{url}/ping", timeout=1)
                break
            except OSError:
                time.sleep(0.5)
        images = np.random.default_rng(0).integers(0, 256, (3, 48, 48, 1)).tolist()
        rows = answered(url, images)["predictions"]
        assert len(rows) == 3
        for row in rows:
            assert set(row) == CLASSES | {"label"}
            assert row["label"] == max(CLASSES, key=lambda name: row[name])
            assert sum(row[name] for name in CLASSES) == pytest.approx(1, abs=1e-5)
        with pytest.raises(urllib.error.HTTPError, match="400"):
            answered(url, [[1, 2], [3, 4]])
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(30)
