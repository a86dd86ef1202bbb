"""A store with recorded models, and what a command prints."""

import io
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from rich.console import Console

from ferlab.commands.launch import Context
from ferlab.commands.runs import run
from ferlab.commands.training_record import model_metadata
from ferlab.config.files import conf_folder
from ferlab.config.schema import RunsConfig
from ferlab.models.build import ModelSpec, build_model
from ferlab.preparation.prepare import Prepared
from ferlab.scoring.predict import predict_split


@dataclass(frozen=True)
class Recorded:
    """A context on a fresh home with the prepared data, and a way to record models there."""

    context: Context
    prepared: Prepared
    printed: io.StringIO

    def train(self, name: str, seed: int, width: float = 0.25) -> str:
        """The id of a run with an untrained model and its predictions on validation."""
        import keras

        keras.utils.set_random_seed(seed)
        classes = self.prepared.manifest.classes
        model = build_model(ModelSpec("seq1", classes, 48, 1, 32, "none", False, 0.0, width)).model
        with self.context.store.run("train", "study", name) as run:
            run.log_config({"backbone": {"name": "seq1", "width": width}, "seed": seed})
            run.log_metrics({"parameters": model.count_params(), "train_minutes": 1.5})
            run.log_dataset(self.prepared.manifest, self.prepared.folder, "train")
            metadata = model_metadata(self.prepared.manifest, run.id, "seq1")
            run.log_model(model, np.zeros((2, 48, 48, 1), np.uint8), metadata)
            folder, manifest = self.prepared.folder, self.prepared.manifest
            predictions = predict_split(model, folder, manifest, "validation", run.id)
            run.log_saved(predictions.save, "validation.parquet", "predictions")
        return run.id


@pytest.fixture
def recorded(tf: Any, home: Path, prepared: Prepared) -> Callable[[str], Recorded]:
    """``recorded("compare")`` gives a ``Recorded`` for that command on the session's prepared data."""

    def make(command: str) -> Recorded:
        folder = home / "prepared" / prepared.folder.name
        shutil.copytree(prepared.folder, folder)
        printed = io.StringIO()
        context = Context(command, home, {})
        context.terminal.console = Console(file=printed, width=200)
        return Recorded(context, Prepared(str(folder), prepared.manifest, reused=True), printed)

    return make


class Place:
    """A context on an empty store, what it prints, and short ways to make runs and to ask."""

    def __init__(self, home: Path) -> None:
        self.home, self.printed = home, io.StringIO()
        self.context = Context("runs", home, {})
        self.context.terminal.console = Console(file=self.printed, width=200)

    def made(self, name: str, stage: str = "train", study: str = "study", accuracy: float | None = None) -> str:
        with self.context.store.run(stage, study, name) as one:
            one.log_text("x" * 1_000_000, "large.txt")
            if accuracy is not None:
                one.log_metrics({"val_accuracy": accuracy})
        return one.id

    def asked(self, **settings: Any) -> dict[str, Any]:
        return run(RunsConfig(**settings), self.context)

    def listed(self, **settings: Any) -> list[str]:
        return [one["name"] for one in self.asked(**settings)["runs"]]

    def artifacts(self, run_id: str) -> Path:
        return self.home / "artifacts" / run_id


@pytest.fixture
def place(home: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setenv("FERLAB_YES", "1")
    return Place(home)


@pytest.fixture
def composing() -> Iterator[None]:
    """Hydra as it stands inside a command."""
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        yield
