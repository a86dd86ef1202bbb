"""``ferlab compare``: recorded runs side by side, tested against a baseline, in one block per protocol and dataset."""

from collections.abc import Sequence
from typing import Any

from ferlab.commands.contestants import EXTERNAL, contestant, evaluations_of, originals
from ferlab.commands.debugging import warn_of_debug, without_debug
from ferlab.commands.evaluation_record import log_pictures
from ferlab.commands.launch import Context, Outcome, launch
from ferlab.config.schema import CompareConfig
from ferlab.errors import UserError
from ferlab.evaluation.comparison import Block, Contestant, Ranked, compare, reasons
from ferlab.evaluation.comparison_files import csv_of, latex_of, markdown_of
from ferlab.evaluation.comparison_report import document_of, tables_of
from ferlab.evaluation.document import render
from ferlab.samples import TEST
from ferlab.tracking.records import RunRecord, find_run, runs_of_study
from ferlab.tracking.run import Run

COMPARED = ("train", "ensemble", EXTERNAL)
HTML, CSV, MARKDOWN, LATEX = (f"comparison.{ending}" for ending in ("html", "csv", "md", "tex"))


def main() -> list[Outcome]:
    """Entry point of ``ferlab compare``."""
    return launch("compare", CompareConfig, run)


def run(config: CompareConfig, context: Context) -> dict[str, Any]:
    """Compare runs on one split; the result has one row per run with its block, metrics and test against the baseline.

    Raises:
        UserError: nothing to compare, a run without predictions of the split, a baseline that is not among the runs.

    """
    blocks = compared(config, context)
    runs = [row.run for block in blocks for row in block.rows]
    baseline = find_run(config.baseline, "baseline").id if config.baseline else None
    with context.store.run("compare", config.study, f"compare-{len(runs)}") as tracked:
        tracked.log_config(
            {"runs": [one.id for one in runs], "study": config.study, "split": config.split,
             "baseline": baseline, "evaluation": vars(config.evaluation)}
        )  # fmt: skip
        tracked.link("compared", [one.id for one in runs])
        _log(tracked, blocks, f"{config.study}: {len(runs)} runs on {config.split}")
        report = find_run(tracked.id).artifact(HTML)
    for block in blocks:
        for table in tables_of(block):
            context.terminal.table(table.caption, table.columns, table.rows, table.text_columns)
    for reason in reasons(blocks):
        context.terminal.say(reason)
    context.terminal.say(f"report: {report}   (beside it {CSV}, {MARKDOWN}, {LATEX})")
    return {
        "run_id": tracked.id,
        "report": str(report),
        "runs": [_row(block, row) for block in blocks for row in block.rows],
    }


def compared(config: CompareConfig, context: Context) -> list[Block]:
    """The runs that are asked for, in one block per protocol and data, tested against the baseline.

    Raises:
        UserError: as ``run``.

    """
    _ = context.store
    records = _records(config, context)
    baseline = find_run(config.baseline, "baseline").id if config.baseline else None
    runs = _contestants(records, config, context)
    if baseline and baseline not in [one.id for one in runs]:
        message = f"baseline={config.baseline}: is not among the {len(runs)} runs that are compared."
        raise UserError(message)
    return compare(runs, baseline, config.evaluation.resamples, config.evaluation.seed)


def _contestants(records: Sequence[RunRecord], config: CompareConfig, context: Context) -> list[Contestant]:
    """The runs with their predictions; of a study, those that have none are said and left out."""
    found = []
    evaluations = evaluations_of(records, config.split) if config.split == TEST else {}
    for record in records:
        try:
            found.append(contestant(record, config.split, evaluations))
        except UserError as error:
            if config.runs:
                raise
            context.terminal.warn(f"left out: {error}")
    if not found:
        message = f"study={config.study}: none of its {len(records)} runs has predictions on {config.split}."
        raise UserError(message)
    return found


def _records(config: CompareConfig, context: Context) -> list[RunRecord]:
    """Those named, or all of the study that count: no debug level, no repetition of another run."""
    if config.runs:
        named = [find_run(reference) for reference in config.runs]
        warn_of_debug(named, context)
        return named
    found = originals(without_debug(runs_of_study(config.study, COMPARED), config.study, context))
    if not found:
        message = f"study={config.study}: no finished training, ensemble or scored file there to compare."
        raise UserError(message)
    return found


def _log(run: Run, blocks: Sequence[Block], title: str) -> None:
    document = document_of(blocks, title)
    run.log_text(render(document), HTML)
    run.log_text(csv_of(blocks), CSV)
    run.log_text(markdown_of(blocks), MARKDOWN)
    run.log_text(latex_of(blocks), LATEX)
    log_pictures(run, document)


def _row(block: Block, row: Ranked) -> dict[str, Any]:
    found: dict[str, Any] = {
        "protocol": block.protocol,
        "dataset_digest": block.digest,
        "split": block.split,
        "run_id": row.run.id,
        "name": row.run.name,
        "metrics": row.scores.as_json(),
        "costs": vars(row.run.costs),
    }
    if row.against is not None:
        found["baseline"] = block.baseline.run.id
        found |= row.against.as_json()
    return found
