"""The optional packages that exporting and running need; nothing else of ferlab does."""

from importlib import import_module
from typing import Any

from ferlab.errors import UserError


def package(module: str) -> Any:
    """The module of that name; UserError that says how to get it when it is not installed."""
    try:
        return import_module(module)
    except ImportError as error:
        name = module.partition(".")[0].replace("_", "-")
        message = f"{name} is not installed (or does not load: {error}). Get it with: pip install 'ferlab[edge]'"
        raise UserError(message) from error
