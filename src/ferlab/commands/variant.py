"""``ferlab train from_run=RUN key=value``: a recorded run's settings, with only what is said changed."""

import dataclasses
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from ferlab.config.fields import REQUIRED
from ferlab.config.files import config_root, groups, recorded_folder
from ferlab.config.schema import TrainConfig
from ferlab.errors import UserError
from ferlab.storage.files import write_text
from ferlab.tracking.records import RunRecord, find_run
from ferlab.tracking.run import Run, flatten
from ferlab.tracking.store import connect

FROM_RUN = "from_run"
WITHOUT = ("resume", "experiments")
"""What brings settings of its own, and so does not go with a recorded run's."""
OF_RUNS = ("resume", FROM_RUN, "sweep")
"""Keys that say nothing of how a network is trained."""
NAMED_CHANGES = 20


def with_recorded(overrides: Sequence[str], home: Path) -> list[str]:
    """``overrides`` with those that bring the settings of the run ``from_run=RUN`` where they name no others.

    Each group of the recorded config becomes an option of that group, below FERLAB_HOME, where Hydra finds it; so a
    sweep, too, composes its jobs from them. Without ``from_run`` they stay as they are.

    Raises:
        UserError: no such run, one that is no training, or overrides that do not go with it.

    """
    given = {key: value for key, _, value in (text.lstrip("+~").partition("=") for text in overrides)}
    reference = given.get(FROM_RUN, "").strip("'\"")
    if reference in ("", "null"):
        return list(overrides)
    for key in WITHOUT:
        if given.get(key, "null") != "null":
            message = f"from_run={reference}: {key}={given[key]} brings settings of its own. Leave one of them out."
            raise UserError(message)
    record = _training(reference, home)
    config = record.config()
    added = [
        f"{key}={'null' if value is None else value}" for key, value in _single(config).items() if key not in given
    ]
    for group, node in _grouped(config).items():
        option = f"recorded-{record.id}"
        write_text(recorded_folder(home) / group / f"{option}.yaml", yaml.safe_dump(node, sort_keys=False))
        if group not in given:
            added.append(f"{group}={option}")
    kept = [f"{FROM_RUN}={record.id}" if text.partition("=")[0].lstrip("+") == FROM_RUN else text for text in overrides]
    return [*added, *kept]


def link_origin(run: Run, reference: str, raw: Mapping[str, Any]) -> None:
    """Write on a run which one it is a variant of, and what is other than there."""
    origin = find_run(reference)
    run.link("run", [origin.id])
    then, now = (flatten({k: v for k, v in config.items() if k not in OF_RUNS}) for config in (origin.config(), raw))
    changed = [f"{key}={value}" for key, value in now.items() if then.get(key) != value and key in then]
    more = [f"and {len(changed) - NAMED_CHANGES} more"] if len(changed) > NAMED_CHANGES else []
    run.set_tags({"ferlab.changes": " ".join([*changed[:NAMED_CHANGES], *more]) or "none"})


def _training(reference: str, home: Path) -> RunRecord:
    if "," in reference:
        message = f"from_run={reference}: one run at a time."
        raise UserError(message)
    connect(home, config_root())
    record = find_run(reference)
    if record.stage not in ("train", "profile"):
        stage = record.stage or "not one of ferlab"
        message = f"from_run={reference}: run {record.id} ({record.name}) is {stage}: variants are made of trainings."
        raise UserError(message)
    return record


def _grouped(config: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The nodes that are groups, whole: settings that the run does not know yet have their defaults."""
    hints = typing.get_type_hints(TrainConfig)
    return {name: _defaults(hints[name]) | config[name] for name in groups("train") if name in hints and name in config}


def _defaults(node: type[Any]) -> dict[str, Any]:
    plain = {field.name: field.default for field in dataclasses.fields(node)}
    return {name: value for name, value in plain.items() if value not in (REQUIRED, dataclasses.MISSING)}


def _single(config: Mapping[str, Any]) -> dict[str, Any]:
    """The values beside the groups."""
    known = {field.name for field in dataclasses.fields(TrainConfig)} - set(OF_RUNS) - set(groups("train"))
    return {name: value for name, value in config.items() if name in known}
