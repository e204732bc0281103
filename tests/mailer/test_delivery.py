"""A mail through the real engine: what each answer of the server makes of mail, job and breaker."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from email import message_from_bytes
from email.policy import default
from pathlib import Path

import pytest
from driving import Span, run_all, run_one
from posting import Post, everything_kept, message_ids
from scripted_smtp import ScriptedServer

from tasks import database as db
from tasks.database import utcnow
from tasks.engine import State
from tasks.mailer import delivery, models
from tasks.mailer.messages import BY_NAME


def subject_of(wire: bytes) -> str:
    return str(message_from_bytes(wire, policy=default)["Subject"])


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
    assert post.mail(queued).attempts == 0, "the log counts as the job does"
    assert post.huey.reads.queue("email").breaker is None
    post.again(queued)
    assert (post.mail(queued).state, len(smtp.accepted)) == ("sent", 1)
    assert post.mail(queued).attempts == post.job(queued).attempts_made == 1
    assert [(one.number, one.outcome) for one in post.tries(queued)] == [(1, "defer"), (1, "sent")]
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
