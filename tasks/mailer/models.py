"""The mail log in SQL: every mail, every attempt, suppressed addresses; and what is asked of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    ColumnElement,
    ForeignKey,
    Index,
    Integer,
    Select,
    String,
    Text,
    bindparam,
    case,
    cast,
    extract,
    func,
    or_,
    select,
    update,
)
from sqlalchemy.orm import Mapped, Session, mapped_column, relationship

from tasks.database import Base, UtcDateTime, insert_missing, utcnow

ENDED = ("sent", "failed", "expired", "skipped", "cancelled", "bounced", "complained")
MEASURED = ("sent", "failed", "expired", "bounced")
STATES = ("queued", "scheduled", "sending", "deferred", "held", *ENDED)


def _lower(context: Any) -> str:
    return str(context.get_current_parameters()["to_addr"]).lower()


class EmailMessage(Base):
    """One mail to one address; `recipient` is the address in lower case."""

    __tablename__ = "email_messages"
    __table_args__ = (
        Index(None, "state", "updated_at"),
        Index(None, "to_addr", "id"),
        Index(None, "recipient", "id"),
        Index(None, "type", "id"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(String(200), unique=True)
    message_id: Mapped[str] = mapped_column(String(200))
    job_id: Mapped[str] = mapped_column(String(64), index=True)
    type: Mapped[str] = mapped_column(String(40))
    stream: Mapped[str] = mapped_column(String(40))
    to_addr: Mapped[str] = mapped_column(String(320))
    recipient: Mapped[str] = mapped_column(String(320), default=_lower, server_default="")
    subject: Mapped[str] = mapped_column(String(300), default="")
    locale: Mapped[str] = mapped_column(String(10), default="en")
    ref: Mapped[str | None] = mapped_column(String(80), index=True)
    state: Mapped[str] = mapped_column(String(20), default="queued")
    reason: Mapped[str] = mapped_column(String(80), default="")
    attempts: Mapped[int] = mapped_column(default=0)
    due_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    expires_at: Mapped[datetime] = mapped_column(UtcDateTime)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utcnow)
    updated_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utcnow, onupdate=utcnow)
    sent_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    phase: Mapped[str] = mapped_column(String(20), default="")
    smtp_code: Mapped[int | None]
    enhanced: Mapped[str] = mapped_column(String(12), default="")
    smtp_text: Mapped[str] = mapped_column(String(500), default="")
    remote_queue_id: Mapped[str] = mapped_column(String(80), default="")
    size_bytes: Mapped[int | None]
    duration_ms: Mapped[int | None]
    possible_duplicate: Mapped[bool] = mapped_column(default=False)
    resent_of: Mapped[int | None] = mapped_column(ForeignKey("email_messages.id"))
    tries: Mapped[list[EmailAttempt]] = relationship(order_by="EmailAttempt.id", lazy="raise")


class EmailAttempt(Base):
    """One try to deliver a mail; `transcript` has a line each of what was said, offset in ms first."""

    __tablename__ = "email_attempts"

    id: Mapped[int] = mapped_column(primary_key=True)
    email_id: Mapped[int] = mapped_column(
        ForeignKey("email_messages.id", ondelete="CASCADE"), index=True
    )
    number: Mapped[int]
    started_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utcnow)
    duration_ms: Mapped[int] = mapped_column(default=0)
    server: Mapped[str] = mapped_column(String(200), default="")
    phase: Mapped[str] = mapped_column(String(20), default="")
    outcome: Mapped[str] = mapped_column(String(20), default="")
    code: Mapped[int | None]
    enhanced: Mapped[str] = mapped_column(String(12), default="")
    text: Mapped[str] = mapped_column(String(500), default="")
    transcript: Mapped[str] = mapped_column(Text, default="")
    reused: Mapped[bool] = mapped_column(default=False)


@dataclass(frozen=True, slots=True)
class Answer:
    """How one attempt was answered; `code` None: not at all. `sent_at`: when its mail went in the end."""

    email_id: int
    at: datetime
    sent_at: datetime | None
    server: str
    code: int | None
    enhanced: str
    text: str


class EmailBody(Base):
    """What a mail said, kept 30 days; never of types that carry secrets."""

    __tablename__ = "email_bodies"

    email_id: Mapped[int] = mapped_column(
        ForeignKey("email_messages.id", ondelete="CASCADE"), primary_key=True
    )
    html: Mapped[str] = mapped_column(Text)
    text: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utcnow, index=True)


class Suppression(Base):
    """An address that gets no mail any more, until somebody lifts it."""

    __tablename__ = "email_suppressions"

    address: Mapped[str] = mapped_column(String(320), primary_key=True)
    reason: Mapped[str] = mapped_column(String(20))
    source: Mapped[str] = mapped_column(String(300), default="")
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utcnow)


def get(db: Session, email_id: int) -> EmailMessage | None:
    """Return one mail."""
    return db.get(EmailMessage, email_id)


def by_key(db: Session, key: str) -> EmailMessage | None:
    """Return the mail of a key."""
    return db.scalars(select(EmailMessage).where(EmailMessage.key == key)).first()


# Each look at a job asks it, so it is built once.
OF_JOB = select(EmailMessage).where(EmailMessage.job_id == bindparam("job_id"))


def by_job(db: Session, job_id: str) -> EmailMessage | None:
    """Return the mail of a job."""
    return db.scalars(OF_JOB, {"job_id": job_id}).first()


def by_jobs(db: Session, job_ids: Sequence[str]) -> dict[str, EmailMessage]:
    """Return the mails of several jobs, by job id."""
    found = db.scalars(select(EmailMessage).where(EmailMessage.job_id.in_(job_ids)))
    return {mail.job_id: mail for mail in found}


def _matching(to: str | None, state: str | None, kind: str | None) -> Select[Any]:
    query = select(EmailMessage)
    if to:
        wanted = to.strip().replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
        query = query.where(EmailMessage.to_addr.ilike(f"%{wanted}%", escape="\\"))
    if state:
        query = query.where(EmailMessage.state == state)
    if kind:
        query = query.where(EmailMessage.type == kind)
    return query


def find(db: Session, *, to: str | None = None, state: str | None = None, type: str | None = None,  # noqa: A002
         cursor: int | None = None, limit: int = 50) -> list[EmailMessage]:  # fmt: skip
    """Return mails, the newest first; `cursor` is the id of the last one seen."""
    query = _matching(to, state, type)
    if cursor:
        query = query.where(EmailMessage.id < cursor)
    return list(db.scalars(query.order_by(EmailMessage.id.desc()).limit(limit)))


def _to(address: str) -> ColumnElement[bool]:
    """Return what is so of a person's mails; one that an older version queued has no recipient."""
    low = address.lower()
    return or_(EmailMessage.recipient == low, EmailMessage.to_addr.in_({address, low}))


def of_person(db: Session, to: str, cursor: int | None = None, limit: int = 50) -> list[EmailMessage]:  # fmt: skip
    """Return the mails to one address in whatever case, the newest first; `cursor` as in `find`."""
    query = select(EmailMessage).where(_to(to))
    if cursor:
        query = query.where(EmailMessage.id < cursor)
    return list(db.scalars(query.order_by(EmailMessage.id.desc()).limit(limit)))


def counts_of(db: Session, to: str) -> dict[str, int]:
    """Return how many mails to one address there are in each state."""
    query = select(EmailMessage.state, func.count()).where(_to(to))
    return dict(db.execute(query.group_by(EmailMessage.state)).all())


def counts_of_domain(db: Session, domain: str, since: datetime) -> dict[str, int]:
    """Return the same of a domain's mails since then. Cost: looks at the newest 5 000 mails alone."""
    newest = select(EmailMessage).order_by(EmailMessage.id.desc()).limit(5_000).subquery()
    query = select(newest.c.state, func.count()).where(
        newest.c.created_at >= since,
        func.lower(newest.c.to_addr).endswith(f"@{domain.lower()}", autoescape=True),
    )
    return dict(db.execute(query.group_by(newest.c.state)).all())


def answers_of_domain(db: Session, domain: str, since: datetime) -> list[Answer]:
    """Return what servers said of a domain's mails since then, the newest first.

    Cost: looks at the newest 5 000 attempts alone.
    """
    newest = select(EmailAttempt.id).order_by(EmailAttempt.id.desc()).limit(5_000).subquery()
    tried, sent = EmailAttempt, EmailMessage
    query = select(tried.email_id, tried.started_at, sent.sent_at, tried.server, tried.code, tried.enhanced, tried.text)  # fmt: skip
    query = query.join(newest, newest.c.id == tried.id).join(sent, sent.id == tried.email_id)
    query = query.where(
        tried.started_at >= since,
        func.lower(sent.to_addr).endswith(f"@{domain.lower()}", autoescape=True),
    )
    return [Answer(*row) for row in db.execute(query.order_by(tried.id.desc()))]


def counts(db: Session) -> dict[str, int]:
    """Return how many mails there are in each state."""
    found = db.execute(select(EmailMessage.state, func.count()).group_by(EmailMessage.state))
    return dict(found.all())


def delivery_rate(db: Session, hours: int = 24) -> tuple[int, float] | None:
    """Return (mails ended, share delivered) of the last hours; None when none ended."""
    since = utcnow() - timedelta(hours=hours)
    query = select(EmailMessage.state, func.count()).where(
        EmailMessage.updated_at >= since,
        EmailMessage.state.in_(MEASURED),
    )
    found = dict(db.execute(query.group_by(EmailMessage.state)).all())
    total = sum(found.values())
    return (total, found.get("sent", 0) / total) if total else None


def delivered_by_time(db: Session, since: datetime, step_s: int) -> dict[int, tuple[int, int]]:
    """Return {step since 1970: (mails ended, delivered)} of the mails that ended since then.

    Without those to operators: an alert that cannot be sent is none of the platform's mails.
    """
    step = cast(extract("epoch", EmailMessage.updated_at), Integer) // step_s
    sent = func.sum(case((EmailMessage.state == "sent", 1), else_=0))
    query = select(step, func.count(), sent).where(
        EmailMessage.updated_at >= since, EmailMessage.state.in_(MEASURED),
        EmailMessage.stream != "operations",
    )  # fmt: skip
    return {int(n): (ended, int(done)) for n, ended, done in db.execute(query.group_by(step))}


def in_doubt(db: Session, mail: EmailMessage, marked: str | None) -> bool:
    """Tell whether an attempt sent the final dot, and neither its reply nor a decision was noted.

    `marked` is the id of the last attempt that set its job's mark; with Redis away its row has it.
    An older version marked the attempt's number, or "answered".
    """
    tries = attempts(db, mail.id)
    noted = {str(one.id): one.outcome for one in tries} | {"answered": "yes"}
    if marked is not None and not noted.get(marked, mail.possible_duplicate):
        return True
    return bool(tries) and (tries[-1].phase, tries[-1].outcome) == ("dot", "")


def unhold(db: Session, email_id: int) -> bool:
    """Queue a held mail; of several that ask at once, one alone does. Returns: whether this one did."""
    held = (EmailMessage.id == email_id, EmailMessage.state == "held")
    query = update(EmailMessage).where(*held).values(state="queued").returning(EmailMessage.id)
    return db.scalar(query) is not None


def decide(db: Session, email_id: int) -> None:
    """Note that it was decided what becomes of a mail in doubt: its attempts are so no longer."""
    doubtful = (EmailAttempt.email_id == email_id, EmailAttempt.outcome == "")
    db.execute(update(EmailAttempt).where(*doubtful).values(outcome="uncertain"))


def held_ids(
    db: Session, *, to: str | None = None, kind: str | None = None, limit: int = 500
) -> list[int]:
    """Return the held mails that match, the oldest first."""
    query = _matching(to, "held", kind).with_only_columns(EmailMessage.id)
    return list(db.scalars(query.order_by(EmailMessage.id).limit(limit)))


def attempts(db: Session, email_id: int) -> list[EmailAttempt]:
    """Return a mail's attempts, the first first."""
    return list(
        db.scalars(
            select(EmailAttempt).where(EmailAttempt.email_id == email_id).order_by(EmailAttempt.id)
        )
    )


def body(db: Session, email_id: int) -> EmailBody | None:
    """Return what a mail said, where it is kept."""
    return db.get(EmailBody, email_id)


def suppressed(db: Session, address: str) -> Suppression | None:
    """Return why an address gets no mail, or None."""
    return db.get(Suppression, address.lower())


def suppressions(db: Session, limit: int = 500) -> list[Suppression]:
    """Return the suppressed addresses, the newest first."""
    return list(
        db.scalars(select(Suppression).order_by(Suppression.created_at.desc()).limit(limit))
    )


def suppress(db: Session, address: str, reason: str, source: str) -> None:
    """Put an address on the list; one that is on it stays as it was."""
    row = {"address": address.lower(), "reason": reason, "source": source[:300],
           "created_at": utcnow()}  # fmt: skip
    insert_missing(db, Suppression, [row])


def lift(db: Session, address: str) -> bool:
    """Take an address off the list; False when it was not on it."""
    found = suppressed(db, address)
    if found is not None:
        db.delete(found)
    return found is not None


def put_back(db: Session, before: EmailMessage) -> None:
    """Give a mail the state it had, unless it went on meanwhile."""
    query = update(EmailMessage).where(EmailMessage.id == before.id, EmailMessage.state == "queued")
    db.execute(query.values(state=before.state, reason=before.reason, expires_at=before.expires_at))


def cancel_queued(db: Session, job_ids: Sequence[str], reason: str) -> None:
    """Note that the jobs of these mails were cancelled."""
    waiting = ("queued", "scheduled", "deferred")
    query = update(EmailMessage).where(
        EmailMessage.job_id.in_(job_ids), EmailMessage.state.in_(waiting)
    )
    db.execute(query.values(state="cancelled", reason=reason[:80], updated_at=utcnow()))
