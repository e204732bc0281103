"""Workers: who lives, what each runs, who died."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, flash, redirect, url_for

from dashboard import actions, auth
from dashboard.pages import render, say, shared, watch
from dashboard.rights import BY_NAME
from dashboard.security import declare
from tasks.engine import EngineError, Unreachable
from tasks.engine.instance import Worker

bp = Blueprint("workers", __name__)


@bp.get("/workers")
def table() -> Any:
    """List the workers."""
    try:
        found = shared(actions.huey().reads.workers)
    except Unreachable as exc:
        return render("workers.html", workers=[], here=[], gone=[], running=[], error=str(exc), status=503)  # fmt: skip
    late = {w.id: w.seen_at for w in found if w.state != "dead" and _is_late(w)}
    figures = [
        (
            w.id,
            w.state,
            w.busy,
            late.get(w.id),
            w.outdated,
            w.recovered,
            [(j.id, j.progress) for j in w.jobs],
        )
        for w in found
    ]
    here = [worker for worker in found if worker.state != "dead"]
    running = [(worker, job) for worker in here for job in worker.jobs]
    running.sort(
        key=lambda pair: (pair[1].started_at is None, pair[1].started_at or pair[0].seen_at)
    )
    told = [check.sentence for check in watch().troubles if check.name in ("unserved", "versions")]
    return render(
        "workers.html", figures=(figures, told), workers=found, here=here, running=running, late=late,
        gone=[worker for worker in found if worker.state == "dead"], error="",
    )  # fmt: skip


def _is_late(worker: Worker) -> bool:
    """Tell whether a beat of a worker is missing, with a second to spare for the look itself."""
    snapshot = watch().snapshot
    since_s = (snapshot.at - worker.seen_at).total_seconds() if snapshot else 0.0
    return since_s > 2 * actions.huey().beat_s + 1


@bp.post("/workers/<worker_id>/<any(quiet, wake, stop, stop_now):what>")
def act(worker_id: str, what: str) -> Any:
    """Quiet, resume or stop a worker."""
    try:
        result = actions.run(actions.huey(), auth.actor(), what, worker_id)
        undo = BY_NAME[what].undo
        say(result.message, undo=f"/workers/{worker_id}/{undo}" if undo else "")
    except EngineError as exc:
        flash(str(exc), "bad")
    return redirect(url_for("workers.table"), 303)


@bp.post("/workers/<any(quiet, wake):what>")
def act_all(what: str) -> Any:
    """Quiet or resume every worker that lives."""
    huey, done = actions.huey(), 0
    try:
        for worker in huey.reads.workers():
            if worker.state == {"quiet": "live", "wake": "quiet"}[what]:
                actions.run(huey, auth.actor(), what, worker.id)
                done += 1
        flash(
            f"{done} worker{'' if done == 1 else 's'} {'takes' if done == 1 else 'take'} {'nothing new' if what == 'quiet' else 'jobs again'}",
            "plain",
        )
    except EngineError as exc:
        flash(str(exc), "bad")
    return redirect(url_for("workers.table"), 303)


declare("viewer", table, act, act_all)
