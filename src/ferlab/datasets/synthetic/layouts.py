"""Write the embedded data set to disk in the layouts in which FER-2013, FERPlus and AffectNet circulate."""

import csv
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

from ferlab.datasets.synthetic.affectnet_files import AFFECTNET_2021, AFFECTNET_FOLDER
from ferlab.datasets.synthetic.affectnet_photos import AFFECTNET_MANUAL
from ferlab.datasets.synthetic.copies import Copy, Layout
from ferlab.datasets.synthetic.drawing_pool import draw_all
from ferlab.datasets.synthetic.fer2013_files import (
    FER2013_CSV,
    FER2013_FOLDER,
    FER2013_ICML,
    FER2013_KAGGLE,
    FERPLUS,
)
from ferlab.errors import UserError
from ferlab.storage.files import remove_folder, writing_errors

SMALLEST_COUNT = 70
"""With fewer faces a split or a category could stay empty."""

LAYOUTS: Mapping[str, Layout] = {
    "fer2013-csv": FER2013_CSV,
    "fer2013-icml": FER2013_ICML,
    "fer2013-kaggle": FER2013_KAGGLE,
    "fer2013-folder": FER2013_FOLDER,
    "ferplus": FERPLUS,
    "affectnet-2021": AFFECTNET_2021,
    "affectnet-manual": AFFECTNET_MANUAL,
    "affectnet-folder": AFFECTNET_FOLDER,
}
"""The layouts that can be written, named after the releases that they imitate."""

Progress = Callable[[int], None]
Counts = dict[str, dict[str, int]]


def write_synthetic(
    layout: str,
    out: Path,
    count: int,
    seed: int,
    on_progress: Progress | None = None,
    size_px: int | None = None,
    cores: int = 1,
    missing: float = 0.0,
) -> Counts:
    """Write ``count`` faces of the population ``seed`` into the folder ``out`` in one of ``LAYOUTS``.

    Returns how many faces each part of the copy holds of each class. ``size_px`` is the side of a drawn face, None
    for the layout's own; ``cores`` the number of processes that draw, which changes no byte; ``missing`` the share
    (0..1) of the images named by a table that are left out, for layouts that can have such. ``on_progress`` is called
    with the number of faces written so far: after each, or after each batch of a process. The folder appears complete
    or not at all. The same (layout, count, seed, size_px, missing) gives the same bytes. A script that asks for
    several ``cores`` keeps its own work under ``if __name__ == "__main__"``: new processes import it.

    Raises:
        UserError: the layout is unknown, ``count`` is below ``SMALLEST_COUNT``, ``cores`` below 1, ``out`` exists
            and is not an empty folder, the disk refuses, or a drawing process died.
        ValueError: ``missing`` is outside 0..1, or given for a layout whose tables name no images.

    """
    _check(layout, out, count, cores, missing)
    with _appears_complete(out) as folder:
        return _write(LAYOUTS[layout], Copy(folder, count, seed, size_px, missing), cores, on_progress or _silent)


def _silent(_written: int) -> None:
    """Progress that nobody watches."""


def _check(layout: str, out: Path, count: int, cores: int, missing: float) -> None:
    if layout not in LAYOUTS:
        message = f"layout={layout}: not known. Known: {', '.join(LAYOUTS)}."
        raise UserError(message)
    if count < SMALLEST_COUNT:
        message = f"count={count}: at least {SMALLEST_COUNT} faces are needed to fill every split and category."
        raise UserError(message)
    if cores < 1:
        message = f"cores={cores}: at least one process has to draw."
        raise UserError(message)
    if not 0 <= missing <= (1 if LAYOUTS[layout].may_miss else 0):
        message = f"missing={missing}: a share in 0..1, and 0 for a layout whose tables name no images; got {layout}"
        raise ValueError(message)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        message = f"out={out}: already exists and is not an empty folder. Remove it or name another folder."
        raise UserError(message)


@contextmanager
def _appears_complete(out: Path) -> Iterator[Path]:
    """Lend a temporary folder beside ``out`` that takes its name at the end, or vanishes."""
    partial = out.with_name(f"{out.name}.partial-{os.getpid()}")
    with writing_errors(out):
        try:
            partial.mkdir(parents=True)
            yield partial
            if out.exists():
                out.rmdir()
            partial.rename(out)
        finally:
            remove_folder(partial)


def _write(layout: Layout, copy: Copy, cores: int, on_progress: Progress) -> Counts:
    counts = {part: dict.fromkeys(layout.classes, 0) for part in layout.parts}
    for name in layout.folders(copy):
        (copy.folder / name).mkdir(parents=True)
    with _tables(layout, copy.folder) as tables, closing(draw_all(layout.draw, copy, cores)) as batches:
        written = 0
        for batch in batches:
            for face in batch:
                counts[face.part][face.label] += 1
                for table, cells in face.rows:
                    tables[table].writerow(cells)
            written += len(batch)
            on_progress(written)
    return counts


@contextmanager
def _tables(layout: Layout, folder: Path) -> Iterator[dict[str, Any]]:
    """Open the layout's tables for writing, each with its header: file name to CSV writer."""
    with ExitStack() as files:
        tables = {}
        for name, header in layout.tables.items():
            file = files.enter_context((folder / name).open("w", newline="", encoding="ascii"))
            tables[name] = csv.writer(file, lineterminator="\n")
            tables[name].writerow(header)
        yield tables
