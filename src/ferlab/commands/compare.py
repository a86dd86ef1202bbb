"""``ferlab compare``: recorded runs side by side, in one block per protocol and dataset."""

import csv
import io
from collections import defaultdict
from typing import Any

from ferlab.commands.launch import Context, Outcome, launch
from ferlab.commands.terminal import percent
from ferlab.commands.training_record import PREDICTIONS
from ferlab.config.schema import CompareConfig
from ferlab.errors import UserError
from ferlab.evaluation.figures import ranking_figure
from ferlab.evaluation.metrics import Scores, score
from ferlab.predictions import Predictions
from ferlab.tracking.records import RunRecord, find_run, runs_of_study

COLUMNS = ("run", "id", "accuracy", "macro F1", "test accuracy", "test opened", "parameters", "minutes")


def main() -> list[Outcome]:
    """Entry point of ``ferlab compare``."""
    return launch("compare", CompareConfig, run)


def run(config: CompareConfig, context: Context) -> dict[str, Any]:
    """Compare runs on validation; the result has one row per run with its block, id and metrics."""
    _ = context.store
    records = [find_run(reference) for reference in config.runs] or runs_of_study(config.study, ("train", "ensemble"))
    if not records:
        message = f"study={config.study}: no finished training or ensemble there to compare."
        raise UserError(message)
    blocks: dict[tuple[str, str], list[tuple[RunRecord, Scores]]] = defaultdict(list)
    for record in records:
        predictions = Predictions.load(record.artifact(PREDICTIONS))
        key = (predictions.protocol, predictions.dataset_digest)
        blocks[key].append((record, score(predictions, config.evaluation.resamples, config.evaluation.seed)))
    rows: list[dict[str, Any]] = []
    with context.store.run("compare", config.study, f"compare-{len(records)}") as tracked:
        tracked.log_config({"runs": [record.id for record in records], "study": config.study})
        tracked.link("compared", [record.id for record in records])
        for number, ((protocol, digest), block) in enumerate(blocks.items(), start=1):
            block.sort(key=lambda pair: pair[1].estimates["accuracy"].value, reverse=True)
            title = f"{protocol}, dataset {digest[:8]}, validation"
            context.terminal.table(title, COLUMNS, [_cells(*pair) for pair in block])
            ranking = [(f"{record.name} {record.id[:6]}", scores.estimates["accuracy"]) for record, scores in block]
            tracked.log_figure(ranking_figure(ranking, "accuracy on validation", title), f"figures/block_{number}.png")
            rows += [
                {"protocol": protocol, "dataset_digest": digest, "run_id": record.id, "name": record.name,
                 "metrics": scores.as_json()}
                for record, scores in block
            ]  # fmt: skip
        tracked.log_text(_csv(rows), "comparison.csv")
    if len(blocks) > 1:
        context.terminal.say(
            "Runs under different protocols or data stand in separate tables: their numbers cannot be ranked."
        )
    return {"run_id": tracked.id, "runs": rows}


def _cells(record: RunRecord, scores: Scores) -> list[str]:
    test = record.metrics.get("test_accuracy")
    return [
        record.name,
        record.id[:8],
        percent(scores.estimates["accuracy"]),
        f"{100 * scores.estimates['macro_f1'].value:.1f}",
        "-" if test is None else f"{100 * test:.1f}",
        record.tags.get("ferlab.test_openings", "0"),
        f"{record.metrics.get('parameters', 0):,.0f}",
        f"{record.minutes:.1f}",
    ]


def _csv(rows: list[dict[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    measures = list(rows[0]["metrics"])
    writer.writerow(
        [
            "protocol",
            "dataset_digest",
            "run_id",
            "name",
            *(f"{m}{e}" for m in measures for e in ("", "_low", "_high")),
        ]
    )
    for row in rows:
        numbers = [row["metrics"][m][end] for m in measures for end in ("value", "low", "high")]
        writer.writerow([row["protocol"], row["dataset_digest"], row["run_id"], row["name"], *numbers])
    return text.getvalue()
