"""Gentle live traffic: a few people a minute who register, enroll, pay and learn.

Everything goes through the services; what needs no token through the web, as people's browsers do.
Run as `python -m demo.traffic`; SIGTERM ends it.
"""

from __future__ import annotations

import json
import logging
import random
import signal
import urllib.request
from collections.abc import Callable
from datetime import timedelta

from sqlalchemy import func, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from academy.errors import AcademyError
from academy.providers import DemoProvider
from academy.services import EnrollmentService, PaymentService, UserService
from demo.seed import seed
from demo.stopping import Flag
from tasks import domain, outbox, settings
from tasks.database import reading, utcnow
from tasks.domain import Course, Enrollment, Payment, Proof, User

logger = logging.getLogger("demo.traffic")
EACH_S = (2.0, 6.0)
LEARNS_FOR = timedelta(minutes=3)
FIRST = (
    "Mia",
    "Noah",
    "Zoë",
    "Emil",
    "Aïcha",
    "Liam",
    "Ines",
    "Jonas",
    "Yara",
    "Mateo",
    "Freya",
    "Omar",
)
LAST = (
    "Berger",
    "O’Neil",
    "Kowalski",
    "Ngata",
    "Silva",
    "Müller",
    "Haddad",
    "Ito",
    "Jensen",
    "Rossi",
)
HOSTS = ("example.org", "example.com", "example.net")
NOWHERE, MISTYPED = "nobody.example", 1 / 25  # the inbox knows nobody there: a mail that fails
LATER = "thinks about it"
PAYS = {"": 88, "processing": 4, "declined": 3, LATER: 5}


class Traffic:
    """One step at a time, chosen by chance."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.users, self.enrollments = UserService(), EnrollmentService()
        self.payments = PaymentService(DemoProvider())
        self.steps: tuple[tuple[Callable[[], None], int], ...] = (
            (self.register, 30), (self.confirm, 30), (self.enroll, 30), (self.pay, 30),
            (self.finish, 12), (self.forget_password, 6),
        )  # fmt: skip

    def step(self) -> None:
        """Let something happen."""
        steps, weights = zip(*self.steps, strict=True)
        self.do(self.chance.choices(steps, weights)[0])

    def do(self, step: Callable[[], None]) -> None:
        """Take one step; what is refused or away is a line in the log."""
        try:
            step()
        except (AcademyError, outbox.OutboxFull, SQLAlchemyError, OSError) as exc:
            logger.warning("%s: %s", step.__name__, exc)

    def register(self) -> None:
        """Somebody new registers, on the web."""
        first, last = self.chance.choice(FIRST), self.chance.choice(LAST)
        with reading() as db:
            number = (db.scalar(select(func.max(User.id))) or 0) + 1
        host = NOWHERE if self.chance.random() < MISTYPED else self.chance.choice(HOSTS)
        email = f"learner{number}@{host}"
        self._post("registrations", {"email": email, "name": f"{first} {last}"})

    def confirm(self) -> None:
        """Somebody types the code from the mail."""
        fresh = select(Proof).where(Proof.purpose == "email", Proof.used_at.is_(None))
        with reading() as db:
            proof = db.scalars(fresh.where(Proof.expires_at > utcnow()).order_by(Proof.id)).first()
            user = db.get(User, proof.user_id) if proof else None
        if proof is not None and user is not None:
            code = domain.code_of(proof)
            self._post("registrations/confirm", {"email": user.email, "code": code})

    def enroll(self) -> None:
        """Somebody chooses a course, and begins to pay for it."""
        with reading() as db:
            user = _any_person(db)
            taken = select(Enrollment.course_id).where(
                Enrollment.user_id == (user.id if user else 0)
            )
            open_ones = select(Course).where(Course.id.not_in(taken))
            course = db.scalars(open_ones.order_by(func.random())).first()
        if user is None or course is None:
            return
        number = self.enrollments.enroll(user.id, course.id)
        if course.price_minor:
            self.payments.create_payment(number, course.price_minor, course.currency)
        else:
            self.enrollments.complete_enrollment(number)

    def pay(self) -> None:
        """Somebody comes back from the payment page."""
        with reading() as db:
            payment = db.scalars(
                select(Payment).where(Payment.state.in_(domain.UNPAID)).order_by(Payment.id.desc())
            ).first()
        evidence = self.chance.choices(list(PAYS), list(PAYS.values()))[0]
        if payment is not None and evidence != LATER:
            self.payments.verify_payment(payment.id, evidence)

    def finish(self) -> None:
        """Somebody finishes a course."""
        began = utcnow() - LEARNS_FOR
        learning = select(Enrollment.id).where(
            Enrollment.state == "active", Enrollment.activated_at < began
        )
        with reading() as db:
            number = db.scalars(learning.order_by(Enrollment.activated_at)).first()
        if number is not None:
            self.enrollments.mark_course_completed(number)

    def forget_password(self) -> None:
        """Somebody forgot the password, on the web."""
        with reading() as db:
            user = _any_person(db)
        if user is not None:
            self._post("password-resets", {"email": user.email})

    def _post(self, path: str, body: dict[str, str]) -> None:
        request = urllib.request.Request(
            f"http://{settings.get().host}:{settings.get().port}/api/academy/{path}", json.dumps(body).encode(),
            {"Content-Type": "application/json"},
        )  # fmt: skip
        with urllib.request.urlopen(request, timeout=10) as answer:
            answer.read()


def _any_person(db: Session) -> User | None:
    query = select(User).where(User.state == "active").order_by(func.random()).limit(1)
    return db.scalars(query).first()


def main() -> None:
    """Seed, then go on until told to stop."""
    logging.basicConfig(level=settings.get().log_level, format="%(asctime)s %(message)s")
    stopping = Flag()
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, lambda *_: stopping.set())
    from tasks import huey  # every task registered, the outbox joined

    logger.info("traffic for %s: %s", huey.name, seed())
    traffic = Traffic(random.Random())
    for first in (traffic.register, traffic.enroll, traffic.pay):
        traffic.do(first)
    while not stopping.wait(traffic.chance.uniform(*EACH_S)):
        traffic.step()
    outbox.settle(2)
    outbox.stop()


if __name__ == "__main__":
    main()
