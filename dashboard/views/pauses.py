"""Pause and resume of a task or a tag; the controls stand on the pages of tasks and jobs."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from typing import Any

from flask import Blueprint, flash, redirect, request, url_for

from dashboard import actions, auth
from dashboard.pages import PAUSES, say
from dashboard.security import declare, local_path
from tasks.database import utcnow
from tasks.engine import EngineError

bp = Blueprint("pauses", __name__)


def until() -> Any:
    """Return the end of a pause that the form names: a time of day (UTC), or how long; None is until
    resumed."""
    if at := _time_of_day(request.form.get("at", "")):
        return at
    minutes = PAUSES.get(request.form.get("for", ""))
    return utcnow() + timedelta(minutes=minutes) if minutes else None


def _time_of_day(text: str) -> datetime | None:
    """Return the next 14:30 UTC; None where the text is no time."""
    try:
        at = datetime.combine(utcnow().date(), time.fromisoformat(text), UTC)
    except ValueError:
        return None
    return at if at > utcnow() else at + timedelta(days=1)


@bp.post("/pauses/<any(task, tag):kind>/<path:name>/<any(pause, resume):what>")
def act(kind: str, name: str, what: str) -> Any:
    """Pause or resume a task or a tag, then show the page it came from."""
    params: dict[str, Any] = {}
    if what == "pause":
        params = {"reason": request.form.get("reason", "")[:200], "until": until()}
    try:
        done = actions.run(actions.huey(), auth.actor(), f"{what}_{kind}", name, **params)
        say(done.message, undo=f"/pauses/{kind}/{name}/resume" if what == "pause" else "")
    except EngineError as exc:
        flash(str(exc), "bad")
    return redirect(local_path(request.form.get("next") or url_for("jobs.table")), 303)


declare("viewer", act)
