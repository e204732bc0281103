"""Records -> JSON, as the API answers them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from tasks.engine import Job, JobHuey, Operation, Outcome, State
from tasks.engine.instance import Minute, Pause, PausedPart, Periodic, QueueStats, Snapshot, Worker
from tasks.engine.records import Attempt, Batch, JobError
from tasks.mailer.models import EmailMessage


def when(at: datetime | None) -> str | None:
    """Return RFC 3339 in UTC with milliseconds."""
    return (
        at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z") if at else None
    )


def error_json(error: JobError | None) -> dict[str, Any] | None:
    """Return an error."""
    if error is None:
        return None
    return {
        "type": error.type,
        "message": error.message,
        "traceback": error.traceback,
        "fingerprint": error.fingerprint,
    }


def attempt_json(attempt: Attempt) -> dict[str, Any]:
    """Return one attempt."""
    return {
        "number": attempt.number, "run": attempt.run, "started_at": when(attempt.started_at),
        "finished_at": when(attempt.finished_at), "worker": attempt.worker, "outcome": attempt.outcome,
        "wait_ms": attempt.wait_ms, "run_ms": attempt.run_ms, "reason": attempt.reason,
        "error": error_json(attempt.error),
    }  # fmt: skip


def job_json(job: Job, mail: EmailMessage | None = None) -> dict[str, Any]:
    """Return one job as the contract shows it."""
    found: dict[str, Any] = {
        "id": job.id, "queue": job.queue, "task": job.task, "state": job.state.value, "priority": job.priority,
        "args": list(job.args), "kwargs": dict(job.kwargs), "tags": list(job.tags),
        "progress": {"percent": job.progress.percent, "message": job.progress.message},
        "attempts_made": job.attempts_made, "max_attempts": job.max_attempts,
        "created_at": when(job.created_at), "scheduled_for": when(job.scheduled_for),
        "started_at": when(job.started_at), "finished_at": when(job.finished_at),
        "wait_ms": job.wait_ms, "run_ms": job.run_ms, "result": job.result, "error": error_json(job.error),
        "attempts": [attempt_json(attempt) for attempt in job.attempts], "unique_key": job.unique_key,
        "batch_id": job.batch_id, "enqueued_by": job.enqueued_by, "worker": job.worker,
        "why_waiting": job.why_waiting, "deferred_reason": job.deferred_reason, "reason": job.reason,
        "cancel_requested_at": when(job.cancel_requested_at), "recovered": job.recovered,
        "kept_until": when(job.kept_until),
    }  # fmt: skip
    if mail is not None:
        found["mail"] = mail_of_job(mail)
    return found


def mail_of_job(mail: EmailMessage) -> dict[str, Any]:
    """Return a job's mail."""
    smtp = {
        "phase": mail.phase,
        "code": mail.smtp_code,
        "enhanced": mail.enhanced,
        "text": mail.smtp_text,
    }
    return {
        "email_id": mail.id, "to": mail.to_addr, "type": mail.type, "state": mail.state, "reason": mail.reason,
        "possible_duplicate": mail.possible_duplicate, "message_id": mail.message_id,
        "smtp": smtp if mail.phase else None,
    }  # fmt: skip


def mail_json(mail: EmailMessage) -> dict[str, Any]:
    """Return one mail of the log."""
    return {
        **mail_of_job(mail), "id": mail.id, "job_id": mail.job_id, "subject": mail.subject, "ref": mail.ref,
        "attempts": mail.attempts, "created_at": when(mail.created_at), "due_at": when(mail.due_at),
        "expires_at": when(mail.expires_at), "sent_at": when(mail.sent_at), "resent_of": mail.resent_of,
        "remote_queue_id": mail.remote_queue_id, "size_bytes": mail.size_bytes, "duration_ms": mail.duration_ms,
    }  # fmt: skip


def queue_json(queue: QueueStats) -> dict[str, Any]:
    """Return one queue."""
    pause, breaker = queue.pause, queue.breaker
    return {
        "name": queue.name, "paused": queue.paused,
        "pause": pause_json(pause) if pause else None,
        "breaker": {"state": breaker.state, "since": when(breaker.since), "next_probe_at": when(breaker.next_probe_at), "reason": breaker.reason} if breaker else None,
        "counts": {state.value: number for state, number in queue.counts.items()},
        "oldest_waiting_s": queue.oldest_waiting_s, "concurrency": queue.concurrency, "rate": queue.rate,
        "retention": dict(queue.retention), "per_minute": dict(queue.per_minute), "failed_rate": queue.failed_rate,
        "forecast": queue.forecast, "rate_holds": queue.rate_holds,
    }  # fmt: skip


def paused_json(part: PausedPart) -> dict[str, Any]:
    """Return a paused task or tag."""
    return {
        "kind": part.kind,
        "name": part.name,
        "paused": True,
        "held": part.parked,
        "pause": pause_json(part.pause),
    }


def pause_json(pause: Pause) -> dict[str, Any]:
    """Return why and until when something is paused."""
    return {"until": when(pause.until), "reason": pause.reason, "by": pause.by, "at": when(pause.at)}  # fmt: skip


def periodic_json(task: Periodic) -> dict[str, Any]:
    """Return a periodic task; `upcoming` is filled for one alone."""
    ticks = [{"at": when(t.at), "state": t.state, "job": t.job_id, "run_ms": t.run_ms, "ended_at": when(t.ended_at),
              "by_hand": t.by_hand} for t in task.ticks]  # fmt: skip
    return {
        "task": task.task, "when": task.words, "expression": task.expression, "timezone": task.tz,
        "missed": task.missed, "queue": task.queue, "last_at": when(task.last_at), "last_job": task.last_job,
        "next_at": when(task.next_at), "late_since": when(task.late.at if task.late else None),
        "off": pause_json(task.off) if task.off else None, "running": task.running, "ticks": ticks,
        "upcoming": [when(at) for at in task.upcoming],
    }  # fmt: skip


def batch_json(batch: Batch, callback: Job | None) -> dict[str, Any]:
    """Return one batch, and how its callback's job stands where there is one and it is kept."""
    return {
        "id": batch.id, "name": batch.name, "by": batch.by, "total": batch.total,
        "counts": {state.value: n for state, n in batch.counts.items()}, "progress": batch.progress,
        "adding": not batch.sealed, "closed_at": when(batch.closed_at), "callback": batch.callback or None, "callback_job": batch.callback_job,
        "callback_state": callback and callback.state.value,
        "callback_error": error_json(callback.error) if callback and callback.state is State.FAILED else None,
        "created_at": when(batch.created_at), "finished_at": when(batch.finished_at),
    }  # fmt: skip


def stats_json(snapshot: Snapshot, kpis: Any) -> dict[str, Any]:
    """Return the queues, the totals and the five KPIs."""
    figures = {k.name: {"value": k.value, "target": k.target, "ok": k.ok} for k in kpis}
    return {
        "queues": [queue_json(queue) for queue in snapshot.queues],
        "totals": {state.value: number for state, number in snapshot.totals.items()},
        "kpis": figures, "generated_at": when(snapshot.at),
    }  # fmt: skip


def operation_json(operation: Operation) -> dict[str, Any]:
    """Return one operation."""
    return {
        "id": operation.id, "kind": operation.kind, "state": operation.state, "matched": operation.matched,
        "done": operation.done, "skipped": operation.skipped, "failed": operation.failed,
        "progress": operation.progress, "by": operation.by, "reason": operation.reason, "query": operation.query,
        "created_at": when(operation.created_at), "finished_at": when(operation.finished_at),
        "exact": operation.exact, "changed": operation.changed, "options": dict(operation.options),
        "pace": operation.pace, "canary": operation.canary, "canary_share": operation.share,
        "trying": operation.trying, "why": operation.why, "ends": dict(operation.ends),
        "left_s": operation.left_s(),
    }  # fmt: skip


def outcome_json(outcome: Outcome) -> dict[str, Any]:
    """Return what an operation did to one job."""
    return {"id": outcome.id, "done": outcome.done, "failed": outcome.failed, "detail": outcome.detail,
            "state": outcome.state.value if outcome.state else None, "at": when(outcome.at)}  # fmt: skip


def worker_json(worker: Worker) -> dict[str, Any]:
    """Return one worker."""
    jobs = [
        {
            "id": j.id,
            "task": j.task,
            "queue": j.queue,
            "started_at": when(j.started_at),
            "progress": {"percent": j.progress.percent, "message": j.progress.message},
        }
        for j in worker.jobs
    ]
    return {
        "id": worker.id, "host": worker.host, "pid": worker.pid, "kind": worker.kind, "queues": list(worker.queues),
        "slots": worker.slots, "busy": worker.busy, "state": worker.state, "started_at": when(worker.started_at),
        "seen_at": when(worker.seen_at), "version": worker.version, "outdated": worker.outdated, "memory_bytes": worker.memory or None, "jobs": jobs,
        "died_at": when(worker.died_at), "gone": worker.gone or None,
        "recovered": [{"id": o.id, "state": o.state.value if o.state else None} for o in worker.recovered],
    }  # fmt: skip


def minute_json(minute: Minute) -> dict[str, Any]:
    """Return one minute's counters."""
    return {"at": when(minute.at), "enqueued": minute.enqueued, "completed": minute.completed,
            "failed": minute.failed, "retried": minute.retried, "cancelled": minute.cancelled}  # fmt: skip


def waiting_row(row: Any, huey: JobHuey, mail: EmailMessage | None) -> dict[str, Any]:
    """Return a job that waits in the outbox, as a job."""
    job = huey.reads.outside(row.job_id, row.envelope, row.due_at)
    why = f"in the outbox since {row.created_at:%H:%M:%S} UTC: {row.why}"
    return job_json(replace(job, created_at=row.created_at, why_waiting=why), mail)
