"""What an export leaves: the file with its tables on the model's run, the numbers on its own."""

import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ferlab.commands.exporting import Drawn
from ferlab.edge.description import Description
from ferlab.edge.export import EXPORTS, Target
from ferlab.edge.parity import Parity
from ferlab.evaluation.document import Table
from ferlab.evaluation.significance import PairedDifference
from ferlab.evaluation.table_formats import as_markdown
from ferlab.scoring.latency import Latency
from ferlab.storage.files import writing_errors
from ferlab.tracking.records import RunRecord, add_file
from ferlab.tracking.run import Run

ENOUGH = 1000
"""Images from which on a comparison tells small losses."""


@dataclass(frozen=True)
class Exported:
    """A file and how it stands to the trained model on ``drawn``.

    ``difference``: accuracy of the file minus that of the model. ``latencies`` of one image, by what was timed.
    ``size_mb``: of the file, 10^6 bytes.
    """

    file: Path
    size_mb: float
    target: Target
    description: Description
    drawn: Drawn
    parity: Parity
    difference: PairedDifference
    latencies: dict[str, Latency]

    @property
    def few(self) -> bool:
        """Whether it was compared on fewer than ENOUGH images."""
        return self.parity.n < ENOUGH

    @property
    def tables(self) -> list[Table]:
        """Parity and latency for people."""
        return [_parity_table(self), _latency_table(self)]

    def as_json(self) -> dict[str, Any]:
        """The documented keys of ``--json``, but for the place of the file."""
        gap = self.difference
        delta = {"accuracy_delta": gap.value, "accuracy_delta_low": gap.low, "accuracy_delta_high": gap.high}
        return {
            "format": self.target.format,
            "precision": self.target.precision,
            "size_mb": self.size_mb,
            "parity": {**asdict(self.parity), **delta},
            "latency_ms": self.latencies["threads=1"].median_ms,
            "latencies": {name: asdict(latency) for name, latency in self.latencies.items()},
        }


def log_parity(run: Run, exported: Exported) -> None:
    """The comparison on the export's run, also of a file that is not kept."""
    found = exported.as_json()
    numbers = {**found["parity"], "size_mb": found["size_mb"], "latency_ms": found["latency_ms"]}
    run.log_metrics({name: value for name, value in numbers.items() if np.isfinite(value)})
    run.log_text(_markdown(exported), "export.md")


def keep(run: Run, exported: Exported, record: RunRecord, out: str | None) -> Path:
    """Make the file an artifact of the model's run, its tables beside it; its place, or that of a copy in ``out``.

    Raises:
        UserError: ``out`` cannot be written.

    """
    file = exported.file
    said = {"export_run_id": run.id, **exported.as_json(), "description": asdict(exported.description)}
    for ending, text in ((".md", _markdown(exported)), (".json", json.dumps(said, indent=1) + "\n")):
        beside = file.with_name(file.name + ending)
        beside.write_text(text, encoding="utf-8")
        add_file(record.id, beside, EXPORTS)
    add_file(record.id, file, EXPORTS)
    run.set_tags({"ferlab.exported": f"{EXPORTS}/{file.name}"})
    if out is None:
        return record.artifact(f"{EXPORTS}/{file.name}")
    place = Path(out).expanduser().absolute()
    with writing_errors(place):
        place.mkdir(parents=True, exist_ok=True)
        return Path(shutil.copy(file, place))


def _markdown(exported: Exported) -> str:
    return "\n".join(as_markdown(table) for table in exported.tables)


def _parity_table(exported: Exported) -> Table:
    parity, gap, drawn = exported.parity, exported.difference, exported.drawn
    images = f"{parity.n:,} validation images"
    if exported.few:
        images = f"only {images}, fewer than the {ENOUGH:,} from which a comparison tells much"
    if len(drawn.representative):
        images += f", {len(drawn.representative):,} {'others' if drawn.apart else 'of them'} for calibration"
    rows = [
        ["top class agrees, %", f"{100 * parity.agreement:.2f}"],
        ["largest difference of a probability", f"{parity.max_diff:.2g}"],
        [
            "accuracy, exported - trained, points [95 % interval]",
            f"{100 * gap.value:+.2f} [{100 * gap.low:+.2f}, {100 * gap.high:+.2f}]",
        ],
    ]
    return Table(["parity", exported.target.label], rows, f"{exported.file.name} and the trained model: {images}")


def _latency_table(exported: Exported) -> Table:
    rows = [
        [name, f"{one.median_ms:.2f}", f"{one.p95_ms:.2f}", f"{one.p99_ms:.2f}"]
        for name, one in exported.latencies.items()
    ]
    caption = f"{exported.file.name} ({exported.size_mb:.2f} MB): one image, warm"
    return Table(["latency, ms", "p50", "p95", "p99"], rows, caption)
