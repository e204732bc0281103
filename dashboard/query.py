"""The query language of the search box, the API's `q` and saved views: text <-> terms of a filter.

    task:deliver_email state:failed,retrying -tag:test to:ada@example.org "554 5.7.1" older:10m

Words and quoted texts are looked for in id, arguments, tags and error; a comma means or; a leading
`-` means not. Pure: reads no clock but the one it is given, asks nobody.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from dashboard.meaning import closest
from tasks.engine import JobFilter, State, Term

LENGTH = 1000
DURATION = re.compile(r"(\d{1,5}(?:\.\d{1,3})?)(s|m|h|d)\Z")
UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}
CLOCK = re.compile(r"([01]\d|2[0-3]):([0-5]\d)(?::([0-5]\d))?\Z")
ARGUMENT = re.compile(r"args(\.[^\W\d]\w{0,63})(\.\w{1,64}){0,4}\Z")
ATTEMPT = re.compile(r"[<>]?\d{1,4}\Z")
PLAIN = re.compile(r'[^\s,"\\]+\Z')
FIELDS: dict[str, str] = {
    "state": "scheduled, waiting, active, retrying, completed, failed or cancelled",
    "task": "a task's name, whole or its last part",
    "queue": "a queue's name",
    "error": "words of an error's class or message",
    "to": "an address, or *@domain",
    "group": "an error group",
    "tag": "a tag",
    "after": "a time, or an age such as 2h",
    "before": "a time, or an age such as 2h",
    "older": "an age such as 10m or 3d",
    "attempt": "attempts used: 2, >2 or <2",
    "worker": "a part of a worker's name",
    "batch": "a batch",
    "by": "the job that queued it",
    "recovered": "yes or no",
    "args": "an argument: args.user_id:42",
}
TIMES = ("after", "before", "older")
LIFTED = ("queue", "state", "task", "tag", "error", "text")


class QueryError(ValueError):
    """A query that cannot be read; says where it stops and why.

    Args:
        word, meant: what was misspelt there, and what it may be; "" where nothing is like it.
    """

    def __init__(self, position: int, why: str, word: str = "", meant: str = "") -> None:
        asked = f" Did you mean {meant}?" if meant else ""
        super().__init__(f"The query stops at position {position + 1}. {why}{asked}")
        self.position, self.why, self.word, self.meant = position, why, word, meant


@dataclass(frozen=True, slots=True)
class Part:
    """One condition as it was written; `field` is text for plain words. `at` is its position."""

    field: str
    values: tuple[str, ...]
    negated: bool = False
    at: int = 0

    def __str__(self) -> str:
        """Return the part as the language writes it."""
        said = ",".join(_quoted(value, self.field == "text") for value in self.values)
        return (
            f"{'-' if self.negated else ''}{'' if self.field == 'text' else self.field + ':'}{said}"
        )


def _quoted(value: str, is_word: bool) -> str:
    bare = PLAIN.match(value) and not (is_word and (":" in value or value.startswith("-")))
    return value if bare else '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def write(parts: Iterable[Part]) -> str:
    """Return parts as text that `parse` reads."""
    return " ".join(str(part) for part in parts)


def parse(text: str, now: datetime | None = None) -> tuple[Part, ...]:
    """Return the conditions of a query, checked. Raises QueryError."""
    if len(text) > LENGTH:
        raise QueryError(LENGTH, f"A query has at most {LENGTH} characters.")
    parts: list[Part] = []
    at = 0
    while True:
        while at < len(text) and text[at].isspace():
            at += 1
        if at == len(text):
            return tuple(parts)
        part, at = _part(text, at)
        _check(part, now or datetime.now(UTC))
        parts.append(part)


def _part(text: str, at: int) -> tuple[Part, int]:
    start, negated = at, text[at] == "-"
    at += negated
    if at == len(text) or text[at].isspace():
        raise QueryError(start, "A minus stands before what is left out.")
    field, at = _field(text, at)
    values, at = _values(text, at)
    return Part(field, values, negated, start), at


def _field(text: str, at: int) -> tuple[str, int]:
    """Return the field named here and where its values begin; text where none is named."""
    if text[at] == '"':
        return "text", at
    end = at
    while end < len(text) and not text[end].isspace() and text[end] not in ':",':
        end += 1
    if end == len(text) or text[end] != ":":
        return "text", at
    name = text[at:end]
    if name in FIELDS and name != "args":
        return name, end + 1
    if ARGUMENT.match(name):
        return name, end + 1
    if name.startswith("args"):
        raise QueryError(at, "An argument is named such as args.user_id.")
    raise QueryError(at, f"There is no field {name}.", name, closest(name, FIELDS))


def _values(text: str, at: int) -> tuple[tuple[str, ...], int]:
    values = []
    while True:
        value, after = _quote(text, at) if text[at : at + 1] == '"' else _bare(text, at)
        if not value:
            raise QueryError(at, "A value is expected here.")
        values.append(value)
        at = after
        if text[at : at + 1] != ",":
            break
        at += 1
    if at < len(text) and not text[at].isspace():
        raise QueryError(at, "A blank or a comma is expected after a quote.")
    return tuple(values), at


def _bare(text: str, at: int) -> tuple[str, int]:
    end = at
    while end < len(text) and not text[end].isspace() and text[end] not in ',"':
        end += 1
    return text[at:end], end


def _quote(text: str, at: int) -> tuple[str, int]:
    start, found = at, []
    at += 1
    while at < len(text) and text[at] != '"':
        if text[at] == "\\" and text[at + 1 : at + 2] in ('"', "\\"):
            at += 1
        found.append(text[at])
        at += 1
    if at == len(text):
        raise QueryError(start, "A quote that opens here is never closed.")
    return "".join(found), at + 1


def _check(part: Part, now: datetime) -> None:
    if part.field in TIMES:
        if part.negated or len(part.values) > 1:
            raise QueryError(part.at, f"{part.field} takes one time and no minus.")
        moment(part, now)
        return
    checks: dict[str, Callable[[str], bool]] = {
        "state": lambda value: value in (*State, "delayed"),
        "attempt": lambda value: bool(ATTEMPT.match(value)),
        "recovered": lambda value: value in ("yes", "no"),
    }
    check = checks.get(part.field)
    for value in part.values:
        if check is not None and not check(value):
            why = f"{part.field} takes {FIELDS[part.field]}, not {value}."
            known = [state.value for state in State] if part.field == "state" else ()
            raise QueryError(part.at, why, value, closest(value, known))


def moment(part: Part, now: datetime) -> datetime:
    """Return the instant that after, before or older means. Raises QueryError."""
    value = part.values[0]
    if age := DURATION.match(value):
        return now - timedelta(seconds=float(age[1]) * UNITS_S[age[2]])
    if part.field == "older":
        raise QueryError(part.at, f"older takes {FIELDS['older']}, not {value}.")
    if clock := CLOCK.match(value):
        return now.replace(hour=int(clock[1]), minute=int(clock[2]), second=int(clock[3] or 0), microsecond=0)  # fmt: skip
    try:
        found = datetime.fromisoformat(value)
        return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        said = "a time such as 08:00, 2026-11-24 or 2026-11-24T08:00, or an age such as 2h"
        raise QueryError(part.at, f"{part.field} takes {said}, not {value}.") from None


def mended(text: str) -> str:
    """Return a query that cannot be read with its misspelt words as they were meant; "" where unknown."""
    for _ in range(len(FIELDS)):
        try:
            parse(text)
        except QueryError as exc:
            if not exc.meant:
                return ""
            after = text[exc.position :].replace(exc.word, exc.meant, 1)
            text = text[: exc.position] + after
        else:
            return text
    return ""


def narrowed(wanted: JobFilter, parts: Sequence[Part], now: datetime | None = None) -> JobFilter:
    """Return a filter that the parts of a query narrow further."""
    at = now or datetime.now(UTC)
    for part in parts:
        if part.field == "after":
            since = moment(part, at)
            wanted = replace(wanted, since=max(wanted.since or since, since))
        elif part.field in TIMES:
            until = moment(part, at)
            wanted = replace(wanted, until=min(wanted.until or until, until))
        elif _lifts(part, wanted):
            value: Any = part.values[0]
            given: dict[str, Any] = {part.field: _state(value) if part.field == "state" else value}
            wanted = replace(wanted, **given)
        else:
            wanted = replace(wanted, terms=(*wanted.terms, _term(part)))
    return wanted


def _lifts(part: Part, wanted: JobFilter) -> bool:
    """Tell whether a field of the filter's own says the same."""
    plain = part.field in LIFTED and not part.negated and len(part.values) == 1
    return plain and getattr(wanted, part.field) is None


def _state(value: str) -> State:
    return State.SCHEDULED if value == "delayed" else State(value)


def _term(part: Part) -> Term:
    values = part.values
    if part.field == "state":
        values = tuple(_state(value).value for value in values)
    return Term(part.field, values, part.negated)
