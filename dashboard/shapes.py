"""Records -> JSON, and the models that check what the API takes."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from dashboard import query
from tasks.database import utcnow
from tasks.engine import Job, JobFilter, JobHuey, Operation, Outcome, State
from tasks.engine.instance import Minute, Pause, PausedPart, Periodic, QueueStats, Snapshot, Worker
from tasks.engine.records import Attempt, Batch, JobError
from tasks.mailer.messages import BY_NAME as EMAIL_TYPES
from tasks.mailer.models import STATES as MAIL_STATES
from tasks.mailer.models import EmailMessage

DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)?\Z")
UNITS_S = {None: 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
LONGEST_S = 366 * 86400.0
NAMES = {"delayed": "scheduled"}


def seconds(value: Any) -> Any:
    """Return a wait in seconds from a number or a duration such as 90s. Raises ValueError."""
    if isinstance(value, bool):
        raise ValueError("seconds (a number) or a duration such as 90s or 24h is expected")
    match = DURATION.match(str(value).strip())
    if not match:
        raise ValueError("seconds (a number) or a duration such as 90s or 24h is expected")
    found = float(match[1]) * UNITS_S[match[2]]
    if found > LONGEST_S:
        raise ValueError("at most a year (366d) is accepted")
    return found


def instant(value: Any) -> Any:
    """Return an aware instant from RFC 3339 text. Raises ValueError."""
    try:
        found = datetime.fromisoformat(str(value))
    except ValueError as exc:
        raise ValueError("an instant such as 2026-11-24T08:00:00Z is expected") from exc
    if found.tzinfo is None:
        raise ValueError("an instant with its zone, such as 2026-11-24T08:00:00Z, is expected")
    return found.astimezone(UTC)


def moment(value: Any) -> Any:
    """Return an instant from RFC 3339 text or an age such as 2h. Raises ValueError."""
    if value is None or DURATION.match(str(value)):
        return None if value is None else utcnow() - timedelta(seconds=seconds(value))
    return instant(value)


def one_of(value: str, names: Iterable[str]) -> str:
    """Return a name that there is. Raises ValueError."""
    if value not in names:
        raise ValueError(f"one of {', '.join(names)} is expected")
    return value


Wait = Annotated[float, BeforeValidator(seconds)]
Instant = Annotated[datetime, BeforeValidator(instant)]
Moment = Annotated[datetime, BeforeValidator(moment)]
Status = Annotated[State, BeforeValidator(lambda value: NAMES.get(value, value))]
Text = Annotated[str, Field(max_length=200)]
MailState = Annotated[str, AfterValidator(lambda value: one_of(value, MAIL_STATES))]
MailType = Annotated[str, AfterValidator(lambda value: one_of(value, EMAIL_TYPES))]


def query_text(value: Any) -> Any:
    """Return a query that can be read. Raises QueryError, a ValueError that names the position."""
    query.parse(str(value or ""))
    return str(value or "")


Query = Annotated[str, BeforeValidator(query_text)]


class Body(BaseModel):
    """A request body: unknown fields are refused by name."""

    model_config = ConfigDict(extra="forbid")


class Wanted(Body):
    """The filters of a listing."""

    status: Status | None = None
    task: Text | None = None
    tag: Text | None = None
    q: Query | None = None
    error: Text | None = None
    since: Moment | None = None
    until: Moment | None = None

    def filter(self, queue: str | None) -> JobFilter:
        """Return the engine's filter."""
        plain = JobFilter(queue=queue, state=self.status, task=self.task, tag=self.tag,
                          error=self.error, since=self.since, until=self.until)  # fmt: skip
        return query.narrowed(plain, query.parse(self.q or ""))


class Listing(Wanted):
    """The query of a listing."""

    sort: Literal["-changed", "changed"] = "-changed"
    limit: Annotated[int, Field(ge=1, le=500)] = 50
    cursor: Annotated[str, Field(pattern=r"^[no]\d{1,20}$")] | None = None


class Bulk(Wanted):
    """What a bulk action acts on: ids, or the filters of a listing."""

    ids: (
        Annotated[
            list[Annotated[str, Field(pattern=r"^[A-Za-z0-9_.:-]{1,64}$")]],
            Field(min_length=1, max_length=10_000),
        ]
        | None
    ) = None
    reason: Text = ""


class Paced(Bulk):
    """A bulk action at a pace: most jobs a second; without it as fast as it goes."""

    pace: Annotated[float, Field(gt=0, le=100_000)] | None = None

    def plan(self) -> dict[str, Any]:
        """Return how the operation goes on."""
        return {"pace": self.pace}


class BulkRun(Paced):
    """A bulk action that makes jobs run: `canary` of them first, and the others only if
    `canary_share` per cent of those complete."""

    canary: Annotated[int, Field(ge=0, le=10_000)] = 0
    canary_share: Annotated[int, Field(ge=1, le=100)] = 95

    def plan(self) -> dict[str, Any]:
        """Return how the operation goes on."""
        return {"pace": self.pace, "canary": self.canary, "share": self.canary_share}


class BulkRetry(BulkRun):
    """Which jobs run again, after which delay."""

    delay: Wait | None = None


class BulkMove(Paced):
    """Which jobs move, and to which queue."""

    to: Text


class BulkReschedule(Paced):
    """Which jobs run when: `at` or `delay`, one of them."""

    at: Instant | None = None
    delay: Wait | None = None


class BulkPriority(Paced):
    """Which jobs get which priority; the higher runs first."""

    priority: Annotated[int, Field(ge=-100, le=100)]


class BulkTag(Paced):
    """Which jobs get or lose which tags, one word each."""

    tags: Annotated[list[Text], Field(min_length=1, max_length=10)]


class BulkPatch(Paced):
    """Which jobs get which value for an argument; `data.course` is a field inside one."""

    name: Text
    value: Any


class Empty(Body):
    """A queue's name, to empty it."""

    name: Text
    reason: Text = ""


class Outcomes(Body):
    """Which outcomes of an operation: all, skipped, or failed after."""

    which: Literal["all", "skipped", "failed"] = "all"
    limit: Annotated[int, Field(ge=1, le=500)] = 100
    start: Annotated[int, Field(ge=0, le=20_000)] = 0


class Found(Body):
    """Which of the jobs that a search found."""

    limit: Annotated[int, Field(ge=1, le=500)] = 100
    start: Annotated[int, Field(ge=0, le=20_000)] = 0


class Download(Body):
    """The form of an export."""

    format: Literal["ndjson", "csv"] = "ndjson"


class Clean(Bulk):
    """What a clean-up removes."""

    older_than: Annotated[float, Field(ge=0, le=LONGEST_S)] | None = None


class Retry(Body):
    """How to run a job again; changed arguments need the role admin."""

    args: list[Any] | None = None
    kwargs: dict[str, Any] | None = None
    delay: Wait | None = None


class Reason(Body):
    """Why."""

    reason: Text = ""


class PauseBody(Reason):
    """Until when something is paused; without it until resumed."""

    until: Instant | None = None


class Stop(Body):
    """Whether a worker gives back what it runs instead of finishing it."""

    now: bool = False


class Newest(Body):
    """How many of the newest."""

    limit: Annotated[int, Field(ge=1, le=500)] = 50


class Limits(Body):
    """Live limits of a queue; null goes back to the configured value."""

    concurrency: Annotated[int, Field(ge=1, le=1000)] | None = None
    rate: Text | None = None
    retention: Text | None = None
    retention_failed: Text | None = None


class EmailBody(Body):
    """A mail to queue; `data` is checked by the type."""

    type: Text
    to: Annotated[str, Field(max_length=320)]
    data: dict[str, Any] = Field(default_factory=dict)
    delay: Wait | None = None
    send_at: Instant | None = None
    priority: Annotated[int, Field(ge=-100, le=100)] | None = None


class Release(Body):
    """Which held mails go after all: ids, or those to an address or of a type."""

    ids: Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=1, max_length=500)] | None = None  # fmt: skip
    to: Annotated[str, Field(max_length=320)] | None = None
    type: MailType | None = None

    @model_validator(mode="after")
    def _something(self) -> Release:
        if bool(self.ids) == bool(self.to or self.type):
            raise ValueError("say ids, or to and type")
        return self


class Resend(Body):
    """A new copy, also to a corrected address."""

    to: Annotated[str, Field(max_length=320)] | None = None


class Minutes(Body):
    """How far back figures go, in minutes."""

    minutes: Annotated[int, Field(ge=1, le=2880)] = 60


class MailListing(Body):
    """The query of the mail log."""

    to: Annotated[str, Field(max_length=320)] | None = None
    state: MailState | None = None
    type: MailType | None = None
    cursor: Annotated[int, Field(ge=1)] | None = None
    limit: Annotated[int, Field(ge=1, le=500)] = 50


class NewToken(Body):
    """A token to make."""

    name: Annotated[str, Field(min_length=1, max_length=80)]
    role: Literal["viewer", "operator", "admin"]


class NewOperator(Body):
    """A person to give a login."""

    email: Annotated[str, Field(max_length=320)]
    role: Literal["viewer", "operator", "admin"]
    password: Annotated[str, Field(max_length=256)]


class ChangedOperator(Body):
    """What changes about a person with a login."""

    role: Literal["viewer", "operator", "admin"] | None = None
    password: Annotated[str, Field(max_length=256)] | None = None
    disabled: bool | None = None

    @model_validator(mode="after")
    def _something(self) -> ChangedOperator:
        if not self.model_fields_set:
            raise ValueError("say role, password or disabled")
        return self


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
        "forecast": queue.forecast,
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


def batch_json(batch: Batch) -> dict[str, Any]:
    """Return one batch."""
    return {
        "id": batch.id, "name": batch.name, "by": batch.by, "total": batch.total,
        "counts": {state.value: n for state, n in batch.counts.items()}, "progress": batch.progress,
        "adding": not batch.sealed, "closed_at": when(batch.closed_at), "callback": batch.callback or None, "callback_job": batch.callback_job,
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
