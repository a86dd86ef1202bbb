"""``ferlab ensemble``: trained runs combined on validation, and the combination as one model."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ferlab.commands.backend import set_up_backend
from ferlab.commands.debugging import inherited_tags
from ferlab.commands.ensemble_members import Members, chosen_members
from ferlab.commands.launch import Context, Outcome, launch
from ferlab.commands.prepared_data import find_prepared
from ferlab.commands.terminal import Terminal
from ferlab.commands.training_record import BOOTSTRAP_SEED, EXAMPLES, RESAMPLES, cost_metrics, model_metadata
from ferlab.config.schema import EnsembleConfig
from ferlab.emotions import require_same_classes
from ferlab.ensembling.alignment import stacked
from ferlab.ensembling.combination import Combination
from ferlab.ensembling.crossfit import Trial, attempt, best
from ferlab.ensembling.diversity import Diversity, as_csv, diversity
from ferlab.ensembling.fitting import plans
from ferlab.ensembling.selection import growing_means
from ferlab.evaluation.comparison_report import MOST_PICTURED
from ferlab.evaluation.ensemble_figures import diversity_figure, growth_figure
from ferlab.evaluation.figures import confusion_figure, ranking_figure
from ferlab.evaluation.metrics import Estimate, Scores, score
from ferlab.evaluation.table_formats import percent
from ferlab.manifest import Manifest
from ferlab.models.ensemble import ensemble_model
from ferlab.predictions import Predictions
from ferlab.tracking.run import Run

SHOWN_PAIRS = 10
"""Pairs at either end that are printed when there are more than twice as many."""
ORDERED = "ordered on the same images"
"""Of the accuracies of more and more members: the labels that they are scored on also said who comes next."""


@dataclass(frozen=True)
class Tried:
    """A method that was tried: its trial, and its scores on samples it was not fitted on."""

    trial: Trial
    scores: Scores

    def as_json(self) -> dict[str, Any]:
        """A row of ``methods`` of ``--json``."""
        accuracy = vars(self.scores.estimates["accuracy"])
        return {"method": self.trial.plan.name, "accuracy": accuracy, "nll": self.trial.nll,
                "fit_accuracy": self.trial.fit_accuracy}  # fmt: skip


@dataclass(frozen=True)
class Ensembled:
    """A finished ensemble run: its members and their weights, its scores on validation, what was tried."""

    run_id: str
    name: str
    members: Members
    weights: dict[str, float]
    chosen: Tried
    tried: list[Tried]
    spread: Diversity
    growth: list[Estimate]

    @property
    def scores(self) -> Scores:
        """Of the chosen method, out of fold."""
        return self.chosen.scores


def main() -> list[Outcome]:
    """Entry point of ``ferlab ensemble``."""
    return launch("ensemble", EnsembleConfig, run)


def run(config: EnsembleConfig, context: Context) -> dict[str, Any]:
    """Combine runs; the result has run_id, the metrics, the members' weights, the methods and the curve."""
    _ = context.store
    done = ensemble(config, context)
    show(done, context.terminal)
    names = [done.members.records[place] for place in done.members.order]
    return {
        "run_id": done.run_id,
        "metrics": done.scores.as_json(),
        "method": done.chosen.trial.plan.name,
        "weights": done.weights,
        "methods": [one.as_json() for one in done.tried],
        "growth": [
            {"members": count, "added": record.id, "accuracy": vars(estimate)}
            for count, (record, estimate) in enumerate(zip(names, done.growth, strict=True), start=1)
        ],
        "growth_note": ORDERED,
    }


def ensemble(config: EnsembleConfig, context: Context, parent: Run | None = None) -> Ensembled:
    """Fit the combination on validation, build the one model, record both in one MLflow run."""
    members = chosen_members(config, context)
    first = members.predictions[0]
    folder, manifest = find_prepared(context, first.dataset_digest)
    require_same_classes(manifest.classes, first.classes, str(folder), f"run {members.records[0].id}")
    tried = [_try(trial, first) for trial in _trials(config, members)]
    winner = best([one.trial for one in tried])
    chosen = next(one for one in tried if one.trial is winner)
    combination, ids = winner.combination, [record.id for record in members.records]
    study = config.study or members.records[0].study
    set_up_backend(config.compute)
    name = f"ensemble-{len(ids)}-{winner.plan.name.replace(' ', '-')}"
    with context.store.run("ensemble", study, name, parent=parent) as run:
        run.log_config({"runs": ids, "study": study, "top": config.top, "diverse": config.diverse,
                        "ensemble": vars(config.ensemble), "chosen": winner.plan.name})  # fmt: skip
        run.link("train", ids)
        run.set_tags(inherited_tags(members.records))
        run.log_dataset(manifest, folder, "ensemble")
        _log_choice(run, tried, chosen, first)
        spread, growth = diversity(members.predictions), _growth(members)
        _log_members(run, members, chosen.scores, spread, growth)
        _log_model(run, members, combination, manifest)
    return Ensembled(run.id, name, members, combination.member_weights(), chosen, tried, spread, growth)


def _trials(config: EnsembleConfig, members: Members) -> list[Trial]:
    return [attempt(plan, members.predictions, config.ensemble.folds) for plan in plans(config.ensemble)]


def _try(trial: Trial, first: Predictions) -> Tried:
    return Tried(trial, score(replace(first, probabilities=trial.out_of_fold), RESAMPLES, BOOTSTRAP_SEED))


def _growth(members: Members) -> list[Estimate]:
    """Accuracy of the equal mean of the first 1, 2, ... members in their order."""
    means = growing_means(stacked(members.predictions), members.order)
    first = members.predictions[0]
    scores = (score(replace(first, probabilities=mean), RESAMPLES, BOOTSTRAP_SEED) for mean in means)
    return [one.estimates["accuracy"] for one in scores]


def _log_choice(run: Run, tried: Sequence[Tried], chosen: Tried, first: Predictions) -> None:
    """Predictions and scores out of fold, the accuracy where it was fitted beside them, the methods, the weights."""
    predictions = replace(first, probabilities=chosen.trial.out_of_fold, run_id=run.id)
    run.log_saved(predictions.save, "validation.parquet", "predictions")
    run.log_metrics(
        chosen.scores.flat("val") | {"val_nll": chosen.trial.nll, "fit_accuracy": chosen.trial.fit_accuracy}
    )
    combination = chosen.trial.combination
    run.log_json(combination.as_json(), "combination.json")
    run.log_json({"method": combination.method, "weights": combination.member_weights()}, "weights.json")
    run.log_json([one.as_json() for one in tried], "methods.json")


def _log_members(run: Run, members: Members, scores: Scores, spread: Diversity, growth: Sequence[Estimate]) -> None:
    """Tables of all members, and figures of the first MOST_PICTURED in their order: more cannot be read."""
    names, count = members.names, len(members.names)
    run.log_text(as_csv(spread, names), "diversity.csv")
    first = members.order[:MOST_PICTURED]
    which = f"The first {len(first)} of {count} members. " if len(first) < count else ""
    shown = sorted(first)
    pairs = np.ix_(shown, shown)
    figure = diversity_figure([names[i] for i in shown], spread.disagreement[pairs], spread.correlation[pairs], which)
    run.log_figure(figure, "figures/diversity.png")
    title = f"{which}Equal mean on validation, {ORDERED}"
    run.log_figure(growth_figure([names[i] for i in first], growth[: len(first)], title), "figures/growth.png")
    run.log_figure(confusion_figure(scores, f"{run.name}, validation"), "figures/confusion_validation.png")
    rows = [(names[i], score(members.predictions[i], RESAMPLES, BOOTSTRAP_SEED).estimates["accuracy"]) for i in first]
    rows.append((run.name, scores.estimates["accuracy"]))
    title = f"{which}Ensemble and members"
    run.log_figure(ranking_figure(rows, "accuracy on validation", title), "figures/members.png")


def _log_model(run: Run, members: Members, combination: Combination, manifest: Manifest) -> None:
    model = ensemble_model([record.load_model() for record in members.records], combination)
    run.log_metrics(cost_metrics(model) | _training_minutes(members))
    shape = (EXAMPLES, manifest.size_px, manifest.size_px, manifest.channels)
    example = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    said = {"method": combination.method, "weights": combination.member_weights()}
    run.log_model(model, example, model_metadata(manifest, run.id, run.name) | {"combination": said})


def _training_minutes(members: Members) -> dict[str, float]:
    """What training all members took, as a metric; nothing where one of them does not say."""
    known = [record.metrics["train_minutes"] for record in members.records if "train_minutes" in record.metrics]
    return {"train_minutes": sum(known)} if len(known) == len(members.records) else {}


def show(done: Ensembled, terminal: Terminal) -> None:
    """Print the methods, the members with their weights, how differently they err, and the score."""
    if len(done.tried) > 1:
        terminal.table(
            "Methods on validation samples they were not fitted on",
            ["method", "accuracy [95 % interval]", "NLL", "where fitted"],
            [_method_row(one, one is done.chosen) for one in done.tried],
        )
    names = done.members.names
    accuracies = [float((one.predicted == one.labels).mean()) for one in done.members.predictions]
    terminal.table(
        f"Members of {done.name}",
        ["run", "validation", "weight"],
        [
            [name, f"{100 * accuracy:.1f}", f"{weight:.2f}"]
            for name, accuracy, weight in zip(names, accuracies, done.weights.values(), strict=True)
        ],
    )
    pairs, whole = _shown_pairs(done.spread), len(done.spread.pairs)
    most = f": the {SHOWN_PAIRS} that disagree most and least of {whole:,}, all in diversity.csv"
    terminal.table(
        "Diversity of pairs" + (most if len(pairs) < whole else ""),
        ["run", "and", "disagree", "Q", "error correlation"],
        [_pair_row(done.spread, names, pair) for pair in pairs],
        text_columns=2,
    )
    terminal.say(f"{done.name}: accuracy {percent(done.scores.estimates['accuracy'])} on validation, out of fold")
    terminal.say(f"run {done.run_id}")


def _method_row(one: Tried, chosen: bool) -> list[str]:
    name = f"{one.trial.plan.name} (chosen)" if chosen else one.trial.plan.name
    trial = one.trial
    inside = f"{100 * trial.fit_accuracy:.1f}" if trial.plan.fitted else "-"
    return [name, percent(one.scores.estimates["accuracy"]), f"{trial.nll:.3f}", inside]


def _shown_pairs(spread: Diversity) -> list[tuple[int, int]]:
    """All pairs; of more than can be read those that disagree most, then those that disagree least."""
    if len(spread.pairs) <= 2 * SHOWN_PAIRS:
        return spread.pairs
    ordered = sorted(spread.pairs, key=lambda pair: -spread.disagreement[pair])
    return ordered[:SHOWN_PAIRS] + ordered[-SHOWN_PAIRS:]


def _pair_row(spread: Diversity, names: Sequence[str], pair: tuple[int, int]) -> list[str]:
    tables = (spread.q[pair], spread.correlation[pair])
    numbers = ("-" if np.isnan(value) else f"{value:.2f}" for value in tables)
    return [names[pair[0]], names[pair[1]], f"{100 * spread.disagreement[pair]:.1f} %", *numbers]
