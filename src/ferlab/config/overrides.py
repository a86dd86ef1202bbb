"""Command-line overrides made safe for Hydra's grammar."""

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import OverrideParseException


def hydra_arguments(arguments: list[str]) -> list[str]:
    """The arguments with values quoted where Hydra's grammar would choke on them (``~``, ``(1)``, ``=`` in paths)."""
    parser = OverridesParser.create()
    return [argument if argument.startswith("-") else _quoted(argument, parser) for argument in arguments]


def _quoted(argument: str, parser: OverridesParser) -> str:
    key, equals, value = argument.partition("=")
    if not equals:
        return argument
    try:
        parser.parse_override(argument)
    except OverrideParseException:
        escaped = value.replace("\\", "\\\\").replace("'", "\\'")
        return f"{key}='{escaped}'"
    return argument
