"""A report as data: sections of figures, tables and pictures; and as one HTML file that opens without a network."""

import base64
import io
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

TEMPLATE = "document.html.j2"


@dataclass(frozen=True)
class Table:
    """Cells as text; the first ``text_columns`` are words, the others numbers; rows in ``marked`` stand out."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""
    text_columns: int = 1
    marked: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Picture:
    """A matplotlib figure, what it shows in words, and how it is to be read."""

    figure: Any
    title: str
    caption: str = ""

    @cached_property
    def png(self) -> bytes:
        """The figure as a PNG image, drawn once."""
        buffer = io.BytesIO()
        self.figure.savefig(buffer, format="png", dpi=130, bbox_inches="tight")
        return buffer.getvalue()

    @property
    def data_uri(self) -> str:
        """The image as an address that holds it."""
        return "data:image/png;base64," + base64.b64encode(self.png).decode()


@dataclass(frozen=True)
class Card:
    """One number that matters: its name, the value, and what stands below it."""

    name: str
    value: str
    below: str = ""


@dataclass(frozen=True)
class Section:
    """One part of a document, in this order: cards, paragraphs, tables, pictures, facts."""

    title: str
    cards: Sequence[Card] = ()
    paragraphs: Sequence[str] = ()
    tables: Sequence[Table] = ()
    pictures: Sequence[Picture] = ()
    facts: Mapping[str, str] = field(default_factory=dict)

    @property
    def anchor(self) -> str:
        """Its name in an address."""
        return re.sub(r"[^a-z0-9]+", "-", self.title.lower()).strip("-")


@dataclass(frozen=True)
class Document:
    """A report with its sections."""

    title: str
    sections: Sequence[Section]

    @property
    def pictures(self) -> list[Picture]:
        """All of them, in order."""
        return [picture for section in self.sections for picture in section.pictures]

    @property
    def files(self) -> dict[str, Picture]:
        """All pictures by the name of a file: the title; where sections share titles, in a folder of the section's."""
        shared = max(Counter(picture.title for picture in self.pictures).values(), default=0) > 1
        return {
            (f"{section.anchor}/" if shared else "") + f"{picture.title.lower().replace(' ', '_')}.png": picture
            for section in self.sections
            for picture in section.pictures
        }


def render(document: Document) -> str:
    """The document as self-contained HTML, pictures inside; whatever the texts hold, they are shown as text."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    return environment.get_template(TEMPLATE).render(document=document)
