"""Command-line overrides made safe for Hydra's grammar."""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

RUN_KEYS = ("run", "resume", "runs", "teacher", "from_run")
CHOICES = ("augment", "recipe", "backbone", "dataset")
"""Overrides that choose a file: their value says enough."""
RUN_REFERENCES = re.compile(r"\[?[0-9a-f]{6,32}(,[0-9a-f]{6,32})*\]?")


def hydra_arguments(arguments: list[str]) -> list[str]:
    """The arguments with values quoted where Hydra's grammar would choke on them (``~``, ``(1)``, ``=`` in paths)."""
    parser = OverridesParser.create()
    return [argument if argument.startswith("-") else _quoted(argument, parser) for argument in arguments]


def value_of(key: str, overrides: Sequence[str]) -> str | None:
    """What the last override of a key says, also one that is written ``+key=`` or ``++key=``; None without one."""
    values = [value for name, equals, value in (text.partition("=") for text in overrides) if name.lstrip("+") == key]
    return values[-1] if values else None


def explain(error: Exception, command: str) -> str:
    """One line for an error of Hydra's composition, without its search path and advice for programmers."""
    text = " ".join(str(error).split("Config search path")[0].split())
    unknown = re.match(r"Could not override '([^']+)'", text)
    if unknown:
        return f"{unknown[1]}: not a setting of `ferlab {command}`. `ferlab {command} --cfg job` lists them all."
    return text


def shortened(override: str) -> str:
    """``width=0.5`` for ``backbone.width=0.5``, ``light`` for ``augment=light``, ``s1`` for ``seed=1``."""
    key, _, value = override.lstrip("+~").partition("=")
    return _named(key, key.partition(".")[2] or key, value.rpartition("/")[2])


def told_apart(override: str, varied: Mapping[str, Sequence[str]]) -> str:
    """``epochs=5`` for ``recipe.phases.0.epochs=5``; of key and value as much as no other one of ``varied`` ends in.

    ``varied``: the values of every key beside which it must be told apart.
    """
    key, _, value = override.lstrip("+~").partition("=")
    return _named(key, endings([*varied, key], ".")[key], endings([*varied.get(key, ()), value], "/")[value])


def endings(texts: Iterable[str], separator: str) -> dict[str, str]:
    """The shortest ending of every text that none of the others has, cut at separators."""
    parts = {text: text.split(separator) for text in texts}
    found = {}
    for text, own in parts.items():
        others = [other for one, other in parts.items() if one != text]
        lengths = (n for n in range(1, len(own)) if all(other[-n:] != own[-n:] for other in others))
        found[text] = separator.join(own[-next(lengths, len(own)) :])
    return found


def _named(key: str, short_key: str, short_value: str) -> str:
    if key in CHOICES:
        return short_value
    return f"s{short_value}" if key == "seed" else f"{short_key}={short_value}"


def search_path(folders: Sequence[Path]) -> str:
    """The override that lets Hydra find config groups below ``folders``, whatever characters their names have."""
    listed = ",".join(_quote(f"file://{folder}") for folder in folders)
    return f"hydra.searchpath=[{listed}]"


def _quoted(argument: str, parser: OverridesParser) -> str:
    key, equals, value = argument.partition("=")
    if not equals:
        return argument
    if key.lstrip("+") in RUN_KEYS and RUN_REFERENCES.fullmatch(value):
        # an id such as 12e45678 would be read as a number
        listed = ",".join(_quote(reference) for reference in value.strip("[]").split(","))
        return f"{key}=[{listed}]" if value.startswith("[") else f"{key}={listed}"
    try:
        parser.parse_override(argument)
    except HydraException:
        return f"{key}={_quote(value)}"
    return argument


def _quote(value: str) -> str:
    """In single quotes; inside them backslashes count only before a quote."""
    escaped = re.sub(r"(\\*)('|$)", lambda found: found[1] * 2 + ("\\'" if found[2] else ""), value)
    return f"'{escaped}'"
