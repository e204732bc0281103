"""Periodic tasks: what ran, what was missed, what comes; run now, turn off until."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, flash, redirect, request, url_for

from dashboard import actions, auth
from dashboard.pages import render, shared
from dashboard.security import declare, local_path
from dashboard.views.pauses import until
from tasks.engine import EngineError, Unreachable
from tasks.engine.instance import Periodic

bp = Blueprint("periodic", __name__)
ACTS = {"run": "run_periodic", "disable": "disable_periodic", "enable": "enable_periodic"}


def _figures(task: Periodic) -> Any:
    return (task.task, task.ticks, task.next_at, task.off, task.running)


@bp.get("/periodic")
def table() -> Any:
    """List the periodic tasks: those with a missed tick first, then the next to run."""
    try:
        found = shared(actions.huey().reads.periodic)
    except Unreachable as exc:
        return render("periodic.html", tasks=[], error=str(exc), status=503)
    found = sorted(found, key=lambda task: task.late is None)
    return render("periodic.html", figures=[_figures(t) for t in found], tasks=found, error="")


@bp.get("/periodic/<path:name>")
def show(name: str) -> Any:
    """Show one periodic task: its last thirty ticks, the next ten."""
    task = actions.huey().reads.periodic_task(name)
    return render("periodic_task.html", figures=_figures(task), task=task)


@bp.post("/periodic/<path:name>/<any(run, disable, enable):what>")
def act(name: str, what: str) -> Any:
    """Run a periodic task now, turn it off or on, then show the page it came from."""
    params: dict[str, Any] = {}
    if what == "disable":
        params = {"reason": request.form.get("reason", "")[:200], "until": until()}
    try:
        done = actions.run(actions.huey(), auth.actor(), ACTS[what], name, **params)
        flash(done.message, "plain")
    except (actions.Refused, EngineError) as exc:
        flash(str(exc), "bad")
    return redirect(
        local_path(request.form.get("next") or url_for("periodic.show", name=name)), 303
    )


declare("viewer", table, show, act)
