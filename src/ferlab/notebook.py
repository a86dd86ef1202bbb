"""What notebooks call: commands from Python, and recorded runs as tables, predictions, faces and pictures."""

import logging
import os
import warnings
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ferlab.cli import COMMANDS, set_up_environment
from ferlab.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

    from ferlab.commands.launch import Context
    from ferlab.evaluation.comparison import Block
    from ferlab.evaluation.document import Table
    from ferlab.predictions import Predictions


def command(name: str, *overrides: str) -> dict[str, Any]:
    """Carry out ``ferlab NAME OVERRIDES``; gives what ``--json`` would write.

    Raises:
        UserError: as the command; a sweep, which needs the command line.

    """
    if name not in COMMANDS:
        message = f"{name}: no such command. There are: {', '.join(COMMANDS)}."
        raise UserError(message)
    _set_up()
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    from ferlab.commands.launch import Job
    from ferlab.config.outline import schema_of
    from ferlab.config.overrides import explain

    with _hydra():
        try:
            composed = _composed(name, overrides)
        except (HydraException, OmegaConfBaseException) as error:
            raise UserError(explain(error, name)) from error
        work = import_module(f"ferlab.commands.{name}").run
        outcome = Job(name, schema_of(name), work, overrides)(composed)
    if outcome.error is not None:
        raise outcome.error
    return dict(outcome.result or {})


def runs(where: str = "", study: str | None = None) -> "pd.DataFrame":
    """One row a run, newest first: id, name, study, stage, status, minutes, then its params and metrics.

    ``where`` is a filter in MLflow's language. Curves by epoch are not among the metrics, see ``curves``.
    """
    import pandas as pd

    from ferlab.tracking.records import search

    _ = _context("runs").store
    found = [
        {"run_id": one.id, "name": one.name, "study": one.study, "stage": one.stage, "status": one.status,
         "minutes": one.minutes, **one.params, **{key: value for key, value in one.metrics.items() if "/" not in key}}
        for one in search(where, study)
    ]  # fmt: skip
    return pd.DataFrame(found)


def curves(run: str) -> "pd.DataFrame":
    """One row an epoch of a training: the phase, losses, accuracies, learning rate, images per second."""
    import pandas as pd

    return pd.read_json(artifact(run, "history.json"))


def predictions(run: str, split: str = "validation") -> "Predictions":
    """What a run said of a split; on test what its last evaluation kept (nothing is opened here)."""
    from ferlab.commands.contestants import predictions_of
    from ferlab.predictions import Predictions
    from ferlab.tracking.records import find_run

    _ = _context("runs").store
    return Predictions.load(predictions_of(find_run(run), split))


def answers(found: "Predictions") -> "pd.DataFrame":
    """One row a sample: id, ``label``, ``predicted`` with its ``probability``, whether it is ``right``."""
    import numpy as np
    import pandas as pd

    names = np.array(found.classes)
    return pd.DataFrame(
        {
            "id": found.ids,
            "label": names[found.labels],
            "predicted": names[found.predicted],
            "probability": found.probabilities.max(axis=1),
            "right": found.predicted == found.labels,
        }
    )


def faces(found: "Predictions", ids: Sequence[str]) -> list[Any]:
    """The prepared images with these ids, uint8 (h, w) or (h, w, 3), in their order; of training or validation only."""
    from ferlab.commands.prepared_data import find_prepared
    from ferlab.records.load import read_samples

    folder, manifest = find_prepared(_context("prepare"), found.dataset_digest)
    wanted = set(ids)
    images = {
        sample.id: sample.pixels.squeeze()
        for sample in read_samples(folder, manifest, found.split)
        if sample.id in wanted
    }
    return [images[one] for one in ids]


def compared(study: str, split: str = "validation", baseline: str | None = None) -> "list[Block]":
    """The runs of a study as ``ferlab compare`` has them, one block per protocol and data; nothing is recorded."""
    from ferlab.commands.compare import compared as blocks
    from ferlab.config.nodes import Intervals
    from ferlab.config.schema import CompareConfig

    return blocks(CompareConfig(study, [], split, baseline, Intervals()), _context("compare"))


def frame(table: "Table") -> "pd.DataFrame":
    """A table of a report as a DataFrame with its first column as the index."""
    import pandas as pd

    return pd.DataFrame(table.rows, columns=list(table.columns)).set_index(table.columns[0])


def artifact(run: str, path: str) -> Path:
    """A file that a run keeps, such as ``duplicates.csv`` of an audit, on this machine."""
    from ferlab.tracking.records import find_run

    _ = _context("runs").store
    return find_run(run).artifact(path)


def picture(run: str, path: str) -> Any:
    """A picture that a run keeps, such as ``figures/curves.png``; a notebook shows it."""
    from PIL import Image

    return Image.open(artifact(run, path))


def _set_up() -> None:
    set_up_environment(verbose=False)
    logging.getLogger("tensorflow").setLevel(logging.ERROR)  # a kernel shows what a terminal does not
    warnings.filterwarnings("ignore", message="IProgress not found")


def _context(name: str) -> "Context":
    _set_up()
    from ferlab.commands.launch import HOME_VARIABLE, Context

    return Context(name, Path(os.environ[HOME_VARIABLE]), {})


def _hydra() -> Any:
    """Hydra as it stands while a command runs; a notebook calls many in one process."""
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    from ferlab.config.files import conf_folder

    GlobalHydra.instance().clear()
    return initialize_config_dir(str(conf_folder()), version_base="1.3")


def _composed(name: str, overrides: Sequence[str]) -> Any:
    from hydra import compose

    from ferlab.commands.composing import hydra_overrides

    return compose(name, overrides=hydra_overrides(name, overrides, Path(os.environ["FERLAB_HOME"])))
