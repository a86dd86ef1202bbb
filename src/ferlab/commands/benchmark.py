"""``ferlab benchmark``: speed, size and memory of models in every format, side by side, on this machine's processor."""

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ferlab.commands.exporting import Drawn, Subject, drawn_images, subject_of
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


@dataclass(frozen=True)
class Failed:
    """What could not be measured: a model in one format, and why."""

    record: RunRecord
    target: Target
    reason: str

    def as_json(self) -> dict[str, Any]:
        """One element of ``not_measured`` in ``--json``."""
        of_model = {"run_id": self.record.id, "name": self.record.name}
        return of_model | {"format": self.target.format, "precision": self.target.precision, "reason": self.reason}

    def cells(self) -> list[str]:
        """For a table with COLUMNS; the reason stands below it."""
        return [
            f"{self.record.name} {self.record.id[:6]}",
            self.target.label,
            "not measured",
            *[""] * (len(COLUMNS) - 3),
        ]


def main() -> list[Outcome]:
    """Entry point of ``ferlab benchmark``."""
    return launch("benchmark", BenchmarkConfig, run)


def run(config: BenchmarkConfig, context: Context) -> dict[str, Any]:
    """Measure every variant of every run in turn; the result has a row for each on each number of threads.

    What cannot be exported or measured is said with its reason, and the others are measured.

    Raises:
        UserError: no run is named, a package is missing, or nothing could be measured.

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
        found = [one for record in records for one in _of_run(record, targets, threads, config, context)]
        rows = [one for one in found if isinstance(one, Row)]
        failed = [one for one in found if isinstance(one, Failed)]
        if not rows:
            message = f"nothing could be measured: {failed[0].reason}"
            raise UserError(message)
        table = _table(found)
        _log(tracked, rows, table)
    context.terminal.table(table.caption, table.columns, table.rows, table.text_columns)
    if failed:
        context.terminal.warn(f"{len(failed)} of {len(records) * len(targets)} could not be measured, see above.")
    not_measured = [one.as_json() for one in failed]
    return {"run_id": tracked.id, "rows": [row.as_json() for row in rows], "not_measured": not_measured}


def _of_run(
    record: RunRecord, targets: Sequence[Target], threads: Sequence[int], config: BenchmarkConfig, context: Context
) -> Iterator[Row | Failed]:
    """Every format of a run's model: its rows, and why it has none, or not all."""
    try:
        subject = subject_of(record, context, config.compute)
        int8 = any(target.precision == "int8" for target in targets)
        drawn = drawn_images(subject.folder, subject.manifest, config.calibration if int8 else 0, 1, config.seed)
    except UserError as error:
        yield from (Failed(record, target, str(error)) for target in targets)
        return
    for target in targets:
        try:
            yield from _rows(subject, drawn, target, threads, context)
        except UserError as error:
            yield Failed(record, target, str(error))


def _rows(subject: Subject, drawn: Drawn, target: Target, threads: Sequence[int], context: Context) -> Iterator[Row]:
    """A file that is exported, measured on every number of threads, and removed."""
    with tempfile.TemporaryDirectory() as scratch:
        # correcting biases would change neither size nor speed
        file = export_file(
            subject.model, subject.description, target, Path(scratch), drawn.representative, corrected=False
        )
        for count in threads:
            row = Row(subject.record, target, file.stat().st_size / 1e6, measure(file, count))
            context.terminal.say(
                f"  {subject.record.name}  {target.label}, {count} threads: {row.measured.p50_ms:.2f} ms"
            )
            yield row


def _table(found: Sequence[Row | Failed]) -> Table:
    caption = "Warm models on the processor, each in a process of its own; peak memory is the whole process's"
    reasons = [_line(one) for one in found if isinstance(one, Failed)]
    return Table(list(COLUMNS), [one.cells() for one in found], ". ".join([caption, *reasons]), text_columns=2)


def _line(failed: Failed) -> str:
    return f"{failed.record.name} {failed.target.label}: not measured: {failed.reason.removesuffix('.')}"


def _log(run: Run, rows: Sequence[Row], table: Table) -> None:
    plain = [row.as_json() for row in rows]
    run.log_json(plain, "benchmark.json")
    run.log_text(as_markdown(table), "benchmark.md")
    run.log_text(as_csv(list(plain[0]), [list(row.values()) for row in plain]), "benchmark.csv")
    for row in rows:
        place = f"{row.record.id[:6]}/{row.target.label}/threads_{row.measured.threads}"
        numbers = {**asdict(row.measured), "size_mb": row.size_mb}
        run.log_metrics({f"{place}/{name}": value for name, value in numbers.items()})
