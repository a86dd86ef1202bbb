"""Asking before something cannot be undone."""

import os
import sys

from ferlab.errors import UserError

YES_VARIABLE = "FERLAB_YES"
"""Set by the command line for ``--yes``."""


def confirm(question: str) -> bool:
    """Whether the person says yes; ``--yes`` has said so already.

    Raises:
        UserError: there is nobody to ask (no terminal).

    """
    if os.environ.get(YES_VARIABLE):
        return True
    if not sys.stdin.isatty():
        message = f"{question} There is nobody to ask here; --yes goes on."
        raise UserError(message)
    return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")
