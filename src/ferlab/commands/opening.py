"""From the config to the files of a dataset: real ones where they lie, or drawn faces in their place."""

from dataclasses import dataclass
from pathlib import Path

from ferlab.commands.launch import Context
from ferlab.config.schema import Dataset
from ferlab.datasets.catalog import SYNTHETIC, Family, family_of, taxonomies_of
from ferlab.datasets.listing import Reading, Source
from ferlab.datasets.synthetic.layouts import write_synthetic
from ferlab.emotions import TAXONOMIES
from ferlab.storage.files import exclusive


@dataclass(frozen=True)
class Opened:
    """A copy of a dataset that was found; ``name`` is ``synthetic`` for drawn faces, whatever they stand in for."""

    name: str
    family: Family
    source: Source
    reading: Reading


def open_dataset(dataset: Dataset, context: Context) -> Opened:
    """Recognise the files of a dataset, or draw them; UserError when they are not there."""
    family = family_of(dataset.name, dataset.layout)
    drawn = dataset.synthesize.count > 0
    root = _drawn_root(dataset, family, context) if drawn else Path(dataset.root or "").expanduser().resolve()
    votes = Path(dataset.votes).expanduser() if dataset.votes else None
    source = family.locate(root, context.home / "unpacked", votes)
    taxonomy = TAXONOMIES[dataset.taxonomy or taxonomies_of(dataset.name, dataset.layout)[0]]
    return Opened(SYNTHETIC if drawn else dataset.name, family, source, Reading(taxonomy, dataset.label_order))


def _drawn_root(dataset: Dataset, family: Family, context: Context) -> Path:
    """The folder with synthetic faces in the dataset's layout, drawn when it is not there."""
    faces, layout = dataset.synthesize, dataset.layout or family.drawn[0]
    root = context.home / "synthetic" / f"{layout}-{faces.count}-{faces.seed}"
    with exclusive(root.parent / ".locks" / root.name):
        if not root.exists():
            context.terminal.say(f"drawing {faces.count:,} synthetic faces: {root}")
            with context.terminal.progress("drawing") as on_progress:
                write_synthetic(layout, root, faces.count, faces.seed, lambda done: on_progress(done, faces.count))
    return root
