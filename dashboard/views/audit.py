"""Who did what, when, and why."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flask import Blueprint, request
from pydantic import ValidationError
from sqlalchemy import select

from dashboard import actions, audit_log, auth, exporting
from dashboard.models import AuditEntry, row_id
from dashboard.pages import render
from dashboard.rights import BY_NAME
from dashboard.security import declare
from tasks import faults
from tasks.database import reading, utcnow

bp = Blueprint("audit", __name__)
AT_ONCE = 100
SINCE = {"1h": "last hour", "24h": "last 24 hours", "7d": "last 7 days", "30d": "last 30 days"}


def _wanted() -> tuple[audit_log.Wanted, str]:
    """Return the checked filters of this address, and a sentence where one is wrong."""
    given = {name: request.args.get(name, "").strip() for name in audit_log.Wanted.model_fields}
    given = {name: value for name, value in given.items() if value}
    try:
        return audit_log.Wanted.model_validate(given), ""
    except ValidationError as exc:
        name, words = faults.fields(exc)[0]
        return audit_log.Wanted(), f"{name} is {given.get(name, '')!r}: {words}"


@bp.get("/audit")
def table() -> Any:
    """List every act, the newest first; also the refused ones."""
    wanted, error = _wanted()
    found = (
        []
        if error
        else audit_log.page(wanted, request.args.get("cursor", type=row_id), AT_ONCE + 1)
    )
    with reading() as db:
        people = list(db.scalars(select(AuditEntry.actor).distinct().limit(50)))
    more = found[AT_ONCE - 1].id if len(found) > AT_ONCE else None
    rows = [(entry, audit_log.entry_json(entry)) for entry in found[:AT_ONCE]]
    given = {name: request.args.get(name, "") for name in audit_log.Wanted.model_fields}
    return render(
        "audit.html", rows=rows, next=more, given=given, error=error,
        choices=_choices(people), narrowed=any(given.values()),
        status=422 if error else 200,
    )  # fmt: skip


def _choices(people: Sequence[str]) -> list[tuple[str, str, str, list[tuple[str, str]]]]:
    """Return the menus of the filter: name, label, what it says unset, and (value, word) of each."""
    acts = [(name, name.replace("_", " ")) for name in sorted(BY_NAME)]
    outcomes = [(name, name) for name in audit_log.OUTCOMES]
    return [
        ("who", "Who", "everybody", [(name, name) for name in people]),
        ("action", "Act", "every act", acts), ("outcome", "Outcome", "any outcome", outcomes),
        ("since", "Since", "any time", list(SINCE.items())),
    ]  # fmt: skip


@bp.get("/audit.<any(csv, ndjson):form>")
def download(form: str) -> Any:
    """Send the acts that match as a file, as it is read; the download is an act as well."""
    given = {
        name: request.args[name] for name in audit_log.Wanted.model_fields if request.args.get(name)
    }
    wanted = audit_log.Wanted.model_validate(given)
    actions.run(actions.huey(), auth.actor(), "export_audit", "audit", form=form, filters=given)
    return exporting.stream(
        audit_log.lines(audit_log.entries(wanted), form), "audit", utcnow(), form
    )


declare("viewer", table, download)
