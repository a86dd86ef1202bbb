"""The datasets that can be named in a config, and how to open one.

To add a dataset: a module with ``locate`` and ``read``, a row in LAYOUTS and in DATASETS, a file in ``conf/dataset/``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from ferlab.datasets.listing import Listing, Source
from ferlab.errors import UserError


@dataclass(frozen=True)
class Layout:
    """How a kind of files is read and stored.

    ``reader`` is the module; then the native image settings, the protocols it allows, and the layout in which
    synthetic faces stand in for it.
    """

    reader: str
    size_px: int
    colour: str
    encoding: str
    protocols: tuple[str, ...]
    synthetic: str

    def locate(self, root: Path) -> Source:
        """Recognise the files below ``root``; UserError when they are not there."""
        return import_module(self.reader).locate(root)

    def read(self, source: Source, protocol: str, val_fraction: float, seed: int) -> Listing:
        """Every sample under ``protocol``; UserError for a protocol that this dataset does not have."""
        if protocol not in self.protocols:
            message = f"dataset.protocol={protocol}: this dataset has {', '.join(self.protocols)}."
            raise UserError(message)
        return import_module(self.reader).read(source, protocol, val_fraction, seed)


FER2013_READER = ("ferlab.datasets.fer2013", 48, "gray", "png", ("official", "carved"))
AFFECTNET_READER = ("ferlab.datasets.affectnet", 224, "rgb", "jpeg", ("carved",))

LAYOUTS: Mapping[str, Layout] = {
    "fer2013": Layout(*FER2013_READER, synthetic="fer2013-csv"),
    "fer2013-csv": Layout(*FER2013_READER, synthetic="fer2013-csv"),
    "fer2013-folder": Layout(*FER2013_READER, synthetic="fer2013-folder"),
    "affectnet-2021": Layout(*AFFECTNET_READER, synthetic="affectnet-2021"),
}
"""By the value of ``dataset.layout``."""

DATASETS: Mapping[str, tuple[str, ...]] = {
    "fer2013": ("fer2013", "fer2013-csv", "fer2013-folder"),
    "affectnet7": ("affectnet-2021",),
    "synthetic": ("fer2013-csv", "fer2013-folder", "affectnet-2021"),
}
"""Names that a result may carry, and the layouts each can be read from."""
