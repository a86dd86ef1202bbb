"""A trial that is given up keeps its checkpoints until its run has ended: a kill before that would lose it."""

from pathlib import Path
from typing import Any

import mlflow
import pytest
from hydra import compose
from omegaconf import OmegaConf

from ferlab.commands.launch import Context, machine_facts
from ferlab.commands.resumption import checkpoints_of
from ferlab.commands.train import train
from ferlab.config.schema import TrainConfig
from ferlab.config.validate import validate
from ferlab.errors import Pruned
from ferlab.preparation.prepare import Prepared

SETTINGS = ("debug=fast", "backbone=seq1", "backbone.width=0.25", "recipe=quick", "recipe.phases.0.epochs=3")


@pytest.mark.slow
def test_checkpoints_go_after_the_run_has_ended(
    composing: None, tf: Any, prepared: Prepared, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    composed = compose("train", overrides=list(SETTINGS))
    raw: Any = OmegaConf.to_container(composed, resolve=True)

    def give_up(epoch: int, best_accuracy: float) -> None:
        raise Pruned("others had more")

    context = Context("train", home, raw, on_epoch=give_up)
    end_run, there = mlflow.end_run, []

    def ending(status: str) -> None:
        (folder,) = (home / "checkpoints").iterdir()
        there.append((status, checkpoints_of(folder.name, context).current() is not None))
        end_run(status)

    monkeypatch.setattr(mlflow, "end_run", ending)
    with pytest.raises(Pruned):
        train(validate(composed, TrainConfig, machine_facts()), context, prepared, None)
    assert there == [("KILLED", True)]
    assert not any((home / "checkpoints").glob("*/epoch-*"))
