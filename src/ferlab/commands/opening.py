"""From the config to the files of a dataset: real ones where they lie, or drawn faces in their place."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from ferlab.commands.launch import Context
from ferlab.config.nodes import Dataset
from ferlab.datasets.catalog import SYNTHETIC, Family, family_of, taxonomies_of
from ferlab.datasets.listing import Reading, Source
from ferlab.datasets.synthetic.layouts import write_synthetic
from ferlab.emotions import TAXONOMIES
from ferlab.errors import UserError
from ferlab.imaging.codec import IMAGE_SUFFIXES
from ferlab.storage.files import exclusive
from ferlab.storage.mirror import mirror
from ferlab.storage.objects import is_remote
from ferlab.storage.places import joined


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
    votes = file_here(dataset.votes, context) if dataset.votes else None
    if not drawn and is_remote(dataset.root or ""):
        source = _locate_in_bucket(str(dataset.root), family, context, votes)
    else:
        root = _drawn_root(dataset, family, context) if drawn else Path(dataset.root or "").expanduser().resolve()
        source = family.locate(root, context.home / "unpacked", votes)
    taxonomy = TAXONOMIES[dataset.taxonomy or taxonomies_of(dataset.name, dataset.layout)[0]]
    return Opened(SYNTHETIC if drawn else dataset.name, family, source, Reading(taxonomy, dataset.label_order))


def file_here(place: str, context: Context) -> Path:
    """The file of a path, or of a ``gs://`` address as a copy on this machine; UserError when there is no object."""
    return _mirrored(place, context) if is_remote(place) else Path(place).expanduser()


def _locate_in_bucket(url: str, family: Family, context: Context, votes: Path | None) -> Source:
    """The copy at a ``gs://`` address; its images stay there unless their pixels are compared first."""
    place = _mirrored(url, context, () if family.compares_pixels else IMAGE_SUFFIXES)
    with _named(url, place):
        source = family.locate(place, context.home / "unpacked", votes)
    folder, base = (place.parent, url.rstrip("/").rpartition("/")[0]) if place.is_file() else (place, url)
    copied = source.archive or source.root
    return replace(source, url=joined(base, *copied.relative_to(folder).parts))


def _mirrored(url: str, context: Context, left_there: tuple[str, ...] = ()) -> Path:
    context.terminal.say(f"looking at {url}")
    return mirror(url, context.home / "buckets", left_there)


@contextmanager
def _named(url: str, place: Path) -> Iterator[None]:
    """Errors name the address that the user gave, not the folder that mirrors it."""
    try:
        yield
    except UserError as error:
        raise type(error)(str(error).replace(str(place), url.rstrip("/"))) from error


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
