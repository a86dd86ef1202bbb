"""Taxonomies: every class order that a dataset, tool or model of this field uses, mapped by name.

Class names are FER-2013's for the seven basic categories (lower case) plus ``contempt``. A label is only
meaningful together with its taxonomy, so everything that stores labels stores the class names beside them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ferlab.errors import UserError

SYNONYMS: Mapping[str, str] = {
    "anger": "angry",
    "disgusted": "disgust",
    "fearful": "fear",
    "happiness": "happy",
    "sadness": "sad",
    "surprised": "surprise",
}


@dataclass(frozen=True)
class Taxonomy:
    """An ordered set of class names; ``ids`` are the numbers that the source files use for them."""

    name: str
    classes: tuple[str, ...]
    ids: tuple[int, ...] = field(default=())

    def __post_init__(self) -> None:
        if not self.ids:
            object.__setattr__(self, "ids", tuple(range(len(self.classes))))
        if len(set(self.classes)) != len(self.classes) or len(self.ids) != len(self.classes):
            message = f"taxonomy {self.name}: classes must be distinct, one id each; got {self.classes}, {self.ids}"
            raise ValueError(message)

    def __len__(self) -> int:
        return len(self.classes)

    def index_of(self, name: str) -> int:
        """Position of a class by name, synonyms and any case allowed; KeyError when it is not a member."""
        plain = name.strip().lower()
        plain = SYNONYMS.get(plain, plain)
        try:
            return self.classes.index(plain)
        except ValueError:
            raise KeyError(name) from None

    def index_of_id(self, source_id: int) -> int:
        """Position of a class by the number used in the source files; KeyError when it has none."""
        try:
            return self.ids.index(source_id)
        except ValueError:
            raise KeyError(source_id) from None


FER2013 = Taxonomy("fer2013", ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"))
"""Goodfellow et al. 2013, ids as in ``fer2013.csv``. Alphabetical folder order is not this order."""

AFFECTNET7 = Taxonomy("affectnet7", ("neutral", "happy", "sad", "surprise", "fear", "disgust", "angry"))
"""Mollahosseini et al. 2017 without Contempt; ids as in its annotation files."""

AFFECTNET8 = Taxonomy("affectnet8", (*AFFECTNET7.classes, "contempt"))

FERPLUS8 = Taxonomy("ferplus8", ("neutral", "happy", "surprise", "sad", "angry", "disgust", "fear", "contempt"))
"""Barsoum et al. 2016: the order of the vote columns in ``fer2013new.csv``."""

RAFDB = Taxonomy("rafdb", ("surprise", "fear", "disgust", "happy", "sad", "angry", "neutral"), (1, 2, 3, 4, 5, 6, 7))
"""Li et al. 2017: class numbers start at 1."""

ALPHABETICAL7 = Taxonomy("alphabetical7", tuple(sorted(FER2013.classes)))
"""The order in which most tools number class folders; no release uses it."""

TAXONOMIES: Mapping[str, Taxonomy] = {
    taxonomy.name: taxonomy for taxonomy in (FER2013, FERPLUS8, AFFECTNET7, AFFECTNET8, RAFDB, ALPHABETICAL7)
}
"""By name, as a config or a file may name them."""


def positions_in(source: Taxonomy, target: Taxonomy) -> tuple[int | None, ...]:
    """Where each class of ``source`` stands in ``target``, by name; None for a class that ``target`` does not have."""
    return tuple(target.classes.index(name) if name in target.classes else None for name in source.classes)


def require_same_classes(first: Sequence[str], second: Sequence[str], first_name: str, second_name: str) -> None:
    """Refuse to combine results whose class lists differ in names or in order; the error shows both."""
    if tuple(first) != tuple(second):
        message = (
            f"{first_name} has the classes [{', '.join(first)}] but {second_name} has "
            f"[{', '.join(second)}]: results over different class lists cannot be combined."
        )
        raise UserError(message)
