"""Queueing a mail: in the caller's transaction, once for each key, and what may be done to it later."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from driving import Span, run_all, run_one
from posting import Post
from scripted_smtp import ScriptedServer
from waiting import PATIENCE_S

from tasks import database as db
from tasks import emails, outbox
from tasks.database import utcnow
from tasks.engine import State, UnknownJob
from tasks.mailer import models
from tasks.mailer.messages import BY_NAME

WELCOME = emails.Message(type="welcome", to="ada@example.org", data={"course": "Logic"})
REMINDER = {"course": "Logic", "url": "https://academy.example/c", "timezone": "America/Lima"}


class Stop(Exception):
    """The caller's business fails."""


# The caller's transaction


def test_a_mail_goes_when_the_callers_transaction_commits(post: Post) -> None:
    with db.session() as session:
        queued = emails.send(WELCOME, session=session)
        assert run_all(post.huey) == []
    assert outbox.settle(PATIENCE_S)
    assert run_all(post.huey) == [queued.job_id]
    assert post.mail(queued).state == "sent"


def test_a_rollback_mails_nothing(post: Post, smtp: ScriptedServer) -> None:
    with pytest.raises(Stop), db.session() as session:
        emails.send(WELCOME, session=session, key="welcome:1")
        raise Stop
    assert outbox.settle(PATIENCE_S)
    assert run_all(post.huey) == []
    assert post.count(models.EmailMessage) == post.count(outbox.OutboxRow) == 0
    assert smtp.connections == 0
    assert not emails.send(WELCOME, key="welcome:1").duplicate


# Keys


def test_a_key_makes_a_second_mail_the_first_one(post: Post, smtp: ScriptedServer) -> None:
    first = post.send(key="welcome:1")
    again = post.send(key="welcome:1")
    assert (again.job_id, again.email_id) == (first.job_id, first.email_id)
    assert (first.duplicate, again.duplicate) == (False, True)
    run_all(post.huey)
    assert post.send(key="welcome:1").state == "sent"
    assert len(smtp.accepted) == 1
    assert not post.send(key="welcome:2").duplicate


def test_many_at_once_with_one_key_are_one_mail(post: Post, smtp: ScriptedServer) -> None:
    barrier, answers = threading.Barrier(8), []

    def send() -> None:
        barrier.wait()
        answers.append(emails.send(WELCOME, key="welcome:1"))

    threads = [threading.Thread(target=send) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answer.duplicate for answer in answers) == [False] + [True] * 7
    assert len({answer.job_id for answer in answers}) == 1
    assert outbox.settle(PATIENCE_S)
    run_all(post.huey)
    assert len(smtp.accepted) == 1


def test_mails_without_a_key_are_each_their_own(post: Post) -> None:
    first, second = post.mail(post.send()), post.mail(post.send())
    assert first.message_id != second.message_id


# What is wrong


@pytest.mark.parametrize(
    ("message", "sentence"),
    [
        (emails.Message(type="wellcome", to="a@example.org"), "there is no email type 'wellcome'"),
        (emails.Message(type="welcome", to="ada"), "'ada' is no address"),
        (emails.Message(type="welcome", to="a@example.org, b@example.org", data={"course": "x"}),
         "is no address"),
        (emails.Message(type="welcome", to="a@example.org"), "course"),
        (emails.Message(type="welcome", to="a@example.org", data={"course": "x", "more": 1}), "more"),
        (emails.Message(type="welcome", to="a@example.org", data={"course": "x", "locale": "xx"}),
         "a locale such as en"),
        (emails.Message(type="password_reset", to="a@example.org", data={"url": "javascript:x"}),
         "a link that begins http"),
        (emails.Message(type="verification_code", to="a@example.org", data={"code": "12 34"}), "code"),
        (emails.Message(type="payment_receipt", to="a@example.org", data={
            "course": "x", "receipt_no": "1", "amount_minor": 1, "currency": "XXY"}), "currency"),
    ],
)  # fmt: skip
def test_a_wrong_mail_is_refused_with_a_sentence(
    post: Post, message: emails.Message, sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        emails.send(message)
    assert post.count(models.EmailMessage) == 0


def test_a_time_without_a_zone_is_refused(post: Post) -> None:
    with pytest.raises(ValueError, match="without a time zone"):
        emails.send(WELCOME, at=datetime(2026, 12, 1))  # noqa: DTZ001


def test_an_address_is_trimmed_and_its_domain_lowered(post: Post) -> None:
    assert post.mail(post.send(to=" Ada@EXAMPLE.org ")).to_addr == "Ada@example.org"


# When and in which order


def test_a_delayed_mail_waits(post: Post) -> None:
    with Span() as span:
        queued = post.send(delay=timedelta(hours=2))
    assert queued.state == "scheduled"
    assert run_all(post.huey) == []
    job, mail = post.job(queued), post.mail(queued)
    assert job.state is State.SCHEDULED
    assert span.ahead(post.due(queued), 7200, 7200)
    assert mail.expires_at - mail.due_at == timedelta(hours=48)
    post.again(queued)
    assert post.mail(queued).state == "sent"


def test_a_mail_for_a_moment_waits_for_it(post: Post) -> None:
    at = utcnow() + timedelta(days=3)
    queued = post.send(at=at)
    assert post.mail(queued).due_at == at
    assert abs((post.job(queued).scheduled_for - at).total_seconds()) < 0.01


def test_a_mail_for_a_moment_that_is_past_goes_at_once(post: Post) -> None:
    queued = post.send(at=utcnow() - timedelta(hours=1))
    assert queued.state == "queued"
    assert run_all(post.huey) == [queued.job_id]


def test_urgent_mails_go_first_and_a_priority_may_be_given(post: Post) -> None:
    slow = post.send("enrollment_reminder")
    code = post.send("verification_code")
    receipt = post.send("payment_receipt")
    lifted = post.send("welcome", priority=99)
    assert run_all(post.huey) == [one.job_id for one in (code, lifted, receipt, slow)]


def test_a_mail_is_worth_no_longer_than_the_code_in_it(post: Post) -> None:
    mail = post.mail(post.send("verification_code", data={"expires_minutes": 5}))
    assert mail.expires_at - mail.created_at == timedelta(minutes=5)
    mail = post.mail(post.send("verification_code", data={"expires_minutes": 600}))
    assert mail.expires_at - mail.created_at == timedelta(minutes=15)


@pytest.mark.parametrize(
    ("local", "earliest"),
    [("2097-01-12T23:30", "2097-01-13T08:00"), ("2097-01-12T03:00", "2097-01-12T08:00"),
     ("2097-01-12T21:00", "2097-01-13T08:00"), ("2097-01-12T12:00", None),
     ("2097-01-12T08:00", None), ("2097-01-12T20:59", None)],
)  # fmt: skip
def test_a_reminder_keeps_quiet_hours_in_the_persons_zone(
    post: Post, local: str, earliest: str | None
) -> None:
    zone = ZoneInfo("America/Lima")
    at = datetime.fromisoformat(local).replace(tzinfo=zone)
    due = post.mail(post.send("enrollment_reminder", data=REMINDER, at=at.astimezone(UTC))).due_at
    if earliest is None:
        assert due == at
    else:
        morning = datetime.fromisoformat(earliest).replace(tzinfo=zone)
        assert morning <= due < morning + timedelta(minutes=30)


def test_the_night_is_for_reminders_alone_and_where_the_zone_is_known(post: Post) -> None:
    at = datetime(2097, 1, 12, 2, 0, tzinfo=UTC)
    for type, data in (  # noqa: A001
        ("welcome", {"timezone": "UTC"}),
        ("enrollment_reminder", {"timezone": None}),
        ("enrollment_reminder", {"timezone": "Mars/Base"}),
        ("enrollment_reminder", {"timezone": "America"}),
    ):
        assert post.mail(post.send(type, data=data, at=at)).due_at == at


def test_reminders_of_one_night_leave_spread_over_the_morning(post: Post) -> None:
    at = datetime(2097, 1, 12, 8, 0, tzinfo=UTC)  # 03:00 in Lima
    dues = {
        post.mail(
            post.send("enrollment_reminder", f"p{n}@example.org", data=REMINDER, at=at)
        ).due_at
        for n in range(10)
    }
    assert len(dues) > 5


# Cancel


def test_a_mail_is_cancelled_from_the_outbox(post: Post) -> None:
    outbox.stop()
    with db.session() as session:
        queued = emails.send(WELCOME, session=session)
        outbox._joined.clear()
    assert emails.status(queued.job_id) is None
    outcome = emails.cancel(queued.job_id, reason="changed my mind")
    assert (outcome.done, outcome.detail) == (True, "taken from the outbox")
    mail = post.mail(queued)
    assert (mail.state, mail.reason) == ("cancelled", "changed my mind")
    assert post.count(outbox.OutboxRow) == 0
    outbox.join(post.huey)
    outbox.push()
    assert run_all(post.huey) == []


@pytest.mark.parametrize("delay", [None, timedelta(hours=1)])
def test_a_mail_is_cancelled_in_redis(post: Post, delay: timedelta | None) -> None:
    queued = post.send(delay=delay)
    assert emails.status(queued.job_id).state in (State.WAITING, State.SCHEDULED)
    assert emails.cancel(queued.job_id, by="ada").done
    assert (post.mail(queued).state, post.job(queued).state) == ("cancelled", State.CANCELLED)
    assert run_all(post.huey) == []
    assert not emails.cancel(queued.job_id).done


def test_a_mail_that_waits_for_its_next_attempt_is_cancelled(
    post: Post, smtp: ScriptedServer
) -> None:
    smtp.next(rcpt="451 4.2.1 not now")
    queued = post.run()
    assert emails.cancel(queued.job_id).done
    assert post.mail(queued).state == "cancelled"


def test_a_sent_mail_is_not_cancelled(post: Post) -> None:
    queued = post.run()
    assert not emails.cancel(queued.job_id).done
    assert post.mail(queued).state == "sent"


def test_the_waiting_mails_about_a_thing_are_cancelled(post: Post) -> None:
    sent = post.run(ref="enrollment:7", key="a", type="payment_receipt")
    waiting = post.send(ref="enrollment:7", delay=timedelta(hours=1))
    reminder = post.send("enrollment_reminder", ref="enrollment:7", delay=timedelta(hours=1))
    other = post.send(ref="enrollment:8", delay=timedelta(hours=1))
    assert emails.cancel_for("enrollment:7", "enrollment_reminder") == 1
    assert emails.cancel_for("enrollment:7") == 1
    states = [post.mail(one).state for one in (sent, waiting, reminder, other)]
    assert states == ["sent", "cancelled", "cancelled", "scheduled"]


# Again


def test_a_failed_mail_is_tried_again_under_its_message_id(
    post: Post, smtp: ScriptedServer
) -> None:
    smtp.next(rcpt="550 5.7.1 policy")
    queued = post.run()
    before = post.mail(queued)
    assert before.state == "failed"
    assert emails.retry(queued.job_id, by="ada").done
    assert post.mail(queued).state == "queued"
    run_all(post.huey)
    assert post.mail(queued).state == "sent"
    assert post.mail(queued).message_id == before.message_id
    assert post.job(queued).run == 2


def test_an_expired_mail_that_is_retried_gets_time_anew(post: Post) -> None:
    queued = post.send()
    post.change(queued, expires_at=utcnow() - timedelta(seconds=1))
    run_one(post.huey)
    assert post.mail(queued).state == "expired"
    emails.retry(queued.job_id)
    run_all(post.huey)
    assert post.mail(queued).state == "sent"


def test_a_sent_mail_is_not_retried(post: Post, smtp: ScriptedServer) -> None:
    queued = post.run()
    with pytest.raises(emails.AlreadySent, match="already sent; use resend"):
        emails.retry(queued.job_id)
    assert run_all(post.huey) == []
    assert len(smtp.accepted) == 1


def test_a_held_mail_is_not_retried(post: Post, smtp: ScriptedServer) -> None:
    smtp.next(dot="drop")
    queued = post.run("payment_reminder")
    with pytest.raises(emails.AlreadySent, match="its fate is uncertain"):
        emails.retry(queued.job_id)
    assert post.mail(queued).state == "held"


def test_a_retry_that_does_nothing_leaves_the_mail_as_it_was(post: Post) -> None:
    queued = post.send()
    emails.cancel(queued.job_id, reason="changed my mind")
    assert post.huey.commands.delete([queued.job_id])[0].done
    before = post.mail(queued)
    assert not emails.retry(queued.job_id).done
    after = post.mail(queued)
    assert (after.state, after.reason, after.expires_at) == (
        "cancelled", "changed my mind", before.expires_at)  # fmt: skip


def test_a_mail_that_waits_is_not_reopened(post: Post) -> None:
    queued = post.send(delay=timedelta(hours=1))
    before = post.mail(queued)
    emails.reopen(queued.job_id)
    assert (post.mail(queued).state, post.mail(queued).expires_at) == (
        "scheduled", before.expires_at)  # fmt: skip


def test_a_mail_is_sent_again_to_another_address(post: Post, smtp: ScriptedServer) -> None:
    smtp.next(rcpt="550 5.1.1 nobody")
    queued = post.run(ref="enrollment_of:7", to="adda@example.org")
    again = emails.resend(queued.email_id, "ada@example.org")
    assert outbox.settle(PATIENCE_S)
    run_all(post.huey)
    old, new = post.mail(queued), post.mail(again)
    assert (old.state, new.state, new.to_addr) == ("failed", "sent", "ada@example.org")
    assert (new.resent_of, new.type, new.ref) == (old.id, old.type, old.ref)
    assert (new.message_id != old.message_id, new.subject == old.subject) == (True, True)


@pytest.mark.parametrize("type", [name for name, row in BY_NAME.items() if row.secret])
def test_a_mail_with_a_secret_is_not_sent_again(post: Post, type: str) -> None:  # noqa: A002
    queued = post.run(type)
    with pytest.raises(UnknownJob, match="it carries a secret"):
        emails.resend(queued.email_id)
    assert post.count(models.EmailMessage) == 1


def test_a_mail_that_never_was_is_not_sent_again(post: Post) -> None:
    with pytest.raises(UnknownJob, match="there is no mail 4711"):
        emails.resend(4711)
