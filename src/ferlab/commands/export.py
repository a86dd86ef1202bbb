"""``ferlab export``: a run's model as a file for other devices, kept only when it is the trained model."""

import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from ferlab.commands.debugging import inherited_tags, warn_of_debug
from ferlab.commands.export_record import ENOUGH, Exported, keep, log_parity
from ferlab.commands.exporting import Drawn, Subject, drawn_images, subject_of
from ferlab.commands.launch import Context, Outcome, launch
from ferlab.config.edge_nodes import Parity as Bounds
from ferlab.config.schema import ExportConfig
from ferlab.edge.export import Target, export_file
from ferlab.edge.parity import Parity, parity_of, shortfalls
from ferlab.edge.runtimes import KerasRuntime, Runtime, open_model
from ferlab.errors import UserError
from ferlab.evaluation.significance import PairedDifference, paired_differences
from ferlab.inference.abstention import confidence_of
from ferlab.parallel import usable_cores
from ferlab.scoring.latency import Latency, timed
from ferlab.tracking.records import find_run


def main() -> list[Outcome]:
    """Entry point of ``ferlab export``."""
    return launch("export", ExportConfig, run)


def run(config: ExportConfig, context: Context) -> dict[str, Any]:
    """Export one run; the result has the file, its parity and its latency.

    Raises:
        UserError: the run has no model, a package is missing, the format lacks an operation, or the file's answers
            are not those of the trained model within the bounds: then nothing is kept.

    """
    target = Target(config.format, config.precision, config.output == "uint8")
    target.require_packages()
    _ = context.store
    record = find_run(config.run)
    warn_of_debug([record], context)
    subject = subject_of(record, context, config.compute)
    name = f"export-{record.name}-{target.label}"
    with (
        context.store.run("export", config.study or record.study, name) as tracked,
        tempfile.TemporaryDirectory() as scratch,
    ):
        tracked.log_config({key: context.raw[key] for key in context.raw if key not in ("study", "compute")})
        tracked.link("model", [record.id])
        tracked.set_tags(inherited_tags([record]))
        tracked.log_dataset(subject.manifest, subject.folder, "export")
        exported = export(subject, target, config, Path(scratch))
        log_parity(tracked, exported)
        require_parity(exported, config.parity)
        kept = keep(tracked, exported, record, config.out)
    for table in exported.tables:
        context.terminal.table(table.caption, table.columns, table.rows)
    if exported.few:
        context.terminal.warn(
            f"{kept.name}: compared on {exported.parity.n:,} images, fewer than {ENOUGH:,}: small losses do not show."
        )
    context.terminal.say(f"{kept} ({exported.size_mb:.2f} MB)")
    return {"file": str(kept), "run_id": tracked.id, **exported.as_json()}


def export(subject: Subject, target: Target, config: ExportConfig, folder: Path) -> Exported:
    """Write the file into ``folder``, compare its answers with the trained model's, and time both."""
    calibration = config.calibration if target.precision == "int8" else 0
    drawn = drawn_images(subject.folder, subject.manifest, calibration, config.parity.images, config.parity.seed)
    wanted = confidence_of(subject.record) if config.abstain_below is None else config.abstain_below
    described = replace(subject.description, abstain_below=wanted)
    file = export_file(subject.model, described, target, folder, drawn.representative)
    trained, runtime = KerasRuntime(subject.model, described), open_model(file)
    parity, difference = compared(trained, runtime, drawn, config.parity)
    size_mb, latencies = file.stat().st_size / 1e6, _latencies(trained, file, drawn)
    return Exported(file, size_mb, target, runtime.description, drawn, parity, difference, latencies)


def compared(trained: Runtime, exported: Runtime, drawn: Drawn, bounds: Bounds) -> tuple[Parity, PairedDifference]:
    """How the answers of both agree, and the accuracy of the exported model minus that of the trained one."""
    before, after = trained.probabilities(drawn.images), exported.probabilities(drawn.images)
    answers, classes = (before.argmax(axis=1), after.argmax(axis=1)), before.shape[1]
    found = paired_differences(drawn.labels, *answers, classes, bounds.resamples, bounds.seed)
    return parity_of(before, after), found["accuracy"]


def require_parity(exported: Exported, bounds: Bounds) -> None:
    """UserError that says by how much the file misses its bounds, when it does."""
    precision = exported.target.precision
    least = getattr(bounds, precision)
    short = shortfalls(exported.parity, least, exported.difference.value, bounds.accuracy_lost)
    if short:
        message = (
            f"{exported.file.name}: not kept, it is not the trained model: {'; '.join(short)}. Take another precision, "
            f"more calibration images, or other bounds (parity.{precision}, parity.accuracy_lost)."
        )
        raise UserError(message)


def _latencies(trained: Runtime, file: Path, drawn: Drawn) -> dict[str, Latency]:
    """Of one image alone: the trained model's as it runs here, the file's on one thread and on all cores."""
    image = drawn.images[:1]
    files = {f"threads={threads}": open_model(file, threads) for threads in sorted({1, usable_cores()})}
    return {name: timed(partial(one.probabilities, image)) for name, one in ({"keras": trained} | files).items()}
