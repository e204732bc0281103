"""A mail that nobody wants any more when its turn comes: paid, expired, cancelled, gone."""

from __future__ import annotations

from datetime import timedelta

from driving import run_one
from posting import Post
from scripted_smtp import ScriptedServer

from tasks import database as db
from tasks import emails
from tasks.database import utcnow
from tasks.domain import Course, Enrollment, Payment, User
from tasks.engine import State
from tasks.mailer import models


def pending_payment() -> int:
    """Make a pending payment of somebody. Returns: its id."""
    with db.session() as session:
        user = User(email="ada@example.org")
        course = Course(slug="logic", title="Logic", price_minor=4900)
        session.add_all([user, course])
        session.flush()
        enrollment = Enrollment(user_id=user.id, course_id=course.id)
        session.add(enrollment)
        session.flush()
        payment = Payment(enrollment_id=enrollment.id, amount_minor=4900, currency="EUR")
        session.add(payment)
        session.flush()
        return payment.id


def pay(number: int) -> None:
    with db.session() as session:
        session.get(Payment, number).state = "paid"


def test_a_reminder_of_what_is_paid_is_skipped(post: Post, smtp: ScriptedServer) -> None:
    number = pending_payment()
    queued = post.send("payment_reminder", ref=f"payment:{number}")
    pay(number)
    run_one(post.huey)
    assert (post.mail(queued).state, post.mail(queued).reason) == ("skipped", "not_needed")
    assert (post.job(queued).state, post.job(queued).result) == (State.COMPLETED, "skipped")
    assert smtp.connections == 0


def test_what_is_paid_while_the_mail_is_on_its_way_stops_it_before_the_dot(
    post: Post, smtp: ScriptedServer
) -> None:
    number = pending_payment()
    queued = post.send("payment_reminder", ref=f"payment:{number}")
    smtp.hooks["data"] = lambda: pay(number)
    run_one(post.huey)
    assert (post.mail(queued).state, smtp.accepted) == ("skipped", [])


def test_an_expired_mail_is_not_sent(post: Post, smtp: ScriptedServer) -> None:
    queued = post.send("verification_code")
    post.change(queued, expires_at=utcnow() - timedelta(seconds=1))
    run_one(post.huey)
    assert (post.mail(queued).state, post.job(queued).error.type) == ("expired", "Expired")
    assert smtp.connections == 0


def test_a_mail_cancelled_on_its_way_is_not_sent(post: Post, smtp: ScriptedServer) -> None:
    queued = post.send()
    smtp.hooks["rcpt"] = lambda: emails.cancel(queued.job_id, by="ada")
    run_one(post.huey)
    assert (post.mail(queued).state, post.job(queued).state) == ("cancelled", State.CANCELLED)
    assert smtp.accepted == []


def test_a_mail_cancelled_after_the_dot_is_sent(post: Post, smtp: ScriptedServer) -> None:
    queued = post.send()
    smtp.hooks["dot"] = lambda: emails.cancel(queued.job_id, by="ada")
    run_one(post.huey)
    assert (post.mail(queued).state, post.job(queued).state) == ("sent", State.COMPLETED)


def test_a_mail_that_is_not_in_the_log_fails_and_says_so(post: Post) -> None:
    queued = post.send()
    with db.session() as session:
        session.delete(session.get(models.EmailMessage, queued.email_id))
    run_one(post.huey)
    assert post.job(queued).error.type == "MailMissing"
