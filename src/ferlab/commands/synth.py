"""``ferlab synth``: synthetic faces in any layout that a dataset circulates in."""

import os
from pathlib import Path
from typing import Any

from ferlab import interrupts
from ferlab.commands.launch import Context, Outcome, launch
from ferlab.config.schema import SynthConfig
from ferlab.datasets.synthetic.layouts import LAYOUTS, write_synthetic


def main() -> list[Outcome]:
    """Entry point of ``ferlab synth``."""
    return launch("synth", SynthConfig, run)


def run(config: SynthConfig, context: Context) -> dict[str, Any]:
    """Draw the faces; the result has folder, layout, count, and counts of each part and class.

    Raises:
        UserError: ``out`` exists and is not an empty folder, the layout is unknown, the disk refuses.

    """
    folder = Path(config.out).expanduser().resolve()
    with context.terminal.progress("drawing") as show:

        def on_progress(written: int) -> None:
            interrupts.check()
            show(written, config.count)

        cores = config.compute.cores or os.cpu_count() or 1
        counts = write_synthetic(config.layout, folder, config.count, config.seed, on_progress, config.size_px, cores)
    classes = LAYOUTS[config.layout].classes
    context.terminal.table(
        f"{config.layout}, seed {config.seed}",
        ["category", *counts],
        [[name, *(f"{part[name]:,}" for part in counts.values())] for name in classes],
    )
    context.terminal.say(f"drew {config.count:,} synthetic faces: {folder}")
    return {"folder": str(folder), "layout": config.layout, "count": config.count, "counts": counts}
