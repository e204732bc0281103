"""What pydantic says of a wrong value, in words for people: the same in settings, API, forms and CLI."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pydantic import ValidationError

Context = Mapping[str, Any]
TAKES: tuple[tuple[str, Callable[[Context], str]], ...] = (
    ("int_", lambda ctx: "a whole number"),
    ("float_", lambda ctx: "a number"),
    ("bool_", lambda ctx: "true or false"),
    ("string_too_long", lambda ctx: f"text of at most {ctx['max_length']} characters"),
    ("string_too_short", lambda ctx: f"text of at least {ctx['min_length']} characters"),
    ("string_pattern_mismatch", lambda ctx: f"text of the form {ctx['pattern']}"),
    ("string_", lambda ctx: "text"),
    ("greater_than_equal", lambda ctx: f"at least {ctx['ge']}"),
    ("less_than_equal", lambda ctx: f"at most {ctx['le']}"),
    ("literal_error", lambda ctx: f"one of {ctx['expected']}"),
    ("enum", lambda ctx: f"one of {ctx['expected']}"),
    ("list_type", lambda ctx: "a list"),
    ("too_long", lambda ctx: f"at most {ctx['max_length']} of them"),
    ("dict_type", lambda ctx: "an object"),
    ("model_type", lambda ctx: "an object"),
)


def takes(error: Mapping[str, Any]) -> str:
    """Return what would be accepted, such as `a whole number`; empty where only a sentence says it."""
    for begins, words in TAKES:
        if error["type"].startswith(begins):
            return words(error.get("ctx", {}))
    return ""


def said(error: Mapping[str, Any]) -> str:
    """Return what is wrong with one field, as half a sentence after its name."""
    known = {"extra_forbidden": "there is no such field", "missing": "is required"}
    wanted = takes(error)
    if error["type"] in known:
        return known[error["type"]]
    return f"{wanted} is expected" if wanted else str(error["msg"]).removeprefix("Value error, ")


def fields(exc: ValidationError) -> list[tuple[str, str]]:
    """Return (field, what is wrong with it) of each fault; the whole body is the field `body`.

    Never the value that was given: it may be a code.
    """
    found = exc.errors(include_url=False, include_input=False)
    return [(".".join(map(str, error["loc"])) or "body", said(error)) for error in found]
