"""``ferlab evaluate``: the only command that opens the test split; it writes down how often."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ferlab.commands.backend import set_up_backend
from ferlab.commands.launch import Context, Outcome, launch
from ferlab.commands.prepared_data import find_prepared
from ferlab.commands.terminal import percent
from ferlab.config.nodes import Evaluation
from ferlab.config.schema import EvaluateConfig
from ferlab.errors import UserError
from ferlab.evaluation.figures import confusion_figure, per_class_figure, ranking_figure
from ferlab.evaluation.metrics import HEADLINE, Scores, score
from ferlab.evaluation.report import TITLES, AugmentedScores, Report, ReportedRun, render
from ferlab.manifest import Manifest
from ferlab.predictions import Predictions
from ferlab.samples import TEST
from ferlab.scoring.predict import predict_split_with_views
from ferlab.scoring.views import PLAIN, View, views_of
from ferlab.sealed import Opening
from ferlab.storage.files import exclusive
from ferlab.tracking.records import RunRecord, add_metrics, add_tag, find_run
from ferlab.tracking.run import Run

OPENINGS = "ferlab.test_openings"
REPORT = "report.html"
TWINS = "pixels also trained on"


@dataclass(frozen=True)
class Evaluated:
    """A finished evaluation: its run, the run evaluated with its scores, the report.

    Beside the scores, where there are any: those of the twin-free subset, those with test-time augmentation.
    """

    run_id: str
    subject: ReportedRun
    report: Path
    without_twins: Scores | None
    augmented: AugmentedScores | None = None


def main() -> list[Outcome]:
    """Entry point of ``ferlab evaluate``."""
    return launch("evaluate", EvaluateConfig, run)


def run(config: EvaluateConfig, context: Context) -> dict[str, Any]:
    """Evaluate one run; the result has run_id (of the evaluation), metrics and the report's path."""
    _ = context.store
    done = evaluate(config, context)
    estimates = done.subject.scores.estimates
    context.terminal.table(
        f"{done.subject.name} on {config.split}, n = {done.subject.scores.n:,}",
        ["measure", "value [95 % interval]"],
        [[TITLES[name], percent(estimates[name])] for name in HEADLINE],
    )
    result = {"run_id": done.run_id, "metrics": done.subject.scores.as_json(), "report": str(done.report)}
    context.terminal.say(f"report: {done.report}")
    return result | say_augmented(done, context) | say_twin_free(done, context)


def say_augmented(done: Evaluated, context: Context) -> dict[str, Any]:
    """Say the accuracy with test-time augmentation and return it under ``tta``; nothing when there was none."""
    if done.augmented is None:
        return {}
    name, n_views, scores = done.augmented.name, done.augmented.n_views, done.augmented.scores
    accuracy = percent(scores.estimates["accuracy"])
    context.terminal.say(f"with test-time augmentation ({name}, {n_views} views): {accuracy}, n = {scores.n:,}")
    return {"tta": {"name": name, "n_views": n_views, "metrics": scores.as_json()}}


def say_twin_free(done: Evaluated, context: Context) -> dict[str, Any]:
    """Say the accuracy of the twin-free subset and return it under ``twin_free``; nothing when there are no twins."""
    if done.without_twins is None:
        return {}
    accuracy, n = percent(done.without_twins.estimates["accuracy"]), done.without_twins.n
    context.terminal.say(f"without images whose pixels were also trained on: {accuracy}, n = {n:,}")
    return {"twin_free": {"n": n, "metrics": done.without_twins.as_json()}}


def evaluate(
    config: EvaluateConfig, context: Context, parent: Run | None = None, others: Sequence[ReportedRun] = ()
) -> Evaluated:
    """Score a recorded model on a split and write the report; ``others`` stand beside it in the ranking."""
    split, settings = config.split, config.evaluation
    record = find_run(config.run)
    if record.stage not in ("train", "ensemble"):
        stage = record.stage or "not one of ferlab"
        message = f"run {record.id} ({record.name}) is {stage}: it holds no model to evaluate."
        raise UserError(message)
    folder, manifest = find_prepared(context, record.tags.get("dataset.digest", ""))
    set_up_backend(config.compute)
    model = record.load_model()
    with context.store.run("evaluate", config.study or record.study, f"evaluate-{record.name}", parent=parent) as run:
        run.log_config({"run": record.id, "split": split, "evaluation": vars(settings)})
        run.link("model", [record.id])
        run.log_dataset(manifest, folder, "evaluate")
        opening = _open_test(record.id, context.home) if split == TEST else None
        openings = opening.count if opening else int(record.tags.get(OPENINGS, "0"))
        views = _views(settings, manifest.size_px)
        predictions, seen_often = predict_split_with_views(model, folder, manifest, split, record.id, views, opening)
        scores = score(predictions, settings.resamples, settings.seed)
        without_twins = _score_twin_free(predictions, settings)
        augmented = _augmented(seen_often, settings, len(views))
        run.log_saved(predictions.save, f"{split}.parquet", "predictions")
        run.log_metrics(scores.flat(split))
        if without_twins:
            run.log_metrics(without_twins.flat(f"{split}_twin_free"))
        if augmented:
            run.log_saved(partial(_save_augmented, seen_often, augmented.name), f"{split}_tta.parquet", "predictions")
            run.log_metrics(augmented.scores.flat(f"{split}_tta"))
        add_metrics(record.id, {f"{split}_{name}": scores.estimates[name].value for name in HEADLINE})
        subject = ReportedRun(record.name, record.id, scores)
        facts = _facts(record, manifest, split, openings) | _twin_facts(predictions, without_twins)
        _log_report(run, _report(subject, others, split, facts, augmented))
    return Evaluated(run.id, subject, find_run(run.id).artifact(REPORT), without_twins, augmented)


def _open_test(run_id: str, home: Path) -> Opening:
    """Write on the model's run that its test split is opened once more, before it is."""
    with exclusive(home / "mlflow.lock"):
        openings = int(find_run(run_id).tags.get(OPENINGS, "0")) + 1
        add_tag(run_id, OPENINGS, str(openings))
    return Opening(run_id, openings)


def _views(settings: Evaluation, size_px: int) -> tuple[View, ...]:
    return (PLAIN,) if settings.tta == "none" else views_of(settings.tta, settings.tta_shift, size_px)


def _augmented(predictions: Predictions, settings: Evaluation, n_views: int) -> AugmentedScores | None:
    """Scores of predictions that were combined over views; None where the plain image was the only one."""
    if settings.tta == "none":
        return None
    return AugmentedScores(settings.tta, n_views, score(predictions, settings.resamples, settings.seed))


def _save_augmented(predictions: Predictions, tta: str, path: Path) -> None:
    """Write the predictions with the name of the views in the file's metadata, under ``ferlab.tta``."""
    import pyarrow.parquet as pq

    predictions.save(path)
    table = pq.read_table(path)
    table = table.replace_schema_metadata({**table.schema.metadata, b"ferlab.tta": tta.encode()})
    pq.write_table(table, path, compression="zstd")


def _score_twin_free(predictions: Predictions, settings: Evaluation) -> Scores | None:
    """Scores without the images whose pixels also stand in train; None where there is none of them."""
    if predictions.twins is None or not predictions.twins.any():
        return None
    return score(predictions.twin_free(), settings.resamples, settings.seed)


def _twin_facts(predictions: Predictions, without_twins: Scores | None) -> dict[str, str]:
    if predictions.twins is None:
        return {TWINS: "not compared"}
    count = f"{int(predictions.twins.sum()):,} images"
    if without_twins is None:
        return {TWINS: count}
    accuracy = percent(without_twins.estimates["accuracy"])
    return {TWINS: f"{count}; accuracy without them {accuracy}, n = {without_twins.n:,}"}


def _report(
    subject: ReportedRun,
    others: Sequence[ReportedRun],
    split: str,
    facts: dict[str, str],
    augmented: AugmentedScores | None,
) -> Report:
    figures = {
        "Confusion matrix": confusion_figure(subject.scores, f"{subject.name} on {split}"),
        "By category": per_class_figure(subject.scores, f"{subject.name} on {split}"),
    }
    if others:
        rows = [(run.name, run.scores.estimates["accuracy"]) for run in (subject, *others)]
        figures["Runs side by side"] = ranking_figure(rows, f"accuracy on {split}", "Ensemble and members")
    return Report(f"{subject.name} on {facts['protocol']}, {split}", facts, subject, others, figures, augmented)


def _log_report(run: Run, report: Report) -> None:
    for title, figure in report.figures.items():
        run.log_figure(figure, f"figures/{title.lower().replace(' ', '_')}.png")
    run.log_text(render(report), REPORT)


def _facts(record: RunRecord, manifest: Manifest, split: str, openings: int) -> dict[str, str]:
    return {
        "protocol": manifest.protocol,
        "split": f"{split}, {sum(manifest.counts[split].values()):,} images",
        "taxonomy": f"{manifest.taxonomy}: {', '.join(manifest.classes)}",
        "dataset digest": manifest.digest,
        "copy of the dataset": "; ".join((manifest.verdict, *manifest.alarms)),
        "model run": f"{record.id} ({record.name})",
        "made from runs": record.tags.get("ferlab.from.train", record.tags.get("ferlab.from.prepare", "-")),
        "parameters": f"{record.metrics.get('parameters', 0):,.0f}",
        "times this model's test split was opened": str(openings),
        "code": f"ferlab {record.tags.get('ferlab.version')}, commit {record.tags.get('git.commit')}"
        + (", with uncommitted changes" if record.tags.get("git.dirty") == "true" else ""),
        "intervals": "percentile bootstrap over images, 95 %",
    }
