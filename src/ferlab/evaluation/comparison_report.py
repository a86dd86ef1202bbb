"""A comparison as tables and as a document."""

from collections.abc import Mapping, Sequence

from ferlab.evaluation.comparison import Against, Block, Ranked, reasons, recall_differences
from ferlab.evaluation.comparison_figures import (
    confusion_difference_figure,
    differences_figure,
    recall_differences_figure,
)
from ferlab.evaluation.document import Document, Picture, Section, Table
from ferlab.evaluation.figures import ranking_figure
from ferlab.evaluation.metrics import HEADLINE, INTERVALS, TITLES
from ferlab.evaluation.significance import Spread
from ferlab.evaluation.table_formats import value_text, with_deviation, with_interval

ALPHA = 0.05
MOST_PICTURED = 30
"""Runs of a block that its figures show, the best ones: more cannot be read."""
HOW_TO_READ = (
    f"Intervals: {INTERVALS}. Differences are run minus baseline on the same images (paired "
    "bootstrap). p: exact McNemar test against the baseline, adjusted for the number of runs (Holm). They say what "
    "other images of this kind would change; what another seed changes, only several seeds show."
)
MAIN = ("run", "id", "accuracy", "balanced accuracy", "macro F1", "difference", "p (Holm)")
COSTS = ("run", "parameters", "MFLOPs", "ms", "MB", "img/s", "minutes", "test opened")
ABOUT_COSTS = "What they cost (ms: one image alone, where it was evaluated; img/s and minutes: of the training)"


def main_table(block: Block) -> Table:
    """One row a run, the best first, the baseline marked."""
    marked = next(place for place, row in enumerate(block.rows) if row.against is None)
    chosen = (
        ""
        if block.baseline_named or len(block.rows) < 2
        else ", the best run: chosen by these numbers, so explore only"
    )
    caption = f"{block.title}; baseline {block.baseline.run.label}{chosen}"
    return Table(MAIN, [_cells(row) for row in block.rows], caption, 2, frozenset({marked}))


def costs_table(block: Block) -> Table:
    """What each run costs, in the order of the ranking."""
    return Table(COSTS, [_cost_cells(row) for row in block.rows], ABOUT_COSTS)


def against_table(block: Block) -> Table | None:
    """Every measure of two runs with its difference and both tests; None unless there are just two."""
    challenger, base = block.challenger, block.baseline
    if challenger is None or challenger.against is None or len(block.rows) > 2:
        return None
    against = challenger.against
    rows = [
        [TITLES[name], *(value_text(name, row.scores.estimates[name].value) for row in (base, challenger)),
         with_interval(name, gap, "+"), _p(gap.p_value)]
        for name, gap in against.differences.items()
    ]  # fmt: skip
    counts = against.mcnemar
    caption = (
        f"{challenger.run.label} minus {base.run.label} on the same images (p: paired bootstrap). "
        f"Right on an image: the baseline alone {counts.only_first:,} times, {challenger.run.label} alone "
        f"{counts.only_second:,} times; exact McNemar test of that: p {_equal(_p(counts.p_value))}"
    )
    return Table(["measure", "baseline", "run", "difference", "p"], rows, caption)


def differences_table(block: Block) -> Table | None:
    """Every measure's difference to the baseline, a row a run; None for fewer than three, see ``against_table``."""
    if len(block.rows) < 3:
        return None
    rows = [[row.run.label, *(_tested(name, row.against) for name in HEADLINE)] for row in block.rows if row.against]
    caption = (
        f"Differences to the baseline {block.baseline.run.label} in points (MCC as it is) [95 % interval] and p: "
        "paired bootstrap, Holm over the runs"
    )
    return Table(["run", *(TITLES[name] for name in HEADLINE)], rows, caption)


def recall_table(block: Block) -> Table | None:
    """Recall of every category minus the baseline's, a row a run; None for a run alone."""
    names, differences = recall_differences(block)
    if not names:
        return None
    classes = [row.name for row in block.baseline.scores.per_class]
    rows = [[name, *(f"{100 * gap:+.1f}" for gap in gaps)] for name, gaps in zip(names, differences, strict=True)]
    return Table(["run", *classes], rows, f"Recall by category, points more than {block.baseline.run.label}")


def tables_of(block: Block) -> list[Table]:
    """All tables of a block."""
    made = (main_table(block), against_table(block), differences_table(block), recall_table(block), seeds_table(block),
            costs_table(block))  # fmt: skip
    return [table for table in made if table]


def seeds_table(block: Block) -> Table | None:
    """Mean ± standard deviation over seeds, None where no run was repeated with another."""
    if not block.seeds:
        return None
    return spread_table({group.name: group.spread for group in block.seeds})


def spread_table(groups: Mapping[str, Mapping[str, Spread]]) -> Table:
    """Mean ± standard deviation over seeds of the headline measures of each group of runs."""
    rows = [
        [name, str(spread["accuracy"].n), *(with_deviation(one, spread[one]) for one in HEADLINE)]
        for name, spread in groups.items()
    ]
    return Table(
        ["runs", "seeds", *(TITLES[name] for name in HEADLINE)],
        rows,
        "Mean ± standard deviation over seeds, per cent (MCC as it is)",
    )


def document_of(blocks: Sequence[Block], title: str) -> Document:
    """The whole comparison: a section a block, and how it is to be read."""
    sections = []
    for number, block in enumerate(blocks, start=1):
        name = f"{block.protocol}, {block.split}" + (f" ({number})" if len(blocks) > 1 else "")
        sections.append(Section(name, tables=tables_of(block), pictures=pictures_of(block)))
    notes = [HOW_TO_READ, *reasons(blocks)]
    if len(blocks) > 1:
        notes.insert(
            1, "Runs under different protocols or data stand in blocks of their own and are never ranked together."
        )
    sections.append(Section("How to read it", paragraphs=notes))
    return Document(title, sections)


def pictures_of(block: Block) -> list[Picture]:
    """Ranking, differences to the baseline over all and by category, and the confusions that changed."""
    shown = block.rows[:MOST_PICTURED]
    left_out = f" The best {len(shown)} of {len(block.rows)} runs." if len(shown) < len(block.rows) else ""
    ranking = [(row.run.label, row.scores.estimates["accuracy"]) for row in shown]
    found = [
        Picture(ranking_figure(ranking, f"accuracy on {block.split}", block.title), "Accuracy with intervals", left_out)
    ]
    challenger, base = block.challenger, block.baseline
    if challenger is None:
        return found
    tested = [
        (row.run.label, row.against.differences["accuracy"], row.against.adjusted < ALPHA)
        for row in shown
        if row.against
    ]
    found.append(
        Picture(differences_figure(tested, base.run.label, "accuracy"), "Differences to the baseline", left_out)
    )
    names, differences = recall_differences(block)
    classes = [row.name for row in base.scores.per_class]
    figure = recall_differences_figure(names[:MOST_PICTURED], classes, differences[:MOST_PICTURED], base.run.label)
    found.append(Picture(figure, "Recall by category against the baseline", left_out))
    pair = (base.run.label, challenger.run.label)
    which = pair[1] if len(block.rows) == 2 else f"The best other run, {pair[1]},"
    found.append(
        Picture(
            confusion_difference_figure(base.scores, challenger.scores, pair),
            "Confusions that changed",
            f"{which} against the baseline: on the diagonal more is better, off it less.",
        )
    )
    return found


def _cells(row: Ranked) -> list[str]:
    estimates = row.scores.estimates
    shown = [with_interval(name, estimates[name]) for name in ("accuracy", "balanced_accuracy", "macro_f1")]
    return [row.run.name, row.run.id[:8], *shown, *_difference_cells(row)]


def _cost_cells(row: Ranked) -> list[str]:
    costs = row.run.costs
    return [
        row.run.name,
        _number(costs.parameters, ",.0f"),
        _number(costs.mflops, ",.1f"),
        _number(costs.latency_ms, ",.1f"),
        _number(costs.size_mb, ".1f"),
        _number(costs.images_per_s, ",.0f"),
        _number(costs.minutes, ".1f"),
        _number(costs.openings, "d"),
    ]


def _difference_cells(row: Ranked) -> tuple[str, str]:
    if row.against is None:
        return "baseline", ""
    return with_interval("accuracy", row.against.differences["accuracy"], "+"), _p(row.against.adjusted)


def _tested(measure: str, against: Against) -> str:
    """``+1.2 [-0.1, +2.5] .081``: a difference to the baseline with its interval and adjusted p."""
    gap, p = against.differences[measure], against.adjusted_differences[measure]
    return f"{with_interval(measure, gap, '+')} {'<.001' if p < 0.001 else f'{p:.3f}'.removeprefix('0')}"


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _p(value: float) -> str:
    return "< .0001" if value < 0.0001 else f"{value:.4f}"


def _equal(p: str) -> str:
    return p if p.startswith("<") else f"= {p}"
