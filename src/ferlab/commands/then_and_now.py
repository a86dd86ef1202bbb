"""What a recorded training was made with, and what it would be made with here: for ``ferlab reproduce``."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from ferlab.commands.backend import gpu_names, set_up_backend
from ferlab.commands.launch import Context, machine_facts
from ferlab.commands.training_record import SETTINGS, all_settings, settings_of
from ferlab.config.files import config_root
from ferlab.config.schema import ReproduceConfig, TrainConfig
from ferlab.config.validate import validate
from ferlab.errors import UserError
from ferlab.models.catalog import backbone
from ferlab.tracking.code_state import commands_to, tree_of
from ferlab.tracking.environment import RESUMED, Environment, overlaid, packages_of
from ferlab.tracking.records import RunRecord, find_run
from ferlab.tracking.run import flatten
from ferlab.training.precision import choose_precision

INSTEAD = {
    "prepare": "Its data has a digest: run `ferlab prepare` with its settings and compare `digest`.",
    "ensemble": "Repeat its members (tag ferlab.from.train), then combine the new runs with `ferlab ensemble`.",
    "pipeline": "Repeat its trainings (tag ferlab.from.train) one by one.",
    "evaluate": "Run `ferlab evaluate run={model}` again.",
    "sweep": "Repeat its jobs one by one; `ferlab runs` lists them.",
}
DIFF = "code/diff.patch"


@dataclass(frozen=True)
class Again:
    """A recorded training ready to be repeated: its record, its config typed and plain, the context to train in."""

    record: RunRecord
    config: TrainConfig
    raw: dict[str, Any]
    context: Context


def again(config: ReproduceConfig, context: Context) -> Again:
    """The training that ``config`` names, with the recorded config but for what ``config`` says has moved.

    Raises:
        UserError: no such run, no finished training, settings that this ferlab or this machine does not have.

    """
    store = context.store
    record = find_run(config.run)
    if record.stage != "train" or record.status != "FINISHED":
        raise UserError(_refusal(record))
    raw = _moved(record.config(), config) | {"resume": None, "from_run": None}
    try:
        typed = validate(OmegaConf.create(raw), TrainConfig, machine_facts())
    except UserError as error:
        message = f"run {record.id} ({record.name}): its settings do not fit here any more: {error}"
        raise UserError(message) from error
    # the new run is a training, also for a sweep of repetitions and for `mlflow run`
    within = replace(store.within, stages=("train",)) if store.within else None
    own = replace(store, project_stage="train", within=within)
    return Again(record, typed, raw, replace(context, command="train", raw=raw, _store=own))


def environment_then(record: RunRecord) -> Environment:
    """As it is recorded; what an older ferlab did not record is missing."""
    commit = record.tags.get("git.commit", "")
    tree = tree_of(config_root(), "" if commit == "none" else commit)
    patch = patch_of(record)
    files = None if tree is None else overlaid(tree, patch.read_text(encoding="utf-8") if patch else "")
    packages = packages_of(_text(record, "code/packages.txt"))
    later = packages_of(_text(record, f"code/{RESUMED}/packages.txt"))
    return Environment(record.tags, files, packages, _settings_then(record), later)


def environment_now(repeated: Again, digest: str) -> Environment:
    """Of this process; ``digest`` of the data that the settings lead to, empty where that is not known."""
    config, code = repeated.config, repeated.context.store.code
    device = set_up_backend(config.compute, config.seed, config.deterministic)
    import keras

    gpus = gpu_names()
    asked, gaining = config.recipe.precision, backbone(config.backbone.name).bfloat16
    tags = {
        **code.tags(),
        "backend": keras.config.backend(),
        "device": " ".join(sorted(set(gpus))) or "cpu",
        "devices": str(max(1, len(gpus))),
        "precision": choose_precision(asked, gaining, device),
        "dataset.digest": digest,
    }
    tree = tree_of(config_root(), code.commit)
    files = None if tree is None else overlaid(tree, code.diff)
    return Environment(tags, files, packages_of(code.packages), _settings_now(repeated))


def commands_back(record: RunRecord, context: Context) -> list[str]:
    """What a person types to repeat the run with the code that it was made with; nothing is done here."""
    commit = record.tags.get("git.commit", "none")
    if commit == "none":
        version = record.tags.get("ferlab.version", "?")
        return [f"# it was made by an installed ferlab {version}, without a checkout: install that version"]
    checkout = config_root()
    fetch = [] if tree_of(checkout, commit) else [f"git -C {checkout} fetch --all   # {commit[:12]} is not here"]
    folder = checkout.parent / f"{checkout.name}-{commit[:8]}-{record.id[:6]}"
    return [
        *fetch,
        *commands_to(checkout, commit, patch_of(record), folder),
        "make install",
        f"FERLAB_HOME={context.home} .venv/bin/ferlab reproduce run={record.id}",
    ]


def patch_of(record: RunRecord) -> Path | None:
    """The file of the recorded difference to the commit; None where there was none."""
    return record.artifact(DIFF) if record.tags.get("git.dirty") == "true" else None


def _text(record: RunRecord, artifact: str) -> str:
    try:
        return record.artifact(artifact).read_text(encoding="utf-8")
    except UserError:
        return ""


def _settings_then(record: RunRecord) -> dict[str, str]:
    """All, or of an older run those that its config has."""
    listed = _text(record, SETTINGS)
    return dict(json.loads(listed)) if listed else settings_of(flatten(record.config()))


def _settings_now(repeated: Again) -> dict[str, str]:
    """All. For an older run those of the nodes that its config has, whose phases leave out what is usual."""
    every = all_settings(repeated.config, repeated.raw)
    if _text(repeated.record, SETTINGS):
        return every
    given = flatten(repeated.raw)
    nodes = {key.rpartition(".")[0] for key in given}
    return {
        key: value
        for key, value in every.items()
        if key in given or (key.rpartition(".")[0] in nodes and "phases" not in key)
    }


def _moved(raw: dict[str, Any], config: ReproduceConfig) -> dict[str, Any]:
    changes = {
        ("dataset", "root"): config.root,
        ("backbone", "weights"): config.weights,
        ("compute", "device"): config.device,
    }
    moved = {name: dict(node) if isinstance(node, Mapping) else node for name, node in raw.items()}
    for (group, key), value in changes.items():
        if value is not None:
            as_path = key != "device" and "://" not in value
            moved[group][key] = str(Path(value).expanduser().absolute()) if as_path else value
    return moved | ({"study": config.study} if config.study else {})


def _refusal(record: RunRecord) -> str:
    where = f"run {record.id} ({record.name})"
    if record.stage == "train":
        how = f"`ferlab train resume={record.id}` ends it" if record.status != "RUNNING" else "it may still train"
        return f"{where} is {record.status}: only a finished training has an outcome to compare; {how}."
    stage = record.stage or "not one of ferlab"
    model = record.tags.get("ferlab.from.model", "ID")
    instead = INSTEAD.get(record.stage, "").format(model=model)
    return f"{where} is {stage}: trainings are repeated. {instead}".rstrip()
