"""Is anything broken right now: one sentence, then figures."""

from __future__ import annotations

from functools import partial
from typing import Any

from flask import Blueprint

from dashboard import audit_log
from dashboard.actions import huey
from dashboard.pages import render, shared, watch
from dashboard.security import declare
from dashboard.views.errors import unsolved
from tasks.engine import State, Unreachable
from tasks.engine.instance import QueueStats, Snapshot

QUEUES = 25  # of hundreds; the page of queues has all
bp = Blueprint("overview", __name__)


@bp.get("/")
def show() -> Any:
    """Show the overview."""
    view = watch()
    found: dict[str, Any] = {
        "minutes": [],
        "groups": [],
        "by_queue": {},
        "periodic": [],
        "running": [],
        "operations": [],
    }
    if view.snapshot is not None and not view.error:
        try:
            found = shared(partial(_figures, view.snapshot))
        except Unreachable:
            view = watch()
    acts = shared(lambda: audit_log.newest(5), "acts")
    counts = view.snapshot.totals if view.snapshot else {}
    figures = (view.status, [c.sentence for c in view.troubles], counts, view.outbox_waiting,
               [(m.completed, m.failed) for m in found["minutes"]], [(g.id, g.times, g.state, g.jobs) for g in found["groups"]],
               [a.id for a in acts], [j.id for j in found["running"]],
               [(o.id, o.state, o.progress) for o in found["operations"]])  # fmt: skip
    return render("overview.html", figures=figures, acts=acts, queues=first(view.snapshot), **found)


def first(snapshot: Snapshot | None) -> list[QueueStats]:
    """Return the queues that are shown, in their usual order: of many those that something holds up, then the fullest."""
    queues = list(snapshot.queues) if snapshot else []
    ranked = sorted(queues, key=lambda q: (q.breaker is None and q.pause is None, -q.counts[State.WAITING],
                                           -q.counts[State.ACTIVE]))  # fmt: skip
    shown = {queue.name for queue in ranked[:QUEUES]}
    return [queue for queue in queues if queue.name in shown]


def _figures(snapshot: Snapshot) -> dict[str, Any]:
    reads, shown = huey().reads, [queue.name for queue in first(snapshot)]
    minutes = reads.minutes_by_queue(60, shown, int(snapshot.at.timestamp() * 1000))
    running = [job for worker in reads.workers() if worker.state != "dead" for job in worker.jobs]
    return {
        "minutes": minutes[""], "by_queue": minutes, "groups": unsolved(6),
        "periodic": reads.periodic()[:6],
        "operations": [o for o in reads.operations(10) if o.state in ("running", "paused")][:4],
        "running": sorted((job for job in running if job.started_at), key=lambda job: str(job.started_at))[:6],
    }  # fmt: skip


declare("viewer", show)
