"""The report of one evaluation as a document: everything that FIELD's honest evaluation names, in one order."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ferlab.evaluation.comparison import Block, Contestant
from ferlab.evaluation.comparison_report import HOW_TO_READ, pictures_of, spread_table, tables_of
from ferlab.evaluation.document import Card, Document, Picture, Section, Table
from ferlab.evaluation.figures import confusion_figure, per_class_figure
from ferlab.evaluation.findings import Findings
from ferlab.evaluation.metrics import HEADLINE, TITLES, Estimate, Interval, Scores
from ferlab.evaluation.probability_figures import (
    precision_recall_figure,
    reliability_figure,
    risk_coverage_figure,
    roc_figure,
)
from ferlab.evaluation.probability_intervals import HOW
from ferlab.evaluation.repetition import FEWEST_SEEDS
from ferlab.evaluation.table_formats import is_correlation, value_text, with_interval

WORDING = (
    "A category is the expression as perceived by the annotators, not what a person felt. "
    "Subgroups (age, sex, skin tone): not assessed."
)
ONLY_TWINS = "No image is twin-free, the pixels of all were also trained on"


def document_of(
    subject: Contestant,
    findings: Findings,
    blocks: Sequence[Block],
    facts: Mapping[str, str],
    mistakes: Any = None,
) -> Document:
    """The report of ``subject``; ``blocks``: other runs, tested against it."""
    where = f"{subject.name} on {findings.predictions.split}"
    sections = [
        _result(subject, findings),
        *_side_by_side(blocks),
        _by_category(findings, where),
        _confusion(findings, where),
        *_curves(findings, where),
        *_calibration(findings, where),
        *_soft(findings),
        *_mistakes(mistakes, findings.predictions.hard),
        Section("Provenance", facts=dict(facts) | _cost_facts(subject)),
    ]
    return Document(f"{subject.name} on {findings.predictions.protocol}, {findings.predictions.split}", sections)


def _result(subject: Contestant, findings: Findings) -> Section:
    cards = [Card(TITLES[name], *_card_texts(name, item)) for name, item in findings.scores.estimates.items()]
    tables = []
    if findings.seeds is not None:
        tables.append(spread_table({"this run and its repetitions": findings.seeds}))
    if findings.twin_free is not None:
        shown = [("all images", findings.scores), ("without them", findings.twin_free)]
        tables.append(_scores_table("Images", shown, "With and without images whose pixels were also trained on"))
    if findings.augmented is not None and findings.augmented_scores is not None:
        views = f"{findings.augmented.n_views} views ({findings.augmented.name})"
        shown = [("the image alone (the result above)", findings.scores), (views, findings.augmented_scores)]
        tables.append(_scores_table("Predictions are made from", shown, "With test-time augmentation"))
    paragraphs = [f"{subject.name} on n = {findings.scores.n:,} images. {WORDING} {_seeds_said(findings)}"]
    if findings.only_twins:
        paragraphs.append(f"{ONLY_TWINS}: the numbers say what it remembers, not what it has learned.")
    return Section("Result", cards, paragraphs, tables)


def _seeds_said(findings: Findings) -> str:
    """How far the numbers speak for the method and not for one run of it."""
    trained = 1 if findings.seeds is None else findings.seeds["accuracy"].n
    if trained >= FEWEST_SEEDS:
        return ""
    runs = "one run" if trained == 1 else f"{trained} runs"
    return f"Numbers of {runs}: from {FEWEST_SEEDS} seeds on their spread says what another one would give."


def _scores_table(first: str, rows: Sequence[tuple[str, Scores]], caption: str) -> Table:
    columns = [first, "n", *(TITLES[name] for name in HEADLINE)]
    cells = [
        [name, f"{scores.n:,}", *(with_interval(one, scores.estimates[one]) for one in HEADLINE)]
        for name, scores in rows
    ]
    return Table(columns, cells, caption)


def _side_by_side(blocks: Sequence[Block]) -> Iterator[Section]:
    for number, block in enumerate(blocks, start=1):
        title = "Runs side by side" + (f" ({number})" if len(blocks) > 1 else "")
        yield Section(title, (), [HOW_TO_READ], tables_of(block), pictures_of(block))


def _by_category(findings: Findings, where: str) -> Section:
    rows = [
        [
            row.name,
            _with_interval(row.precision, row.precision_interval),
            _with_interval(row.recall, row.recall_interval),
            _with_interval(row.f1, row.f1_interval),
            f"{row.support:,}",
        ]
        for row in findings.scores.per_class
    ]
    table = Table(["category", "precision", "recall", "F1", "support"], rows)
    return Section(
        "By category", tables=[table], pictures=[Picture(per_class_figure(findings.scores, where), "By category")]
    )


def _with_interval(value: float, interval: Interval | None, digits: int = 3) -> str:
    ends = "" if interval is None else f" [{interval[0]:.{digits}f}, {interval[1]:.{digits}f}]"
    return f"{value:.{digits}f}{ends}"


def _confusion(findings: Findings, where: str) -> Section:
    names = [row.name for row in findings.scores.per_class]
    counts = [
        [name, *(f"{count:,}" for count in row)] for name, row in zip(names, findings.scores.confusion, strict=True)
    ]
    table = Table(["perceived as (rows), predicted", *names], counts, "Counts")
    figure = confusion_figure(findings.scores, where)
    caption = (
        "Per cent of each row, counts in brackets: what the annotators said in rows, what was predicted in columns."
    )
    return Section("Confusion matrix", tables=[table], pictures=[Picture(figure, "Confusion matrix", caption)])


def _curves(findings: Findings, where: str) -> Iterator[Section]:
    if findings.probability is None:
        return
    yield Section(
        "ROC and precision-recall",
        pictures=[
            Picture(roc_figure(findings.predictions, where), "ROC", "Each category against all others."),
            Picture(
                precision_recall_figure(findings.predictions, where), "Precision and recall",
                "Dotted: what guessing gives, the category's share of the images.",
            ),
        ],
    )  # fmt: skip


def _calibration(findings: Findings, where: str) -> Iterator[Section]:
    if findings.probability is None:
        return
    shown = [("as predicted", findings.probability, findings.estimates)]
    paragraphs = [f"With 95 % intervals. ({HOW}.)"]
    if findings.calibration is not None:
        name = f"with temperature {findings.calibration.temperature:.2f}"
        shown.append((name, findings.calibration.after, findings.calibrated_estimates))
        paragraphs.append(
            "The temperature was fitted on validation; it changes no prediction, only how sure they are. "
            "Intervals of the second line are for this temperature."
        )
    rows = [
        [name, *(_probability_cell(value, estimates.get(key)) for key, value in one.values().items())]
        for name, one, estimates in shown
    ]
    columns = ["probabilities", *(NAMES.get(key, key) for key in findings.probability.values())]
    calibrated = findings.calibration.predictions if findings.calibration is not None else None
    pictures = [
        Picture(
            reliability_figure(findings.predictions, calibrated, where), "Reliability",
            "On the diagonal the stated probability is the share that is right; below it, a model is too sure.",
        ),
        Picture(
            risk_coverage_figure(findings.predictions, where), "Risk and coverage",
            "Errors among the answers that are kept when the least sure ones are withheld.",
        ),
    ]  # fmt: skip
    yield Section("Calibration", (), paragraphs, [Table(columns, rows)], pictures)


def _probability_cell(value: float | None, estimate: Estimate | None) -> str:
    if value is None:
        return "-"
    return _with_interval(value, None if estimate is None else (estimate.low, estimate.high), 4)


NAMES = {
    "auc_ovr": "AUC (one against rest)", "nll": "NLL", "brier": "Brier", "ece": "calibration error", "aurc": "AURC",
}  # fmt: skip


def _soft(findings: Findings) -> Iterator[Section]:
    if not findings.soft:
        return
    rows = [
        [name.replace("_", " "), _with_interval(item.value, (item.low, item.high), 4)]
        for name, item in findings.soft.items()
    ]
    text = (
        "Against the distribution of the annotators' votes instead of the one label. Percentile bootstrap over images."
    )
    yield Section("Against the votes", (), [text], [Table(["measure", "value [95 % interval]"], rows)])


def _mistakes(figure: Any, hard: bool) -> Iterator[Section]:
    if figure is None:
        return
    title, which = ("Mistakes", "The first wrong answers") if hard else (
        "Surest mistakes", "Wrong answers of the highest probability")  # fmt: skip
    caption = f"{which}. Some are wrong labels: looking at them is part of the result."
    yield Section(title, pictures=[Picture(figure, title, caption)])


def _cost_facts(subject: Contestant) -> dict[str, str]:
    costs = subject.costs
    known = {
        "parameters": (costs.parameters, ",.0f", ""),
        "operations for one image": (costs.mflops, ",.1f", " MFLOPs"),
        "size of the model's file": (costs.size_mb, ".1f", " MB"),
        "training": (costs.minutes, ".1f", " minutes"),
        "training speed": (costs.images_per_s, ",.0f", " images/s"),
    }
    return {name: f"{value:{form}}{unit}" for name, (value, form, unit) in known.items() if value is not None}


def _card_texts(name: str, estimate: Estimate) -> tuple[str, str]:
    """The value and its interval."""
    value, low, high = (value_text(name, one) for one in (estimate.value, estimate.low, estimate.high))
    return value if is_correlation(name) else f"{value} %", f"95 % interval {low} to {high}"
