"""What an evaluation leaves on its run: numbers, predictions, figures, the report; and what a person sees of it."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ferlab.commands.launch import Context
from ferlab.evaluation.comparison import Against, Block, Contestant
from ferlab.evaluation.comparison_report import against_table
from ferlab.evaluation.document import Document, render
from ferlab.evaluation.evaluation_report import ONLY_TWINS, document_of
from ferlab.evaluation.findings import PREFIXES, Findings
from ferlab.evaluation.metrics import HEADLINE, INTERVALS, TITLES, as_json
from ferlab.evaluation.table_formats import percent, with_interval
from ferlab.manifest import Manifest
from ferlab.predictions import Predictions
from ferlab.scoring.latency import Latency
from ferlab.tracking.records import RunRecord
from ferlab.tracking.run import Run

REPORT = "report.html"
TWINS = "pixels also trained on"


def log_evaluation(
    run: Run,
    subject: Contestant,
    findings: Findings,
    blocks: Sequence[Block],
    facts: Mapping[str, str],
    mistakes: Any = None,
) -> None:
    """Everything on the evaluation's run; ``mistakes`` is a figure of the surest ones, None without images.

    ``blocks`` hold ``subject`` beside other runs, where there are any.
    """
    split = findings.predictions.split
    run.log_saved(findings.predictions.save, f"{split}.parquet", "predictions")
    if findings.augmented is not None:
        saver = partial(_save_augmented, findings.augmented.predictions, findings.augmented.name)
        run.log_saved(saver, f"{split}_tta.parquet", "predictions")
    run.log_metrics(dict(findings.flat()))
    _, against = against_baseline(blocks, subject.id)
    if against is not None:
        run.log_metrics(against.flat(PREFIXES[split]))
    document = document_of(subject, findings, blocks, facts, mistakes)
    log_pictures(run, document)
    run.log_text(render(document), REPORT)


def log_pictures(run: Run, document: Document) -> None:
    """Every picture of a report as a PNG file of its own."""
    for name, picture in document.files.items():
        run.log_bytes(picture.png, f"figures/{name}")


def against_baseline(blocks: Sequence[Block], subject_id: str) -> tuple[Contestant | None, Against | None]:
    """What ``subject_id`` was tested against and how that ended; None where it is the baseline, or stands alone."""
    for block in blocks:
        for row in block.rows:
            if row.run.id == subject_id and row.against is not None:
                return block.baseline.run, row.against
    return None, None


def say_findings(name: str, findings: Findings, context: Context) -> dict[str, Any]:
    """Say the numbers that matter; they are also what is returned, with the documented keys of ``--json``."""
    scores, split = findings.scores, findings.predictions.split
    rows = [[TITLES[measure], with_interval(measure, scores.estimates[measure])] for measure in HEADLINE]
    context.terminal.table(f"{name} on {split}, n = {scores.n:,}", ["measure", "value [95 % interval]"], rows)
    result: dict[str, Any] = {"metrics": scores.as_json()}
    if findings.probability is not None:
        result["probability"] = findings.probability.values()
        result["probability_estimates"] = as_json(findings.estimates)
    if findings.calibration is not None:
        calibration = findings.calibration
        context.terminal.say(
            f"calibration error {100 * calibration.before.ece:.1f} %, with temperature {calibration.temperature:.2f} "
            f"(fitted on validation) {100 * calibration.after.ece:.1f} %"
        )
        result["calibration"] = {
            "temperature": calibration.temperature,
            "after": calibration.after.values(),
            "estimates": as_json(findings.calibrated_estimates),
        }
    if findings.soft:
        result["votes"] = as_json(findings.soft)
    return result | say_augmented(findings, context) | say_twin_free(findings, context)


def say_against(blocks: Sequence[Block], subject_id: str, context: Context) -> dict[str, Any]:
    """Say how it stands to the baseline and return that with the keys of ``--json``; nothing without a baseline."""
    baseline, against = against_baseline(blocks, subject_id)
    if baseline is None or against is None:
        return {}
    for block in blocks:
        table = against_table(block)
        if table:
            context.terminal.table(table.caption, table.columns, table.rows, table.text_columns)
    return {"baseline": baseline.id, **against.as_json()}


def say_augmented(findings: Findings, context: Context) -> dict[str, Any]:
    """Say the accuracy with test-time augmentation and return it under ``tta``; nothing when there was none."""
    if findings.augmented is None or findings.augmented_scores is None:
        return {}
    name, n_views, scores = findings.augmented.name, findings.augmented.n_views, findings.augmented_scores
    accuracy = percent(scores.estimates["accuracy"])
    context.terminal.say(f"with test-time augmentation ({name}, {n_views} views): {accuracy}, n = {scores.n:,}")
    return {"tta": {"name": name, "n_views": n_views, "metrics": scores.as_json()}}


def say_twin_free(findings: Findings, context: Context) -> dict[str, Any]:
    """Say the accuracy of the twin-free subset and return it under ``twin_free``; nothing when there are no twins.

    Where all are twins, that is said.
    """
    if findings.only_twins:
        context.terminal.warn(f"{ONLY_TWINS}.")
    if findings.twin_free is None:
        return {}
    accuracy, n = percent(findings.twin_free.estimates["accuracy"]), findings.twin_free.n
    context.terminal.say(f"without images whose pixels were also trained on: {accuracy}, n = {n:,}")
    return {"twin_free": {"n": n, "metrics": findings.twin_free.as_json()}}


def data_facts(findings: Findings, manifest: Manifest, openings: int) -> dict[str, str]:
    """Which data were scored under which rules, and how often this subject has seen the test split."""
    predictions = findings.predictions
    return {
        "protocol": manifest.protocol,
        "split": f"{predictions.split}, {len(predictions):,} images",
        "taxonomy": f"{manifest.taxonomy}: {', '.join(manifest.classes)}",
        "dataset digest": manifest.digest,
        "copy of the dataset": "; ".join((manifest.verdict, *manifest.alarms)),
        TWINS: _twins_in_words(predictions),
        "times the test split was opened for it": str(openings),
        "intervals": INTERVALS,
        "seeds": _seeds_in_words(findings),
        "subgroups (age, sex, skin tone)": "not assessed",
    }


def run_facts(record: RunRecord, findings: Findings, manifest: Manifest, openings: int) -> dict[str, str]:
    """The facts of the data, with those of the model's run."""
    uncommitted = ", with uncommitted changes" if record.tags.get("git.dirty") == "true" else ""
    return data_facts(findings, manifest, openings) | {
        "model run": f"{record.id} ({record.name})",
        "made from runs": record.tags.get("ferlab.from.train", record.tags.get("ferlab.from.prepare", "-")),
        "code": f"ferlab {record.tags.get('ferlab.version')}, commit {record.tags.get('git.commit')}{uncommitted}",
    }


def latency_facts(latency: Latency, device: str) -> dict[str, str]:
    """How long one image takes, and how that was measured."""
    return {
        "latency of one image alone": f"{latency.median_ms:.1f} ms on {device}, median of {latency.calls} calls "
        f"(middle half {latency.low_ms:.1f} to {latency.high_ms:.1f})",
    }


def _seeds_in_words(findings: Findings) -> str:
    if findings.seeds is None:
        return "one: what another start would change, only `ferlab compare` over several runs shows"
    return f"{findings.seeds['accuracy'].n}: the numbers are this run's, mean and deviation over all stand beside them"


def _twins_in_words(predictions: Predictions) -> str:
    return "not compared" if predictions.twins is None else f"{int(predictions.twins.sum()):,} images"


def _save_augmented(predictions: Predictions, tta: str, path: Path) -> None:
    """Write the predictions with the name of the views in the file's metadata, under ``ferlab.tta``."""
    import pyarrow.parquet as pq

    predictions.save(path)
    table = pq.read_table(path)
    table = table.replace_schema_metadata({**table.schema.metadata, b"ferlab.tta": tta.encode()})
    pq.write_table(table, path, compression="zstd")
