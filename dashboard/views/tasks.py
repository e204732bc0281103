"""Tasks: how often each runs, how long, how often it fails; one task with all its figures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from flask import Blueprint, abort, request

from dashboard import actions, plots
from dashboard.pages import marked, part_of, render, shared, shown_range, watch
from dashboard.security import declare
from tasks.engine import JobFilter, State, Unreachable
from tasks.engine.figures.measuring import RANGES
from tasks.engine.figures.metrics import Figures
from tasks.engine.instance import TaskRun

bp = Blueprint("tasks", __name__)
OFFERED = ("1h", "24h", "7d")
STANDING = (State.WAITING, State.ACTIVE, State.SCHEDULED, State.RETRYING)


@dataclass(frozen=True, slots=True)
class Row:
    """A task in a queue: what the range saw, what stands now."""

    task: str
    queue: str
    seen: Figures
    standing: Mapping[State, int]
    busy_share: float


Key = Callable[[Row], Any]
SORTS: Mapping[str, Key] = {
    "runs": lambda row: -row.seen.run.samples,
    "task": lambda row: row.task,
    "failed": lambda row: -(row.seen.failed_share or 0),
    "p95": lambda row: -(row.seen.run.p95_ms or 0),
    "wait": lambda row: -(row.seen.wait.p95_ms or 0),
    "time": lambda row: -row.busy_share,
}


def rows(range_: str) -> list[Row]:
    """Return every task that is registered, stands in a queue or ran in the range."""
    reads = actions.huey().reads
    seen = reads.by_task(RANGES[range_].span_s)
    mix = reads.task_mix()
    names = sorted({*seen, *mix, *reads.task_queues()}, key=lambda name: name[1])
    busy = sum(found.busy_ms for found in seen.values()) or 1.0
    nothing = Figures(at=datetime.min, span_s=0)  # noqa: DTZ901 - never shown
    return [
        Row(task, queue, found := seen.get((queue, task), nothing), mix.get((queue, task), {}),
            found.busy_ms / busy)
        for queue, task in names
    ]  # fmt: skip


@bp.get("/tasks")
def table() -> Any:
    """List the tasks with their figures."""
    range_, sort = shown_range("24h", OFFERED), request.args.get("sort", "runs")
    try:
        found = (
            [] if watch().error else watch().shared.get(f"tasks {range_}", partial(rows, range_))
        )
    except Unreachable:
        found = []
    part = part_of(shared(lambda: sorted(found, key=SORTS.get(sort, SORTS["runs"])), "sorted"))
    last = shared(lambda: _last([row.task for row in part.items]), "last")
    figures = [(row.task, row.queue, row.seen, row.standing) for row in part.items]
    mark = shared(lambda: marked((part.total, figures, last)), "mark")
    return render("tasks.html", figures=mark, part=part, range_=range_, offered=OFFERED, last=last,
                  sort=sort if sort in SORTS else "runs", standing=STANDING)  # fmt: skip


def _last(tasks: Sequence[str]) -> Mapping[str, TaskRun | None]:
    """Return the last runs of the tasks that are shown; none while Redis is away."""
    try:
        return actions.huey().reads.last_runs(tasks) if tasks else {}
    except Unreachable:
        return {}


@bp.get("/tasks/<path:name>")
def show(name: str) -> Any:
    """Show one task: runs, how long, how it ends, what fails."""
    view = watch()
    if view.error:
        raise Unreachable(view.error)
    reads, range_ = actions.huey().reads, shown_range("24h", tuple(RANGES))
    points = reads.metrics(range_, task=name)
    mix = {queue: states for (queue, task), states in reads.task_mix().items() if task == name}
    runs = reads.task_runs(name)
    about = reads.about(name)
    if about is None and not mix and not runs:
        abort(404, f"there is no task {name}")
    seen = reads.measured(RANGES[range_].span_s, task=name)
    before = reads.measured(RANGES[range_].span_s, task=name, back_s=7 * 86400)
    failures = reads.jobs(JobFilter(state=State.FAILED, task=name), limit=8).items
    figures = (points, mix, [run.id for run in runs], [job.id for job in failures])
    marks = [(event.at, event.text) for event in reads.events(points[0].at)]
    return render(
        "task.html", figures=figures, name=name, about=about, range_=range_, offered=tuple(RANGES),
        points=points, seen=seen, before=before, runs=runs, failures=failures,
        standing={state: sum(states.get(state, 0) for states in mix.values()) for state in State},
        charts_of=_plots(points, seen, runs, marks),
    )  # fmt: skip


def _plots(points: Sequence[Figures], seen: Figures, runs: Sequence[TaskRun],
           marks: Sequence[tuple[datetime, str]]) -> dict[str, plots.Plot]:  # fmt: skip
    return {
        "ends": plots.ends(points, marks), "run": plots.percentiles(points, "run", marks),
        "wait": plots.percentiles(points, "wait", marks), "histogram": plots.histogram(seen.runs),
        "runs": plots.runs([(run.run_ms, run.outcome) for run in runs]),
    }  # fmt: skip


declare("viewer", table, show)
