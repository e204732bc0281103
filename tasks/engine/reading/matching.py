"""Filters -> what the scripts test by figures, and what must be read to be known."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from tasks.engine.errors import EngineError
from tasks.engine.records import Job, JobFilter, Term

Test = Callable[[Job], bool]
Parameters = Callable[[str], Sequence[str]]
BY_FIGURES = ("queue", "state", "task", "tag", "group", "batch", "worker", "attempt", "recovered",
              "by")  # fmt: skip
COUNT = re.compile(r"([<>=]?)(\d{1,4})\Z")
SAFE = re.compile(r"[a-z0-9_.@+/ -]{2,200}\Z")  # the same in JSON and on the screen
YES = ("yes", "true", "1")
NO = ("no", "false", "0")


def terms_of(wanted: JobFilter) -> list[Term]:
    """Return a filter's fields and terms as terms."""
    fields = ("queue", "state", "task", "tag", "error", "text")
    plain = [(name, getattr(wanted, name)) for name in fields]
    return [Term(name, (str(value),)) for name, value in plain if value] + list(wanted.terms)


def script_test(term: Term) -> dict[str, Any]:
    """Return a term as lib/matching takes it. Raises EngineError for a value that is none."""
    test: dict[str, Any] = {"f": term.field, "no": term.negated}
    if term.field == "attempt":
        return {**test, "n": [_compared(value) for value in term.values]}
    if term.field == "recovered":
        return {**test, "yes": _is_yes(term.values[0])}
    return {**test, "v": dict.fromkeys(term.values, True)}


def _compared(value: str) -> tuple[str, int]:
    found = COUNT.match(value)
    if not found:
        raise EngineError(f"{value!r} is no number of attempts: 2, >2 or <2 is expected")
    return found[1] or "=", int(found[2])


def _is_yes(value: str) -> bool:
    if value.casefold() not in YES + NO:
        raise EngineError(f"{value!r} is neither yes nor no")
    return value.casefold() in YES


def needles(terms: Iterable[Term]) -> list[str]:
    """Return lower-case texts that the bytes of every matching job hold; a first sieve only."""
    found = []
    for term in terms:
        if term.field in ("text", "error") and not term.negated and len(term.values) == 1:
            text = term.values[0].lower()
            if SAFE.match(text) and text == text.strip():
                found.append(text)
        elif not term.negated and len(term.values) == 1 and "*" in term.values[0]:
            parts = (part for part in term.values[0].lower().split("*"))
            found += [part for part in parts if SAFE.match(part) and part == part.strip()]
    return found


def reader_test(terms: Sequence[Term], parameters: Parameters) -> Test | None:
    """Return the test of what figures do not answer; None where there is nothing of it."""
    tests = [_read(term, parameters) for term in terms if term.field not in BY_FIGURES]
    return (lambda job: all(test(job) for test in tests)) if tests else None


def _read(term: Term, parameters: Parameters) -> Test:
    values = [value.casefold() for value in term.values]
    if term.field == "error":
        return lambda job: any(v in _error(job) for v in values) != term.negated
    if term.field == "text":
        return lambda job: any(v in _words(job) for v in values) != term.negated
    path = ["to"] if term.field == "to" else term.field.split(".")[1:]
    patterns = [re.compile(_pattern(value), re.DOTALL) for value in values]

    def test(job: Job) -> bool:
        found = [str(v).casefold() for v in _argument(job, path, parameters)]
        return any(p.fullmatch(v) for p in patterns for v in found) != term.negated

    return test


def _pattern(value: str) -> str:
    return ".*".join(re.escape(part) for part in value.split("*"))


def _argument(job: Job, path: Sequence[str], parameters: Parameters) -> list[Any]:
    """Return what an argument holds; the items where it is a list, nothing where there is none.

    In a list a number is a place, any other name is looked for in each item.
    """
    named: Mapping[str, Any] = {
        **dict(zip(parameters(job.task), job.args, strict=False)),
        **job.kwargs,
    }
    found: list[Any] = [named]
    for part in path:
        found = [inner for outer in found for inner in _inside(outer, part)]
    return [item for one in found for item in (one if isinstance(one, list) else (one,))]


def _inside(outer: Any, part: str) -> list[Any]:
    """Return what stands under a name of a mapping, at a place of a list, or so in its items."""
    if isinstance(outer, Mapping):
        return [outer[part]] if part in outer else []
    if not isinstance(outer, list):
        return []
    if part.isdecimal():
        return outer[int(part) : int(part) + 1]
    return [inner for item in outer for inner in _inside(item, part)]


def _error(job: Job) -> str:
    return f"{job.error.type} {job.error.message}".casefold() if job.error else ""


def _words(job: Job) -> str:
    args = json.dumps([job.args, job.kwargs], ensure_ascii=False, default=str).casefold()
    tags = " ".join(job.tags).casefold()
    return f"{job.id} {job.task} ".casefold() + f"{args} {_error(job)} {tags}"
