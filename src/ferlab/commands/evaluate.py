"""``ferlab evaluate``: the only command that opens the test split; it writes down how often."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from ferlab.commands.backend import set_up_backend
from ferlab.commands.baseline import baseline_of
from ferlab.commands.contestants import EXTERNAL, LATENCY, OPENINGS, costs_of, other_seeds
from ferlab.commands.debugging import inherited_tags, warn_of_debug
from ferlab.commands.evaluation_record import (
    REPORT,
    data_facts,
    latency_facts,
    log_evaluation,
    run_facts,
    say_against,
    say_findings,
)
from ferlab.commands.launch import Context, Outcome, launch
from ferlab.commands.mistakes import explanation_of_run, mistakes_picture
from ferlab.commands.prepared_data import ensure_prepared, find_prepared, on_this_machine
from ferlab.config.nodes import Evaluation
from ferlab.config.schema import EvaluateConfig, PrepareConfig
from ferlab.errors import UserError
from ferlab.evaluation.comparison import Block, Contestant, Costs, compare
from ferlab.evaluation.findings import PREFIXES, Augmented, Findings, find
from ferlab.evaluation.foreign import in_order, read_foreign, require_file
from ferlab.evaluation.metrics import HEADLINE
from ferlab.predictions import PREDICTIONS, Predictions
from ferlab.samples import TEST, VALIDATION
from ferlab.scoring.latency import latency_of
from ferlab.scoring.predict import answered, predict_split_with_views, samples_without_pixels
from ferlab.scoring.views import PLAIN, View, views_of
from ferlab.sealed import Opening
from ferlab.storage.files import exclusive
from ferlab.tracking.records import RunRecord, add_metrics, add_tag, find_run, runs_with_tag
from ferlab.tracking.run import Run

STUDY = "ferlab"
TOOL = "ferlab.tool"
"""On the run of another tool's predictions: that tool's name."""


@dataclass(frozen=True)
class Evaluated:
    """A finished evaluation: its run, what was evaluated with its predictions, what was found, the report.

    ``blocks``: it beside other runs, where there are any.
    """

    run_id: str
    subject: Contestant
    findings: Findings
    report: Path
    blocks: Sequence[Block] = ()


def main() -> list[Outcome]:
    """Entry point of ``ferlab evaluate``."""
    return launch("evaluate", EvaluateConfig, run)


def run(config: EvaluateConfig, context: Context) -> dict[str, Any]:
    """Evaluate a run or a file; the result has run_id (of the evaluation), metrics and the report's path.

    Raises:
        UserError: neither or both are given, or a file without the dataset that it answers.

    """
    if (config.run is None) == (config.predictions is None):
        message = "evaluate needs run=ID (a recorded run) or predictions=FILE (of another tool), one of them."
        raise UserError(message)
    _ = context.store
    if config.run:
        warn_of_debug([find_run(config.run)], context)
    done = evaluate(config, context) if config.run else evaluate_file(config, context)
    found = say_findings(done.subject.name, done.findings, context)
    found |= say_against(done.blocks, done.subject.id, context)
    if (latency_ms := done.subject.costs.latency_ms) is not None:
        context.terminal.say(f"one image alone takes {latency_ms:.1f} ms")
        found["latency_ms"] = latency_ms
    context.terminal.say(f"report: {done.report}")
    return {"run_id": done.run_id, "report": str(done.report)} | found


def evaluate(
    config: EvaluateConfig, context: Context, parent: Run | None = None, others: Sequence[Evaluated] = ()
) -> Evaluated:
    """Score a recorded model on a split and write the report.

    ``others`` are tested against it on the same images, or it against ``config.baseline``.
    """
    split, settings = config.split, config.evaluation
    record = find_run(str(config.run))
    if record.stage not in ("train", "ensemble"):
        stage = record.stage or "not one of ferlab"
        message = f"run {record.id} ({record.name}) is {stage}: it holds no model to evaluate."
        raise UserError(message)
    if record.stage == "ensemble" and split == VALIDATION:
        message = f"run {record.id} ({record.name}): was fitted on validation; its val_ metrics are those out of fold."
        raise UserError(message)
    folder, manifest = find_prepared(context, record.tags.get("dataset.digest", ""))
    baseline = baseline_of(config.baseline, split, manifest, record.id) if config.baseline else None
    validation = _validation(record, split)
    device = set_up_backend(config.compute)
    model = record.load_model()
    with context.store.run("evaluate", config.study or record.study, f"evaluate-{record.name}", parent=parent) as run:
        run.log_config({"run": record.id, "split": split, "evaluation": vars(settings)})
        run.link("model", [record.id])
        run.set_tags(inherited_tags([record]))
        _link_baseline(run, baseline)
        run.log_dataset(manifest, folder, "evaluate")
        opening = _open_test(record.id, context.home) if split == TEST else None
        views = _views(settings, manifest.size_px)
        predictions, seen_often = predict_split_with_views(model, folder, manifest, split, record.id, views, opening)
        augmented = None if settings.tta == "none" else Augmented(settings.tta, len(views), seen_often)
        seeds = other_seeds(record, PREFIXES[split])
        findings = find(predictions, settings.resamples, settings.seed, validation, augmented, seeds)
        explain = explanation_of_run(record, model)
        mistakes = mistakes_picture(folder, manifest, predictions, record.name, explain, opening)
        latency = latency_of(model)
        costs = replace(costs_of(record), latency_ms=latency.median_ms)
        costs = replace(costs, openings=opening.count) if opening else costs
        subject = Contestant(record.id, record.name, record.id, predictions, costs)
        blocks = _side_by_side(subject, [other.subject for other in others], baseline, settings)
        facts = run_facts(record, findings, manifest, costs.openings or 0) | latency_facts(latency, device)
        log_evaluation(run, subject, findings, blocks, facts, mistakes)
        measured = {LATENCY: latency.median_ms}
        run.log_metrics(measured)
        if opening:
            measured |= {f"{split}_{name}": findings.scores.estimates[name].value for name in HEADLINE}
        add_metrics(record.id, measured)
    return Evaluated(run.id, subject, findings, find_run(run.id).artifact(REPORT), blocks)


def evaluate_file(config: EvaluateConfig, context: Context) -> Evaluated:
    """Score the predictions of another tool on a split of ``config.dataset``, as a run that can be compared.

    Raises:
        UserError: no dataset is named, the file cannot be read, or it does not answer every sample of the split once.

    """
    path, split, settings = Path(str(config.predictions)).expanduser(), config.split, config.evaluation
    if config.dataset is None or config.preparation is None or config.debug is None:
        message = "predictions=FILE needs the dataset whose split it answers, such as dataset=fer2013 dataset.root=DIR."
        raise UserError(message)
    if settings.tta != "none":
        message = "evaluation.tta: views are made of images; a file of predictions has none. Leave it out."
        raise UserError(message)
    study, tool = config.study or STUDY, config.name or path.stem
    if "'" in tool or "`" in tool:
        message = f"name={tool}: leave quotes out of it; earlier openings are found by this name."
        raise UserError(message)
    require_file(path)
    asked = PrepareConfig(study, config.dataset, config.preparation, config.compute, config.debug)
    prepared = on_this_machine(ensure_prepared(asked, context)[0], context)
    manifest = prepared.manifest
    baseline = baseline_of(config.baseline, split, manifest) if config.baseline else None
    foreign = read_foreign(path, manifest.classes)
    with context.store.run(EXTERNAL, study, tool) as run:
        run.log_config({"predictions": str(path), "split": split, "evaluation": vars(settings)})
        _link_baseline(run, baseline)
        run.set_tags({TOOL: tool, "ferlab.predictions_sha256": sha256(path.read_bytes()).hexdigest()})
        run.log_dataset(manifest, prepared.folder, "evaluate")
        opening = _open_test(run.id, context.home, tool, manifest.digest) if split == TEST else None
        samples = samples_without_pixels(prepared.folder, manifest, split, opening)
        ordered = in_order(foreign, [sample.id for sample in samples], str(path))
        predictions = answered(samples, ordered, manifest, split, run.id, foreign.hard)
        findings = find(predictions, settings.resamples, settings.seed)
        openings = opening.count if opening else 0
        subject = Contestant(run.id, tool, run.id, predictions, Costs(openings=openings))
        facts = data_facts(findings, manifest, openings) | {"predictions of": tool, "file": str(path)}
        blocks = _side_by_side(subject, (), baseline, settings)
        mistakes = mistakes_picture(prepared.folder, manifest, predictions, tool, opening=opening)
        log_evaluation(run, subject, findings, blocks, facts, mistakes)
    return Evaluated(run.id, subject, findings, find_run(run.id).artifact(REPORT), blocks)


def _link_baseline(run: Run, baseline: Contestant | None) -> None:
    if baseline is not None:
        run.link("baseline", [baseline.id])


def _side_by_side(
    subject: Contestant, others: Sequence[Contestant], baseline: Contestant | None, settings: Evaluation
) -> list[Block]:
    """The runs ranked on the same images; without a baseline the others are tested against ``subject``."""
    runs = [subject, *others, *([baseline] if baseline else [])]
    if len(runs) == 1:
        return []
    return compare(runs, (baseline or subject).id, settings.resamples, settings.seed)


def _validation(record: RunRecord, split: str) -> Predictions | None:
    """What the temperature is fitted on; None on validation itself, and where the run has no such predictions."""
    if split == VALIDATION:
        return None
    try:
        file = record.artifact(PREDICTIONS)
    except UserError:
        return None
    return Predictions.load(file)


def _open_test(run_id: str, home: Path, tool: str = "", digest: str = "") -> Opening:
    """Write on the subject's run that the test split is opened once more, before it is.

    A file has a run of its own every time: earlier openings are those of all runs of ``tool`` on the data ``digest``,
    ended well or not.
    """
    with exclusive(home / "mlflow.lock"):
        same = runs_with_tag(TOOL, tool, ended_well=False) if tool else []
        earlier = [one for one in same if one.tags.get("dataset.digest") == digest] or [find_run(run_id)]
        openings = max(int(one.tags.get(OPENINGS, "0")) for one in earlier) + 1
        add_tag(run_id, OPENINGS, str(openings))
    return Opening(run_id, openings)


def _views(settings: Evaluation, size_px: int) -> tuple[View, ...]:
    return (PLAIN,) if settings.tta == "none" else views_of(settings.tta, settings.tta_shift, size_px)
