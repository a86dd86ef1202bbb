"""The optional packages that exporting and running need; nothing else of ferlab does."""

from importlib import import_module
from importlib.util import find_spec
from typing import Any

from ferlab.errors import UserError
from ferlab.streams import quiet_stderr


def require_package(name: str) -> None:
    """UserError that says how to get the package when it is not installed; it is not imported."""
    if find_spec(name) is None:
        raise _missing(name, "")


def package(module: str) -> Any:
    """The module of that name, loaded without banners; UserError as ``require_package`` when that fails."""
    try:
        with quiet_stderr():
            return import_module(module)
    except ImportError as error:
        raise _missing(module, f" or does not load ({error})") from error


def _missing(module: str, more: str) -> UserError:
    name = module.partition(".")[0].replace("_", "-")
    return UserError(f"{name} is not installed{more}. Get it with: pip install 'ferlab[edge]'")
