"""``debug=profile`` leaves a profile on its run: artifacts and numbers, no model, nothing that looks like a result."""

import io
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from rich.console import Console

from ferlab.commands.launch import Context, machine_facts
from ferlab.commands.train import profile
from ferlab.config.files import conf_folder
from ferlab.config.schema import TrainConfig
from ferlab.config.validate import validate
from ferlab.preparation.prepare import Prepared
from ferlab.tracking.records import runs_of_study

SETTINGS = (
    "debug=profile", "debug.profile_steps=8", "dataset=synthetic", "dataset.synthesize.count=700", "study=speed",
    "backbone=seq1", "backbone.width=0.25", "recipe.batch_size=16", "compute.device=cpu",
)  # fmt: skip


def test_a_profile_is_a_run_without_results(prepared: Prepared, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import mlflow
    from mlflow.tracking import MlflowClient

    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        composed = compose("train", overrides=list(SETTINGS))
    config = validate(composed, TrainConfig, machine_facts())
    raw: Any = OmegaConf.to_container(composed, resolve=True)
    context = Context("train", home, raw)
    printed = io.StringIO()
    context.terminal.console = Console(file=printed, width=120)
    result = profile(config, context, prepared, None)

    client = MlflowClient()
    run = client.get_run(result["run_id"])
    assert run.info.status == "FINISHED"
    assert (run.data.tags["ferlab.stage"], run.data.tags["debug"]) == ("profile", "profile")
    assert run.data.metrics["step_ms"] == pytest.approx(result["profile"]["step_ms"])
    assert not [name for name in run.data.metrics if name.startswith("val_") or "accuracy" in name]
    kept = {file.path for file in client.list_artifacts(run.info.run_id, "profile")}
    names = {"profile.json", "profile.md", "trace.xplane.pb", "trace.json.gz"}
    assert kept == {f"profile/{name}" for name in names}
    assert mlflow.search_logged_models([run.info.experiment_id], output_format="list") == []
    assert runs_of_study("speed", ("train", "ensemble")) == []  # nothing to compare or to combine
    assert "waiting for input" in printed.getvalue()
