"""``validate``: a composed Hydra config in, a typed config out, or every problem in one message."""

import dataclasses
import difflib
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ferlab.config.fields import REQUIRED
from ferlab.config.rules import MAY_BE_NONE, RULES, Facts
from ferlab.errors import UserError, first_line

Config = TypeVar("Config")


def validate(cfg: DictConfig, schema: type[Config], facts: Facts) -> Config:
    """Check a composed config against ``schema`` and the rules across fields.

    Raises:
        UserError: unknown keys, missing or wrong values, combinations that cannot work: all of them, listed.

    """
    try:
        plain = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=False)
    except OmegaConfBaseException as error:
        message = f"config: {first_line(error)}"
        raise UserError(message) from error
    problems: dict[str, str] = {}
    config = _build(schema, plain, "", problems)
    for nodes, rule in RULES:
        broken = any(key.split(".")[0] in nodes for key in problems)
        arguments = [getattr(config, node, None) for node in nodes]
        if not broken and all(a is not None or node in MAY_BE_NONE for node, a in zip(nodes, arguments, strict=True)):
            problems |= dict(rule(facts, *arguments))
    if len(problems) == 1:
        ((key, text),) = problems.items()
        message = f"{key}: {text}"
        raise UserError(message)
    if problems:
        lines = [f"  {key}: {text}" for key, text in problems.items()]
        message = f"config has {len(lines)} problems:\n" + "\n".join(lines)
        raise UserError(message)
    return config


def _build(schema: type[Any], node: Any, where: str, problems: dict[str, str]) -> Any:
    """An instance of the dataclass ``schema`` from a mapping; what does not fit goes into ``problems``."""
    if not isinstance(node, Mapping):
        problems[where or "config"] = f"must be a group of settings, got {node!r}"
        return None
    prefix = f"{where}." if where else ""
    hints = typing.get_type_hints(schema)
    known = {spec.name: spec for spec in dataclasses.fields(schema)}
    for key in node:
        if key not in known:
            close = difflib.get_close_matches(str(key), known, n=1)
            hint = f"did you mean {prefix}{close[0]}?" if close else f"known here: {', '.join(known)}"
            problems[f"{prefix}{key}"] = f"not a setting; {hint}"
    values = {}
    for name, spec in known.items():
        default = spec.default if spec.default_factory is dataclasses.MISSING else spec.default_factory()
        value = node.get(name, default)
        if value is REQUIRED or value == "???":
            problems[f"{prefix}{name}"] = "must be given"
        else:
            values[name] = _value(hints[name], value, spec.metadata, f"{prefix}{name}", problems)
    return schema(**values)


def _value(hint: Any, value: Any, limits: Mapping[str, Any], where: str, problems: dict[str, str]) -> Any:
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        if value is None:
            return None
        hint = next(kind for kind in typing.get_args(hint) if kind is not type(None))
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return value if isinstance(value, hint) else _build(hint, value, where, problems)
    if typing.get_origin(hint) is list:
        if not isinstance(value, list):
            problems[where] = f"must be a list, got {value!r}"
            return []
        (kind,) = typing.get_args(hint)
        return [_value(kind, item, {}, f"{where}[{i}]", problems) for i, item in enumerate(value)]
    return _leaf(hint, value, limits, where, problems)


def _leaf(hint: type, value: Any, limits: Mapping[str, Any], where: str, problems: dict[str, str]) -> Any:
    wrong_bool = isinstance(value, bool) != (hint is bool)
    if hint is float and isinstance(value, int) and not wrong_bool:
        value = float(value)
    elif hint is str and isinstance(value, int | float) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, hint) or wrong_bool:
        problems[where] = f"must be {_KIND_NAMES[hint]}, got {value!r}"
    elif "options" in limits and value not in limits["options"]:
        problems[where] = f"must be one of {', '.join(limits['options'])}; got {value!r}"
    elif "range" in limits:
        low, high = limits["range"]
        if not low <= value <= high:
            problems[where] = f"must lie in {low:g}..{high:g}, got {value!r}"
    return value


_KIND_NAMES = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}
