"""``ferlab reproduce``: a recorded training repeated from its record, and the two outcomes compared."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

from ferlab.commands.contestants import REPRODUCES, repetitions_of
from ferlab.commands.launch import Context, Outcome, launch
from ferlab.commands.prepared_data import already_prepared, ensure_prepared, find_prepared, on_this_machine
from ferlab.commands.then_and_now import Again, again, commands_back, environment_now, environment_then
from ferlab.commands.train import train
from ferlab.config.schema import ReproduceConfig
from ferlab.errors import UserError
from ferlab.evaluation.metrics import TITLES
from ferlab.evaluation.repetition import SEEDS, Repetition, agreement, deltas, first_difference
from ferlab.predictions import PREDICTIONS, Predictions
from ferlab.preparation.prepare import Prepared
from ferlab.tracking.environment import Comparison, as_json, compare
from ferlab.tracking.records import RunRecord, add_tag, find_run
from ferlab.tracking.run import Run

DIFFERS = 3
"""Exit code when a run does not repeat, or with ``check=true`` would not be made with the same things."""
BIT_EQUAL, WITHIN, OTHER, OTHER_DATA, SAME = "bit-equal", "within-chance", "differs", "other-data", "same"
REPEATS = (BIT_EQUAL, WITHIN, SAME)
INITIAL, REPRODUCED, REPORT = "weights.initial", "ferlab.reproduced", "reproduction.json"
SHOWN = 20


def main() -> list[Outcome]:
    """Entry point of ``ferlab reproduce``; the exit code of a job that does not repeat is DIFFERS."""
    outcomes = launch("reproduce", ReproduceConfig, run)
    return [
        dataclasses.replace(outcome, code=DIFFERS)
        if outcome.result and outcome.result.get("verdict") not in REPEATS
        else outcome
        for outcome in outcomes
    ]


def run(config: ReproduceConfig, context: Context) -> dict[str, Any]:
    """Compare what the run was made with, repeat it, compare the outcomes; the result has verdict and all numbers.

    Raises:
        UserError: no finished training of that name, or its settings or its data are not to be had here.

    """
    repeated = again(config, context)
    record = repeated.record
    prepared, prepare_run = (_prepared_now(repeated), None) if config.check else _prepared(repeated)
    digest = prepared.manifest.digest if prepared else ""
    found = compare(environment_then(record), environment_now(repeated, digest))
    _show(found, record, context)
    result: dict[str, Any] = {
        "reproduces": record.id, "run_id": None, "environment": as_json(found.rows), "files": list(found.files),
        "packages": list(found.packages), "settings": list(found.settings),
    }  # fmt: skip
    if config.check:
        verdict = OTHER if found.differing else SAME
        context.terminal.say(f"check: {_differing(found)}" if found.differing else "check: nothing known differs")
        return result | {"verdict": verdict}
    if prepared is None or digest != record.tags.get("dataset.digest"):
        context.terminal.say(
            f"verdict: {OTHER_DATA}. The settings of run {record.id} lead to other data than then; nothing was trained."
        )
        return result | {"verdict": OTHER_DATA}
    own = repeated.context
    trained = train(
        repeated.config, own, on_this_machine(prepared, own), prepare_run, name=f"{record.name}-again",
        tags={REPRODUCES: record.id, "ferlab.from.reproduced": record.id},
    )  # fmt: skip
    outcome, now = _outcome(record, find_run(trained.run_id))
    verdict, why = _verdict(outcome, found, repeated)
    _show_outcome(outcome, record, now, context)
    context.terminal.say(f"verdict: {verdict}. {why}")
    context.terminal.say(f"run {trained.run_id}")
    result |= {
        "run_id": trained.run_id, "verdict": verdict, "expected_bit_equal": _expected(found, repeated),
        "metrics": {delta.name: delta.as_json() for delta in outcome.deltas},
        "predictions": outcome.agreement.as_json(), "first_epoch": outcome.first_epoch,
    }  # fmt: skip
    Run(trained.run_id, trained.name).log_json(result, REPORT)
    add_tag(trained.run_id, REPRODUCED, verdict)
    add_tag(record.id, REPRODUCED, f"{verdict} by {trained.run_id}")
    return result


def _prepared(repeated: Again) -> tuple[Prepared, str | None]:
    """The data made again from its files; where those are gone, what was prepared of them and has the digest."""
    try:
        return ensure_prepared(repeated.config, repeated.context)
    except UserError as error:
        try:
            folder, manifest = find_prepared(repeated.context, repeated.record.tags.get("dataset.digest", ""))
        except UserError:
            message = f"{error} Where it has moved: root=DIR."
            raise UserError(message) from error
        repeated.context.terminal.warn(f"{error} The prepared data with the recorded digest is taken: {folder}")
        return Prepared(str(folder), manifest, reused=True), None


def _prepared_now(repeated: Again) -> Prepared | None:
    """What is prepared already, from the same files or with the recorded digest; None when nothing is."""
    try:
        return already_prepared(repeated.config, repeated.context)
    except UserError as error:
        repeated.context.terminal.warn(str(error))
        return None


def _outcome(then: RunRecord, now: RunRecord) -> tuple[Repetition, RunRecord]:
    first, second = (Predictions.load(one.artifact(PREDICTIONS)) for one in (then, now))
    histories = [json.loads(one.artifact("history.json").read_text(encoding="utf-8")) for one in (then, now)]
    seeds = [one.metrics for one in repetitions_of(then)]
    measures = deltas(then.metrics, now.metrics, seeds, "val")
    return Repetition(measures, agreement(first, second), first_difference(*histories)), now


def _expected(found: Comparison, repeated: Again) -> bool:
    """Whether every bit is bound to be the same: nothing differs, and a CPU computes in a fixed order."""
    (device,) = (row.now for row in found.rows if row.what == "device")
    return found.same and repeated.config.deterministic and device == "cpu"


def _verdict(outcome: Repetition, found: Comparison, repeated: Again) -> tuple[str, str]:
    if outcome.bit_equal:
        return BIT_EQUAL, "Metrics, curves and every probability are the same numbers."
    if _expected(found, repeated):
        return OTHER, "Deterministic on a CPU, with nothing changed, it had to be equal to the bit."
    why = f"Made with other things: {_differing(found)}." if found.differing else "Nothing known differs."
    if not repeated.config.deterministic:
        why += " The run was not deterministic (deterministic=true makes one so)."
    return (WITHIN if outcome.within else OTHER), why


def _differing(found: Comparison) -> str:
    return ", ".join(row.what for row in found.differing)


def _show(found: Comparison, record: RunRecord, context: Context) -> None:
    words = {True: "yes", False: "no", None: "not known"}
    rows = [
        [row.what, row.then, row.now, words[row.same] + ("" if row.same or row.matters else ", does not matter")]
        for row in found.rows
    ]
    context.terminal.table(f"{record.name} ({record.id})", ["made with", "then", "now", "same"], rows, text_columns=4)
    for title, lines in (
        ("files that differ", found.files),
        ("packages that differ", found.packages),
        ("settings that differ", found.settings),
    ):
        _list(title, lines, context)
    if any(row.what == "code in src/" for row in found.differing):
        context.terminal.say("the recorded code, beside this checkout:")
        for command in commands_back(record, context):
            context.terminal.say(f"  {command}")


def _list(title: str, lines: Sequence[str], context: Context) -> None:
    if lines:
        more = f" (the first {SHOWN} of {len(lines)})" if len(lines) > SHOWN else ""
        context.terminal.say(f"{title}{more}:")
        for line in lines[:SHOWN]:
            context.terminal.say(f"  {line}")


def _show_outcome(outcome: Repetition, then: RunRecord, now: RunRecord, context: Context) -> None:
    rows = [
        [
            TITLES[delta.name], f"{delta.then:.4f}", f"{delta.now:.4f}", f"{delta.now - delta.then:+.4f}",
            f"{delta.low:.4f} .. {delta.high:.4f}", "yes" if delta.within else "no",
        ]
        for delta in outcome.deltas
    ]  # fmt: skip
    seeds = outcome.deltas and outcome.deltas[0].judged_by == SEEDS
    span = "by seeds" if seeds else "95 % interval"
    context.terminal.table("On validation", ["", "then", "now", "delta", span, "within"], rows)
    match = outcome.agreement
    same = "all bits equal" if match.bit_equal else f"largest difference of a probability {match.largest:.2g}"
    context.terminal.say(f"predictions of {match.n:,} images: {same}, {100 * match.same_answer:.2f} % the same answer")
    if outcome.first_epoch is not None:
        context.terminal.say(f"the curves part in epoch {outcome.first_epoch}{_initial(then.tags, now.tags)}")


def _initial(then: Mapping[str, str], now: Mapping[str, str]) -> str:
    if INITIAL not in then:
        return ""
    return ", from the same initial weights" if then[INITIAL] == now.get(INITIAL) else ", from other initial weights"
