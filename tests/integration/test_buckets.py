"""The whole way through Cloud Storage: raw bucket, processed bucket, staged shards, a trained epoch."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ferlab.storage import places

FACES = 140
SMALL = ("preparation.size_px=48", "preparation.colour=gray", "preparation.encoding=png", "preparation.shards=2")
ONE_EPOCH = ("backbone=seq1", "recipe.phases.0.epochs=1", "recipe.batch_size=16")


@pytest.fixture
def ferlab(tmp_path: Path) -> Any:
    """``ferlab(home, *words)`` runs a command and returns its ``--json`` result."""

    def run(home: str, *words: str) -> dict[str, Any]:
        output = tmp_path / "result.json"
        command = [sys.executable, "-m", "ferlab", *words, "--json", str(output)]
        environment = os.environ | {"FERLAB_HOME": str(tmp_path / home)}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        return json.loads(output.read_text())

    return run


@pytest.mark.slow
def test_from_a_raw_bucket_to_a_trained_epoch(bucket: str, ferlab: Any, tmp_path: Path) -> None:
    raw, processed = f"{bucket}/raw", f"{bucket}/processed"
    drawn = ("layout=affectnet-manual", f"count={FACES}", "size_px=96")
    ferlab("home", "synth", *drawn, f"out={raw}")
    remote = ("dataset=affectnet7", f"dataset.root={raw}", f"compute.prepared={processed}", *SMALL)
    made = ferlab("home", "prepare", *remote)
    assert made["folder"].startswith(processed + "/")
    names = places.names_below(made["folder"])
    assert {"manifest.json", "rejected.parquet", "origin.json"} < set(names)
    assert sum(name.endswith(".tfrecord") for name in names) == 6
    assert not [name for name in names if name.startswith(".work")]

    ferlab("home", "synth", *drawn, f"out={tmp_path / 'raw'}")
    local = ferlab("home", "prepare", "dataset=affectnet7", f"dataset.root={tmp_path / 'raw'}", *SMALL)
    assert local["digest"] == made["digest"]
    for name in (name for name in names if name.endswith(".tfrecord")):
        assert places.read_bytes(f"{made['folder']}/{name}") == Path(local["folder"], name).read_bytes()

    # another machine finds it prepared, and brings it here once
    trained = ferlab("elsewhere", "train", *remote, *ONE_EPOCH)
    assert 0 <= trained["metrics"]["accuracy"]["value"] <= 1
    staged = list((tmp_path / "elsewhere" / "staged").glob("*/*.tfrecord"))
    assert {file.name for file in staged} == {name for name in names if name.endswith(".tfrecord")}
    assert not (tmp_path / "elsewhere" / "prepared").exists()
    scored = ferlab("elsewhere", "evaluate", f"run={trained['run_id']}")
    assert scored["metrics"]["accuracy"]["value"] >= 0
