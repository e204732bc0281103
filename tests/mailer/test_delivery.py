"""A mail through the real engine: what each answer of the server makes of mail, job and breaker."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from email import message_from_bytes
from email.policy import default
from pathlib import Path
from typing import Any

import pytest
from driving import Span, run_all, run_one
from posting import Crash, Post, crash
from scripted_smtp import ScriptedServer
from waiting import wait_until

from tasks import database as db
from tasks import emails, outbox
from tasks.database import utcnow
from tasks.domain import Course, Enrollment, Payment, User
from tasks.engine import LeaseLost, State, Unreachable
from tasks.mailer import delivery, models
from tasks.mailer.messages import BY_NAME


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


def subject_of(wire: bytes) -> str:
    return str(message_from_bytes(wire, policy=default)["Subject"])


def message_ids(smtp: ScriptedServer) -> list[str]:
    return [str(message_from_bytes(one.mail)["Message-ID"]) for one in smtp.accepted]


# Sent


@pytest.mark.parametrize("type", BY_NAME)
def test_a_mail_of_every_type_is_sent(post: Post, smtp: ScriptedServer, type: str) -> None:  # noqa: A002
    queued = post.run(type)
    mail, job = post.mail(queued), post.job(queued)
    assert (mail.state, mail.smtp_code, mail.remote_queue_id) == ("sent", 250, "Q1")
    assert (job.state, job.result) == (State.COMPLETED, "250 2.0.0 OK: queued as Q1")
    [accepted] = smtp.accepted
    assert (accepted.to, accepted.sender) == ("ada@example.org", "no-reply@academy.example")
    assert subject_of(accepted.mail) == mail.subject
    assert mail.size_bytes == len(accepted.mail)
    assert message_ids(smtp) == [mail.message_id]
    [attempt] = post.tries(queued)
    assert (attempt.outcome, attempt.code, attempt.number) == ("sent", 250, 1)
    assert "RCPT TO:<ada@example.org>" in attempt.transcript


def test_mails_share_a_connection(post: Post, smtp: ScriptedServer) -> None:
    queued = [post.run() for _ in range(3)]
    assert smtp.connections == 1
    assert [post.tries(one)[0].reused for one in queued] == [False, True, True]


def test_a_server_that_closes_after_the_250_gets_no_second_copy(
    post: Post, smtp: ScriptedServer
) -> None:
    smtp.next(dot="250 2.0.0 OK|drop")
    first, second = post.run(), post.run()
    assert [post.mail(one).state for one in (first, second)] == ["sent", "sent"]
    assert (len(smtp.accepted), smtp.connections) == (2, 2)


@pytest.mark.parametrize("action", ["drop", "421 4.3.2 restarting|drop"])
def test_a_stale_connection_is_replaced_without_a_word(
    post: Post, smtp: ScriptedServer, action: str
) -> None:
    post.run()
    smtp.next(mail=action)
    queued = post.run()
    assert post.mail(queued).state == "sent"
    assert post.job(queued).attempts_made == 1
    assert smtp.connections == 2


def test_stale_connections_of_a_restarted_server_cost_no_mail_a_deferral(
    post: Post, smtp: ScriptedServer
) -> None:
    kept = [delivery.pool().take(new=True)[0] for _ in range(3)]
    for session in kept:
        delivery.pool().give(session)
    smtp.stop()
    smtp.start()
    queued = post.run()
    assert (post.mail(queued).state, len(post.tries(queued))) == ("sent", 1)


# Refused for good


def test_an_unknown_address_is_not_retried_and_is_suppressed(
    post: Post, smtp: ScriptedServer
) -> None:
    smtp.next(rcpt="550 5.1.1 no such user")
    queued = post.run()
    mail, job = post.mail(queued), post.job(queued)
    assert (mail.state, mail.reason, mail.phase) == ("failed", "no_such_address", "rcpt")
    assert (mail.smtp_code, mail.enhanced) == (550, "5.1.1")
    assert (job.state, job.attempts_made) == (State.FAILED, 1)
    assert job.error is not None
    assert job.error.type == "RecipientRefused"
    assert post.suppressed().reason == "hard"
    assert post.huey.reads.queue("email").breaker is None
    again = post.run(to="Ada@Example.org")
    assert (post.mail(again).state, post.mail(again).reason) == ("failed", "suppressed")
    assert "is suppressed since" in post.job(again).error.message
    assert len(smtp.said("RCPT")) == 1


def test_a_lifted_address_gets_mail_again(post: Post, smtp: ScriptedServer) -> None:
    with db.session() as session:
        models.suppress(session, "Ada@example.org", "manual", "")
        models.suppress(session, "ada@example.org", "hard", "")
    assert post.suppressed().reason == "manual"
    with db.session() as session:
        assert models.lift(session, "ada@example.org")
    assert post.mail(post.run()).state == "sent"


@pytest.mark.parametrize(
    ("phase", "reply", "reason"),
    [("rcpt", "550 5.7.1 blocked", "policy"), ("dot", "554 5.7.1 spam", "policy"),
     ("dot", "552 5.3.4 too big", "refused"), ("data", "554 no", "refused"),
     ("rcpt", "550 4.1.1 user unknown", "refused")],
)  # fmt: skip
def test_a_refusal_that_is_not_about_the_address_suppresses_nobody(
    post: Post, smtp: ScriptedServer, phase: str, reply: str, reason: str
) -> None:
    smtp.next(**{phase: reply})
    queued = post.run()
    assert (post.mail(queued).state, post.mail(queued).reason) == ("failed", reason)
    assert post.suppressed() is None
    assert post.mail(post.run()).state == "sent"
    assert smtp.connections == 1


def test_a_refused_sender_opens_the_breaker_at_once(post: Post, smtp: ScriptedServer) -> None:
    smtp.next(mail="550 5.7.1 not you")
    queued = post.run()
    assert (post.mail(queued).state, post.mail(queued).reason) == ("failed", "sender_refused")
    assert post.huey.reads.queue("email").breaker.state == "open"


def test_an_international_address_fails_where_the_server_takes_none(
    post: Post, smtp: ScriptedServer
) -> None:
    smtp.extensions = ""
    queued = post.run(to="jörg@example.org")
    assert (post.mail(queued).state, post.mail(queued).enhanced) == ("failed", "5.6.7")
    assert post.suppressed("jörg@example.org") is None


def test_an_international_address_is_named_in_utf8(post: Post, smtp: ScriptedServer) -> None:
    assert post.mail(post.run(to="jörg@example.org")).state == "sent"
    assert smtp.accepted[0].to == "jörg@example.org"
    assert "\r\nTo: jörg@example.org\r\n".encode() in smtp.accepted[0].mail


# Refused for now


@pytest.mark.parametrize("phase", ["mail", "rcpt", "data", "dot"])
def test_a_temporary_refusal_uses_up_an_attempt_and_waits_its_backoff(
    post: Post, smtp: ScriptedServer, phase: str
) -> None:
    smtp.next(**{phase: "451 4.2.1 not now"})
    queued = post.send("payment_receipt")
    with Span() as span:
        run_one(post.huey)
    mail = post.mail(queued)
    assert (mail.state, mail.reason, mail.phase) == ("deferred", "refused_for_now", phase)
    assert (post.job(queued).state, post.job(queued).attempts_made) == (State.RETRYING, 1)
    assert span.ahead(post.due(queued), 24, 36)
    post.again(queued)
    assert (post.mail(queued).state, post.mail(queued).possible_duplicate) == ("sent", False)
    assert [one.outcome for one in post.tries(queued)] == ["retry", "sent"]
    assert len(smtp.accepted) == 1


@pytest.mark.parametrize(
    ("reply", "middles", "type"),
    [("451 4.2.1 not now", (30, 120, 480, 1920), "payment_receipt"),
     ("450 4.7.1 greylisted", (60, 300, 600, 600), "payment_receipt"),
     ("451 4.2.1 not now", (5, 15, 45, 135), "verification_code")],
)  # fmt: skip
def test_after_five_attempts_with_growing_waits_it_failed(
    post: Post,
    smtp: ScriptedServer,
    reply: str,
    middles: tuple[int, ...],
    type: str,  # noqa: A002
) -> None:
    smtp.always["rcpt"] = reply
    queued = post.send(type)
    dues: list[timedelta] = []
    for middle in middles:
        with Span() as span:
            post.again(queued) if dues else run_one(post.huey)
        assert span.ahead(post.due(queued), middle * 0.8, middle * 1.2), middle
        dues.append(post.due(queued) - span.begun - timedelta(seconds=middle))
    assert max(map(abs, dues)) > timedelta(seconds=0.1), "no two wait exactly as long"
    post.again(queued)
    mail, job = post.mail(queued), post.job(queued)
    assert (mail.state, mail.attempts, job.state) == ("failed", 5, State.FAILED)
    assert job.error.type == "MailRefused"
    assert len(post.tries(queued)) == 5
    assert smtp.accepted == []


def test_no_attempt_is_planned_after_the_mail_expired(post: Post, smtp: ScriptedServer) -> None:
    smtp.next(rcpt="450 4.7.1 greylisted")
    queued = post.send("verification_code")
    post.change(queued, expires_at=utcnow() + timedelta(seconds=40))
    run_one(post.huey)
    assert (post.mail(queued).state, post.mail(queued).reason) == ("expired", "greylisted")
    assert post.job(queued).error.type == "Expired"
    assert "greylisted" in post.job(queued).error.message


# Unreachable


def test_an_outage_uses_no_attempt_and_all_is_delivered_after_it(
    post: Post, smtp: ScriptedServer
) -> None:
    smtp.stop()
    queued = [post.send("payment_receipt") for _ in range(8)]
    assert len(run_all(post.huey)) == 5
    breaker = post.huey.reads.queue("email").breaker
    assert (breaker.state, "connection refused" in breaker.reason) == ("open", True)
    for one in queued[:5]:
        assert (post.mail(one).state, post.mail(one).reason) == ("deferred", "unreachable")
    assert {post.job(one).attempts_made for one in queued} == {0}
    assert post.job(queued[7]).why_waiting.startswith("SMTP unreachable since")
    smtp.start()
    assert run_all(post.huey) == []
    assert post.huey.commands.probe("email")
    probe = post.huey.dequeue()
    assert post.huey.dequeue() is None  # one probe at a time
    assert smtp.connections == 0
    post.huey.execute(probe)
    post.huey.commands.run_now([one.job_id for one in queued[:5]])
    run_all(post.huey)
    assert {post.mail(one).state for one in queued} == {"sent"}
    assert {post.job(one).attempts_made for one in queued} == {1}
    assert len(smtp.accepted) == len(set(message_ids(smtp))) == 8
    assert post.huey.reads.queue("email").breaker is None


@pytest.mark.parametrize(
    "script",
    [{"banner": "421 4.3.2 not now"}, {"banner": "drop"}, {"banner": "stall"},
     {"rcpt": "421 4.3.2 closing|drop"}, {"mail": "drop"}, {"data": "drop"},
     {"dot": "421 4.3.2 closing|drop"}],
)  # fmt: skip
def test_a_busy_or_lost_server_defers_and_uses_no_attempt(
    post: Post, smtp: ScriptedServer, script: dict[str, str], mail_to: Callable[[str], None]
) -> None:
    smtp.next(**script)
    if "stall" in script.values():
        mail_to("600ms")
    queued = post.run()
    mail_to("60s")
    assert post.mail(queued).state == "deferred"
    assert (post.job(queued).state, post.job(queued).attempts_made) == (State.SCHEDULED, 0)
    assert post.huey.reads.queue("email").breaker is None
    post.again(queued)
    assert (post.mail(queued).state, len(smtp.accepted)) == ("sent", 1)
    assert post.mail(queued).possible_duplicate is False


def test_a_wrong_password_opens_the_breaker_at_once(
    post: Post, smtp: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tasks import settings

    monkeypatch.setenv("MAIL_USERNAME", "me")
    monkeypatch.setenv("MAIL_PASSWORD", "hunter2-secret")
    settings.reset()
    delivery.pool.cache_clear()
    smtp.extensions = "AUTH_PLAIN"
    smtp.next(auth="535 5.7.8 wrong password")
    queued = post.run()
    assert (post.mail(queued).state, post.mail(queued).reason) == ("deferred", "auth_refused")
    assert post.huey.reads.queue("email").breaker.state == "open"
    assert all(b"hunter2" not in blob for blob in everything_kept(post, Path("/nonexistent")))


# Crashes and doubt


@pytest.mark.parametrize("type", ["payment_receipt", "payment_reminder"])
def test_a_crash_after_the_250_sends_nothing_twice(
    post: Post,
    smtp: ScriptedServer,
    type: str,  # noqa: A002
) -> None:
    queued = post.send(type)
    assert isinstance(post.doom(accepted=crash), Crash)
    # A worker killed right after the mark leaves no `finally` either.
    post.change(queued, state="sending", reason="", sent_at=None)
    assert run_all(post.huey) == [queued.job_id]
    mail = post.mail(queued)
    assert (mail.state, mail.reason, mail.smtp_code) == ("sent", "recovered", 250)
    assert mail.possible_duplicate is False
    assert (post.job(queued).state, len(smtp.accepted)) == (State.COMPLETED, 1)


def test_a_reminder_that_may_have_arrived_is_held(post: Post, smtp: ScriptedServer) -> None:
    queued = post.send("payment_reminder")
    assert isinstance(post.doom(dot=crash), Crash)
    assert run_all(post.huey) == [queued.job_id]
    mail = post.mail(queued)
    assert (mail.state, mail.reason, mail.possible_duplicate) == ("held", "uncertain", True)
    assert post.job(queued).error.type == "Uncertain"
    assert smtp.connections == 1


def test_a_held_mail_that_is_released_goes_under_its_message_id(
    post: Post, smtp: ScriptedServer
) -> None:
    queued = post.send("payment_reminder")
    assert isinstance(post.doom(dot=crash), Crash)
    run_all(post.huey)
    post.change(queued, expires_at=utcnow() - timedelta(hours=1))
    assert emails.release(queued.email_id, by="ada").done
    assert run_all(post.huey) == [queued.job_id]
    mail = post.mail(queued)
    assert (mail.state, mail.possible_duplicate) == ("sent", True)
    assert message_ids(smtp) == [mail.message_id]
    with pytest.raises(emails.NotHeld, match="is sent, not held"):
        emails.release(queued.email_id)


def test_a_held_mail_stays_held_while_redis_is_away(
    post: Post, smtp: ScriptedServer, redis_server: Any
) -> None:
    smtp.next(dot="drop")
    queued = post.run("payment_reminder")
    redis_server.stop()
    with pytest.raises(Unreachable):
        emails.release(queued.email_id)
    mail = post.mail(queued)
    assert (mail.state, mail.reason) == ("held", "uncertain")


def test_any_other_mail_that_may_have_arrived_goes_again_under_its_message_id(
    post: Post, smtp: ScriptedServer
) -> None:
    queued = post.send("payment_receipt")
    assert isinstance(post.doom(dot=crash), Crash)
    assert run_all(post.huey) == [queued.job_id]
    mail = post.mail(queued)
    assert (mail.state, mail.possible_duplicate) == ("sent", True)
    assert message_ids(smtp) == [mail.message_id]


@pytest.mark.parametrize(("type", "state"), [("payment_reminder", "held"), ("welcome", "deferred")])
def test_no_reply_to_the_final_dot_is_a_doubt(
    post: Post,
    smtp: ScriptedServer,
    type: str,  # noqa: A002
    state: str,
) -> None:
    smtp.next(dot="drop")
    queued = post.run(type)
    mail = post.mail(queued)
    assert (mail.state, mail.reason, mail.possible_duplicate) == (state, "uncertain", True)
    assert post.job(queued).attempts_made == 1
    if state == "deferred":
        post.again(queued)
        assert post.mail(queued).state == "sent"
        assert message_ids(smtp) == [mail.message_id]


def test_a_dot_that_was_answered_is_no_doubt_after_a_later_crash(
    post: Post, smtp: ScriptedServer
) -> None:
    smtp.next(dot="451 4.2.1 not now")
    queued = post.run("payment_reminder")
    post.huey.commands.run_now([queued.job_id])
    assert isinstance(post.doom(connected=crash), Crash)
    assert run_all(post.huey) == [queued.job_id]
    assert (post.mail(queued).state, post.mail(queued).possible_duplicate) == ("sent", False)


@pytest.mark.parametrize(
    "step", ["claimed", "rendered", "connected", "MAIL and RCPT accepted", "body sent"]
)
def test_a_crash_before_the_dot_is_no_doubt(post: Post, smtp: ScriptedServer, step: str) -> None:
    queued = post.send("payment_reminder")
    assert isinstance(post.doom(**{step.replace(" ", "_"): crash}), Crash)
    assert run_all(post.huey) == [queued.job_id]
    assert (post.mail(queued).state, post.mail(queued).possible_duplicate) == ("sent", False)
    assert len(smtp.accepted) == 1


def taken_over(post: Post) -> Callable[[], None]:
    """Return what makes another worker have the job."""

    def act() -> None:
        post.worker.lease.close()
        post.taken = post.huey.dequeue()
        assert post.taken is not None

    return act


def test_a_lease_lost_before_the_dot_sends_nothing(post: Post, smtp: ScriptedServer) -> None:
    queued = post.send()
    assert isinstance(post.doom(body_sent=taken_over(post)), LeaseLost)
    assert smtp.accepted == []
    post.huey.execute(post.taken)
    assert (post.mail(queued).state, len(smtp.accepted)) == ("sent", 1)


def test_a_lease_lost_after_the_dot_is_known_as_sent(post: Post, smtp: ScriptedServer) -> None:
    queued = post.send()
    assert isinstance(post.doom(dot=taken_over(post)), LeaseLost)
    assert (post.mail(queued).state, post.mail(queued).smtp_code) == ("sent", 250)
    post.huey.execute(post.taken)
    assert (post.job(queued).state, post.job(queued).result) == (State.COMPLETED, "skipped")
    assert len(smtp.accepted) == 1


def test_with_redis_away_the_log_alone_carries_the_doubt(
    post: Post, smtp: ScriptedServer, redis_server: Any
) -> None:
    from tasks import emails

    queued = post.send("payment_reminder")
    noted: list[str] = []
    smtp.hooks["dot"] = lambda: noted.append(post.tries(queued)[-1].phase)
    post.doom(body_sent=redis_server.stop)
    assert noted == ["dot"]  # before the server answered
    with db.session() as session:  # as a worker leaves it that is killed at this moment
        models.attempts(session, queued.email_id)[-1].outcome = ""
    post.change(queued, state="sending")
    redis_server.start()  # empty: no mark is left
    wait_until(post.huey.reads.is_reachable, what="Redis is asked again")
    post.huey.commands.configure()
    data = dict(BY_NAME["payment_reminder"].sample)
    post.huey.enqueue(
        emails.deliver_email.s(
            queued.email_id, "payment_reminder", "ada@example.org", data, id=queued.job_id
        )
    )
    run_all(post.huey)
    assert post.mail(queued).state == "held"
    assert len(smtp.accepted) == 1


# Not wanted any more


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
    from tasks import emails

    queued = post.send()
    smtp.hooks["rcpt"] = lambda: emails.cancel(queued.job_id, by="ada")
    run_one(post.huey)
    assert (post.mail(queued).state, post.job(queued).state) == ("cancelled", State.CANCELLED)
    assert smtp.accepted == []


def test_a_mail_cancelled_after_the_dot_is_sent(post: Post, smtp: ScriptedServer) -> None:
    from tasks import emails

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


# Nothing is smuggled in, nothing leaks


@pytest.mark.parametrize(
    "smuggled", ["Ada\r\nBcc: eve@example.org", "Ada\nX: y", "Ada\x00", "Ada\u2028Bcc: x"]
)
def test_a_header_cannot_be_smuggled_in(post: Post, smuggled: str) -> None:
    for options in (
        {"data": {"course": smuggled}}, {"data": {"name": smuggled}},
        {"to": f"{smuggled}@example.org"}, {"to": f"ada@example.org{smuggled[3:]}"},
    ):  # fmt: skip
        with pytest.raises(ValueError):
            post.send(**options)
    assert post.count(models.EmailMessage) == post.count(outbox.OutboxRow) == 0


def everything_kept(post: Post, folder: Path) -> list[bytes]:
    """Return every value of Redis, whatever its type, and the database's files."""
    client, found = post.huey.storage.client, []
    for key in client.scan_iter("*"):
        found += [key, client.dump(key) or b"", repr(read_key(client, key)).encode()]
    return found + [path.read_bytes() for path in folder.glob("app.db*")]


def read_key(client: Any, key: bytes) -> Any:
    kind = client.type(key).decode()
    return {
        "string": lambda: client.get(key), "hash": lambda: client.hgetall(key),
        "list": lambda: client.lrange(key, 0, -1), "set": lambda: client.smembers(key),
        "zset": lambda: client.zrange(key, 0, -1, withscores=True),
        "stream": lambda: client.xrange(key),
    }[kind]()  # fmt: skip


SECRETS = [
    ("verification_code", {"code": "Zq7Xw9Kd"}, "Zq7Xw9Kd"),
    ("password_reset", {"url": "https://academy.example/reset/Zq7Xw9Kd"}, "Zq7Xw9Kd"),
]
ENDS: dict[str, dict[str, str]] = {
    "waiting": {}, "sent": {}, "refused": {"rcpt": "550 5.1.1 nobody"},
    "deferred": {"rcpt": "451 4.2.1 not now"}, "lost": {"dot": "drop"},
}  # fmt: skip


@pytest.mark.parametrize(("type", "data", "secret"), SECRETS)
@pytest.mark.parametrize("end", ENDS)
def test_a_secret_is_readable_nowhere_but_in_the_mail(
    post: Post, smtp: ScriptedServer, tmp_path: Path, caplog: pytest.LogCaptureFixture,
    type: str, data: dict[str, str], secret: str, end: str,  # noqa: A002
) -> None:  # fmt: skip
    caplog.set_level("DEBUG")
    smtp.next(**ENDS[end])
    queued = post.send(type, data=data)
    if end != "waiting":
        run_one(post.huey)
    kept = everything_kept(post, tmp_path)
    assert any(b"ada@example.org" in blob for blob in kept)
    assert not any(secret.encode() in blob for blob in kept)
    job, mail = post.job(queued), post.mail(queued)
    shown = [
        repr(job),
        repr(vars(mail)),
        caplog.text,
        *(repr(vars(one)) for one in post.tries(queued)),
    ]
    assert secret not in "".join(shown)
    assert post.count(models.EmailBody) == 0
    if end == "sent":
        assert secret not in mail.subject
        assert secret.encode() in smtp.accepted[0].mail.replace(b"=\r\n", b"")


def test_a_secret_that_no_longer_fits_its_type_is_not_named(
    post: Post, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from tasks import emails

    queued = post.send("verification_code")
    task = emails.deliver_email.s(queued.email_id, "verification_code", "ada@example.org", {},
                                  {"code": "Zq7Xw9Kd-no-code"})  # fmt: skip
    post.huey.dequeue()
    post.huey.enqueue(task)
    run_one(post.huey)
    error = post.huey.reads.job(task.id).error
    assert error.message.startswith("the mail cannot be rendered: code: ")
    assert not any(b"Zq7Xw9Kd" in blob for blob in everything_kept(post, tmp_path))
    assert "Zq7Xw9Kd" not in caplog.text
    assert (post.mail(queued).state, post.mail(queued).reason) == ("failed", "template")


def test_a_body_is_kept_of_types_without_secrets_alone(post: Post) -> None:
    for type in BY_NAME:  # noqa: A001
        queued = post.run(type)
        with db.reading() as session:
            body = models.body(session, queued.email_id)
        assert (body is not None) == (not BY_NAME[type].secret), type
