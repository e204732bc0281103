"""Error groups: equal failures as one row; one group with what it hit, and what to do about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from urllib.parse import urlencode

from flask import Blueprint, current_app, redirect, request, url_for

from dashboard import actions, arrows, auth, traces
from dashboard.hits import LOOKED_AT, Hits, failed
from dashboard.pages import render, say, shared, watch
from dashboard.security import declare, local_path
from tasks.database import utcnow
from tasks.engine import EngineError, Unreachable
from tasks.engine.instance import Minute
from tasks.engine.operating.grouping import GROUP_STATES, UNSOLVED
from tasks.engine.records import ErrorGroup, ErrorGroups, Page

bp = Blueprint("errors", __name__)
NEW = timedelta(days=1)
SHOWN = 5
MUTES = {"1h": 1, "4h": 4, "24h": 24, "7d": 168}  # hours


@bp.get("/errors")
def table() -> Any:
    """List the error groups of one state, the newest failure first."""
    chosen = request.args.get("state", "open")
    chosen = chosen if chosen in GROUP_STATES else "open"
    found = _groups(UNSOLVED if chosen == "open" else (chosen,))
    items, since = found.items if found else (), utcnow() - NEW
    new = [g for g in items if g.first_at > since or g.state == "returned"]
    only_new = chosen == "open" and request.args.get("new") == "1"
    items = new if only_new else items
    figures = (
        found and found.counts,
        len(new),
        [(g.id, g.times, g.state, g.hours, g.jobs) for g in items],
    )
    return render("errors.html", figures=figures, groups=items, counts=found.counts if found else {},
                  chosen=chosen, offered=GROUP_STATES, new_since=since, new=len(new), only_new=only_new, bars=bars)  # fmt: skip


def _groups(states: Sequence[str], limit: int = 200) -> ErrorGroups | None:
    """Return groups; None while Redis is away."""
    if watch().error:
        return None
    try:
        return actions.huey().reads.error_groups(states, limit)
    except Unreachable:
        return None


def unsolved(limit: int) -> Sequence[ErrorGroup]:
    """Return the open and returned groups that failed last."""
    found = _groups(UNSOLVED, limit)
    return found.items if found else ()


def bars(counts: Sequence[int]) -> list[Minute]:
    """Return counts as what the charts draw: failures, the current span last."""
    now = utcnow().replace(second=0, microsecond=0)
    return [
        Minute(at=now - timedelta(minutes=n), failed=count)
        for n, count in zip(range(len(counts) - 1, -1, -1), counts, strict=True)
    ]


@bp.get("/errors/<group>")
def show(group: str) -> Any:
    """Show one group: since when, how often, whom it hit, where it fails, what to do."""
    reads = actions.huey().reads
    found, page = shared(lambda: (reads.error_group(group), reads.jobs(failed(group), None, SHOWN)))
    newest = page.items[0].changed_at if page.items else None
    figures = (found.times, found.state, found.muted_until, found.note, found.jobs, found.minutes,
               page.total, newest)  # fmt: skip
    return render("error.html", figures=figures, make=partial(_whole, found, page))


def _whole(found: ErrorGroup, page: Page) -> dict[str, Any]:
    """Return what a group's page shows."""
    jobs, group = page.items, found.id
    sample = actions.huey().reads.job(jobs[0].id) if jobs else None
    error = sample.error if sample else None
    hits: Hits = current_app.extensions["hits"]
    return {
        "group": found, "jobs": jobs, "hit": hits.of(group, page), "sample": error,
        "trace": traces.read(error.traceback) if error and error.traceback else None, "mutes": MUTES,
        "minutes": bars(found.minutes), "new_since": utcnow() - NEW, "query": f"group:{group}",
        "looked_at": LOOKED_AT, "task": found.task,
        "address": arrows.addresses(urlencode({"status": "failed", "q": f"group:{group}"})),
    }  # fmt: skip


def _until() -> datetime | None:
    hours = MUTES.get(request.form.get("for", ""))
    return utcnow() + timedelta(hours=hours) if hours else None


@bp.post("/errors/<group>/<any(mute, resolve, reopen, note):what>")
def act(group: str, what: str) -> Any:
    """Decide about a group, then show the page it came from."""
    params: Mapping[str, Any] = {}
    if what == "mute":
        params = {"until": _until()}
    elif what == "note":
        params = {"note": request.form.get("note", "")}
    try:
        done = actions.run(actions.huey(), auth.actor(), f"{what}_group", group, **params)
        undo = url_for("errors.act", group=group, what="reopen") if what in ("mute", "resolve") else ""  # fmt: skip
        say(done.message, undo=undo.removeprefix(request.script_root))
    except EngineError as exc:
        say(str(exc), "bad")
    return redirect(
        local_path(request.form.get("next") or url_for("errors.show", group=group)), 303
    )


declare("viewer", table, show, act)
