"""Operations: bulk acts on exactly one frozen query: looked at first, then carried on and watched."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from flask import Blueprint, abort, flash, redirect, request, url_for

from dashboard import actions, auth, bulk_acts, columns, exporting, orders, words
from dashboard.pages import job_filter, render, watch
from dashboard.security import declare
from tasks import emails
from tasks.engine import EngineError, JobFilter, Operation, State, Unreachable
from tasks.engine.operating.acts import APPLIES
from tasks.engine.operating.freezing import frozen, thaw
from tasks.engine.records import Job, JobError

bp = Blueprint("operations", __name__)
STEP_S = 0.3
PAGE = 50
LOOKED_AT = 20  # of the jobs that failed again, the newest, for why
OLDER, NUMBER = re.compile(r"o\d{1,20}\Z"), re.compile(r"\d{1,5}\Z")  # where samples go on
WHICH = ("all", "skipped", "failed")


def _kind(name: str) -> orders.Kind:
    if name not in {kind.name for kind in orders.OFFERED}:
        abort(400, f"kind is one of {', '.join(kind.name for kind in orders.OFFERED)}")
    return orders.BY_NAME[name]


@bp.get("/operations")
def table() -> Any:
    """List the newest operations."""
    try:
        found = actions.huey().reads.operations()
    except Unreachable as exc:
        return render(
            "operations.html", operations=[], error=str(exc), kinds=orders.BY_NAME, status=503
        )
    figures = [(o.id, o.state, o.seen, o.why) for o in found]
    return render("operations.html", figures=figures, operations=found, kinds=orders.BY_NAME, error="")  # fmt: skip


@bp.get("/operations/new")
def new() -> Any:
    """Show what an operation would touch, before it does; without a kind, where one begins."""
    if not request.args.get("kind"):
        return redirect(url_for("operations.table"), 303)
    kind, search = _kind(request.args.get("kind", "")), request.args.get("search", "")
    if search:
        return look(kind, ids=_found(search), search=search)
    wanted, _, error = job_filter()
    return look(kind, wanted, error=error)


def _found(search: str) -> list[str]:
    """Return the ids that a search found. Raises UnknownJob where there is none of that id."""
    found = actions.huey().reads.operation(search)
    return actions.huey().reads.operation_found(search) if found.kind == "search" else []


def look(kind: orders.Kind, wanted: JobFilter | None = None, ids: Sequence[str] = (),
         error: str = "", form: Mapping[str, str] | None = None, search: str = "") -> Any:  # fmt: skip
    """Show a dry run of a query, of ticked jobs or of what a search found, and the form that starts it."""
    reads, asked = actions.huey().reads, wanted
    at, skipped = _samples_from(wanted is not None), request.args.get("show") == "skipped"
    if wanted is not None:
        last = reads.changed_at()
        wanted = replace(wanted, until=min(wanted.until or last, last))
        found = reads.dry_run(kind.name, wanted, at, skipped)
    else:
        found = reads.dry_run_of(kind.name, ids, int(at) if at else 0, skipped)
    states = APPLIES.get(kind.name, tuple(State))
    mix = {state: n for state, n in found.by_state.items() if state not in states}
    return render(
        "operation_new.html", kind=kind, wanted=wanted, ids=ids, found=found, mix=mix, error=error,
        chips=words.chips(asked) if asked else [], said=words.sentence(asked) if asked else "",
        frozen=frozen(wanted) if wanted else "", form=form or {}, queues=list(actions.huey().declared),
        canary=orders.canary_of(found.applies), paces=orders.PACES, search=search, at=at, skipped=skipped,
        again=request.method == "GET", refused=emails.refusals(kind.name, [job.id for job in found.samples]),
        back=url_for("operations.show", operation_id=search) if search else _back(),
        status=422 if form else 200,
    )  # fmt: skip


def _samples_from(is_query: bool) -> str | None:
    """Return from where on this address asks for samples; None for the first ones."""
    at = request.args.get("samples") or None
    if at and not (OLDER if is_query else NUMBER).match(at):
        abort(400, f"samples is {at[:40]!r}: the place that Other samples leads to is expected")
    return at


def _back() -> str:
    """Return the jobs page with the filters of this address."""
    names: dict[str, Any] = {
        n: v for n, v in request.args.items() if n not in ("kind", "samples", "show")
    }
    return url_for("jobs.table", **names)


@bp.post("/operations")
def start() -> Any:
    """Start an operation on the frozen query or the ids of the form; show the form again where it is wrong."""
    form = request.form
    kind, search = _kind(form.get("kind", "")), form.get("search", "")
    ids = _found(search) if search else form.getlist("id")
    wanted = None
    try:
        wanted = None if ids else orders.query(form)
        result = actions.start_bulk(
            actions.huey(), auth.actor(), kind.name, filter=wanted, ids=ids or None,
            reason=form.get("reason", "")[:200], plan=orders.plan(form), given=orders.given(kind, form),
        )  # fmt: skip
    except Unreachable:
        raise
    except (ValueError, EngineError) as exc:
        if wanted is None and not ids:
            abort(400, str(exc))
        return look(kind, wanted, ids, str(exc), form, search)
    flash(result.message, "plain")
    return _shown(result)


def _shown(result: actions.Result) -> Any:
    made = result.operation.id if result.operation else ""
    return redirect(url_for("operations.show", operation_id=made), 303)


@bp.get("/operations/<operation_id>")
def show(operation_id: str) -> Any:
    """Show an operation's progress and the outcome of each job; steps it where no worker lives."""
    reads = actions.huey().reads
    found = reads.operation(operation_id)
    if found.state == "running" and not _served():
        actions.step_operations(STEP_S)
        found = reads.operation(operation_id)
    which = request.args.get("which", "all")
    start = request.args.get("start", 0, type=int) or 0
    if which not in WHICH or not 0 <= start <= bulk_acts.MOST_UNDONE:
        abort(400, f"which is one of {', '.join(WHICH)}")
    if found.kind == "search":
        return _search(found, start)
    figures = (found.state, found.seen, found.why, found.trying, sorted(found.ends.items()), which, start)  # fmt: skip
    return render(
        "operation.html", figures=figures, make=partial(_told, found, which, start), operation=found, which=which,
        start=start, page=PAGE, kind=orders.BY_NAME[found.kind], undo=bulk_acts.UNDO.get(found.kind),
        alone=not _served(), looked_at=LOOKED_AT,
    )  # fmt: skip


def _told(found: Operation, which: str, start: int) -> dict[str, Any]:
    """Return what an operation's page reads beside its figures: of what did not change nothing is read."""
    reads = actions.huey().reads
    outcomes = reads.operation_outcomes(found.id, PAGE, start, which)
    query = thaw(found.query) if found.query else None
    return {
        "outcomes": outcomes, "jobs": reads.some([o.id for o in outcomes]), "query": query,
        "chips": words.chips(query) if query else [], "events": reads.operation_events(found.id),
        "faults": _faults(found) if found.ends.get(State.FAILED) else (),
    }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Fault:
    """Why jobs of an operation failed again: their newest, and how many failed alike."""

    job: Job
    error: JobError
    many: int


def _faults(found: Operation) -> Sequence[Fault]:
    """Return what the jobs that failed last failed of, the most frequent first."""
    reads = actions.huey().reads
    outcomes = reads.operation_outcomes(found.id, LOOKED_AT, 0, "failed")
    jobs = reads.some([outcome.id for outcome in outcomes])
    faults: dict[str, Fault] = {}
    for job in jobs.values():
        if job.error and job.state is State.FAILED:
            kind = job.group or f"{job.error.type}: {job.error.message}"
            known = faults.get(kind, Fault(job, job.error, 0))
            faults[kind] = replace(known, many=known.many + 1)
    return sorted(faults.values(), key=lambda fault: -fault.many)


def _search(found: Operation, start: int) -> Any:
    """Show how far a search is, and what it has found as a job table."""
    reads, query = actions.huey().reads, thaw(found.query)
    ids = reads.operation_found(found.id, PAGE, start)
    jobs = reads.some(ids)
    figures = (
        found.state,
        found.seen,
        found.done,
        start,
        [(job.id, job.state) for job in jobs.values()],
    )
    return render(
        "search.html", figures=figures, operation=found, start=start, page=PAGE, ids=ids, kept=bulk_acts.KEPT_IDS,
        jobs=list(jobs.values()), gone=len(ids) - len(jobs), columns=columns.shown(), menu=orders.menu(""),
        kind=orders.BY_NAME["search"], query=query, said=words.sentence(replace(query, until=None)),
        events=reads.operation_events(found.id), chips=words.chips(query),
        address=lambda job: url_for("jobs.show", job_id=job.id), alone=not _served(),
    )  # fmt: skip


def _served() -> bool:
    """Tell whether a worker lives that steps operations."""
    snapshot = watch().snapshot
    return snapshot is None or bool(snapshot.workers_live)


@bp.post("/operations/<operation_id>/<any(stop, pause, resume, undo):what>")
def act(operation_id: str, what: str) -> Any:
    """Stop, pause or resume an operation, or take back what it did."""
    try:
        result = actions.run(actions.huey(), auth.actor(), f"{what}_operation", operation_id)
    except (EngineError, actions.Refused) as exc:
        flash(str(exc), "bad")
        return redirect(url_for("operations.show", operation_id=operation_id), 303)
    flash(result.message, "plain")
    return _shown(result)


@bp.get("/operations/<operation_id>/<any(ndjson, csv):form>")
def download(operation_id: str, form: str) -> Any:
    """Send an export's file."""
    actor = auth.actor()
    found = actions.run(actions.huey(), actor, "download_export", operation_id, format=form).value
    return exporting.send(actions.huey(), found, form)


declare("viewer", table, new, start, show, act, download)
