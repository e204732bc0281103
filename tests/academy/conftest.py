"""The platform on a real Redis and a real SQLite, with one person in one course."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import select
from waiting import PATIENCE_S
from werkzeug.exceptions import Forbidden, Unauthorized

import academy
from academy.providers import DemoProvider
from academy.services import AuthService, EnrollmentService, PaymentService, UserService
from tasks import database as db
from tasks import outbox
from tasks.domain import Course, Reminder, User
from tasks.engine import Job, JobFilter, JobHuey
from tasks.mailer.models import EmailMessage


@pytest.fixture
def huey(platform_huey: JobHuey) -> JobHuey:
    return platform_huey


@dataclass
class Platform:
    """The services, and short questions about what they did."""

    huey: JobHuey
    users: UserService = field(default_factory=UserService)
    auth: AuthService = field(default_factory=AuthService)
    enrollments: EnrollmentService = field(default_factory=EnrollmentService)
    payments: PaymentService = field(default_factory=lambda: PaymentService(DemoProvider()))

    def person(self, email: str = "ada@example.org", state: str = "active", **values: Any) -> int:
        return self.add(User(email=email, name="Ada", state=state, **values))

    def course(self, slug: str = "logic") -> int:
        return self.add(Course(slug=slug, title="Logic", price_minor=4900))

    def enrollment(self, **person: Any) -> int:
        with db.reading() as session:
            known = session.scalar(select(Course.id).where(Course.slug == "logic"))
        return self.enrollments.enroll(self.person(**person), known or self.course())

    def payment(self, **person: Any) -> int:
        return self.payments.create_payment(self.enrollment(**person), 4900, "EUR")

    def add(self, row: Any) -> int:
        with db.session() as session:
            session.add(row)
            session.flush()
            return int(row.id)

    def get(self, model: Any, number: int) -> Any:
        with db.reading() as session:
            return session.get(model, number)

    def change(self, model: Any, number: int, **values: Any) -> None:
        with db.session() as session:
            for name, value in values.items():
                setattr(session.get(model, number), name, value)

    def all(self, model: Any) -> list[Any]:
        with db.reading() as session:
            return list(session.scalars(select(model).order_by(model.id)))

    def mails(self, type: str = "") -> list[EmailMessage]:  # noqa: A002
        return [mail for mail in self.all(EmailMessage) if not type or mail.type == type]

    def jobs(self, task: str = "deliver_email") -> list[Job]:
        """Return the jobs of a task that are in Redis, once the outbox is empty."""
        outbox.settle(PATIENCE_S)
        return [
            job for job in self.huey.reads.jobs(JobFilter(), limit=500).items if task in job.task
        ]

    def reminders(self, state: str = "") -> list[Reminder]:
        return [row for row in self.all(Reminder) if not state or row.state == state]


@pytest.fixture
def platform(huey: JobHuey) -> Platform:
    return Platform(huey)


def authorize(role: str) -> None:
    """Stand where wsgi.py hands in the dashboard's token check."""
    from flask import request

    token = request.headers.get("Authorization", "")
    if not token:
        raise Unauthorized("a bearer token is expected")
    if token != f"Bearer {role}":
        raise Forbidden(f"the role {role} is needed")


@pytest.fixture
def app(platform: Platform) -> Flask:
    made = Flask("academy-test")
    academy.init_app(made, authorize)
    return made


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


@pytest.fixture
def operator(app: Flask) -> Callable[..., Any]:
    """Call an address as an operator: `operator("post", "/payments", {…})`."""

    def call(method: str, path: str, body: Any = None) -> Any:
        sent = {} if body is None else {"json": body}
        return app.test_client().open(f"/api/academy{path}", method=method.upper(),
                                      headers={"Authorization": "Bearer operator"}, **sent)  # fmt: skip

    return call
