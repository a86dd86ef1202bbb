"""How a field of the schema says what values it takes."""

from collections.abc import Sequence
from dataclasses import field
from typing import Any

REQUIRED: Any = object()
"""Default of a field that a config must give."""


def choice(options: Sequence[str], default: Any = REQUIRED) -> Any:
    """A field whose value is one of ``options`` (or None when that is the default)."""
    return field(default=default, metadata={"options": tuple(options)})


def number(low: float, high: float, default: Any = REQUIRED) -> Any:
    """A numeric field in low..high, both included."""
    return field(default=default, metadata={"range": (low, high)})
