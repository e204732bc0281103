"""Queues: depth, age, what holds them up; pause, limits, emptying; one queue in full."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from flask import Blueprint, flash, redirect, request, url_for
from sqlalchemy import select

from dashboard import actions, audit_log, auth, plots
from dashboard.models import AuditEntry
from dashboard.pages import part_of, render, say, shared, shown_range, watch
from dashboard.security import declare, local_path
from dashboard.views.pauses import until
from tasks.database import reading, utcnow
from tasks.engine import EngineError, JobFilter, State, UnknownQueue, Unreachable
from tasks.engine.figures.measuring import RANGES
from tasks.engine.figures.metrics import Figures, forecast
from tasks.engine.instance import QueueStats, Worker

bp = Blueprint("queues", __name__)
AHEAD = timedelta(minutes=15)
OPTIONS = ("concurrency", "rate", "retention", "retention_failed")
MOST_AT_ONCE = 1000


@bp.get("/queues")
def table() -> Any:
    """List the queues."""
    view = watch()
    known = view.snapshot and not view.error
    part = part_of(view.snapshot.queues if view.snapshot else [])
    shown = [queue.name for queue in part.items]
    by_queue = shared(lambda: actions.huey().reads.minutes_by_queue(60, shown)) if known else {}
    served = view.snapshot.served if view.snapshot else ()
    figures = [
        (q.name, q.counts, q.paused, q.breaker and q.breaker.state, q.per_minute, q.name in served)
        for q in part.items
    ]
    return render(
        "queues.html", figures=(figures, part.start, part.total), by_queue=by_queue, part=part
    )


def _queue(name: str) -> QueueStats:
    """Return one queue of this second's view. Raises UnknownQueue, Unreachable."""
    view = watch()
    if view.snapshot is None:
        raise Unreachable(view.error)
    for queue in view.snapshot.queues:
        if queue.name == name:
            return queue
    raise UnknownQueue(f"there is no queue {name!r}")


@bp.get("/queues/<name>")
def show(name: str) -> Any:
    """Show one queue: in and out, depth, wait and run, what is in it, who serves it."""
    queue, range_ = _queue(name), shown_range("1h", tuple(RANGES))
    found = _nothing() if watch().error else shared(lambda: _figures(queue, range_))
    queue = found.pop("queue", queue)
    figures = (queue.counts, queue.pause, queue.breaker, queue.live, queue.concurrency, queue.rate, queue.retention,
               found["points"], found["mix"], [worker.busy for worker in found["workers"]])  # fmt: skip
    return render("queue.html", figures=figures, queue=queue, range_=range_, offered=tuple(RANGES),
                  changed=_changed(name), acts=shared(lambda: audit_log.page(audit_log.Wanted(target=name), limit=5), "acts"),
                  **found)  # fmt: skip


def _nothing() -> dict[str, Any]:
    return {
        "points": [],
        "charts_of": {},
        "mix": [],
        "workers": [],
        "jobs": [],
        "seen": None,
        "rates": None,
    }


def _figures(queue: QueueStats, range_: str) -> dict[str, Any]:
    reads = actions.huey().reads
    points = reads.metrics(range_, queue=queue.name)
    marks = [(event.at, event.text) for event in reads.events(points[0].at)]
    seen, mix = reads.measured(RANGES[range_].span_s, queue=queue.name), reads.task_mix(queue.name)
    queue = _counted(queue, mix)
    return {
        "queue": queue, "rates": _last(points), "points": points, "seen": seen, "charts_of": _plots(queue, points, seen, marks),
        "mix": _mix(mix), "workers": _serving(reads.workers(), queue.name),
        "jobs": reads.jobs(JobFilter(queue=queue.name), limit=6).items,
    }  # fmt: skip


def _counted(queue: QueueStats, mix: Mapping[Any, Mapping[State, int]]) -> QueueStats:
    """Return the queue as the look at its tasks found it: all of a page tells of one moment."""
    counts = {state: sum(states.get(state, 0) for states in mix.values()) for state in State}
    waiting = counts[State.WAITING]
    return replace(
        queue, counts=counts, oldest_waiting_s=queue.oldest_waiting_s if waiting else None,
        forecast=forecast(waiting, queue.into, queue.out, utcnow()),
    )  # fmt: skip


def _last(points: Sequence[Figures]) -> tuple[float, float, int]:
    """Return what came in and went out a minute at the end of the chart, and over how many seconds."""
    last = points[-2]
    every = last.span_s // 60
    return last.ready / every, last.taken / every, last.span_s


def _plots(queue: QueueStats, points: Sequence[Figures], seen: Figures,
           marks: plots.Marks) -> dict[str, plots.Plot]:  # fmt: skip
    trouble = _trouble(queue)
    at = [point.at for point in points]
    depths: list[float | None] = [point.depth for point in points]
    depths[-1] = queue.counts[State.WAITING]
    every = points[0].span_s // 60
    rates: Mapping[str, plots.Values] = {
        "in": [point.ready / every for point in points[:-1]],
        "out": [point.taken / every for point in points[:-1]],
    }
    return {
        "rates": plots.plot(at[:-1], rates, names={"in": "in", "out": "out"}, trouble=trouble, marks=marks),
        "depth": plots.plot(at, {"out": depths}, names={"out": "now"}, trouble=trouble,
                            ahead=_ahead(queue, at[-1]) if every == 1 else ()),
        "wait": plots.percentiles(points, "wait", marks, trouble),
        "run": plots.percentiles(points, "run", marks, trouble),
        "waits": plots.histogram(seen.waits), "runs": plots.histogram(seen.runs),
    }  # fmt: skip


def _trouble(queue: QueueStats) -> tuple[datetime, datetime] | None:
    """Return since when nothing leaves the queue."""
    if queue.breaker and queue.breaker.since:
        return queue.breaker.since, utcnow()
    return (queue.pause.at, utcnow()) if queue.pause else None


def _ahead(queue: QueueStats, at: datetime) -> list[tuple[datetime, float]]:
    """Return where the depth goes at the rates of the last minutes."""
    waiting, gain = queue.counts[State.WAITING], queue.into - queue.out
    if not waiting or not gain or queue.breaker or queue.pause:
        return []
    minutes = AHEAD / timedelta(minutes=1)
    if gain < 0:
        minutes = min(minutes, waiting / -gain)
    return [(at, waiting), (at + timedelta(minutes=minutes), max(0.0, waiting + gain * minutes))]


def _mix(
    found: Mapping[tuple[str, str], Mapping[State, int]],
) -> list[tuple[str, Mapping[State, int]]]:
    """Return the tasks of a queue, the one that waits most first."""
    tasks = [(task, states) for (_, task), states in found.items()]
    return sorted(tasks, key=lambda one: (-one[1].get(State.WAITING, 0), one[0]))


def _serving(workers: Sequence[Worker], name: str) -> list[Worker]:
    return [worker for worker in workers if worker.state != "dead" and name in worker.queues]


def _changed(name: str) -> AuditEntry | None:
    """Return who changed the queue's limits last."""
    query = select(AuditEntry).where(AuditEntry.action == "set_limits", AuditEntry.target == name,
                                     AuditEntry.outcome == "done")  # fmt: skip
    with reading() as db:
        return db.scalars(query.order_by(AuditEntry.id.desc()).limit(1)).first()


@bp.post("/queues/<name>/<any(pause, resume, probe):what>")
def act(name: str, what: str) -> Any:
    """Pause, resume or try a queue, then show the page it came from."""
    params: dict[str, Any] = {}
    if what == "pause":
        params = {"reason": request.form.get("reason", "")[:200], "until": until()}
    try:
        done = actions.run(actions.huey(), auth.actor(), what, name, **params)
        say(done.message, undo=f"/queues/{name}/resume" if what == "pause" else "")
    except (actions.Refused, Unreachable) as exc:
        flash(str(exc), "bad")
    return redirect(local_path(request.form.get("next") or url_for("queues.show", name=name)), 303)


@bp.post("/queues/<name>/limits")
def limits(name: str) -> Any:
    """Change a queue's limits now; an empty field, or `reset`, goes back to the configured value."""
    try:
        given = dict.fromkeys(OPTIONS) if request.form.get("reset") else _given(_queue(name))
        if given:
            done = actions.run(actions.huey(), auth.actor(), "set_limits", name, **given)
            flash(done.message, "plain")
        else:
            flash(f"Nothing changed: {name} has these limits", "plain")
    except (EngineError, ValueError) as exc:
        flash(str(exc), "bad")
    return redirect(url_for("queues.show", name=name), 303)


def _given(queue: QueueStats) -> dict[str, Any]:
    """Return the limits of the form that differ from what holds. Raises ValueError."""
    kept = queue.retention
    now = {"concurrency": str(queue.concurrency or ""), "rate": queue.rate or "",
           "retention": kept.get("completed", ""), "retention_failed": kept.get("failed", "")}  # fmt: skip
    given: dict[str, Any] = {}
    for option in OPTIONS:
        text = request.form.get(option, now[option]).strip()
        if text != now[option]:
            given[option] = _checked(option, text) if text else None
    return given


def _checked(option: str, text: str) -> Any:
    """Return a limit's value. Raises ValueError."""
    if option != "concurrency":
        return text
    if not (text.isdigit() and 1 <= int(text) <= MOST_AT_ONCE):
        raise ValueError(f"Concurrency is {text!r}; 1 to {MOST_AT_ONCE} is accepted, or nothing for the configured value")  # fmt: skip
    return int(text)


@bp.get("/queues/<name>/empty")
def ask_empty(name: str) -> Any:
    """Ask once more before every waiting job of a queue is removed."""
    queue = _queue(name)
    mix = [] if watch().error else _mix(actions.huey().reads.task_mix(name))
    return render("queue_empty.html", queue=queue, mix=[(t, s[State.WAITING]) for t, s in mix if s.get(State.WAITING)],
                  typed=request.args.get("typed", ""))  # fmt: skip


@bp.post("/queues/<name>/empty")
def empty(name: str) -> Any:
    """Remove every waiting job of a queue whose name was typed."""
    try:
        done = actions.run(actions.huey(), auth.actor(), "empty", name, typed=request.form.get("typed", "").strip(),
                           reason=request.form.get("reason", "")[:200])  # fmt: skip
    except (actions.Refused, EngineError) as exc:
        flash(str(exc), "bad")
        return redirect(url_for("queues.ask_empty", name=name), 303)
    flash(done.message, "plain")
    operation = done.operation.id if done.operation else ""
    return redirect(url_for("operations.show", operation_id=operation), 303)


declare("viewer", table, show, act, limits, ask_empty, empty)
