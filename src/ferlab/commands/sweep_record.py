"""What a sweep's own run keeps of its jobs: table, the best one, means over seeds, figures; and what a person sees."""

import csv
import io
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from ferlab.commands.terminal import Terminal, duration
from ferlab.config.overrides import endings
from ferlab.evaluation.document import Table
from ferlab.evaluation.sweep_figures import Setting, front_figure, importance_figure, parallel_coordinates_figure
from ferlab.evaluation.table_formats import as_markdown
from ferlab.sweeping.children import FINISHED, STATUSES, Child, best_of, front_of, groups_of, jobs_of, objective_of
from ferlab.sweeping.space import Space
from ferlab.sweeping.study import direction_of, importances
from ferlab.tracking.run import Run

TABLE, SUMMARY = "jobs.csv", "summary.md"
BEST, NOTE = "ferlab.best", "mlflow.note.content"
JOBS = "Jobs"
MOST_SHOWN = 20
NOTE_LENGTH = 8000
"""MLflow cuts the text of a tag there."""


def log_summary(run: Run, children: Sequence[Child], space: Space, objectives: Sequence[str]) -> None:
    """Table, counts, best job, figures; written anew each time."""
    best = best_of(children, objectives)
    counted = Counter(child.status for child in children)
    run.log_text(_csv(children, space, objectives), TABLE)
    run.log_metrics({f"jobs_{status}": counted[status] for status in STATUSES})
    run.log_metrics({"epochs": sum(child.metrics.get("epochs", 0) for child in children)})
    tables = _tables(children, objectives)[::-1]
    run.log_text(_text(tables), SUMMARY)
    link = ""
    if best is not None:
        run.set_tags({BEST: best.first.run_id})
        run.log_metrics({f"best_{one}": value for one, value in zip(objectives, best.values, strict=True)})
        address = f"#/experiments/{run.experiment()}/runs/{best.first.run_id}"
        link = f"Best by {objectives[0]}: [{best.first.name}]({address})\n\n"
    run.set_tags({NOTE: link + _brief(tables, NOTE_LENGTH - len(link))})
    _log_figures(run, children, space, objectives)


def show_summary(
    terminal: Terminal, name: str, run_id: str, children: Sequence[Child], objectives: Sequence[str]
) -> None:
    """The jobs, best first, means over seeds, and where all of it is."""
    for table in _tables(children, objectives):
        terminal.table(table.caption, table.columns, table.rows[:MOST_SHOWN], table.text_columns)
    if len(children) > MOST_SHOWN:
        terminal.say(f"{len(children) - MOST_SHOWN} more jobs are in {TABLE} of the sweep's run")
    best = best_of(children, objectives)
    if best is not None:
        terminal.say(f"best by {objectives[0]}: {best.first.name}, run {best.first.run_id}")
    terminal.say(f"sweep {name}: run {run_id}")


def job_table(children: Sequence[Child], objectives: Sequence[str]) -> Table:
    """One row for every job, the best first by the first objective; what has no outcome comes last.

    Of several objectives the jobs that none is better than have the status ``front``.
    """
    ranked = _ranked(children, objectives[0])
    front = {job.first.number for job in front_of(children, objectives)} if len(objectives) > 1 else set()
    rows = [
        [child.name, "front" if child.number in front else child.status,
         *(_figure(child, one) for one in objectives), _epochs(child), duration(60 * child.minutes)]
        for child in ranked
    ]  # fmt: skip
    return Table(["job", "status", *objectives, "epochs", "min:s"], rows, JOBS, text_columns=2)


def group_table(children: Sequence[Child], objective: str) -> Table:
    """Mean and standard deviation over seeds of jobs that are otherwise the same."""
    rows = [
        [" ".join(f"{key}={value}" for key, value in group.values.items()) or "all", str(group.count),
         _written(group.mean), "-" if math.isnan(group.std) else _written(group.std)]
        for group in groups_of(children, objective)
    ]  # fmt: skip
    return Table(["settings", "runs", f"mean {objective}", "std"], rows, "Over seeds")


def _log_figures(run: Run, children: Sequence[Child], space: Space, objectives: Sequence[str]) -> None:
    objective = objectives[0]
    varied = [axis for axis in space.axes if len({child.values.get(axis.name) for child in children}) > 1]
    if not varied:
        return
    short = endings([axis.name for axis in varied], ".")
    settings = [
        Setting(
            short[axis.name],
            tuple(child.values.get(axis.name, "") for child in children),
            getattr(axis.distribution, "log", False),
        )
        for axis in varied
    ]
    outcomes = [objective_of(child.metrics, objective) if child.status == FINISHED else math.nan for child in children]
    run.log_figure(parallel_coordinates_figure(settings, outcomes, objective), "figures/parallel_coordinates.png")
    finished = [
        (child.values, outcome) for child, outcome in zip(children, outcomes, strict=True) if outcome == outcome
    ]
    if len(objectives) > 1:
        front = front_of(children, objectives)
        points = [(job.first.name, job.values[1], job.values[0], job in front) for job in jobs_of(children, objectives)]
        run.log_figure(front_figure(points, objectives[1], objectives[0]), "figures/front.png")
    explained = importances(finished, varied)
    if explained:
        run.log_figure(importance_figure(explained, objective), "figures/importance.png")


def _csv(children: Sequence[Child], space: Space, objectives: Sequence[str]) -> str:
    names = [axis.name for axis in space.axes]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(
        ["job", "repetition", "run_id", "name", "status", *names, *objectives, "epochs", "minutes", "reason"]
    )
    for child in children:
        values = [child.values.get(name, "") for name in names]
        outcomes = [objective_of(child.metrics, one) if child.status == FINISHED else "" for one in objectives]
        epochs = child.metrics.get("epochs", "")
        writer.writerow(
            [child.number, child.repetition, child.run_id, child.name, child.status, *values, *outcomes, epochs,
             f"{child.minutes:.3f}", child.reason]
        )  # fmt: skip
    return out.getvalue()


def _ranked(children: Sequence[Child], objective: str) -> list[Child]:
    sign = 1 if direction_of(objective) == "minimize" else -1

    def place(child: Child) -> tuple[bool, float]:
        value = objective_of(child.metrics, objective) if child.status == FINISHED else math.nan
        return math.isnan(value), 0.0 if math.isnan(value) else sign * value

    return sorted(children, key=place)


def _tables(children: Sequence[Child], objectives: Sequence[str]) -> list[Table]:
    """The jobs, and means over seeds where some jobs differ in the seed, or the repetition, alone."""
    repeated = any(group.count > 1 for group in groups_of(children, objectives[0]))
    return [job_table(children, objectives), *([group_table(children, objectives[0])] if repeated else [])]


def _text(tables: Sequence[Table]) -> str:
    return "\n".join(map(as_markdown, tables))


def _brief(tables: Sequence[Table], length: int) -> str:
    """The first rows of every table, as many as ``length`` characters hold, and where the others are."""
    for most in range(MOST_SHOWN, 0, -1):
        cut = [replace(table, rows=table.rows[:most]) for table in tables]
        more = any(len(table.rows) > most for table in tables)
        text = _text(cut) + (f"\nThe first {most} rows of each; the whole is in {SUMMARY}.\n" if more else "")
        if len(text) <= length:
            return text
    return f"The tables are in {SUMMARY}.\n"


def _figure(child: Child, objective: str) -> str:
    return _written(objective_of(child.metrics, objective)) if child.status == FINISHED else "-"


def _epochs(child: Child) -> str:
    return f"{child.metrics['epochs']:.0f}" if "epochs" in child.metrics else "-"


def _written(value: float) -> str:
    """Costs in full, scores to a thousandth."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3f}"
