"""A query as text that stays the same for as long as an operation is kept."""

from __future__ import annotations

import json
from dataclasses import fields, is_dataclass
from datetime import datetime
from enum import Enum
from functools import cache
from typing import Any, get_args, get_type_hints

from tasks.engine.records import JobFilter, Term


def frozen(wanted: JobFilter) -> str:
    """Return a filter as text that `thaw` reads; fields that are None are left out."""
    return json.dumps(_plain(wanted), ensure_ascii=False)


def thaw(text: str) -> JobFilter:
    """Return the filter that `frozen` was given; what an older version wrote reads as well.

    Raises: ValueError when it is none.
    """
    found = json.loads(text)
    if not isinstance(found, dict):
        raise ValueError("a query is an object of fields")
    return _filter(found)


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        given = {field.name: getattr(value, field.name) for field in fields(value)}
        return {name: _plain(item) for name, item in given.items() if item not in (None, ())}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, dict):
        return {str(name): _plain(item) for name, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, tuple | list) else value


@cache
def _kinds() -> dict[str, tuple[Any, ...]]:
    """Return the types that each field of a filter names, also inside `X | None` and tuples."""
    return {name: tuple(_named(hint)) for name, hint in get_type_hints(JobFilter).items()}


def _named(hint: Any) -> list[Any]:
    inner = get_args(hint)
    return [hint] if not inner else [kind for part in inner for kind in _named(part)]


def _filter(found: dict[str, Any]) -> JobFilter:
    known = _kinds()
    return JobFilter(**{n: _typed(v, known[n]) for n, v in found.items() if n in known})


def _made(value: dict[str, Any], kinds: tuple[Any, ...]) -> Any:
    if JobFilter in kinds:
        return _filter(value)
    if Term in kinds:
        return Term(value["field"], tuple(value["values"]), value.get("negated", False))
    return value


def _typed(value: Any, kinds: tuple[Any, ...]) -> Any:
    if isinstance(value, list):
        return tuple(_typed(item, kinds) for item in value)
    if isinstance(value, dict):
        return _made(value, kinds)
    if isinstance(value, str):
        for kind in kinds:
            if kind is datetime:
                return datetime.fromisoformat(value)
            if isinstance(kind, type) and issubclass(kind, Enum):
                return kind(value)
    named = [kind for kind in kinds if isinstance(kind, type)]
    if value is None or isinstance(value, tuple(named)) or value in kinds:
        return value
    raise ValueError(f"{value!r} does not fit this field of a query")
