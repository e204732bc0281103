"""One job: what happened, why, what comes next; and what can be done to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from flask import flash, redirect, request, url_for
from sqlalchemy import bindparam, select
from sqlalchemy.orm import Session

from dashboard import actions, arrows, auth, formats, plots, traces
from dashboard.models import AuditEntry
from dashboard.pages import is_fragment, render, say, watch
from dashboard.security import declare, local_path
from dashboard.views.jobs import (
    bp,
)  # one blueprint: the addresses of one job follow those of the table
from tasks import outbox
from tasks.database import reading
from tasks.emails import AlreadySent
from tasks.engine import State, UnknownJob, Unreachable
from tasks.engine.instance import TaskRun
from tasks.engine.records import Attempt, Job
from tasks.mailer import models as mail
from tasks.mailer.messages import BY_NAME as EMAIL_TYPES

ACTS = (
    select(AuditEntry)
    .where(AuditEntry.target == bindparam("job_id"), AuditEntry.outcome == "done")
    .order_by(AuditEntry.id)
    .limit(50)
)


@dataclass(frozen=True, slots=True)
class Happened:
    """A line of the timeline: an attempt, an act, an operation, a suppression; else it was queued."""

    at: datetime
    attempt: Attempt | None = None
    act: AuditEntry | None = None
    operation: Any = None
    suppressed: mail.Suppression | None = None


@bp.get("/jobs/<job_id>")
def show(job_id: str) -> Any:
    """Show one job: what happened, why, and what comes next."""
    with reading() as db:
        its_mail = mail.by_job(db, job_id)
        tries = mail.attempts(db, its_mail.id) if its_mail else []
        suppressed = mail.suppressed(db, its_mail.to_addr) if its_mail else None
        row, acts = outbox.row(job_id, db), _acts(db, job_id)
    reads = actions.huey().reads
    try:
        job, logs = reads.job(job_id), reads.logs(job_id)
        runs, touched, kin = reads.task_runs(job.task), reads.touched(job_id), reads.children(job)
    except (UnknownJob, Unreachable) as exc:
        if row is None and its_mail is None:
            raise
        return render("job_away.html", job_id=job_id, row=row, mail=its_mail, error=str(exc))
    along = arrows.found()
    figures = (job.state, job.attempts_made, job.progress, job.why_waiting, len(logs),
               job.cancel_requested_at, len(acts), len(touched), its_mail and its_mail.state,
               len(runs) and runs[-1].id, [(child.id, child.state) for child in kin.items], kin.total,
               along and along.figures)  # fmt: skip
    return render(
        "job.html", figures=figures, job=job, names=actions.huey().parameters(job.task), logs=logs,
        mail=its_mail, sealed=_sealed(its_mail), **_talk(job, tries), suppressed=suppressed, end=_end(job), row=row,
        happened=_timeline(job, acts, touched, suppressed), runs=_runs(runs, job_id), compare=_good(runs, job_id),
        **_error(job), raw=_raw(job), can_edit=actions.huey().signature(job.task) is not None,
        along=along, kin=kin, copies=_copies(acts), has_secrets=bool(actions.huey().secrets(job.task)),
    )  # fmt: skip


def _sealed(its_mail: mail.EmailMessage | None) -> str:
    """Return what a mail that carries a secret is called; empty where it may be sent again."""
    kind = EMAIL_TYPES.get(its_mail.type) if its_mail else None
    return kind.title.lower() if kind and kind.secret else ""


def _end(job: Job) -> datetime | None:
    """Return where the bar of all time ends."""
    if job.finished_at or job.state is State.SCHEDULED:
        return job.finished_at or job.changed_at
    return watch().at


def _acts(db: Session, job_id: str) -> list[AuditEntry]:
    return list(db.scalars(ACTS, {"job_id": job_id}))


def _copies(acts: Sequence[AuditEntry]) -> dict[str, list[str]]:
    """Return of which job this one is a copy, and which are copies of it."""
    said = [act.said for act in acts]
    return {
        name: [str(one[name]) for one in said if one.get(name)] for name in ("copy_of", "copied_as")
    }


def _talk(job: Job, tries: Sequence[mail.EmailAttempt]) -> dict[str, Any]:
    """Return the last talk with a mail server, the attempt it belongs to, and one since without any."""
    if not tries:
        return {"talk": None, "talked": None, "silent": None}
    talk, kept = tries[-1], [*job.attempts]
    same = [a for a in kept if a.number == talk.number]  # of each run
    talked = min(same, key=lambda a: abs(a.started_at - talk.started_at), default=None)
    silent = kept[-1] if talked and kept[-1] is not talked else None
    return {"talk": talk, "talked": talked, "silent": silent}


def _timeline(job: Job, acts: Sequence[AuditEntry], touched: Sequence[Any],
              suppressed: mail.Suppression | None) -> list[Happened]:  # fmt: skip
    """Return what happened in the order of time, from its queueing on; what set off something before it."""
    lines = [Happened(job.created_at)] if job.created_at else []
    lines += [Happened(a.at, act=a) for a in acts]
    lines += [Happened(t.at, operation=t) for t in touched]
    lines += [Happened(a.started_at, attempt=a) for a in _told(job.attempts)]
    lines += [Happened(suppressed.created_at, suppressed=suppressed)] if suppressed else []
    return sorted(lines, key=lambda line: line.at)


def _told(attempts: Sequence[Attempt]) -> list[Attempt]:
    """Leave out the death that a job failed of: the failure after it says so."""
    return [
        a
        for a, after in zip(attempts, (*attempts[1:], None), strict=False)
        if a.outcome != "lost" or after is None or after.started_at != a.started_at
    ]


def _error(job: Job) -> dict[str, Any]:
    """Return the attempt whose error is shown, its trace, and the attempts before and after it."""
    failed = [a for a in job.attempts if a.error]
    if not failed:
        return {"shown": None, "trace": None, "failed": [], "at": 0, "whole": False}
    asked = request.args.get("attempt", type=int)
    at = next((n for n, a in enumerate(failed) if _place(a, job) == asked), len(failed) - 1)
    text = failed[at].error.traceback if failed[at].error else ""  # type: ignore[union-attr]
    return {"shown": failed[at], "trace": traces.read(text) if text else None, "failed": failed,
            "at": at, "whole": request.args.get("frames") == "all"}  # fmt: skip


def _place(attempt: Attempt, job: Job) -> int:
    """Return the attempt's place among all that are kept: numbers begin anew with each run."""
    return list(job.attempts).index(attempt) + 1


def _raw(job: Job) -> str:
    """Return the arguments as JSON."""
    body = {"args": list(job.args), "kwargs": dict(job.kwargs)}
    return formats.as_json(body, 2)


def _runs(runs: Sequence[TaskRun], job_id: str) -> plots.Plot | None:
    """Return the last runs of the job's task as bars, the last of this job marked."""
    at = next((n for n, run in reversed([*enumerate(runs)]) if run.id == job_id), None)
    return plots.runs([(run.run_ms, run.outcome) for run in runs], at) if runs else None


def _good(runs: Sequence[TaskRun], job_id: str) -> str:
    """Return the last run of this task that ended well, to compare with."""
    return next((r.id for r in reversed(runs) if r.outcome == "completed" and r.id != job_id), "")


@bp.get("/jobs/<job_id>/glance")
def glance(job_id: str) -> Any:
    """Show under a job's row what the row has no room for."""
    if not is_fragment():
        return redirect(url_for("jobs.show", job_id=job_id), 303)
    job = actions.huey().reads.job(job_id)
    return render("_glance.html", job=job, **_error(job))


@bp.post("/jobs/<job_id>/<any(retry, cancel, run_now, delete):name>")
def act(job_id: str, name: str) -> Any:
    """Do one thing to one job, then show it again."""
    try:
        reason = request.form.get("reason", "")[:200]
        say(actions.run(actions.huey(), auth.actor(), name, job_id, reason=reason).message)
    except (actions.Refused, AlreadySent, ValueError, Unreachable) as exc:
        flash(str(exc), "bad")
    gone = url_for("jobs.table") if name == "delete" else url_for("jobs.show", job_id=job_id)
    return redirect(local_path(request.form.get("next") or gone), 303)


@bp.get("/jobs/<job_id>/delete")
def confirm_delete(job_id: str) -> Any:
    """Ask once more: what is deleted does not come back."""
    job = actions.huey().reads.job(job_id)
    return render("job_delete.html", job=job, state=job.state.value)


@bp.post("/jobs/<job_id>/reveal")
def reveal(job_id: str) -> Any:
    """Show a job's secret arguments, once; the audit log says who looked."""
    result = actions.run(actions.huey(), auth.actor(), "reveal", job_id)
    args, kwargs = result.value
    job = actions.huey().reads.job(job_id)
    return render("job_reveal.html", job=job, args=args, kwargs=kwargs,
                  names=actions.huey().parameters(job.task))  # fmt: skip


declare("viewer", show, glance, act, confirm_delete, reveal)
