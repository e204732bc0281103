"""Periodic tasks: who is due, one email job each. Never twice, never lost, also after days off.

The services plan a row per reminder; the scan makes the ones that are missing, and queues a mail for
each that is due. Its unique key and the claim by state make a second mail impossible.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from tasks import domain, outbox, settings
from tasks.database import reading, session, utcnow
from tasks.domain import Course, Enrollment, Payment, Reminder, User
from tasks.emails import Message, send
from tasks.engine import crontab
from tasks.queues import huey

AT_ONCE = 500
CHUNK = 50  # rows a transaction: on SQLite everybody else's writes wait for it
ENROLLMENT, PAYMENT = "enrollment_reminder", "payment_reminder"
TOO_LATE = {ENROLLMENT: timedelta(days=7), PAYMENT: timedelta(days=4)}
SOON = timedelta(minutes=1)


@huey.periodic_task(crontab(), queue="maintenance", name="scan", missed="latest",
                    expression="* * * * *")  # fmt: skip
def scan() -> str:
    """Make missing rows, then queue a mail for each reminder that is due."""
    made = heal()
    queued, skipped = queue_due()
    return f"{queued} queued, {skipped} skipped, {made} rows made"


@huey.task(queue="maintenance", name="scan_soon")
def scan_soon() -> str:
    """Scan between two minutes: for reminders planned less than a minute ahead."""
    queued, skipped = queue_due()
    return f"{queued} queued, {skipped} skipped"


def after(kind: str) -> timedelta:
    """Return how long after its event a reminder is due."""
    found = settings.get()
    seconds = {
        ENROLLMENT: found.enrollment_reminder_after_s,
        PAYMENT: found.payment_reminder_after_s,
    }
    return timedelta(seconds=seconds[kind])


def plan(db: Session, kind: str, ref: str, since: datetime) -> None:
    """Plan the reminder of something that began at `since`, in the caller's transaction."""
    due_at = since + after(kind)
    domain.add_reminders(db, kind, [(ref, due_at)])
    if due_at - utcnow() < SOON:
        at = math.ceil(due_at.timestamp())
        task = scan_soon.s(id=f"scan-soon-{at}")  # one job for all that are due in that second
        outbox.add(db, task.id, huey.envelope(task), datetime.fromtimestamp(at, UTC))


def heal() -> int:
    """Make the rows of what came past the services. Returns: how many."""
    now = utcnow()
    with reading() as db:
        enrollments = domain.active_without_reminder(db, _horizon(ENROLLMENT, now), AT_ONCE)
        payments = domain.unpaid_without_reminder(db, _horizon(PAYMENT, now), AT_ONCE)
    if not enrollments and not payments:
        return 0
    courses = [
        (f"enrollment:{e.id}", (e.activated_at or now) + after(ENROLLMENT)) for e in enrollments
    ]
    unpaid = [(f"payment:{p.id}", p.pending_since + after(PAYMENT)) for p in payments]
    with session() as db:
        return domain.add_reminders(db, ENROLLMENT, courses) + domain.add_reminders(
            db, PAYMENT, unpaid
        )


def _horizon(kind: str, now: datetime) -> datetime:
    """Return since when something may have begun whose reminder is not too late yet."""
    return now - after(kind) - TOO_LATE[kind]


def queue_due(now: datetime | None = None) -> tuple[int, int]:
    """Queue one mail for each due reminder, at most AT_ONCE. Returns: (queued, skipped)."""
    now = now or utcnow()
    due = select(Reminder.id).where(Reminder.state == "due", Reminder.due_at <= now)
    with reading() as db:
        ids = db.scalars(due.order_by(Reminder.due_at).limit(AT_ONCE)).all()
    ended: list[str] = []
    for start in range(0, len(ids), CHUNK):
        with session() as db:
            ended += [_queue(db, reminder_id, now) for reminder_id in ids[start : start + CHUNK]]
    return ended.count("queued"), ended.count("skipped")


def _queue(db: Session, reminder_id: int, now: datetime) -> str:
    """Claim one reminder and queue its mail in the same transaction; return its new state."""
    claim = update(Reminder).where(Reminder.id == reminder_id, Reminder.state == "due")
    result: Any = db.execute(claim.values(state="queued", updated_at=now))
    row = db.get(Reminder, reminder_id, populate_existing=True)
    if result.rowcount != 1 or row is None:
        return "taken"  # by another scan, or cancelled
    row.state, row.reason = "skipped", "too_late"
    if now - row.due_at <= TOO_LATE[row.kind]:
        _send(db, row)
    return row.state


def _send(db: Session, row: Reminder) -> None:
    """Queue a reminder's mail, or say why there is none; one that cannot be made stops no other."""
    row.reason = domain.not_wanted(db, row.kind, row.ref)
    if row.reason:
        return
    try:
        with db.begin_nested():
            queued = send(_message(db, row), session=db, key=f"{row.kind}:{row.ref}:{row.step}")
    except ValueError as exc:
        row.reason = f"invalid: {exc}"[:80]
        return
    row.state, row.job_id = "queued", queued.job_id


def _message(db: Session, row: Reminder) -> Message:
    """Return a reminder's mail. Raises ValueError where the person or the course is gone."""
    number = int(row.ref.partition(":")[2])
    payment = db.get(Payment, number) if row.kind == PAYMENT else None
    enrollment = db.get(Enrollment, payment.enrollment_id if payment else number)
    user = db.get(User, enrollment.user_id) if enrollment else None
    course = db.get(Course, enrollment.course_id) if enrollment else None
    if enrollment is None or user is None or course is None:
        raise ValueError("the person or the course is gone")
    about = _payment_data(payment) if payment else _course_data(course, enrollment)
    person = {"name": user.name, "locale": user.locale, "course": course.title}
    zone = {"timezone": user.timezone} if user.timezone else {}
    return Message(type=row.kind, to=user.email, data={**person, **zone, **about}, ref=row.ref)


def _payment_data(payment: Payment) -> Mapping[str, Any]:
    return {
        "amount_minor": payment.amount_minor, "currency": payment.currency,
        "url": f"{settings.get().base_url}/pay/{payment.id}",
    }  # fmt: skip


def _course_data(course: Course, enrollment: Enrollment) -> Mapping[str, Any]:
    url = f"{settings.get().base_url}/courses/{course.slug}"
    return {"url": url, "progress_pct": enrollment.progress_pct}


def counts() -> dict[str, int]:
    """Return how many reminders are in each state, `too_late` among the skipped."""
    with reading() as db:
        states = db.execute(select(Reminder.state, func.count()).group_by(Reminder.state))
        late = select(func.count()).where(Reminder.reason == "too_late")
        return {
            **{str(state): int(count) for state, count in states},
            "too_late": db.scalar(late) or 0,
        }


__all__ = ["ENROLLMENT", "PAYMENT", "after", "counts", "heal", "plan", "queue_due", "scan", "scan_soon"]  # fmt: skip
