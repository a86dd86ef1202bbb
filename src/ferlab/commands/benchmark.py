"""``ferlab benchmark``: speed, size and memory of models in every format, side by side, on this machine's processor."""

import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ferlab.commands.exporting import Subject, drawn_images, subject_of
from ferlab.commands.launch import Context, Outcome, launch
from ferlab.config.schema import BenchmarkConfig
from ferlab.edge.export import Target, export_file
from ferlab.edge.measuring import Measured, measure
from ferlab.errors import UserError
from ferlab.evaluation.document import Table
from ferlab.evaluation.table_formats import as_csv, as_markdown
from ferlab.parallel import usable_cores
from ferlab.tracking.records import RunRecord, find_run
from ferlab.tracking.run import Run

COLUMNS = ("run", "format", "threads", "p50 ms", "p95 ms", "p99 ms", "img/s", "img/s by 32", "size MB", "peak MB")


@dataclass(frozen=True)
class Row:
    """One model in one format on a number of threads; ``size_mb`` is the file's, 10^6 bytes."""

    record: RunRecord
    target: Target
    size_mb: float
    measured: Measured

    def as_json(self) -> dict[str, Any]:
        """One element of ``rows`` in ``--json``."""
        return {
            "run_id": self.record.id,
            "name": self.record.name,
            "format": self.target.format,
            "precision": self.target.precision,
            "size_mb": self.size_mb,
            **asdict(self.measured),
        }

    def cells(self) -> list[str]:
        """For a table with COLUMNS."""
        found = self.measured
        times = [f"{value:.2f}" for value in (found.p50_ms, found.p95_ms, found.p99_ms)]
        rates = [f"{value:,.0f}" for value in (found.images_per_s, found.images_per_s_batch32)]
        label = f"{self.record.name} {self.record.id[:6]}"
        return [
            label,
            self.target.label,
            str(found.threads),
            *times,
            *rates,
            f"{self.size_mb:.2f}",
            f"{found.peak_mb:.0f}",
        ]


def main() -> list[Outcome]:
    """Entry point of ``ferlab benchmark``."""
    return launch("benchmark", BenchmarkConfig, run)


def run(config: BenchmarkConfig, context: Context) -> dict[str, Any]:
    """Measure every variant of every run in turn; the result has a row for each on each number of threads.

    Raises:
        UserError: no run is named, one has no model, or a package is missing.

    """
    named = list(dict.fromkeys([*([config.run] if config.run else []), *config.runs]))
    if not named:
        message = "benchmark needs run=ID, or several: runs=[ID,ID]."
        raise UserError(message)
    targets = [Target.named(variant) for variant in config.variants]
    for target in targets:
        target.require_packages()
    _ = context.store
    records = [find_run(one) for one in named]
    threads = list(dict.fromkeys(count or usable_cores() for count in config.threads))
    study = config.study or records[0].study
    with context.store.run("benchmark", study, f"benchmark-{records[0].name}") as tracked:
        tracked.log_config({key: context.raw[key] for key in context.raw if key not in ("study", "compute")})
        tracked.link("model", [record.id for record in records])
        rows = [
            row
            for record in records
            for row in _rows(subject_of(record, context, config.compute), targets, threads, config, context)
        ]
        _log(tracked, rows)
    table = _table(rows)
    context.terminal.table(table.caption, table.columns, table.rows, table.text_columns)
    return {"run_id": tracked.id, "rows": [row.as_json() for row in rows]}


def _rows(
    subject: Subject, targets: Sequence[Target], threads: Sequence[int], config: BenchmarkConfig, context: Context
) -> list[Row]:
    """One file after another: exported, measured on every number of threads, removed."""
    found = []
    int8 = any(target.precision == "int8" for target in targets)
    drawn = drawn_images(subject.folder, subject.manifest, config.calibration if int8 else 0, 1, config.seed)
    for target in targets:
        with tempfile.TemporaryDirectory() as scratch:
            file = export_file(subject.model, subject.description, target, Path(scratch), drawn.representative)
            for count in threads:
                row = Row(subject.record, target, file.stat().st_size / 1e6, measure(file, count))
                context.terminal.say(
                    f"  {subject.record.name}  {target.label}, {count} threads: {row.measured.p50_ms:.2f} ms"
                )
                found.append(row)
    return found


def _table(rows: Sequence[Row]) -> Table:
    caption = "Warm models on the processor, each in a process of its own; peak memory is the whole process's"
    return Table(list(COLUMNS), [row.cells() for row in rows], caption, text_columns=2)


def _log(run: Run, rows: Sequence[Row]) -> None:
    plain = [row.as_json() for row in rows]
    run.log_json(plain, "benchmark.json")
    run.log_text(as_markdown(_table(rows)), "benchmark.md")
    run.log_text(as_csv(list(plain[0]), [list(row.values()) for row in plain]), "benchmark.csv")
    for row in rows:
        place = f"{row.record.id[:6]}/{row.target.label}/threads_{row.measured.threads}"
        numbers = {**asdict(row.measured), "size_mb": row.size_mb}
        run.log_metrics({f"{place}/{name}": value for name, value in numbers.items()})
