"""The services: each changes its rows and queues its mails in one transaction.

None of them waits for SMTP or Redis: a mail is a row of the same commit.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

from argon2 import PasswordHasher
from sqlalchemy import select
from sqlalchemy.orm import Session

from academy.errors import Conflict, NotFound, WrongProof
from academy.providers import Charge, PaymentProvider, Verdict
from tasks import domain, reminders, settings
from tasks.database import insert_missing, reading, session, utcnow
from tasks.domain import UNPAID, Course, Enrollment, Payment, User
from tasks.emails import Message, send

CODE_KEPT, CODES_AN_HOUR = timedelta(minutes=15), 5
LINK_KEPT, LINKS_AN_HOUR = timedelta(minutes=30), 3
HOUR = timedelta(hours=1)
hasher = PasswordHasher()
Row = TypeVar("Row", User, Course, Enrollment, Payment)


class UserService:
    """People and their addresses."""

    def start_registration(
        self, email: str, name: str, locale: str = "en", timezone: str | None = None
    ) -> None:
        """Send a code that proves the address; the same for a known address as for a new one."""
        with session() as db:
            user = domain.person(db, email, name, locale, timezone)
            recent = domain.proofs_since(db, user, "email", utcnow() - HOUR)
            with _kept(db, "codes", recent < CODES_AN_HOUR):
                _send_code(db, user)

    def confirm_registration(self, email: str, code: str) -> int:
        """Return the id of the person whose code it is, now active. Raises WrongProof."""
        with session() as db:  # a wrong try is counted, so it commits as well
            user = domain.user_by_email(db, email)
            right = user is not None and domain.check_code(db, user, code)
            if user is not None and right:
                user.state = "active"
                return user.id
        raise WrongProof("the code is wrong, used or expired; ask for a new one")


class AuthService:
    """Passwords."""

    def request_password_reset(self, email: str) -> None:
        """Send a link that sets a new password; an unknown address gets the same answer."""
        with session() as db:
            user = domain.user_by_email(db, email)
            recent = domain.proofs_since(db, user, "reset", utcnow() - HOUR) if user else 0
            keep = user is not None and recent < LINKS_AN_HOUR
            with _kept(db, "links", keep):
                _send_link(db, user or _nobody(db, email))

    def confirm_password_reset(self, token: str, password: str) -> int:
        """Set a new password and use up the link; return the person's id. Raises WrongProof."""
        with reading() as db:
            known = domain.proof_of_token(db, token) is not None
        hashed = hasher.hash(password) if known else ""  # slow: outside the transaction
        with session() as db:
            proof = domain.proof_of_token(db, token) if hashed else None
            user = db.get(User, proof.user_id) if proof else None
            if proof is None or user is None:
                raise WrongProof("the link is wrong, used or expired; ask for a new one")
            proof.used_at, user.password_hash = utcnow(), hashed
            return user.id


class EnrollmentService:
    """People in courses."""

    def enroll(self, user_id: int, course_id: int) -> int:
        """Put a person into a course, payment pending; return the enrollment's id.

        Raises: NotFound; Conflict when the person is in that course already.
        """
        with session() as db:
            _get(db, User, user_id), _get(db, Course, course_id)
            values = {"user_id": user_id, "course_id": course_id, "state": "pending_payment",
                      "progress_pct": 0, "created_at": utcnow()}  # fmt: skip
            new = insert_missing(db, Enrollment, [values])
            both = select(Enrollment.id).where(
                Enrollment.user_id == user_id, Enrollment.course_id == course_id
            )
            number = db.scalars(both).one()
            if not new:
                raise Conflict(f"the person is in this course already: enrollment {number}")
            return number

    def complete_enrollment(self, enrollment_id: int) -> bool:
        """Open the course: welcome mail, and a reminder in 7 days; False when it was open before.

        Raises: NotFound; Conflict for a cancelled enrollment.
        """
        with session() as db:
            won = activate(db, enrollment_id)
            state = _get(db, Enrollment, enrollment_id).state
            if not won and state == "cancelled":
                raise Conflict(f"enrollment {enrollment_id} is cancelled; only a pending one opens")
            return won

    def mark_course_completed(self, enrollment_id: int) -> bool:
        """Finish the course: mail, reminders cancelled; False when it was finished before.

        Raises: NotFound; Conflict for an enrollment that is not active.
        """
        with session() as db:
            won = domain.win(db, Enrollment, enrollment_id, ("active",), state="completed",
                             completed_at=utcnow(), progress_pct=100)  # fmt: skip
            enrollment = _get(db, Enrollment, enrollment_id)
            if won:
                _finish(db, enrollment)
            elif enrollment.state != "completed":
                raise Conflict(
                    f"enrollment {enrollment_id} is {enrollment.state}; only an active one is finished"
                )
            return won


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """What became of a payment; `receipt_no` once it succeeded."""

    state: str
    receipt_no: str | None = None


class PaymentService:
    """Money for enrollments."""

    def __init__(self, provider: PaymentProvider) -> None:
        self.provider = provider

    def create_payment(self, enrollment_id: int, amount_minor: int, currency: str) -> int:
        """Begin a payment, with a reminder in 24 hours; return its id.

        Raises: NotFound; Conflict when the enrollment waits for no payment, or has one open.
        """
        with session() as db:
            enrollment = _get(db, Enrollment, enrollment_id, lock=True)
            if enrollment.state != "pending_payment":
                raise Conflict(f"enrollment {enrollment_id} is {enrollment.state}: nothing to pay")
            open_one = select(Payment.id).where(
                Payment.enrollment_id == enrollment_id, Payment.state.in_(UNPAID)
            )
            known = db.scalars(open_one).first()
            if known is not None:
                raise Conflict(f"enrollment {enrollment_id} has an open payment: {known}")
            payment = Payment(
                enrollment_id=enrollment_id, amount_minor=amount_minor, currency=currency
            )
            db.add(payment)
            db.flush()
            reminders.plan(db, reminders.PAYMENT, f"payment:{payment.id}", payment.pending_since)
            return payment.id

    def verify_payment(self, payment_id: int, evidence: str = "") -> Verified:
        """Ask the provider; of many calls at once one wins: receipt, mails, enrollment opened.

        Raises: NotFound; ProviderAway; Conflict when the provider names another amount.
        """
        with reading() as db:
            payment = _get(db, Payment, payment_id)
        if payment.state not in UNPAID:
            return Verified(state=payment.state, receipt_no=payment.receipt_no)
        charge = Charge(payment_id=payment.id, amount_minor=payment.amount_minor,
                        currency=payment.currency, provider_ref=payment.provider_ref)  # fmt: skip
        verdict = self.provider.verify(charge, evidence)  # may take long: no transaction is open
        if verdict.state == "succeeded":
            _check_amount(charge, verdict)
        with session() as db:
            _settle(db, payment_id, verdict)
            payment = _get(db, Payment, payment_id)
            return Verified(state=payment.state, receipt_no=payment.receipt_no)


def _send_code(db: Session, user: User) -> None:
    proof = domain.new_proof(db, user, "email", utcnow() + CODE_KEPT)
    data = {"code": domain.code_of(proof), "expires_minutes": _minutes(CODE_KEPT)}
    _mail(db, "verification_code", user, data, f"proof:{proof.id}", f"verify:{proof.id}")


def _send_link(db: Session, user: User) -> None:
    proof = domain.new_proof(db, user, "reset", utcnow() + LINK_KEPT)
    url = f"{settings.get().base_url}/reset/{domain.token_of(proof)}"
    data = {"url": url, "expires_minutes": _minutes(LINK_KEPT)}
    _mail(db, "password_reset", user, data, f"proof:{proof.id}", f"reset:{proof.id}")


@contextlib.contextmanager
def _kept(db: Session, what: str, keep: bool) -> Iterator[None]:
    """Keep what is done inside, or undo it; count it either way.

    The same work and the same commit: who counts milliseconds does not learn who is here.
    """
    inside = db.begin_nested()
    yield
    if keep:
        inside.commit()
    else:
        inside.rollback()
    domain.count_up(db, f"{what} {'sent' if keep else 'withheld'}")


def _nobody(db: Session, email: str) -> User:
    """Return a person who is undone with what is done for them."""
    nobody = User(email=email.lower())
    db.add(nobody)
    db.flush()
    return nobody


def activate(db: Session, enrollment_id: int) -> bool:
    """Open an enrollment in the caller's transaction; True for the one call that opened it."""
    now = utcnow()
    if not domain.win(db, Enrollment, enrollment_id, ("pending_payment",), state="active",
                      activated_at=now):  # fmt: skip
        return False
    enrollment = _get(db, Enrollment, enrollment_id)
    course, ref = _get(db, Course, enrollment.course_id), f"enrollment:{enrollment_id}"
    user = _get(db, User, enrollment.user_id)
    data = {"course": course.title, "url": _course_url(course)}
    _mail(db, "welcome", user, data, ref, f"welcome:{enrollment_id}")
    reminders.plan(db, reminders.ENROLLMENT, ref, now)
    return True


def _finish(db: Session, enrollment: Enrollment) -> None:
    course, ref = _get(db, Course, enrollment.course_id), f"enrollment:{enrollment.id}"
    user = _get(db, User, enrollment.user_id)
    domain.drop_reminders(db, ref, "completed")
    data = {"course": course.title, "url": _course_url(course)}
    _mail(db, "course_completion", user, data, ref, f"complete:{enrollment.id}")


def _check_amount(charge: Charge, verdict: Verdict) -> None:
    if (verdict.amount_minor, verdict.currency) != (charge.amount_minor, charge.currency):
        raise Conflict(
            f"the provider took {verdict.amount_minor} {verdict.currency} (minor units) for payment"
            f" {charge.payment_id}; {charge.amount_minor} {charge.currency} is due"
        )


def _settle(db: Session, payment_id: int, verdict: Verdict) -> None:
    """Write the provider's verdict; what follows a payment happens once, for the call that won."""
    values: dict[str, Any] = {"state": verdict.state, "provider_ref": verdict.provider_ref,
              "failure_code": verdict.failure_code, "method_last4": verdict.method_last4}  # fmt: skip
    if verdict.state == "succeeded":
        values["paid_at"] = utcnow()
    won = domain.win(db, Payment, payment_id, UNPAID, **values)
    if not won or verdict.state in UNPAID:
        return
    domain.drop_reminders(db, f"payment:{payment_id}", verdict.state)
    if verdict.state == "succeeded":
        _paid(db, _get(db, Payment, payment_id))


def _paid(db: Session, payment: Payment) -> None:
    """Number the receipt, mail it, and open the enrollment."""
    paid_at = payment.paid_at or utcnow()
    payment.receipt_no = domain.next_receipt_no(db, paid_at.year)
    enrollment = _get(db, Enrollment, payment.enrollment_id)
    course, user = _get(db, Course, enrollment.course_id), _get(db, User, enrollment.user_id)
    data = {
        "course": course.title, "receipt_no": payment.receipt_no, "amount_minor": payment.amount_minor,
        "currency": payment.currency, "paid_at": paid_at.isoformat(), "method_last4": payment.method_last4,
    }  # fmt: skip
    _mail(db, "payment_receipt", user, data, f"payment:{payment.id}", f"receipt:{payment.id}")
    activate(db, enrollment.id)


def _mail(
    db: Session, type_: str, user: User, data: Mapping[str, object], ref: str, key: str
) -> None:
    """Queue a mail to a person in the caller's transaction; a second one of its key is the first."""
    about = {"name": user.name, "locale": user.locale, **data}
    send(Message(type=type_, to=user.email, data=about, ref=ref), session=db, key=key)


def _get(db: Session, model: type[Row], number: int, *, lock: bool = False) -> Row:
    """Return a row as it is now; `lock` lets no other transaction have it. Raises NotFound."""
    found = db.get(model, number, populate_existing=True, with_for_update=lock)
    if found is None:
        raise NotFound(f"there is no {model.__name__.lower()} {number}")
    return found


def _course_url(course: Course) -> str:
    return f"{settings.get().base_url}/courses/{course.slug}"


def _minutes(span: timedelta) -> int:
    return int(span.total_seconds() // 60)


__all__ = ["AuthService", "EnrollmentService", "PaymentService", "UserService", "Verified", "activate"]  # fmt: skip
