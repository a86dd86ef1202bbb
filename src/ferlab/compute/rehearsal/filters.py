"""The filter language of the list methods, as far as the services' documents promise it."""

import re
from collections.abc import Callable, Mapping
from typing import Any

from ferlab.compute.rehearsal.web import ApiError

TERM = re.compile(r"""\s*(?P<field>[\w.-]+)\s*(?P<sign>!=|=|:)\s*(?P<value>"[^"]*"|'[^']*'|[^\s"']+)\s*""")
JOIN = re.compile(r"(?:(?P<or>OR)|AND)\b", re.IGNORECASE)


def filtered(
    items: list[dict[str, Any]], text: str, fields: Mapping[str, Callable[[dict[str, Any]], str]],
    groups: Mapping[str, frozenset[str]] | None = None,
) -> list[dict[str, Any]]:  # fmt: skip
    """The items that a filter lets through: terms ``field = value`` with AND (also implied) and OR, ``*`` for any.

    ``fields`` gives a value by the name of its field (``labels.KEY`` is known to all), ``groups`` what a value means.

    Raises:
        ApiError: the filter cannot be read, or names a field that is not among them.

    """
    alternatives = _read(text, fields)
    return [
        item
        for item in items
        if any(all(_holds(item, term, fields, groups or {}) for term in terms) for terms in alternatives)
    ]


def _read(text: str, fields: Mapping[str, Any]) -> list[list[tuple[str, str, str]]]:
    alternatives: list[list[tuple[str, str, str]]] = [[]]
    at = 0
    while at < len(text.rstrip()):
        term = TERM.match(text, at)
        if term is None or not (term["field"] in fields or term["field"].startswith("labels.")):
            message = f"Invalid list filter: {text}"
            raise ApiError(400, message)
        alternatives[-1].append((term["field"], term["sign"], term["value"].strip("\"'")))
        join = JOIN.match(text, term.end())
        if join and join["or"]:
            alternatives.append([])
        at = join.end() if join else term.end()
    return alternatives


def _holds(
    item: dict[str, Any], term: tuple[str, str, str], fields: Mapping[str, Any], groups: Mapping[str, Any]
) -> bool:
    field, sign, wanted = term
    label = field.removeprefix("labels.")
    value = fields[field](item) if field in fields else item.get("labels", {}).get(label)
    if wanted in groups:
        same = value in groups[wanted]
    else:
        same = value is not None and re.fullmatch(re.escape(wanted).replace(r"\*", ".*"), value) is not None
    return same != (sign == "!=")
