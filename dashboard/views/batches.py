"""Batches: jobs added together, how far they are, and what to do about those that failed."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, flash, redirect, url_for

from dashboard import actions, auth
from dashboard.pages import render, watch
from dashboard.security import declare
from tasks.engine import EngineError, JobFilter, State, Unreachable
from tasks.engine.queueing.batches import ends_about
from tasks.engine.records import LIVE, Batch, Job, Term

bp = Blueprint("batches", __name__)
WORST_SHOWN = 20


def _figures(batch: Batch, callback: Job | None) -> Any:
    return (
        callback and callback.state,
        batch.id,
        sorted(batch.counts.items()),
        batch.total,
        batch.sealed,
        batch.closed_at,
        batch.callback_job,
    )


def _members(batch_id: str, *states: State) -> JobFilter:
    named = Term("state", tuple(state.value for state in states))
    return JobFilter(terms=(Term("batch", (batch_id,)), named))


@bp.get("/batches")
def table() -> Any:
    """List the newest batches."""
    try:
        reads = actions.huey().reads
        found = reads.batches()
        called = reads.callbacks(found)
    except Unreachable as exc:
        return render("batches.html", batches=[], error=str(exc), status=503)
    figures = [_figures(batch, called.get(batch.id)) for batch in found]
    return render("batches.html", figures=figures, batches=found, called=called, error="")


@bp.get("/batches/<batch_id>")
def show(batch_id: str) -> Any:
    """Show one batch: its members by state, those that failed, and how its callback went."""
    reads = actions.huey().reads
    batch = reads.batch(batch_id)
    called = reads.callbacks([batch]).get(batch_id)
    failed = reads.jobs(_members(batch_id, State.FAILED), limit=WORST_SHOWN).items
    return render(
        "batch.html", figures=(*_figures(batch, called), [job.id for job in failed]), batch=batch, failed=failed,
        called=called, ends=ends_about(batch, watch().at),
    )  # fmt: skip


@bp.post("/batches/<batch_id>/<any(retry, cancel):kind>")
def act(batch_id: str, kind: str) -> Any:
    """Retry the members that failed, or cancel those that have not ended, as an operation."""
    actions.huey().reads.batch(batch_id)
    wanted = _members(batch_id, *((State.FAILED,) if kind == "retry" else LIVE))
    try:
        done = actions.run(
            actions.huey(), auth.actor(), "bulk", kind, filter=wanted, reason=f"batch {batch_id}"
        )
    except EngineError as exc:
        flash(str(exc), "bad")
        return redirect(url_for("batches.show", batch_id=batch_id), 303)
    flash(done.message, "plain")
    operation = done.operation.id if done.operation else ""
    return redirect(url_for("operations.show", operation_id=operation), 303)


declare("viewer", table, show, act)
