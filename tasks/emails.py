"""Task deliver_email, and `send`, the only way to queue an email."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from tasks import outbox, settings
from tasks.database import reading, session, utcnow
from tasks.engine import Outcome, UnknownJob, Unreachable, current_job, new_id
from tasks.engine.records import Job
from tasks.mailer import delivery, models
from tasks.mailer.messages import ALERT, EmailType, address, email_type, sample
from tasks.mailer.render import Rendered, message_id, render
from tasks.queues import huey

SPREAD_S = 1800  # mails held by quiet hours leave over half an hour, not all at once


class AlreadySent(Exception):
    """The mail was accepted by the server; `resend` makes a new one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A mail to queue.

    Args:
        type: a name of MESSAGES. to: one address. data: what the type takes, checked here.
        ref: what it is about, such as payment:7; its condition is checked again when it runs.
    """

    type: str
    to: str
    data: Mapping[str, Any] = field(default_factory=dict)
    ref: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Queued:
    """What became of a mail: its job, its row, and whether the key was known before."""

    job_id: str
    email_id: int
    state: str
    duplicate: bool = False


@huey.task(queue="email", retries=4, secret=("private",), index=("to",), name="deliver_email")
def deliver_email(email_id: int, type: str, to: str, data: dict[str, Any],  # noqa: A002
                  private: dict[str, Any] | None = None) -> str:  # fmt: skip
    """Deliver one mail; `private` holds the fields that are shown to nobody."""
    return delivery.deliver(email_id, {**data, **(private or {})}, current_job())


@huey.task(queue="email", retries=4, index=("to",), name="deliver_alert")
def deliver_alert(email_id: int, type: str, to: str, data: dict[str, Any],  # noqa: A002
                  private: dict[str, Any] | None = None) -> str:  # fmt: skip
    """Deliver one mail to operators: a task of its own, which alert rules leave out."""
    return delivery.deliver(email_id, data, current_job())


def send(message: Message, *, session: Session | None = None, delay: timedelta | None = None,
         at: datetime | None = None, priority: int | None = None, key: str | None = None) -> Queued:  # fmt: skip
    """Queue a mail, in the caller's transaction where one is given.

    Args:
        session: the mail goes when it commits, and not when it rolls back.
        delay, at: when it is due; reminders keep quiet hours where a time zone is known.
        key: a second mail of the same key is the first one.
    Raises: ValueError for a wrong type, address or data; OutboxFull.
    """
    kind = email_type(message.type)
    to = address(message.to)
    values = kind.data.model_validate(dict(message.data)).model_dump(
        mode="json", exclude_unset=True
    )
    due = _due(kind, delay, at, values.get("timezone"), to)
    with _joined(session) as db:
        key = key or f"once:{new_id()}"
        known = models.by_key(db, key)
        if known is not None:
            return _duplicate(known)
        mail = _row(kind, to, message.ref, due, key, values)
        try:
            with db.begin_nested():
                db.add(mail)
        except IntegrityError:  # another transaction used the key meanwhile
            known = models.by_key(db, key)
            if known is None:
                raise
            return _duplicate(known)
        _enqueue(db, mail, kind, values, priority)
        return Queued(job_id=mail.job_id, email_id=mail.id, state=mail.state)


def _duplicate(known: models.EmailMessage) -> Queued:
    return Queued(job_id=known.job_id, email_id=known.id, state=known.state, duplicate=True)


@contextmanager
def _joined(given: Session | None) -> Iterator[Session]:
    if given is not None:
        yield given
        return
    with session() as db:
        yield db
    outbox.settle()  # so that whoever asks for the job next finds it in Redis


def _due(
    kind: EmailType, delay: timedelta | None, at: datetime | None, timezone: str | None, to: str
) -> datetime | None:
    if at is not None and at.tzinfo is None:
        raise ValueError(f"at is {at.isoformat()} without a time zone; give an aware datetime")
    due = at or (utcnow() + delay if delay else None)
    quiet = settings.get().quiet_hours
    if not (kind.quiet_hours and timezone and quiet):
        return due
    try:
        zone = ZoneInfo(timezone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return due
    start = (due or utcnow()).astimezone(zone)
    moved = delivery.next_morning(start, quiet, zlib.crc32(to.encode()) % SPREAD_S)
    return due if moved == start else moved.astimezone(UTC)


def _row(kind: EmailType, to: str, ref: str | None, due: datetime | None, key: str,
         values: Mapping[str, Any]) -> models.EmailMessage:  # fmt: skip
    now = utcnow()
    return models.EmailMessage(
        key=key, message_id=message_id(key, settings.get().mail_default_sender), job_id=new_id(),
        type=kind.name, stream=kind.stream, to_addr=to, locale=str(values.get("locale", "en")), ref=ref,
        state="scheduled" if due and due > now else "queued", due_at=due, created_at=now,
        expires_at=(due or now) + timedelta(seconds=_lasts_s(kind, values)),
    )  # fmt: skip


def _lasts_s(kind: EmailType, values: Mapping[str, Any]) -> int:
    """Return how long a mail is worth sending: no longer than the code or link in it."""
    minutes = values.get("expires_minutes")
    return min(kind.expires_s, int(minutes) * 60) if minutes else kind.expires_s


def _enqueue(db: Session, mail: models.EmailMessage, kind: EmailType, values: Mapping[str, Any],
             priority: int | None) -> None:  # fmt: skip
    private = {name: value for name, value in values.items() if name in kind.secret} or None
    shown = {name: value for name, value in values.items() if name not in kind.secret}
    deliver = deliver_alert if kind is ALERT else deliver_email
    task = deliver.s(
        mail.id, mail.type, mail.to_addr, shown, private, id=mail.job_id,
        priority=kind.priority if priority is None else priority,
    )  # fmt: skip
    outbox.add(db, mail.job_id, huey.envelope(task), mail.due_at)


def _hang_up() -> None:
    """Close the kept connections of a worker process that ends."""
    delivery.pool().close()


huey.on_shutdown(name="mail connections")(_hang_up)  # type: ignore[no-untyped-call]


def status(job_id: str) -> Job | None:
    """Return the job of a mail; None while it waits in the outbox. Raises UnknownJob, Unreachable."""
    if outbox.row(job_id) is not None:
        return None
    return huey.reads.job(job_id)


def cancel(job_id: str, *, by: str = "", reason: str = "") -> Outcome:
    """Cancel a mail that is not on its way yet. Raises Unreachable."""
    with session() as db:
        if outbox.withdraw(db, job_id):
            models.cancel_queued(db, [job_id], reason or "cancelled")
            return Outcome(id=job_id, done=True, detail="taken from the outbox")
    outcome = huey.commands.cancel([job_id], by=by, reason=reason)[0]
    if outcome.done:
        with session() as db:
            models.cancel_queued(db, [job_id], reason or "cancelled")
    return outcome


def cancel_for(ref: str, type: str | None = None, *, reason: str = "") -> int:  # noqa: A002
    """Cancel the waiting mails about a thing. Returns: how many. Raises Unreachable."""
    with reading() as db:
        query = select(models.EmailMessage.job_id).where(
            models.EmailMessage.ref == ref,
            models.EmailMessage.state.in_(("queued", "scheduled", "deferred")),
        )
        ids = list(db.scalars(query.where(models.EmailMessage.type == type) if type else query))
    return sum(cancel(job_id, reason=reason).done for job_id in ids)


def retry(job_id: str, *, by: str = "") -> Outcome:
    """Try a failed mail again, under the same Message-ID.

    Raises: AlreadySent when the server accepted it; UnknownJob; Unreachable.
    """
    with reading() as db:
        before = models.by_job(db, job_id)
    reopen(job_id)
    outcome = huey.commands.retry([job_id], by=by)[0]
    if before is not None and not outcome.done:
        with session() as db:
            models.put_back(db, before)
    return outcome


def reopen(job_id: str) -> None:
    """Make the row of a mail that ended unsent ready for another run. Raises AlreadySent."""
    with session() as db:
        mail = models.by_job(db, job_id)
        if mail is not None:
            _reopen(mail)


class NotHeld(Exception):
    """The mail is not held, so there is nothing to release."""


def release(email_id: int, *, by: str = "") -> Outcome:
    """Send a held mail after all, under the same Message-ID: the person may get it twice.

    Raises: UnknownJob, NotHeld, Unreachable.
    """
    with session() as db:
        was_held = models.unhold(db, email_id)
        mail = models.get(db, email_id)
        if mail is None:
            raise UnknownJob(f"there is no mail {email_id}")
        if not was_held:
            raise NotHeld(f"mail {email_id} is {mail.state}, not held")
        expires_at = mail.expires_at
        models.decide(db, email_id)
        _queue_again(mail)
    try:
        outcome = huey.commands.retry([mail.job_id], by=by)[0]
    except Unreachable:
        _hold_again(email_id, expires_at)
        raise
    if not outcome.done:
        _hold_again(email_id, expires_at)
    return outcome


def _hold_again(email_id: int, expires_at: datetime) -> None:
    with session() as db:
        mail = models.get(db, email_id)
        if mail is not None and mail.state == "queued":
            mail.state, mail.reason, mail.expires_at = "held", "uncertain", expires_at


NOT_AGAIN = {
    "sent": "the mail was already sent; use resend",
    "held": "the mail is held: its fate is uncertain; release it, or resend it as a new one",
}


def _reopen(mail: models.EmailMessage) -> None:
    if mail.state in NOT_AGAIN:
        raise AlreadySent(NOT_AGAIN[mail.state])
    if mail.state not in models.ENDED:
        return
    _queue_again(mail)


def _queue_again(mail: models.EmailMessage) -> None:
    mail.state, mail.reason = "queued", ""
    lasts = timedelta(seconds=email_type(mail.type).expires_s)
    mail.expires_at = max(mail.expires_at, utcnow() + lasts)


def before_act(kind: str, ids: Sequence[str]) -> dict[str, str]:
    """Make ready the rows of mails that an operation retries. Returns: why some are skipped."""
    if kind != "retry":
        return {}
    with reading() as db:
        if not models.by_jobs(db, ids):
            return {}
    refused = {}
    with session() as db:
        for job_id, mail in models.by_jobs(db, ids).items():
            try:
                _reopen(mail)
            except AlreadySent as exc:
                refused[job_id] = str(exc)
    return refused


def refusals(kind: str, ids: Sequence[str]) -> dict[str, str]:
    """Return why an operation of this kind would pass over some of these jobs; changes nothing."""
    if kind != "retry" or not ids:
        return {}
    with reading() as db:
        mails = models.by_jobs(db, ids)
    return {i: NOT_AGAIN[mail.state] for i, mail in mails.items() if mail.state in NOT_AGAIN}


def after_act(kind: str, ids: Sequence[str], reason: str) -> None:
    """Note on the rows of mails that an operation cancelled their jobs."""
    if kind in ("cancel", "discard"):
        with session() as db:
            models.cancel_queued(db, ids, reason or "cancelled")


huey.commands.stepper.before = before_act
huey.commands.stepper.after = after_act


def resend(email_id: int, to: str | None = None) -> Queued:
    """Make a new mail of an old one, also to a corrected address, with a new Message-ID.

    Raises: UnknownJob when the mail or its job is no longer kept, or carries secrets.
    """
    with reading() as db:
        mail = models.get(db, email_id)
    if mail is None:
        raise UnknownJob(f"there is no mail {email_id}")
    kind = email_type(mail.type)
    if kind.secret:
        raise UnknownJob(
            f"a {kind.title.lower()} is not sent again: it carries a secret; let the person ask anew"
        )
    job = huey.reads.job(mail.job_id)
    again = Message(type=mail.type, to=to or mail.to_addr, data=job.args[3], ref=mail.ref)
    with _joined(None) as db:
        queued = send(again, session=db)
        made = models.get(db, queued.email_id)
        if made is not None:
            made.resent_of = email_id
    return queued


def preview(type: str, kind: str = "default") -> Rendered:  # noqa: A002
    """Render one of a type's samples. Raises ValueError."""
    row = email_type(type)
    return render(row, sample(row, kind), delivery.brand())


__all__ = [
    "AlreadySent", "Message", "NotHeld", "Queued", "Unreachable", "cancel", "cancel_for", "deliver_alert", "deliver_email",
    "preview", "release", "reopen", "resend", "retry", "send", "status",
]  # fmt: skip
