"""The audit log read: filtered, newest first, by pages and as a file."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, Literal

from sqlalchemy import Select, bindparam, select

from dashboard import answers, exporting, shapes
from dashboard.models import AuditEntry
from tasks.database import reading

AT_ONCE = 500
COLUMNS = ("id", "at", "actor", "role", "action", "target", "outcome", "message", "reason", "before",
           "after", "given", "request_id", "address")  # fmt: skip
OUTCOMES = ("done", "refused", "failed")


class Wanted(shapes.Body):
    """Which acts; every field narrows."""

    who: shapes.Text = ""
    action: shapes.Text = ""
    target: shapes.Text = ""
    outcome: Literal["", "done", "refused", "failed"] = ""
    since: shapes.Moment | None = None
    until: shapes.Moment | None = None

    def narrowed(self) -> Select[AuditEntry]:
        """Return the query, the newest act first."""
        query = select(AuditEntry).order_by(AuditEntry.id.desc())
        equal = {"actor": self.who, "action": self.action, "target": self.target, "outcome": self.outcome}  # fmt: skip
        for name, value in equal.items():
            if value:
                query = query.where(getattr(AuditEntry, name) == value)
        if self.since:
            query = query.where(AuditEntry.at >= self.since)
        if self.until:
            query = query.where(AuditEntry.at < self.until)
        return query


def page(wanted: Wanted, before: int | None = None, limit: int = AT_ONCE) -> Sequence[AuditEntry]:
    """Return the newest acts, or those before one."""
    query = wanted.narrowed().limit(limit)
    with reading() as db:
        return list(db.scalars(query.where(AuditEntry.id < before) if before else query))


SIGNED_IN = (AuditEntry.action == "sign_in") & (AuditEntry.outcome == "done")
NEWEST = Wanted().narrowed().where(~SIGNED_IN).limit(bindparam("limit"))


def newest(limit: int) -> Sequence[AuditEntry]:
    """Return the newest acts; that somebody signed in, and may look, is none."""
    with reading() as db:
        return list(db.scalars(NEWEST, {"limit": limit}))


def entries(wanted: Wanted) -> Iterator[AuditEntry]:
    """Yield every act that matches, page by page: no transaction stays open while a file is sent."""
    before = None
    while found := page(wanted, before):
        yield from found
        before = found[-1].id


def entry_json(entry: AuditEntry) -> dict[str, Any]:
    """Return an act as a program reads it; `given` is what else it was told."""
    given = entry.said
    told = {name: given.pop(name, None) for name in ("message", "before", "after")}
    given.pop("reason", None)
    plain = (
        "id",
        "actor",
        "role",
        "action",
        "target",
        "outcome",
        "reason",
        "request_id",
        "address",
    )
    named = {name: getattr(entry, name) for name in plain}
    return {**named, "at": answers.when(entry.at), **told, "given": given}


def lines(found: Iterator[AuditEntry], form: str) -> Iterator[str]:
    """Yield a file's text line by line, as JSON lines or as CSV."""
    if form == "csv":
        yield exporting.row(COLUMNS)
    for entry in found:
        whole = entry_json(entry)
        if form == "csv":
            yield exporting.row(_cell(whole[name]) for name in COLUMNS)
        else:
            yield json.dumps(whole, ensure_ascii=False) + "\n"


def _cell(value: Any) -> Any:
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False) if value else ""
    return "" if value is None else value
