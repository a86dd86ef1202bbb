"""The datasets that can be named in a config, and how to open one.

To add a dataset: a module with ``locate`` and ``read``, a row in FAMILIES and DATASETS, a file in ``conf/dataset/``.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path

from ferlab.datasets.archives import locate_in
from ferlab.datasets.fer2013.parts import MIXED, PRIVATE_TEST, PUBLIC_TEST, SIDE_PX, TRAINING
from ferlab.datasets.listing import Reading, Rows, Source
from ferlab.datasets.splits import Protocol, Split
from ferlab.emotions import FER2013
from ferlab.errors import UserError


@dataclass(frozen=True)
class Family:
    """How a kind of files is read, split and stored.

    ``reader`` is the module; then the native image settings, the protocols, and the layouts in which synthetic faces
    can stand in for it (the first by default). ``has_faces``: rows may carry face boxes and landmarks. ``exact_px``:
    side of every image of the release, None where it varies. ``compares_pixels``: images are so small that their pixels
    are compared before splitting. ``votes_name``: the file of votes that belongs to it.
    """

    name: str
    reader: str
    size_px: int
    colour: str
    encoding: str
    protocols: Mapping[str, Protocol]
    drawn: tuple[str, ...]
    has_faces: bool = False
    exact_px: int | None = None
    compares_pixels: bool = False
    votes_name: str | None = None

    def locate(self, root: Path, cache: Path, votes: Path | None = None) -> Source:
        """Recognise the files in a folder or archive (unpacked below ``cache``); UserError when they are not there."""
        source = locate_in(root, cache, import_module(self.reader).locate)
        return replace(source, votes=self._votes(source, votes)) if self.votes_name else source

    def _votes(self, source: Source, given: Path | None) -> Path:
        places = [given] if given else [folder / str(self.votes_name) for folder in (source.root, source.root.parent)]
        for place in places:
            if place.is_file():
                return place
        message = f"{source.name}: no {self.votes_name} there. Put it beside the images, or name it with dataset.votes."
        raise UserError(f"dataset.votes={given}: no such file." if given else message)

    def read(self, source: Source, reading: Reading) -> Rows:
        """Every row of the copy; UserError when the files do not fit the layout."""
        rows: Rows = import_module(self.reader).read(source, reading)
        # what is compared first was brought here as a whole
        return rows if self.compares_pixels else rows.located(source)


@dataclass(frozen=True)
class Dataset:
    """A name that results carry: its family, and the taxonomies it can be read with (the first by default)."""

    family: str
    taxonomies: tuple[str, ...]


OFFICIAL = Protocol(TRAINING, PUBLIC_TEST, PRIVATE_TEST)
CARVED = Protocol(TRAINING, None, PUBLIC_TEST)
FER2013_PROTOCOLS = {
    "official": OFFICIAL,
    "carved": CARVED,
    "fraction20": replace(CARVED, fraction=0.2),
    "mixed": Protocol(TRAINING, None, MIXED),
}
AFFECTNET_PROTOCOLS = {"carved": Protocol("train", None, "val")}

FAMILIES: Mapping[str, Family] = {
    "fer2013": Family(
        "fer2013",
        "ferlab.datasets.fer2013.reader",
        SIDE_PX,
        "gray",
        "png",
        FER2013_PROTOCOLS,
        ("fer2013-csv", "fer2013-icml", "fer2013-kaggle", "fer2013-folder"),
        exact_px=SIDE_PX,
        compares_pixels=True,
    ),
    "ferplus": Family(
        "ferplus",
        "ferlab.datasets.ferplus",
        SIDE_PX,
        "gray",
        "png",
        {name: FER2013_PROTOCOLS[name] for name in ("official", "carved")},
        ("ferplus",),
        exact_px=SIDE_PX,
        compares_pixels=True,
        votes_name="fer2013new.csv",
    ),
    "affectnet": Family(
        "affectnet",
        "ferlab.datasets.affectnet.reader",
        224,
        "rgb",
        "jpeg",
        AFFECTNET_PROTOCOLS,
        ("affectnet-2021", "affectnet-manual", "affectnet-folder"),
        has_faces=True,
    ),
}

DATASETS: Mapping[str, Dataset] = {
    "fer2013": Dataset("fer2013", ("fer2013",)),
    "ferplus": Dataset("ferplus", ("ferplus8", "fer2013")),
    "affectnet7": Dataset("affectnet", ("affectnet7",)),
    "affectnet8": Dataset("affectnet", ("affectnet8",)),
}
"""Real datasets; ``synthetic`` is any family's files with drawn faces in them."""

SYNTHETIC = "synthetic"
"""Drawn faces always carry this name, also where they stand in for a real dataset."""
LAYOUTS: Mapping[str, str] = {layout: name for name, family in FAMILIES.items() for layout in family.drawn}
"""Layouts that can be drawn, and the family that reads each."""


def family_of(dataset: str, layout: str | None) -> Family:
    """The family that reads a dataset; for drawn faces the layout decides. KeyError for an unknown name."""
    return FAMILIES[LAYOUTS[str(layout)] if dataset == SYNTHETIC else DATASETS[dataset].family]


def taxonomies_of(dataset: str, layout: str | None) -> tuple[str, ...]:
    """Names of the taxonomies that a dataset can be read with, the usual one first."""
    if dataset == SYNTHETIC:
        family = LAYOUTS[str(layout)]
        return tuple(name for item in DATASETS.values() if item.family == family for name in item.taxonomies)
    return DATASETS[dataset].taxonomies


def images_of(family: Family, reading: Reading) -> tuple[Family, Reading]:
    """How the images and labels of the release itself are read: of FERPlus, those of FER-2013 without the votes."""
    if family.votes_name is None:
        return family, reading
    return FAMILIES["fer2013"], replace(reading, taxonomy=FER2013)


def protocol_id(dataset: str, split: Split, targets: str) -> str:
    """Dataset and protocol as recorded with every result: ``fer2013/carved``, ``ferplus/majority``."""
    if dataset != "ferplus":
        return f"{dataset}/{split.id}"
    kind = "majority" if targets == "majority" else "soft"
    return f"ferplus/{kind}" + ("" if split.id == "official" else f"-{split.id}")
