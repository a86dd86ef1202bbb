"""Command-line overrides made safe for Hydra's grammar."""

import re

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException


def hydra_arguments(arguments: list[str]) -> list[str]:
    """The arguments with values quoted where Hydra's grammar would choke on them (``~``, ``(1)``, ``=`` in paths)."""
    parser = OverridesParser.create()
    return [argument if argument.startswith("-") else _quoted(argument, parser) for argument in arguments]


def explain(error: Exception, command: str) -> str:
    """One line for an error of Hydra's composition, without its search path and advice for programmers."""
    text = " ".join(str(error).split("Config search path")[0].split())
    unknown = re.match(r"Could not override '([^']+)'", text)
    if unknown:
        return f"{unknown[1]}: not a setting of `ferlab {command}`. `ferlab {command} --cfg job` lists them all."
    return text


def _quoted(argument: str, parser: OverridesParser) -> str:
    key, equals, value = argument.partition("=")
    if not equals:
        return argument
    try:
        parser.parse_override(argument)
    except HydraException:
        # in a quoted value backslashes count only before a quote
        escaped = re.sub(r"(\\*)('|$)", lambda found: found[1] * 2 + ("\\'" if found[2] else ""), value)
        return f"{key}='{escaped}'"
    return argument
