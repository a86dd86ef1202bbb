"""One recorded run on one screen: how it ended, how it was set, what it measured, its relatives, its files."""

import dataclasses
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from omegaconf import OmegaConf

from ferlab.commands.launch import Context
from ferlab.commands.terminal import duration
from ferlab.config.files import groups, options
from ferlab.config.outline import schema_of
from ferlab.errors import UserError
from ferlab.evaluation.table_formats import value_text
from ferlab.sweeping.children import SWEEP_STAGE
from ferlab.tracking.artifacts import artifact_sizes
from ferlab.tracking.lineage import relatives
from ferlab.tracking.records import RunRecord
from ferlab.tracking.run import flatten

SHORT = 12
LOW, HIGH = "_low", "_high"
HIDDEN_METRICS = ("epoch/", "system/")
BROUGHT = "recipe"
"""A choice that another one, the backbone, makes when it is not made."""
TYPED = {"None": "null", "True": "true", "False": "false"}
"""Values as they are typed, by how Python shows them."""
SCORED = ("val", "test")
"""What the names of scores begin with."""
SHARE = re.compile(r"(accuracy|f1|precision|recall|mcc)$|(^|_)(f1|recall)_")
"""Scores that are shown with their interval: shares in per cent, a correlation as it is."""


def show(record: RunRecord, context: Context) -> dict[str, Any]:
    """Print everything about a run; the result has the same as plain data."""
    settings = changed_settings(record)
    found, sizes = relatives(record), artifact_sizes(record.id)
    steps = list(next_steps(record))
    say = context.terminal.say
    say(f"{record.name}   {record.id}")
    ran = "" if record.status == "RUNNING" else f" after {duration(60 * record.minutes)}"
    host = record.tags.get("ferlab.host", "?")
    say(f"  {record.stage or 'not of ferlab'}, {record.status}{ran}, study {record.study}, on {host}")
    commit = record.tags.get("git.commit", "none")[:SHORT]
    changed = " with uncommitted changes" if record.tags.get("git.dirty") == "true" else ""
    say(f"  ferlab {record.tags.get('ferlab.version', '?')}, commit {commit}{changed}")
    for key in ("ferlab.error", "ferlab.warning"):
        if record.tags.get(key):
            context.terminal.warn(record.tags[key])
    if record.stage == SWEEP_STAGE:
        say(f"begun with: ferlab {record.params.get('command')} -m {record.params.get('overrides')}")
    if settings is not None:
        say("settings that differ from the defaults:")
        say(f"  ferlab {record.stage} {' '.join(settings)}" if settings else "  none")
    splits, others = scores_by_split(record.metrics)
    if splits:
        measures = dict.fromkeys(name for scores in splits.values() for name in scores)
        rows = [[name, *(scores.get(name, "-") for scores in splits.values())] for name in measures]
        context.terminal.table("scores", ["per cent (MCC as it is) [95 % interval]", *splits], rows)
    if others:
        say("measured: " + ", ".join(f"{name} {value}" for name, value in others.items()))
    if found:
        rows = [[item.relation, item.id[:SHORT], item.name or "not in this store", item.status] for item in found]
        context.terminal.table("runs it has to do with", ["", "run", "name", "status"], rows, 4)
    if sizes:
        context.terminal.table("artifacts", ["path", "files", "MB"], list(_folders(sizes)))
    say("go on with it:")
    for step in steps:
        say(f"  {step}")
    return {
        "run_id": record.id, "name": record.name, "study": record.study, "stage": record.stage,
        "status": record.status, "error": record.tags.get("ferlab.error") or None, "minutes": record.minutes,
        "settings": settings, "metrics": record.metrics, "relatives": [vars(item) for item in found],
        "artifacts": sizes, "next": steps,
    }  # fmt: skip


def changed_settings(record: RunRecord) -> list[str] | None:
    """What would have to be typed to get the run's config: choices of groups, then single settings.

    None where that is not known: it has no config, or not one of a command of ferlab.
    """
    try:
        recorded = record.config()
        given = groups(record.stage)
    except (UserError, OSError):
        return None
    choices = {
        name: str(recorded[name]["name"])
        for name in given
        if isinstance(recorded.get(name), Mapping) and recorded[name].get("name") in options(name)
    }
    typed = [f"{name}={choice}" for name, choice in choices.items() if choice != given[name] and name != BROUGHT]
    if BROUGHT in choices and _composed(record.stage, typed)[BROUGHT]["name"] != choices[BROUGHT]:
        typed.append(f"{BROUGHT}={choices[BROUGHT]}")
    return [*typed, *differences(recorded, _composed(record.stage, typed))]


def differences(recorded: Mapping[str, Any], composed: Mapping[str, Any]) -> list[str]:
    """``key=value`` of everything recorded that the composed config has otherwise, as it is typed."""
    usual, changed = flatten(_lists_as_typed(composed)), []
    for key, value in flatten(_lists_as_typed(recorded)).items():
        if key.partition(".")[0] in composed and usual.get(key) != value:
            changed.append(f"{key}={TYPED.get(value, value)}")
    return changed


def _lists_as_typed(config: Any) -> Any:
    """The config with lists of plain values as ``[a,b]``; those of groups, such as phases, as they are."""
    if isinstance(config, Mapping):
        return {key: _lists_as_typed(value) for key, value in config.items()}
    if isinstance(config, list):
        below = [_lists_as_typed(value) for value in config]
        grouped = any(isinstance(value, Mapping) for value in below)
        return below if grouped else f"[{','.join(map(str, below))}]"
    return config


def _composed(stage: str, choices: list[str]) -> dict[str, Any]:
    from hydra import compose

    plain: Any = OmegaConf.to_container(compose(stage, overrides=choices), resolve=True)
    return dict(plain)


def scores_by_split(values: Mapping[str, float]) -> tuple[dict[str, dict[str, str]], dict[str, str]]:
    """Scores of each split by their names as text with their intervals, and other numbers of the whole run.

    Those of epochs and of the machine are for MLflow's UI.
    """
    splits: dict[str, dict[str, str]] = {}
    others: dict[str, str] = {}
    for name, value in sorted(values.items()):
        bound = name.endswith((LOW, HIGH)) and name.rpartition("_")[0] in values
        split, _, measure = name.partition("_")
        if bound or name.startswith(HIDDEN_METRICS):
            continue
        if split in SCORED and SHARE.search(measure):
            interval = [value_text(measure, values[name + end]) for end in (LOW, HIGH) if name + end in values]
            splits.setdefault(split, {})[measure] = value_text(measure, value) + (
                f" [{', '.join(interval)}]" if interval else ""
            )
        else:
            others[name] = f"{value:,.0f}" if value == int(value) else f"{value:,.4g}"
    return {split: splits[split] for split in SCORED if split in splits}, others


def _folders(sizes: Mapping[str, int]) -> Iterator[list[str]]:
    """One row for each file or folder at the top, the largest first."""
    kept: dict[str, list[int]] = defaultdict(list)
    for path, size in sizes.items():
        top, slash, _ = path.partition("/")
        kept[top + slash].append(size)
    for top, below in sorted(kept.items(), key=lambda item: -sum(item[1])):
        yield [top, str(len(below)), f"{sum(below) / 1e6:.2f}"]


def next_steps(record: RunRecord) -> Iterator[str]:
    """Commands that go on with a run."""
    short, stage = record.id[:SHORT], record.stage
    if record.status == "RUNNING":
        yield "ferlab ui"
    elif stage == SWEEP_STAGE and record.status != "FINISHED":
        command = record.params.get("command", "train")
        goes_on = any(item.name == "sweep" for item in dataclasses.fields(schema_of(command)))
        again = f"sweep.resume={record.name}" if goes_on else record.params.get("overrides", "")
        yield f"ferlab {command} -m {again}"
    elif stage == "train" and record.status != "FINISHED":
        yield f"ferlab train resume={short}"
    elif record.status != "FINISHED":
        yield f"ferlab runs delete=[{short}]"
    elif stage in ("train", "ensemble"):
        yield f"ferlab evaluate run={short}"
        yield f"ferlab register run={short} model=NAME"
        yield f"ferlab export run={short} precision=int8"
        yield f"ferlab compare study={record.study}"
        if stage == "train":
            yield f"ferlab train from_run={short} KEY=VALUE"
            yield f"ferlab reproduce run={short}"
    elif stage == SWEEP_STAGE:
        yield f"ferlab runs where='tags.`mlflow.parentRunId` = \"{record.id}\"'"
        yield f"ferlab compare study={record.study}"
    elif stage in ("evaluate", "external"):
        yield f"ferlab compare study={record.study} split={record.params.get('split', 'test')}"
    elif stage == "prepare":
        keys = ("dataset", "preparation")
        same = [text for text in changed_settings(record) or [] if text.partition("=")[0].partition(".")[0] in keys]
        yield " ".join(["ferlab train", *same, f"study={record.study}"])
    else:
        yield "ferlab ui"
