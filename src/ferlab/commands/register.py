"""``ferlab register``: a run's model into MLflow's registry, with its card; champion only when it is not worse."""

from dataclasses import asdict, dataclass
from typing import Any

from ferlab.commands.backend import set_up_backend
from ferlab.commands.contestants import EXTERNAL, OPENINGS, predictions_of
from ferlab.commands.debugging import warn_of_debug
from ferlab.commands.launch import Context, Outcome, launch
from ferlab.config.nodes import Intervals
from ferlab.config.schema import RegisterConfig
from ferlab.errors import UserError
from ferlab.evaluation.card import CardFacts, model_card
from ferlab.evaluation.document import Table
from ferlab.evaluation.metrics import HEADLINE, TITLES, score
from ferlab.evaluation.significance import PairedDifference, paired_differences
from ferlab.evaluation.table_formats import is_correlation, with_interval
from ferlab.predictions import Predictions
from ferlab.samples import TEST, VALIDATION
from ferlab.storage.files import exclusive
from ferlab.tracking.records import RunRecord, find_run
from ferlab.tracking.registry import CHAMPION, champion_of, crown, declare, declared, register

CARD = "model_card.md"
METRIC, MARGIN = "ferlab.metric", "ferlab.margin"
"""Tags of a registered model: by what its champion is chosen."""
REDECLARED = "ferlab.redeclared"
"""Tag of the run and the version with which that was changed: from what to what."""


@dataclass(frozen=True)
class Rule:
    """By what a champion is chosen: the measure, and how much worse a new one may be at most."""

    metric: str = "accuracy"
    margin: float = 0.01

    def __str__(self) -> str:
        return f"{self.metric} with a margin of {self.margin:g}"


@dataclass(frozen=True)
class Decision:
    """Whether a candidate becomes the champion, why, and the difference that decided (candidate minus champion)."""

    crowned: bool
    reason: str
    difference: PairedDifference | None = None


def main() -> list[Outcome]:
    """Entry point of ``ferlab register``."""
    return launch("register", RegisterConfig, run)


def run(config: RegisterConfig, context: Context) -> dict[str, Any]:
    """Register one run; the result has the version, whether it became the champion, and why."""
    _ = context.store
    record = find_run(config.run)
    warn_of_debug([record], context)
    if record.status != "FINISHED":
        message = f"run {record.id} ({record.name}) is {record.status}: only finished runs are registered."
        raise UserError(message)
    predictions = Predictions.load(predictions_of(record, VALIDATION))
    if predictions.run_id != record.id or record.stage == EXTERNAL:
        message = f"run {record.id} ({record.name}): there is no model to register, only predictions."
        raise UserError(message)
    set_up_backend(config.compute)
    model = record.load_model()
    study, name = config.study or record.study, f"register-{record.name}"
    with exclusive(context.home / "registry.lock"):
        earlier = _declared(config.model)
        rule = rule_of(config, earlier)
        changed = {REDECLARED: f"{earlier} -> {rule}"} if earlier not in (None, rule) else {}
        with context.store.run("register", study, name) as tracked:
            tracked.log_config({"run": record.id, "model": config.model, **asdict(rule)})
            tracked.link("model", [record.id])
            decision = decide(rule, config.evaluation, predictions, champion_of(config.model))
            card = model_card(_facts(record, predictions, model.input_shape[1:], config))
            tracked.log_text(card, CARD)
            metadata = {
                "classes": list(predictions.classes), "taxonomy": predictions.taxonomy,
                "protocol": predictions.protocol, "dataset_digest": predictions.dataset_digest, "run_id": record.id,
            }  # fmt: skip
            tags = {"ferlab.run": record.id, "ferlab.decision": decision.reason, **changed}
            version = register(config.model, model, predictions.classes, metadata, card, tags)
            declare(config.model, {METRIC: rule.metric, MARGIN: f"{rule.margin:g}"})
            if decision.crowned:
                crown(config.model, version)
            said = {"version": version, **asdict(rule), **asdict(decision)}
            tracked.log_json(said, "decision.json")
            tracked.set_tags(
                {"ferlab.registered": f"{config.model}/{version}", "ferlab.decision": decision.reason, **changed}
            )
    for change in changed.values():
        context.terminal.warn(f"the champion of {config.model} is chosen anew: {change}")
    context.terminal.say(f"models:/{config.model}/{version}: {decision.reason}")
    if decision.crowned:
        context.terminal.say(f"serve it: mlflow models serve -m models:/{config.model}@{CHAMPION} --env-manager local")
    return {"run_id": tracked.id, "model": config.model, **said}


def rule_of(config: RegisterConfig, earlier: Rule | None) -> Rule:
    """What decides: what was declared ``earlier`` (None: nothing), which others replace only where that is asked for.

    Raises:
        UserError: others are given without ``redeclare``.

    """
    base = earlier or Rule()
    asked = Rule(config.metric or base.metric, base.margin if config.margin is None else config.margin)
    if earlier in (None, asked) or config.redeclare:
        return asked
    message = (
        f"model={config.model}: its champion is chosen by {earlier}, as declared with its first version, not by "
        f"{asked}. Leave metric and margin out, or change them with redeclare=true, which is logged."
    )
    raise UserError(message)


def _declared(model: str) -> Rule | None:
    tags = declared(model)
    return Rule(tags[METRIC], float(tags[MARGIN])) if {METRIC, MARGIN} <= set(tags) else None


def decide(rule: Rule, intervals: Intervals, candidate: Predictions, champion: tuple[str, str] | None) -> Decision:
    """The candidate takes over when it is not worse than the champion by more than the margin (non-inferiority).

    Both are compared on the same validation images; what cannot be compared never takes over.
    """
    if champion is None:
        return Decision(True, "champion: the first version")
    version, reference = champion
    if not version:
        return Decision(False, "not champion: there are versions and none is champion; set the alias by hand")
    try:
        reigning = Predictions.load(predictions_of(find_run(reference), VALIDATION)).ordered_by_id()
    except UserError as error:
        return Decision(False, f"not champion: version {version} cannot be compared with ({error})")
    ordered = candidate.ordered_by_id()
    for key in ("protocol", "taxonomy", "dataset_digest", "ids"):
        mine, theirs = getattr(ordered, key), getattr(reigning, key)
        if mine != theirs:
            shown = "other samples" if key == "ids" else f"{key} {mine}, version {version} has {theirs}"
            return Decision(False, f"not champion: {shown}; numbers under different protocols or data are not ranked")
    found = paired_differences(
        ordered.labels, reigning.predicted, ordered.predicted, len(ordered.classes),
        intervals.resamples, intervals.seed,
    )[rule.metric]  # fmt: skip
    in_points = not is_correlation(rule.metric)
    points = f"{with_interval(rule.metric, found, '+')} {'points of ' if in_points else 'of '}{rule.metric}"
    margin = f"{100 * rule.margin if in_points else rule.margin:g}"
    if found.low < -rule.margin:
        text = f"not champion: {points} against version {version}, it may be worse by more than {margin}"
        return Decision(False, text, found)
    return Decision(True, f"champion: {points} against version {version}, on validation", found)


def _facts(record: RunRecord, predictions: Predictions, shape: tuple[int, ...], config: RegisterConfig) -> CardFacts:
    tables = []
    for split in (VALIDATION, TEST):
        try:
            found = Predictions.load(predictions_of(record, split))
        except UserError:
            continue
        scores = score(found, config.evaluation.resamples, config.evaluation.seed)
        caption = f"{found.protocol}, {split}, n = {scores.n:,}"
        rows = [[TITLES[name], with_interval(name, scores.estimates[name])] for name in HEADLINE]
        tables.append(Table(["measure", "per cent (MCC as it is) [95 % interval]"], rows, caption))
        classes = [[row.name, f"{row.precision:.3f}", f"{row.recall:.3f}", f"{row.f1:.3f}", f"{row.support:,}"]
                   for row in scores.per_class]  # fmt: skip
        tables.append(Table(["category", "precision", "recall", "F1", "n"], classes, f"{split}, by category"))
    colour = "gray" if shape[-1] == 1 else "RGB"
    provenance = {
        "run": f"{record.id} ({record.name}), study {record.study}",
        "protocol": predictions.protocol,
        "dataset digest": predictions.dataset_digest,
        "test split opened": f"{record.tags.get(OPENINGS, '0')} times for this model",
        "parameters": f"{record.metrics.get('parameters', 0):,.0f}",
        "code": f"ferlab {record.tags.get('ferlab.version')}, commit {record.tags.get('git.commit')}",
    }
    dataset = predictions.protocol.partition("/")[0]
    image = f"uint8 images {shape[0]}x{shape[1]}, {colour}, pixels 0..255"
    return CardFacts(
        f"{config.model}: {record.name}", dataset, predictions.classes, predictions.taxonomy, image, tables, provenance
    )
