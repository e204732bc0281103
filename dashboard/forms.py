"""A task's signature -> the fields of a form, and what the form sent -> arguments."""

from __future__ import annotations

import contextlib
import inspect
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tasks.engine.records import MASK

PREFIX = "arg."
HINTS = {
    "text": "text", "integer": "a whole number", "number": "a number", "boolean": "true or false",
    "json": "JSON, such as {\"a\": 1} or [1, 2]", "any": "text, or JSON",
}  # fmt: skip
KINDS = {"str": "text", "int": "integer", "float": "number", "bool": "boolean"}
LONGEST = 64 * 1024


@dataclass(frozen=True, slots=True)
class Field:
    """One argument in a form; `text` is what stands in it, `before` what the job has."""

    name: str
    kind: str
    optional: bool
    secret: bool
    text: str = ""
    before: str = ""
    error: str = ""

    @property
    def key(self) -> str:
        """Return the field's name in the form."""
        return PREFIX + self.name

    @property
    def hint(self) -> str:
        """Return what the field takes."""
        takes = "" if self.kind == "text" else HINTS[self.kind]
        said = f"{takes}{', ' if takes else ''}or nothing" if self.optional else takes
        kept = f"{MASK} keeps the secret as it is" if self.secret and self.before else ""
        return ". ".join(filter(None, (said, kept)))

    @property
    def changed(self) -> bool:
        """Tell whether the form differs from the job."""
        return self.text != self.before


def fields(signature: inspect.Signature | None, secrets: frozenset[str],
           given: Mapping[str, Any]) -> list[Field]:  # fmt: skip
    """Return the fields of a task's form, filled with `given` (arguments by name)."""
    named = signature.parameters if signature else {}
    found = [_field(said, name in secrets, given) for name, said in named.items()
             if said.kind not in (said.VAR_POSITIONAL, said.VAR_KEYWORD)]  # fmt: skip
    more = [name for name in given if name not in named]
    return found + [
        Field(name, "any", False, given[name] == MASK, text, text)
        for name in more
        for text in (shown(given[name]),)
    ]


def _field(said: inspect.Parameter, secret: bool, given: Mapping[str, Any]) -> Field:
    kind, optional = _kind(said.annotation)
    optional = optional or said.default is not said.empty
    text = shown(given[said.name]) if said.name in given else ""
    return Field(said.name, kind, optional, secret, text, text)


def _kind(annotation: Any) -> tuple[str, bool]:
    """Return the kind of field for an annotation, and whether it takes nothing."""
    if annotation is inspect.Parameter.empty:
        return "any", False
    text = (
        annotation
        if isinstance(annotation, str)
        else getattr(annotation, "__name__", str(annotation))
    )
    names = [name.strip() for name in text.split("|")]
    kinds = [name for name in names if name != "None"]
    return KINDS.get(kinds[0], "json") if len(kinds) == 1 else "any", "None" in names


def shown(value: Any) -> str:
    """Return a value as the text of its field."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def by_name(signature: inspect.Signature | None, args: Sequence[Any],
            kwargs: Mapping[str, Any]) -> dict[str, Any]:  # fmt: skip
    """Return a job's arguments by name; those that do not bind keep their place as name."""
    if signature is not None:
        with contextlib.suppress(TypeError):
            return dict(signature.bind_partial(*args, **kwargs).arguments)
    return {**{str(n): value for n, value in enumerate(args)}, **kwargs}


def filled(found: Sequence[Field], form: Mapping[str, str]) -> list[Field]:
    """Return the fields with what the form sent; each says what is wrong with it."""
    return [_filled(field, form.get(field.key, field.text)) for field in found]


def _filled(field: Field, text: str) -> Field:
    text = text.replace("\r\n", "\n")[:LONGEST]
    sent = replace(field, text=text)
    if not sent.changed or (field.secret and text == MASK):
        return sent
    try:
        value_of(sent)
    except ValueError:
        return replace(sent, error=f"{field.name} takes {HINTS[field.kind]}")
    return sent


def value_of(field: Field) -> Any:
    """Return a field's value. Raises ValueError."""
    if not field.text and field.optional:
        return None
    if field.secret and field.text == MASK:
        return MASK
    return READERS[field.kind](field.text)


def _boolean(text: str) -> bool:
    if text not in ("true", "false"):
        raise ValueError(text)
    return text == "true"


def _any(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


READERS: Mapping[str, Any] = {
    "text": str, "integer": int, "number": float, "boolean": _boolean, "json": json.loads, "any": _any,
}  # fmt: skip


def arguments(found: Sequence[Field]) -> dict[str, Any]:
    """Return the arguments of a new call; what was left empty is left to the task's default."""
    return {field.name: value_of(field) for field in found if field.text or not field.optional}


def edited(found: Sequence[Field], names: Sequence[str], args: Sequence[Any],
           kwargs: Mapping[str, Any]) -> tuple[list[Any], dict[str, Any]]:  # fmt: skip
    """Return (args, kwargs) for a retry, each argument where it was; MASK keeps what did not change."""
    new = {field.name: value_of(field) if field.changed else MASK for field in found}
    places = [names[n] if n < len(names) else str(n) for n in range(len(args))]
    more = {
        field.name: new[field.name]
        for field in found
        if field.name not in places and (field.name in kwargs or field.changed)
    }
    return [new.get(name, MASK) for name in places], more
