"""Everything about one recipient: their mails, what is planned, what keeps mail away, their jobs."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, abort, request

from dashboard import actions, audit_log, people
from dashboard.models import row_id
from dashboard.pages import render
from dashboard.security import declare
from tasks.engine import EngineError, JobFilter, Term
from tasks.engine.records import Page

bp = Blueprint("people", __name__)
LAST = 8


@bp.get("/people/<path:address>")
def show(address: str) -> Any:
    """Show what is known of an address."""
    if "@" not in address or len(address) > 320:
        abort(404, f"{address[:60]!r} is no address")
    person = people.person(address.strip(), request.args.get("cursor", type=row_id))
    return render("person.html", person=person, jobs=_jobs(person.address),
                  acts=audit_log.page(audit_log.Wanted(target=person.address), limit=LAST))  # fmt: skip


def _jobs(address: str) -> Page | None:
    """Return the newest jobs that name the address; None with Redis away."""
    try:
        wanted = JobFilter(terms=(Term("to", (address,)),))
        found: Page = actions.huey().reads.jobs(wanted, limit=LAST)
    except EngineError:
        return None
    return found


declare("viewer", show)
