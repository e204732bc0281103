"""A frozen query in words: as chips of the query language, and as a sentence."""

from __future__ import annotations

from dataclasses import fields
from datetime import datetime
from typing import Any

from dashboard.query import Part
from tasks.engine import JobFilter
from tasks.engine.records import Term

CALLED = {"since": "after", "until": "before"}


def chips(wanted: JobFilter) -> list[tuple[str, str]]:
    """Return (field, value) of all that is asked, once each, as the query language writes them."""
    asked = ((field.name, getattr(wanted, field.name)) for field in fields(wanted))
    plain = [
        Part(CALLED.get(name, name), (_text(value),))
        for name, value in asked
        if value not in (None, ()) and name != "terms"
    ]
    return list(dict.fromkeys(_chip(part) for part in (*plain, *map(_part, wanted.terms))))


def _text(value: Any) -> str:
    return f"{value:%Y-%m-%d %H:%M:%S}" if isinstance(value, datetime) else str(value)


def _part(term: Term) -> Part:
    return Part(term.field, term.values, term.negated)


def _chip(part: Part) -> tuple[str, str]:
    text = str(part)
    name, _, value = text.partition(":")
    return ("", text) if part.field == "text" else (name, value)


def sentence(wanted: JobFilter) -> str:
    """Return what a query asks for: Failed jobs of queue email whose error contains “554”."""
    said = {
        "of queue {}": wanted.queue, "of task {}": wanted.task, "tagged {}": wanted.tag,
        "whose error contains “{}”": wanted.error, "that contain “{}”": wanted.text,
        "matching {}": " ".join(str(_part(term)) for term in wanted.terms),
        "changed after {0:%H:%M:%S} UTC on {0:%-d %b %Y}": wanted.since,
    }  # fmt: skip
    named = f"{str(wanted.state).capitalize()} jobs" if wanted.state else "Jobs of any state"
    return " ".join([named, *(form.format(value) for form, value in said.items() if value)])
