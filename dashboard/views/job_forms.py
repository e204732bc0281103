"""Forms of one job: retry it with other arguments, queue a new one, hold two side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flask import Blueprint, abort, redirect, request, url_for

from dashboard import actions, auth, forms
from dashboard.pages import render, say
from dashboard.security import declare
from dashboard.shapes import seconds
from tasks.emails import AlreadySent
from tasks.engine import EngineError, is_id, new_id
from tasks.engine.records import MASK, Job

bp = Blueprint("job_forms", __name__)
FAULTS = (actions.Refused, AlreadySent, EngineError, ValueError)
COMPARED = (
    "state", "queue", "task", "priority", "tags", "attempts_made", "max_attempts", "wait_ms", "run_ms",
    "worker", "enqueued_by", "batch_id", "recovered", "created_at", "started_at", "finished_at",
)  # fmt: skip


# Edit and retry


@bp.get("/jobs/<job_id>/edit")
def edit(job_id: str) -> Any:
    """Show a job's arguments as a form of its task."""
    job = actions.huey().reads.job(job_id)
    return render("job_edit.html", job=job, fields=_fields_of(job), checked=False, error="")


@bp.post("/jobs/<job_id>/edit")
def edit_retry(job_id: str) -> Any:
    """Show what changes, or, asked a second time, run the job with it."""
    job = actions.huey().reads.job(job_id)
    found = forms.filled(_fields_of(job), request.form)
    wrong, changed = any(f.error for f in found), [f for f in found if f.changed]
    if wrong or request.form.get("step") != "run" or not changed:
        error = (
            ""
            if wrong or changed
            else "Nothing is changed: Retry on the job's page runs it as it is."
        )
        checked = not wrong and bool(changed)
        return render("job_edit.html", job=job, fields=found, checked=checked, error=error,
                      status=422 if wrong or error else 200)  # fmt: skip
    return _run_edited(job, found)


def _run_edited(job: Job, found: Sequence[forms.Field]) -> Any:
    names = actions.huey().parameters(job.task)
    args, kwargs = forms.edited(found, names, job.args, job.kwargs)
    changed = ", ".join(f.name for f in found if f.changed)
    try:
        result = actions.run(
            actions.huey(), auth.actor(), "edit_retry", job.id, args=args, kwargs=kwargs,
            changed=changed, reason=request.form.get("reason", "")[:200],
        )  # fmt: skip
    except FAULTS as exc:
        return render(
            "job_edit.html", job=job, fields=found, checked=False, error=str(exc), status=422
        )
    say(result.message)
    return redirect(url_for("jobs.show", job_id=job.id), 303)


def _fields_of(job: Job) -> list[forms.Field]:
    huey = actions.huey()
    signature = huey.signature(job.task)
    given = forms.by_name(signature, job.args, job.kwargs)
    return forms.fields(signature, huey.secrets(job.task), given)


# A new job


@bp.get("/jobs/new")
def new() -> Any:
    """Show the form of a task; filled from another job where one is named."""
    source = _source()
    task = source.task if source else request.args.get("task", "")
    if not task:
        return render("job_new.html", tasks=actions.huey().reads.tasks(), task="")
    found = _fields_of(source) if source else _fields_for(task)
    return _form(task, found, source=source.id if source else "", job_id=new_id())


def _source() -> Job | None:
    given = request.args.get("from", "")
    return actions.huey().reads.job(given) if is_id(given) else None


def _fields_for(task: str) -> list[forms.Field]:
    huey = actions.huey()
    signature = huey.signature(task)
    if signature is None:
        abort(404, f"There is no task {task!r} here.")
    return forms.fields(signature, huey.secrets(task), {})


def right(task: str) -> str:
    """Return which action queues a job of this task: one with secrets is an admin's."""
    return "queue_secret_job" if actions.huey().secrets(task) else "queue_job"


def _form(task: str, found: Sequence[forms.Field], *, source: str, job_id: str, error: str = "",
          status: int = 200) -> Any:  # fmt: skip
    return render("job_new.html", task=task, fields=found, source=source, job_id=job_id, error=error,
                  right=right(task), delay=request.form.get("delay", ""), status=status)  # fmt: skip


@bp.post("/jobs/new")
def queue() -> Any:
    """Queue a job; the form carries its id, so that sent twice it is one job."""
    task, source = request.form.get("task", ""), request.form.get("from", "")
    job_id = request.form.get("job_id", "")
    if not is_id(job_id):
        abort(400, "job_id is missing: open the form anew")
    found = forms.filled(_blank(task, source), request.form)
    if any(f.error for f in found):
        return _form(task, found, source=source, job_id=job_id, status=422)
    try:
        result = actions.run(
            actions.huey(), auth.actor(), right(task), task, kwargs=forms.arguments(found),
            job_id=job_id, copy_of=source, delay_s=_delay_s(),
        )  # fmt: skip
    except FAULTS as exc:
        return _form(task, found, source=source, job_id=job_id, error=str(exc), status=422)
    say(result.message)
    return redirect(url_for("jobs.show", job_id=job_id), 303)


def _blank(task: str, source: str) -> list[forms.Field]:
    """Return the form's fields, a secret of the job that is copied standing in it as MASK."""
    if not is_id(source):
        return _fields_for(task)
    job = actions.huey().reads.job(source)
    if job.task != task:
        abort(400, "from is a job of another task")
    return _fields_of(job)


def _delay_s() -> float | None:
    text = request.form.get("delay", "").strip()
    return float(seconds(text)) if text else None


# Two jobs


@bp.get("/jobs/compare")
def compare() -> Any:
    """Show two jobs side by side; rows that differ are marked."""
    ids = [request.args.get(name, "").strip() for name in ("a", "b")]
    if not all(is_id(each) for each in ids):
        return render("job_compare.html", pair=None, a=ids[0], b=ids[1])
    pair = [actions.huey().reads.job(each) for each in ids]
    return render("job_compare.html", pair=pair, a=ids[0], b=ids[1], rows=_rows(pair),
                  given=_arguments_of(pair), mask=MASK)  # fmt: skip


def _rows(pair: Sequence[Job]) -> list[tuple[str, Any, Any]]:
    """Return (name, one, other) of each figure that either job has."""
    rows = [(name, *(getattr(job, name) for job in pair)) for name in COMPARED]
    return [row for row in rows if row[1] or row[2]]


def _arguments_of(pair: Sequence[Job]) -> list[tuple[str, str, str]]:
    """Return each argument of either job, as text; missing ones are empty."""
    given = [
        forms.by_name(actions.huey().signature(job.task), job.args, job.kwargs) for job in pair
    ]
    names = list(dict.fromkeys([*given[0], *given[1]]))
    return [(n, *(forms.shown(each[n]) if n in each else "" for each in given)) for n in names]  # type: ignore[misc]


declare("viewer", edit, edit_retry, new, queue, compare)
