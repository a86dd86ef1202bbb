"""``ferlab ensemble``: trained runs combined on validation, and the combination as one model."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ferlab.commands.backend import set_up_backend
from ferlab.commands.launch import Context, Outcome, launch
from ferlab.commands.prepared_data import find_prepared
from ferlab.commands.terminal import percent
from ferlab.commands.training_record import BOOTSTRAP_SEED, EXAMPLES, PREDICTIONS, RESAMPLES, model_metadata
from ferlab.config.schema import EnsembleConfig
from ferlab.emotions import require_same_classes
from ferlab.ensembling.combine import aligned, combine, member_weights
from ferlab.errors import UserError
from ferlab.evaluation.figures import confusion_figure, ranking_figure
from ferlab.evaluation.metrics import Scores, score
from ferlab.models.ensemble import ensemble_model
from ferlab.predictions import Predictions
from ferlab.tracking.records import RunRecord, find_run
from ferlab.tracking.run import Run


@dataclass(frozen=True)
class Ensembled:
    """A finished ensemble run: its members' weights, its and their scores on validation."""

    run_id: str
    name: str
    weights: dict[str, float]
    scores: Scores


def main() -> list[Outcome]:
    """Entry point of ``ferlab ensemble``."""
    return launch("ensemble", EnsembleConfig, run)


def run(config: EnsembleConfig, context: Context) -> dict[str, Any]:
    """Combine runs; the result has run_id, the validation metrics and the members' weights by run id."""
    _ = context.store
    done = ensemble(config, context)
    context.terminal.say(
        f"{done.name}: accuracy {percent(done.scores.estimates['accuracy'])} on validation, where it was fitted"
    )
    context.terminal.say(f"run {done.run_id}")
    return {"run_id": done.run_id, "metrics": done.scores.as_json(), "weights": done.weights}


def ensemble(config: EnsembleConfig, context: Context, parent: Run | None = None) -> Ensembled:
    """Fit the members' weights on validation, build the one model, record both in one MLflow run."""
    records = [find_run(reference) for reference in config.runs]
    if len({record.id for record in records}) != len(records):
        message = f"runs: the same run is named twice ({', '.join(record.id for record in records)})."
        raise UserError(message)
    members = aligned([_predictions(record) for record in records])
    method = config.ensemble.method
    weights = member_weights(members, method)
    study = config.study or records[0].study
    set_up_backend(config.compute)
    name = f"ensemble-{len(records)}-{method}"
    with context.store.run("ensemble", study, name, parent=parent) as run:
        run.log_config({"runs": [record.id for record in records], "method": method, "study": study})
        run.link("train", [record.id for record in records])
        folder, manifest = find_prepared(context, members[0].dataset_digest)
        require_same_classes(manifest.classes, members[0].classes, str(folder), f"run {records[0].id}")
        run.log_dataset(manifest, folder, "ensemble")
        combined = combine(members, weights, run.id)
        scores = score(combined, RESAMPLES, BOOTSTRAP_SEED)
        run.log_saved(combined.save, "validation.parquet", "predictions")
        run.log_metrics(scores.flat("val"))
        by_id = {record.id: float(weight) for record, weight in zip(records, weights, strict=True)}
        run.log_json({"method": method, "weights": by_id}, "weights.json")
        _log_figures(run, records, members, scores)
        model = ensemble_model([record.load_model() for record in records], list(weights))
        run.log_metrics({"parameters": model.count_params()})
        shape = (EXAMPLES, manifest.size_px, manifest.size_px, manifest.channels)
        example = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
        run.log_model(model, example, model_metadata(manifest, run.id, name))
    return Ensembled(run.id, name, by_id, scores)


def _predictions(record: RunRecord) -> Predictions:
    if record.stage not in ("train", "ensemble"):
        stage = record.stage or "not one of ferlab"
        message = f"run {record.id} ({record.name}) is {stage}: only trained runs can be combined."
        raise UserError(message)
    return Predictions.load(record.artifact(PREDICTIONS))


def _log_figures(run: Run, records: Sequence[RunRecord], members: Sequence[Predictions], scores: Scores) -> None:
    run.log_figure(confusion_figure(scores, f"{run.name}, validation"), "figures/confusion_validation.png")
    rows = [(run.name, scores.estimates["accuracy"])]
    for record, member in zip(records, members, strict=True):
        rows.append((record.name, score(member, RESAMPLES, BOOTSTRAP_SEED).estimates["accuracy"]))
    run.log_figure(ranking_figure(rows, "accuracy on validation", "Ensemble and members"), "figures/members.png")
