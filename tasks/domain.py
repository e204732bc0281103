"""Users, courses, enrollments, payments and reminders: models, and the questions asked of them."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from itsdangerous import BadData, URLSafeSerializer
from sqlalchemy import (
    ForeignKey,
    Index,
    String,
    UniqueConstraint,
    exists,
    func,
    literal,
    select,
    update,
)
from sqlalchemy.orm import Mapped, Session, mapped_column

from tasks import settings
from tasks.database import Base, UtcDateTime, insert_missing, utcnow

MOST_TRIES = 5
UNPAID = ("pending", "processing")


class User(Base):
    """A person who learns."""

    __tablename__ = "users"

    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[str] = mapped_column(String(320), unique=True)
    name: Mapped[str] = mapped_column(String(120), default="")
    locale: Mapped[str] = mapped_column(String(10), default="en")
    timezone: Mapped[str | None] = mapped_column(String(60))
    password_hash: Mapped[str] = mapped_column(String(200), default="")
    state: Mapped[str] = mapped_column(String(10), default="pending")
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utcnow)


class Proof(Base):
    """A code that proves an address, or a link that resets a password: only its nonce is kept."""

    __tablename__ = "proofs"

    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    purpose: Mapped[str] = mapped_column(String(10))
    nonce: Mapped[str] = mapped_column(String(64))
    expires_at: Mapped[datetime] = mapped_column(UtcDateTime)
    used_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    tries: Mapped[int] = mapped_column(default=0)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utcnow)


class Course(Base):
    """Something to learn."""

    __tablename__ = "courses"

    id: Mapped[int] = mapped_column(primary_key=True)
    slug: Mapped[str] = mapped_column(String(80), unique=True)
    title: Mapped[str] = mapped_column(String(200))
    price_minor: Mapped[int]
    currency: Mapped[str] = mapped_column(String(3), default="EUR")


class Enrollment(Base):
    """A person in a course."""

    __tablename__ = "enrollments"
    __table_args__ = (UniqueConstraint("user_id", "course_id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    course_id: Mapped[int] = mapped_column(ForeignKey("courses.id"))
    state: Mapped[str] = mapped_column(String(20), default="pending_payment")
    progress_pct: Mapped[int] = mapped_column(default=0)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utcnow)
    activated_at: Mapped[datetime | None] = mapped_column(UtcDateTime, index=True)
    last_activity_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    completed_at: Mapped[datetime | None] = mapped_column(UtcDateTime)


class Payment(Base):
    """Money for an enrollment, in integer minor units."""

    __tablename__ = "payments"
    __table_args__ = (Index(None, "state", "pending_since"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    enrollment_id: Mapped[int] = mapped_column(
        ForeignKey("enrollments.id", ondelete="CASCADE"), index=True
    )
    amount_minor: Mapped[int]
    currency: Mapped[str] = mapped_column(String(3))
    state: Mapped[str] = mapped_column(String(20), default="pending")
    provider_ref: Mapped[str | None] = mapped_column(String(80), unique=True)
    pending_since: Mapped[datetime] = mapped_column(UtcDateTime, default=utcnow)
    paid_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    method_last4: Mapped[str | None] = mapped_column(String(4))
    failure_code: Mapped[str | None] = mapped_column(String(80))
    receipt_no: Mapped[str | None] = mapped_column(String(20), unique=True)


class Counter(Base):
    """A number that goes up without gaps, within the transaction that uses it."""

    __tablename__ = "counters"

    name: Mapped[str] = mapped_column(String(40), primary_key=True)
    value: Mapped[int] = mapped_column(default=0)


class Reminder(Base):
    """One reminder that is due once; the unique key makes a second one impossible."""

    __tablename__ = "reminders"
    __table_args__ = (UniqueConstraint("kind", "ref", "step"), Index(None, "state", "due_at"))

    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(String(40))
    ref: Mapped[str] = mapped_column(String(80), index=True)
    step: Mapped[int] = mapped_column(default=1)
    due_at: Mapped[datetime] = mapped_column(UtcDateTime)
    state: Mapped[str] = mapped_column(String(20), default="due")
    reason: Mapped[str] = mapped_column(String(80), default="")
    job_id: Mapped[str | None] = mapped_column(String(64))
    updated_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utcnow, onupdate=utcnow)


def user_by_email(db: Session, email: str) -> User | None:
    """Return a person by address, whatever its case."""
    return db.scalars(select(User).where(User.email == email.lower())).first()


def planned_for(db: Session, user: User) -> Sequence[Reminder]:
    """Return the reminders of a person that are still to come, the next first."""
    enrolled = select(Enrollment.id).where(Enrollment.user_id == user.id)
    paying = select(Payment.id).where(Payment.enrollment_id.in_(enrolled))
    refs = [f"enrollment:{n}" for n in db.scalars(enrolled)]
    refs += [f"payment:{n}" for n in db.scalars(paying)]
    query = select(Reminder).where(Reminder.ref.in_(refs), Reminder.state == "due")
    return db.scalars(query.order_by(Reminder.due_at)).all()


def courses_of(db: Session, user: User) -> Sequence[tuple[str, str]]:
    """Return a person's courses by title, each with the state of the enrollment."""
    query = select(Course.title, Enrollment.state).join(Enrollment).where(Enrollment.user_id == user.id)  # fmt: skip
    return [(title, state) for title, state in db.execute(query.order_by(Course.title))]


def person(db: Session, email: str, name: str, locale: str, timezone: str | None) -> User:
    """Return the person with this address, made pending where there is none.

    Who is still pending takes the new name, locale and zone; who is active keeps theirs.
    """
    values = {"email": email.lower(), "name": name, "locale": locale, "timezone": timezone,
              "password_hash": "", "state": "pending", "created_at": utcnow()}  # fmt: skip
    insert_missing(db, User, [values])
    user = db.scalars(select(User).where(User.email == email.lower())).one()
    if user.state == "pending":
        user.name, user.locale, user.timezone = name, locale, timezone
    return user


def proofs_since(db: Session, user: User, purpose: str, since: datetime) -> int:
    """Count the proofs a person asked for since then."""
    query = select(func.count()).where(
        Proof.user_id == user.id, Proof.purpose == purpose, Proof.created_at >= since
    )
    return db.scalar(query) or 0


def count_up(db: Session, name: str) -> int:
    """Raise a counter and return it; it commits with the caller's transaction, so without gaps."""
    insert_missing(db, Counter, [{"name": name, "value": 0}])
    raised = update(Counter).where(Counter.name == name).values(value=Counter.value + 1)
    return db.execute(raised.returning(Counter.value)).scalar_one()


def new_proof(db: Session, user: User, purpose: str, expires_at: datetime) -> Proof:
    """Make a proof and void the earlier ones of the same purpose."""
    older = update(Proof).where(
        Proof.user_id == user.id, Proof.purpose == purpose, Proof.used_at.is_(None)
    )
    db.execute(older.values(used_at=utcnow()))
    proof = Proof(
        user_id=user.id, purpose=purpose, nonce=secrets.token_hex(16), expires_at=expires_at
    )
    db.add(proof)
    db.flush()
    return proof


def code_of(proof: Proof) -> str:
    """Return the six digits that belong to a proof; derived, so they are kept nowhere."""
    return _codes(proof)[0]


def _codes(proof: Proof) -> list[str]:
    """Return a proof's code by the present key, then by older keys that still count."""
    text = f"code:{proof.id}:{proof.nonce}".encode()
    found = settings.get()
    digests = (
        hmac.new(key.encode(), text, hashlib.sha256).digest()
        for key in (found.secret_key, *found.secret_key_fallbacks)
    )
    return [f"{int.from_bytes(digest[:8]) % 1_000_000:06d}" for digest in digests]


def _links() -> URLSafeSerializer:
    found = settings.get()  # itsdangerous signs with the last key and accepts all
    keys = [*reversed(found.secret_key_fallbacks), found.secret_key]
    return URLSafeSerializer(keys, salt="password-reset")


def token_of(proof: Proof) -> str:
    """Return the token of a reset link; derived, so it is kept nowhere."""
    return str(_links().dumps([proof.id, proof.nonce]))


def proof_of_token(db: Session, token: str) -> Proof | None:
    """Return the unused, unexpired proof of a reset link, or None."""
    try:
        proof_id, nonce = _links().loads(token)
    except (BadData, ValueError, TypeError):
        return None
    proof = db.get(Proof, proof_id)
    if proof is None or not hmac.compare_digest(proof.nonce, str(nonce)):
        return None
    return proof if _usable(proof) else None


def _usable(proof: Proof) -> bool:
    return proof.used_at is None and proof.expires_at > utcnow()


def check_code(db: Session, user: User, code: str) -> bool:
    """Use up a person's code when it is right; a proof takes five wrong tries."""
    query = (
        select(Proof)
        .where(Proof.user_id == user.id, Proof.purpose == "email")
        .order_by(Proof.id.desc())
    )
    proof = db.scalars(query).first()
    if proof is None or not _usable(proof) or proof.tries >= MOST_TRIES:
        return False
    right = [hmac.compare_digest(known.encode(), code.encode()) for known in _codes(proof)]
    if not any(right):
        proof.tries += 1
        return False
    proof.used_at = utcnow()
    return True


def add_reminders(db: Session, kind: str, due: Sequence[tuple[str, datetime]]) -> int:
    """Make reminder rows, each (ref, due time), but for those there are; return how many are new."""
    now = utcnow()
    rows = [
        {"kind": kind, "ref": ref, "step": 1, "due_at": due_at, "state": "due", "reason": "",
         "updated_at": now}
        for ref, due_at in due
    ]  # fmt: skip
    return insert_missing(db, Reminder, rows)


def active_without_reminder(db: Session, since: datetime, limit: int) -> Sequence[Enrollment]:
    """Return active enrollments, activated after `since`, that have no reminder row."""
    query = select(Enrollment).where(
        Enrollment.state == "active", Enrollment.activated_at > since,
        ~_has_reminder("enrollment_reminder", "enrollment:", Enrollment.id),
    )  # fmt: skip
    return db.scalars(query.order_by(Enrollment.activated_at).limit(limit)).all()


def unpaid_without_reminder(db: Session, since: datetime, limit: int) -> Sequence[Payment]:
    """Return payments that are pending since after `since` and have no reminder row."""
    query = select(Payment).where(
        Payment.state.in_(UNPAID), Payment.pending_since > since,
        ~_has_reminder("payment_reminder", "payment:", Payment.id),
    )  # fmt: skip
    return db.scalars(query.order_by(Payment.pending_since).limit(limit)).all()


def _has_reminder(kind: str, prefix: str, key: Any) -> Any:
    ref = literal(prefix).concat(key.cast(String))
    return exists().where(Reminder.kind == kind, Reminder.ref == ref, Reminder.step == 1)


def drop_reminders(db: Session, ref: str, reason: str) -> int:
    """Cancel what is still due about a thing; return how many. A queued mail asks `not_wanted`."""
    due = update(Reminder).where(Reminder.ref == ref, Reminder.state == "due")
    result: Any = db.execute(due.values(state="cancelled", reason=reason, updated_at=utcnow()))
    return int(result.rowcount)


def next_receipt_no(db: Session, year: int) -> str:
    """Return the next receipt number of a year; no gaps, since it commits with the payment."""
    return f"{year}-{count_up(db, f'receipt:{year}'):06d}"


def open_courses(db: Session) -> Sequence[Course]:
    """Return the courses, by title."""
    return db.scalars(select(Course).order_by(Course.title)).all()


def win(db: Session, model: type[Enrollment] | type[Payment], number: int, states: Sequence[str],
        **values: Any) -> bool:  # fmt: skip
    """Change a row if it is in one of `states`; of many callers at once exactly one gets True."""
    result: Any = db.execute(
        update(model)
        .where(model.id == number, model.state.in_(states))
        .values(**values)
        .execution_options(synchronize_session=False)
    )
    return bool(result.rowcount == 1)


def not_wanted(db: Session, kind: str, ref: str | None) -> str:
    """Say why a mail about `ref` is no longer wanted; empty when it is.

    `ref` is such as payment:7 or enrollment:12; a mail without one has no condition.
    """
    what, _, number = (ref or "").partition(":")
    if (kind, what) not in WANTED or not number.isdigit():
        return ""
    model, states = WANTED[kind, what]
    found = db.get(model, int(number))
    if isinstance(found, Proof):
        return "" if _usable(found) else "not_needed"
    return "" if found is not None and found.state in states else "not_needed"


# A mail's type and what it is about -> the rows' model and the states in which it is wanted.
WANTED: dict[tuple[str, str], tuple[Any, tuple[str, ...]]] = {
    ("verification_code", "proof"): (Proof, ()),
    ("password_reset", "proof"): (Proof, ()),
    ("welcome", "enrollment"): (Enrollment, ("active", "completed")),
    ("course_completion", "enrollment"): (Enrollment, ("completed",)),
    ("enrollment_reminder", "enrollment"): (Enrollment, ("active",)),
    ("payment_reminder", "payment"): (Payment, UNPAID),
}
