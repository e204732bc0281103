"""A worker that dies or loses its lease around the final dot: nothing goes twice unless it is said."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from driving import run_all
from posting import Crash, Post, crash, message_ids
from scripted_smtp import ScriptedServer
from waiting import wait_until

from tasks import database as db
from tasks import emails
from tasks.database import utcnow
from tasks.engine import LeaseLost, State, Unreachable
from tasks.mailer import models
from tasks.mailer.messages import BY_NAME


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


def test_a_mail_that_was_held_while_redis_was_away_goes_when_it_is_released(
    post: Post, smtp: ScriptedServer
) -> None:
    marks: dict[str, str] = {}
    queued = post.send("payment_reminder")
    smtp.hooks["dot"] = lambda: marks.update(post.huey.storage.marks(queued.job_id))
    smtp.next(dot="drop")
    run_all(post.huey)
    assert (post.mail(queued).state, list(marks)) == ("held", ["dot"])
    key = post.huey.storage.keys.of("marks", queued.job_id)
    post.huey.storage.client.hset(key, mapping=marks)  # what Redis still says that was away then
    assert emails.release(queued.email_id, by="ada").done
    run_all(post.huey)
    assert (post.mail(queued).state, len(smtp.accepted)) == ("sent", 1)


@pytest.mark.parametrize(("mark", "state"), [("1", "held"), ("answered", "sent")])
def test_a_mark_of_an_older_version_is_understood(
    post: Post, smtp: ScriptedServer, mark: str, state: str
) -> None:
    queued = post.send("payment_reminder")
    key = post.huey.storage.keys.of("marks", queued.job_id)
    post.huey.storage.client.hset(key, mapping={"dot": mark})
    run_all(post.huey)
    assert post.mail(queued).state == state
    if state == "held":
        assert emails.release(queued.email_id, by="ada").done
        run_all(post.huey)
        assert post.mail(queued).state == "sent"


def test_a_crash_before_a_doubt_was_decided_leaves_the_doubt(
    post: Post, smtp: ScriptedServer
) -> None:
    smtp.next(dot="drop")
    queued = post.send("payment_reminder")
    assert isinstance(post.doom(fault=crash), Crash)
    assert run_all(post.huey) == [queued.job_id]
    assert (post.mail(queued).state, post.mail(queued).reason) == ("held", "uncertain")
    assert [one.outcome for one in post.tries(queued)] == ["uncertain"]
    assert smtp.connections == 1


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
