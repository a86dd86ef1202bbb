"""``ferlab synth``: synthetic faces in any layout that a dataset circulates in."""

import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ferlab import interrupts
from ferlab.commands.launch import Context, Outcome, launch
from ferlab.config.schema import SynthConfig
from ferlab.datasets.synthetic.layouts import LAYOUTS, Counts, write_synthetic
from ferlab.errors import UserError
from ferlab.storage.objects import is_remote, objects, put_all
from ferlab.storage.places import joined, names_below


def main() -> list[Outcome]:
    """Entry point of ``ferlab synth``."""
    return launch("synth", SynthConfig, run)


def run(config: SynthConfig, context: Context) -> dict[str, Any]:
    """Draw the faces; the result has folder, layout, count, and counts of each part and class.

    Raises:
        UserError: ``out`` exists and is not an empty folder, the layout is unknown, the disk or the bucket refuses.

    """
    if is_remote(config.out):
        place = config.out.rstrip("/")
        counts = _draw_into_bucket(config, place, context)
    else:
        folder = Path(config.out).expanduser().resolve()
        place, counts = str(folder), _draw(config, folder, context)
    classes = LAYOUTS[config.layout].classes
    context.terminal.table(
        f"{config.layout}, seed {config.seed}",
        ["category", *counts],
        [[name, *(f"{part[name]:,}" for part in counts.values())] for name in classes],
    )
    context.terminal.say(f"drew {config.count:,} synthetic faces: {place}")
    return {"folder": place, "layout": config.layout, "count": config.count, "counts": counts}


def _draw(config: SynthConfig, folder: Path, context: Context) -> Counts:
    with context.terminal.progress("drawing") as show:

        def on_progress(written: int) -> None:
            interrupts.check()
            show(written, config.count)

        cores = config.compute.cores or os.cpu_count() or 1
        return write_synthetic(config.layout, folder, config.count, config.seed, on_progress, config.size_px, cores)


def _draw_into_bucket(config: SynthConfig, url: str, context: Context) -> Counts:
    """Draw into a temporary folder and upload it; an upload that was cut short leaves objects to be removed."""
    if next(objects(url), None) is not None:
        message = f"out={url}: already holds objects. Remove them, or name another folder."
        raise UserError(message)
    with TemporaryDirectory(prefix="ferlab-synth-") as temporary:
        folder = Path(temporary) / "faces"
        counts = _draw(config, folder, context)
        names = names_below(str(folder))
        with context.terminal.progress("uploading") as show:

            def pairs() -> Iterator[tuple[Path, str]]:
                for number, name in enumerate(names, 1):
                    interrupts.check()
                    yield folder / name, joined(url, name)
                    show(number, len(names))

            put_all(pairs())
    return counts
