"""What a command can be told: every setting with its default, its values and a remark, read without Hydra."""

import dataclasses
import re
import types
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from ferlab.config.fields import REQUIRED
from ferlab.config.files import conf_folder, groups

REQUIRED_TEXT = "???"
"""How a default is shown that must be given."""
UNBOUNDED = 1e6
"""A limit that only keeps nonsense out is not worth showing."""
SETTING_LINE = re.compile(r"(?P<indent> *)(?P<key>\w+):(?: .*?)?(?: +# (?P<remark>.*))?$")
KINDS = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}


@dataclasses.dataclass(frozen=True)
class Setting:
    """One setting: ``key`` dotted, ``default`` as it is typed, ``values`` when there is a fixed choice of them."""

    key: str
    default: str
    values: tuple[str, ...] = ()
    kind: str = ""
    remark: str = ""

    @property
    def node(self) -> str:
        """The part of the config it belongs to; empty for a setting of the command itself."""
        return self.key.rpartition(".")[0].partition(".")[0]


def schema_of(command: str) -> type[Any]:
    """The dataclass that a command's config must fit."""
    from ferlab.config import schema

    return typing.cast("type[Any]", getattr(schema, f"{command.capitalize()}Config"))


def settings(command: str, choices: Mapping[str, str] | None = None) -> list[Setting]:
    """All settings of a command in the order of its schema; ``choices`` of groups change the defaults."""
    values, remarks = _file_values(conf_folder() / f"{command}.yaml")
    for group, default in groups(command).items():
        chosen = (choices or {}).get(group, default)
        file = conf_folder() / group / f"{chosen}.yaml"
        if chosen and file.is_file():
            own, said = _file_values(file)
            values[group] = {**(values.get(group) or {}), **own}
            remarks |= {f"{group}.{key}": text for key, text in said.items()}
    return list(_walk(schema_of(command), values, remarks, ""))


def explanation(command: str, node: str) -> str | None:
    """What the schema says of a part of the config (its docstring); None where the command has no such part."""
    spec = next((item for item in dataclasses.fields(schema_of(command)) if item.name == node), None)
    hint = _plain(typing.get_type_hints(schema_of(command))[node]) if spec else None
    return str(hint.__doc__) if dataclasses.is_dataclass(hint) else None


def _walk(schema: type[Any], values: Mapping[str, Any], remarks: Mapping[str, str], prefix: str) -> Iterator[Setting]:
    hints = typing.get_type_hints(schema)
    for spec in dataclasses.fields(schema):
        key, hint = f"{prefix}{spec.name}", _plain(hints[spec.name])
        default = spec.default if spec.default_factory is dataclasses.MISSING else spec.default_factory()
        value = values.get(spec.name, default)
        if dataclasses.is_dataclass(hint):
            below = value if isinstance(value, Mapping) else {}
            yield from _walk(typing.cast("type[Any]", hint), below, remarks, f"{key}.")
        elif typing.get_origin(hint) is not list or not dataclasses.is_dataclass(typing.get_args(hint)[0]):
            yield Setting(key, _text(value), *_values(hint, spec.metadata), remarks.get(key, ""))


def _plain(hint: Any) -> Any:
    """The type behind ``X | None``."""
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        return next(kind for kind in typing.get_args(hint) if kind is not type(None))
    return hint


def _values(hint: Any, limits: Mapping[str, Any]) -> tuple[tuple[str, ...], str]:
    if "options" in limits:
        return tuple(limits["options"]), ""
    if hint is bool:
        return ("true", "false"), ""
    if "range" in limits:
        low, high = limits["range"]
        return (), f"{low:g} or more" if high >= UNBOUNDED else f"{low:g}..{high:g}"
    return (), "a list" if typing.get_origin(hint) is list else KINDS.get(hint, "")


def _text(value: Any) -> str:
    if value is REQUIRED or value == REQUIRED_TEXT:
        return REQUIRED_TEXT
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, list):
        return f"[{','.join(map(_text, value))}]"
    return str(value)


def _file_values(file: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """What a config file sets, and the remark behind each setting by its dotted key."""
    text = file.read_text(encoding="utf-8")
    values = yaml.safe_load(text) or {}
    remarks: dict[str, str] = {}
    above: list[tuple[int, str]] = []
    for found in filter(None, map(SETTING_LINE.match, text.splitlines())):
        indent = len(found["indent"])
        above = [item for item in above if item[0] < indent]
        key = ".".join([*(name for _, name in above), found["key"]])
        above.append((indent, found["key"]))
        if found["remark"]:
            remarks[key] = found["remark"].strip()
    return {key: value for key, value in values.items() if key != "defaults"}, remarks
