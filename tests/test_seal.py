"""The test split stays shut until an evaluation opens it: no training sees it, and nobody else holds the key."""

import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import ferlab
from ferlab.preparation.prepare import Prepared
from ferlab.sealed import Opening

SOURCES = Path(ferlab.__file__).parent
MODULES = {".".join(file.relative_to(SOURCES).with_suffix("").parts): file for file in SOURCES.rglob("*.py")}
SEALED_ROOMS = ("training", "models", "ensembling", "datasets")

CAREER = """
import hashlib, json, sys
from dataclasses import replace
from pathlib import Path
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from ferlab.commands.evaluate import OPENINGS, evaluate
from ferlab.commands.launch import Context, machine_facts
from ferlab.commands.train import train
from ferlab.config.files import conf_folder
from ferlab.config.nodes import Evaluation
from ferlab.config.schema import EvaluateConfig, TrainConfig
from ferlab.config.validate import validate
from ferlab.errors import UserError
from ferlab.manifest import Manifest
from ferlab.preparation.prepare import Prepared
from ferlab.tracking.records import find_run

home, memory_gb, *folders = sys.argv[1:]
with initialize_config_dir(str(conf_folder()), version_base="1.3"):
    composed = compose("train", overrides=[
        "deterministic=true", "seed=5", "recipe=quick", "recipe.batch_size=64", "recipe.balance=weights",
        "backbone.width=0.25", "debug.max_steps=3", "debug.max_epochs=2", "augment=light"])
config = validate(composed, TrainConfig, machine_facts())
config = replace(config, compute=replace(config.compute, memory_gb=float(memory_gb)))
context = Context("train", Path(home), OmegaConf.to_container(composed))

def outcome(folder):
    done = train(config, context, Prepared(folder, Manifest.load(folder), reused=True), None)
    record = find_run(done.run_id)
    weights = hashlib.sha256(b"".join(weight.tobytes() for weight in record.load_model().get_weights()))
    history = json.loads(record.artifact("history.json").read_text())
    return done.run_id, {
        "weights": weights.hexdigest(),
        "history": [{k: v for k, v in row.items() if k not in ("seconds", "images_per_s")} for row in history],
        "scores": done.scores.as_json(),
    }

found = [outcome(Path(folder)) for folder in folders]
run_id = found[-1][0]
try:
    evaluate(EvaluateConfig(None, run_id, "test", Evaluation(100, 0), config.compute), context)
    complaint = None
except UserError as error:
    complaint = str(error)
print(json.dumps({
    "outcomes": [outcome for _, outcome in found],
    "complaint": complaint,
    "openings": [find_run(run_id).tags.get(OPENINGS) for run_id, _ in found],
}))
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "memory_gb", [pytest.param(1, id="memory"), pytest.param(0, id="shards", marks=pytest.mark.slow)]
)
def test_a_training_is_the_same_to_the_bit_when_the_test_shards_are_destroyed(
    prepared: Prepared, home: Path, memory_gb: float
) -> None:
    """In a process of its own, because deterministic operations cannot be switched off again."""
    damaged = home / "prepared" / "damaged"
    shutil.copytree(prepared.folder, damaged)
    zeroed = [damaged / shard.name for shard in prepared.manifest.split_shards("test", Opening("", 0))]
    for shard in zeroed:
        shard.write_bytes(bytes(shard.stat().st_size))
    done = subprocess.run(
        [sys.executable, "-c", CAREER, str(home), str(memory_gb), str(prepared.folder), str(damaged)],
        env={**os.environ, "FERLAB_HOME": str(home)},
        cwd=home,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    whole, blind = found["outcomes"]
    assert len(whole["history"]) == 2
    assert blind == whole
    assert found["complaint"].startswith(f"{zeroed[0]}: damaged record")
    assert found["openings"] == [None, "1"], "the attempt counts, training does not"


def nodes_of(file: Path) -> list[ast.AST]:
    return list(ast.walk(ast.parse(file.read_text(encoding="utf-8"))))


def imported(file: Path) -> set[str]:
    """Names that a module imports from others."""
    return {alias.name for node in nodes_of(file) if isinstance(node, ast.ImportFrom) for alias in node.names}


def read_off(file: Path) -> set[str]:
    """Attributes that a module reads off any object."""
    return {node.attr for node in nodes_of(file) if isinstance(node, ast.Attribute)}


def called(file: Path) -> set[str]:
    """Names of all that a module calls."""
    calls = [node.func for node in nodes_of(file) if isinstance(node, ast.Call)]
    return {str(getattr(call, "id", getattr(call, "attr", None))) for call in calls}


def test_the_rooms_that_train_and_select_never_hear_of_an_opening() -> None:
    guarded = {name: file for name, file in MODULES.items() if name.split(".")[0] in SEALED_ROOMS}
    assert {name.split(".")[0] for name in guarded} == set(SEALED_ROOMS)
    assert {name for name, file in guarded.items() if "Opening" in imported(file) | read_off(file)} == set()


def test_only_evaluate_opens() -> None:
    assert {name for name, file in MODULES.items() if "Opening" in called(file)} == {"commands.evaluate"}


def test_shards_are_had_from_the_manifest_by_split() -> None:
    """Its whole list would be a way round the seal; only who writes it, or adds up its bytes, reads it."""
    option = {"commands.prepared_data", "preparation.request"}  # how many shards are asked for
    readers = {"manifest", "preparation.prepare", "commands.preparation_record", "storage.staging"}
    assert {name for name, file in MODULES.items() if "shards" in read_off(file)} == readers | option
