"""What an exported model says of itself: its classes, how its images are made, where it comes from."""

import json
import math
from dataclasses import asdict, dataclass, fields
from typing import Any

from ferlab.errors import UserError
from ferlab.manifest import COLOURS

SCHEMA = 1
"""Version of the JSON object; a reader refuses a later one."""
MOST_MARGIN = 1.0
"""What preparation takes."""


@dataclass(frozen=True)
class Description:
    """All that a program needs beside the file to ask it about a face.

    ``classes`` in the order of the outputs. Images are uint8 squares of ``size_px``, ``colour`` gray or rgb, faces cut
    with ``margin`` and ``align`` as ``imaging.face`` does. ``name`` is the run's, ``protocol`` and ``dataset_digest``
    what it was trained on, ``licence`` the data's terms in words. ``precision`` is that of the weights in the file.
    ``abstain_below``: an answer with a smaller largest probability counts as no answer; None answers always.
    """

    classes: tuple[str, ...]
    taxonomy: str
    run_id: str
    size_px: int
    colour: str
    margin: float
    align: bool
    licence: str
    name: str = ""
    protocol: str = ""
    dataset_digest: str = ""
    precision: str = "float32"
    abstain_below: float | None = None

    @property
    def channels(self) -> int:
        """1 for gray, 3 for rgb."""
        return 1 if self.colour == "gray" else 3

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(size_px, size_px, channels)."""
        return self.size_px, self.size_px, self.channels

    def as_json(self) -> str:
        """One JSON object on one line."""
        return json.dumps({"ferlab_schema": SCHEMA, **asdict(self)})

    @classmethod
    def from_json(cls, text: str | bytes, where: str) -> "Description":
        """Read what ``as_json`` wrote, out of the file ``where``.

        Raises:
            UserError: it is something else, or of a later version of ferlab.

        """
        try:
            data = json.loads(text)
            schema = data.pop("ferlab_schema")
        except (ValueError, AttributeError, KeyError, TypeError, RecursionError) as error:
            raise _unreadable(where, "it is not one of ferlab") from error
        if schema != SCHEMA:
            raise _unreadable(where, f"schema {schema}, this ferlab reads {SCHEMA}")
        unknown = [key for key in data if key not in {spec.name for spec in fields(cls)}]
        if unknown:
            raise _unreadable(where, f"unknown: {', '.join(unknown)}")
        try:
            found = cls(**{**data, "classes": tuple(data["classes"])})
        except (KeyError, TypeError) as error:
            raise _unreadable(where, "something is missing in it") from error
        problem = _problem(found)
        if problem:
            raise _unreadable(where, problem)
        return found


def _unreadable(where: str, reason: str) -> UserError:
    return UserError(f"{where}: the description in it cannot be read ({reason}). Export the run again: ferlab export.")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _problem(found: Description) -> str:
    """What is wrong with the values, or an empty string."""
    texts = ("taxonomy", "run_id", "licence", "name", "protocol", "dataset_digest", "precision")
    if not found.classes or not all(isinstance(name, str) for name in found.classes):
        return "classes are not names"
    if wrong := [name for name in texts if not isinstance(getattr(found, name), str)]:
        return f"{wrong[0]} is no text"
    if isinstance(found.size_px, bool) or not isinstance(found.size_px, int) or found.size_px < 1:
        return f"size_px is {found.size_px!r}"
    if found.colour not in COLOURS:
        return f"colour is {found.colour!r}"
    if not _is_number(found.margin) or not 0 <= found.margin <= MOST_MARGIN or not isinstance(found.align, bool):
        return "margin or align is not what it should be"
    if found.abstain_below is not None and not _is_number(found.abstain_below):
        return f"abstain_below is {found.abstain_below!r}"
    return ""
