"""The job table: find jobs, keep the search as a view, act on those ticked or on all that match."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

from flask import Blueprint, abort, current_app, flash, redirect, request, url_for

from dashboard import actions, arrows, auth, columns, orders, query, saved, searching
from dashboard.formats import is_job_id
from dashboard.pages import job_filter, render, say, watch
from dashboard.security import declare, local_path
from dashboard.shapes import Wanted
from dashboard.views import operations
from tasks import domain, outbox
from tasks.database import reading
from tasks.engine import EngineError, JobFilter, State, UnknownJob, Unreachable
from tasks.engine.queues import retention_of
from tasks.engine.records import FINAL, Page, Survey
from tasks.mailer import models as mail

bp = Blueprint("jobs", __name__)
AT_ONCE = ("retry", "run_now", "cancel")
MOST_NEW = 100


def _huey() -> Any:
    return actions.huey()


@bp.get("/jobs")
def table() -> Any:
    """List the jobs that a query finds."""
    if len(request.args.getlist("q")) > 1:  # the box adds to the query that stands
        return redirect(searching.address(q=" ".join(request.args.getlist("q")).strip()), 303)
    jump = _jump(request.args.get("q", "").strip())
    if jump:
        return redirect(jump, 303)
    wanted, asked, error = job_filter()
    try:
        if request.args.get("fresh"):
            return _fresh(wanted)
        page = _huey().reads.jobs(
            wanted, asked.cursor, min(asked.limit, 200), asked.sort == "-changed", searching.BARS
        )
        found = searching.survey(wanted, page, asked.cursor is None)
        if found.exact and not found.count:  # the survey went on where the page's time was over
            page = replace(page, next=None, searched=page.of)
    except Unreachable as exc:
        return _render(wanted, asked, str(exc), None, Survey(count=0, exact=True), 503)
    except EngineError as exc:
        page, error, found = Page(items=()), str(exc), Survey(count=0, exact=True)
    return _render(wanted, asked, error, page, found)


def _render(wanted: JobFilter, asked: Any, error: str, page: Page | None, found: Survey,
            status: int = 200) -> Any:  # fmt: skip
    first = page.items[0].changed_at if page and page.items else None
    follows = bool(
        page
        and not error
        and request.args.get("follow")
        and asked.cursor is None
        and asked.sort == "-changed"
    )
    figures = (
        [(job.id, job.changed_at) for job in page.items] + [found.count]
        if page and follows
        else None
    )
    return render(
        "jobs.html", figures=figures, following=follows, refreshes=page is not None, page=page, asked=asked, wanted=wanted, error=error, survey=found, fresh=0,
        top=int(first.timestamp() * 1_000_000) if first else 0, tab=searching.tab,
        bars=searching.strip(found), end=searching.end(found), kept_for=_retention(wanted), too_old=_too_old(wanted), chips=[] if error and page else searching.chips(),
        views=saved.views(), whole=searching.whole(), rows=outbox.rows() if page is None or request.args.get("outbox") else [],
        typed=request.args.get("q", "") if error and page else "", meant=searching.meant(page), state=wanted.state, status=status,
        address=arrows.addresses(arrows.search()), columns=columns.shown(wanted),
        all_columns=columns.COLUMNS, chosen=columns.chosen(), density=columns.density(), densities=columns.DENSITIES, kept_columns=columns.kept(), counts=_counts(wanted), menu=orders.menu(wanted.state.value if wanted.state else ""),
    )  # fmt: skip


def _counts(wanted: JobFilter) -> Mapping[State, int]:
    """Return how many jobs the tabs hold: of everything, or of the query's queue."""
    snapshot = watch().snapshot
    if snapshot is None:
        return {}
    if not wanted.queue:
        return snapshot.totals
    return next((q.counts for q in snapshot.queues if q.name == wanted.queue), {})


def _retention(wanted: JobFilter) -> str:
    """Return how long a queue keeps the jobs of the state shown; empty for several queues."""
    snapshot = watch().snapshot
    if not wanted.queue or snapshot is None:
        return ""
    name = "failed" if wanted.state is State.FAILED else "completed"
    return next((q.retention.get(name, "") for q in snapshot.queues if q.name == wanted.queue), "")


def _too_old(wanted: JobFilter) -> str:
    """Return how long the ended jobs of a search are kept, where all of its time lies before that."""
    snapshot = watch().snapshot
    if snapshot is None or wanted.until is None or wanted.state not in (None, *FINAL):
        return ""
    named = {None: ("completed", "failed"), State.FAILED: ("failed",)}.get(
        wanted.state, ("completed",)
    )
    queues = [queue for queue in snapshot.queues if wanted.queue in (None, queue.name)]
    kept = [queue.retention[name] for queue in queues for name in named if name in queue.retention]
    longest = max(kept, key=lambda text: retention_of(text)[0], default="")
    oldest = watch().at - timedelta(milliseconds=retention_of(longest)[0]) if longest else None
    return longest if oldest and wanted.until < oldest else ""


def _fresh(wanted: JobFilter) -> Any:
    """Count what changed since the table was made; the table itself stands still."""
    top = request.args.get("fresh", "0")
    if not top.isdigit():
        abort(400, "fresh is a number")
    newer = _huey().reads.jobs(wanted, f"n{top}", MOST_NEW)
    return render(
        "_fresh.html",
        figures=(top, len(newer.items)),
        fresh=len(newer.items),
        top=top,
        most=MOST_NEW,
    )


def _jump(text: str) -> str | None:
    """Return where a search for an id or an address leads at once."""
    if not text or set(request.args) - {"q", columns.COOKIE}:
        return None
    if "@" in text and not set(' :,"*') & set(text):
        with reading() as db:
            known = (
                mail.of_person(db, text, limit=1)
                or mail.suppressed(db, text)
                or domain.user_by_email(db, text)
            )
        return (
            url_for("people.show", address=text) if known else url_for("jobs.table", q=f"to:{text}")
        )
    if is_job_id(text) and text.partition(":")[0] not in query.FIELDS:  # a callback's id is batch:…
        try:
            _huey().reads.job(text)
        except (UnknownJob, Unreachable):
            return url_for("jobs.show", job_id=text) if outbox.row(text) else None
        return url_for("jobs.show", job_id=text)
    return None


@bp.get("/jobs/suggest")
def suggest() -> Any:
    """Offer what completes the word being typed."""
    given = request.args.getlist("q")
    found, hint = searching.offers(" ".join(given[:-1]), (given or [""])[-1])
    return render("_suggest.html", offers=found, hint=hint)


@bp.post("/jobs/views")
def save_view() -> Any:
    """Keep this search under a name, for everybody."""
    text, name = request.form.get("query", ""), request.form.get("name", "").strip()
    shown = ".".join(columns.read(request.form.get("columns", "").split(".")))
    try:
        say(
            actions.run(
                _huey(), auth.actor(), "save_view", name[:80], query=text, columns=shown
            ).message
        )
    except (actions.Refused, query.QueryError) as exc:
        say(str(exc), "bad")
    return redirect(local_path(request.form.get("next") or url_for("jobs.table")), 303)


@bp.post("/jobs/views/<int:view_id>/delete")
def delete_view(view_id: int) -> Any:
    """Take a saved view away."""
    try:
        say(actions.run(_huey(), auth.actor(), "delete_view", str(view_id)).message)
    except (actions.Refused, UnknownJob) as exc:
        say(str(exc), "bad")
    return redirect(local_path(request.form.get("next") or url_for("jobs.table")), 303)


@bp.post("/jobs/bulk")
def bulk() -> Any:
    """Start at once on a few ticked jobs where that is taken back easily; else look first."""
    kind = request.form.get("kind", "")
    if kind not in {offered.name for offered in orders.OFFERED}:
        abort(400, f"kind is one of {', '.join(offered.name for offered in orders.OFFERED)}")
    ids = request.form.getlist("id")
    if not ids:
        return redirect(url_for("operations.new", kind=kind, **_kept()), 303)
    if kind not in AT_ONCE:
        return operations.look(orders.BY_NAME[kind], ids=ids)
    result = actions.start_bulk(_huey(), auth.actor(), kind, ids=ids)
    flash(result.message, "plain")
    made = result.operation.id if result.operation else ""
    return redirect(url_for("operations.show", operation_id=made), 303)


@bp.post("/jobs/search")
def search_all() -> Any:
    """Search to the end, as an operation whose result is kept."""
    try:
        wanted = Wanted.model_validate({n: v for n, v in _kept().items() if n != "queue"})
        result = actions.start_bulk(
            _huey(), auth.actor(), "search", filter=wanted.filter(request.form.get("queue") or None)
        )
    except (actions.Refused, EngineError) as exc:
        say(str(exc), "bad")
        return redirect(url_for("jobs.table", **_kept()), 303)
    flash(result.message, "plain")
    made = result.operation.id if result.operation else ""
    return redirect(url_for("operations.show", operation_id=made), 303)


@bp.post("/jobs/columns")
def choose_columns() -> Any:
    """Say in the address which columns a job table has; keep them, and the height of rows, in cookies."""
    back = local_path(request.form.get("next") or url_for("jobs.table"))
    if request.form.get("usual"):
        response = redirect(columns.within(back, ""), 303)
        response.delete_cookie(columns.COOKIE)
        response.delete_cookie(columns.DENSITY)
        return response
    names = ".".join(columns.read(request.form.getlist("column")))
    response = redirect(columns.within(back, names), 303)
    high = request.form.get(columns.DENSITY, columns.density())
    for name, value in ((columns.COOKIE, names), (columns.DENSITY, high)):
        response.set_cookie(name, value, max_age=365 * 86400, samesite="Lax", httponly=True,
                            secure=current_app.config["SESSION_COOKIE_SECURE"])  # fmt: skip
    return response


def _kept() -> dict[str, Any]:
    """Return the filters that the form carried from the table's address."""
    names = ("queue", "search", *Wanted.model_fields)
    return {name: request.form[name] for name in names if request.form.get(name)}


declare("viewer", table, suggest, save_view, delete_view, bulk, search_all, choose_columns)
