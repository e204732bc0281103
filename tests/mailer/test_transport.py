"""The SMTP session: in which phase a fault came, what is kept open, and what goes over the wire."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from scripted_smtp import ScriptedServer
from sessions import BODY, Impatient, deliver, send, server_of
from waiting import PATIENCE_S

from tasks.mailer import transport
from tasks.mailer.transport import Pool, Reply, Server, SmtpFault, SmtpSession


@pytest.fixture
def pool(smtp: ScriptedServer) -> Iterator[Pool]:
    found = Pool(server_of(smtp))
    yield found
    found.close()


def through(pool: Pool, **options: Any) -> bool:
    """Send over the pool. Returns: whether the connection was used before."""
    session, reused = pool.take()
    send(session, **options)
    pool.give(session)
    return reused


# The phase of a fault


@pytest.mark.parametrize(
    ("script", "phase", "code"),
    [
        ({"banner": "554 5.3.2 no service"}, "connect", 554),
        ({"banner": "421 4.3.2 not now"}, "connect", 421),
        ({"banner": "drop"}, "connect", None),
        ({"banner": "stall"}, "connect", None),
        ({"banner": "hello, this is no mail server"}, "connect", None),
        *(({phase: reply}, phase, int(reply[:3]))
          for phase in ("mail", "rcpt", "data", "dot")
          for reply in ("451 4.3.0 not now", "550 5.7.1 never", "421 4.3.2 closing|drop")),
        *(({phase: "drop"}, phase, None) for phase in ("mail", "rcpt", "data", "dot")),
        *(({phase: "stall"}, phase, None) for phase in ("mail", "rcpt", "data")),
        ({"dot": "what was that?"}, "dot", None),
    ],
)  # fmt: skip
def test_a_fault_names_its_phase_and_reply(
    smtp: ScriptedServer, script: dict[str, str], phase: str, code: int | None
) -> None:
    smtp.next(**script)
    stalls = "stall" in script.values()
    with pytest.raises(SmtpFault) as caught:
        if stalls and phase == "connect":
            deliver(server_of(smtp, timeout_s=0.6))
        else:
            deliver(server_of(smtp), Impatient if stalls else SmtpSession, hurried=phase)
    assert caught.value.phase == phase
    assert (caught.value.reply and caught.value.reply.code) == code
    assert str(caught.value).endswith(f"(at {phase})")
    assert smtp.accepted == []


def test_nobody_listening_is_a_fault_at_connect() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]  # bound until the end: nobody else comes to listen there
        with pytest.raises(SmtpFault, match=r"connection refused \(at connect\)"):
            deliver(Server(host="127.0.0.1", port=port, timeout_s=PATIENCE_S))


def test_a_silent_server_is_given_up_in_time(smtp: ScriptedServer) -> None:
    smtp.next(banner="stall")
    with pytest.raises(SmtpFault, match="no reply in time"):
        deliver(server_of(smtp, timeout_s=0.6))


def test_the_reply_to_the_final_dot_may_take_ten_times_as_long(smtp: ScriptedServer) -> None:
    with contextlib.closing(SmtpSession(server_of(smtp, timeout_s=90))) as session:
        session.open()
        waits: list[float] = []
        smtp.hooks["dot"] = lambda: waits.append(session._need.sock.gettimeout())
        assert send(session).code == 250
        assert (waits, session._need.sock.gettimeout()) == ([900], 90)
        session.server = server_of(smtp, timeout_s=0.03)  # from the next dot on
        smtp.next(dot="stall")
        with pytest.raises(SmtpFault, match=r"no reply in time \(at dot\)"):
            send(session)


def test_a_connection_lost_within_the_body_is_no_fault_of_the_dot(smtp: ScriptedServer) -> None:
    smtp.next(body="drop")
    with pytest.raises(SmtpFault) as caught:
        deliver(server_of(smtp), body=b"x" * 77 + b"\r\n" * 4_000_000)
    assert caught.value.phase == "body"


def test_a_refused_greeting_leaves_no_connection_open(smtp: ScriptedServer) -> None:
    smtp.next(banner="554 no service")
    session = SmtpSession(server_of(smtp))
    with pytest.raises(SmtpFault):
        session.open()
    assert session._smtp is None


# What goes over the wire


def test_a_mail_is_accepted_with_its_queue_id_and_nothing_is_said_after(
    smtp: ScriptedServer,
) -> None:
    reply = deliver(server_of(smtp))
    assert (reply.code, reply.enhanced, reply.queue_id) == (250, "2.0.0", "Q1")
    [mail] = smtp.accepted
    assert (mail.sender, mail.to, mail.options) == (
        "no-reply@academy.example",
        "ada@example.org",
        "",
    )
    assert mail.mail == BODY


@pytest.mark.parametrize("name", ["queued as 4XyZ-1", "OK id=4XyZ-1", "Ok: queued as 4XyZ-1"])
def test_a_queue_id_is_found(name: str) -> None:
    assert Reply(250, name).queue_id == "4XyZ-1"


def test_a_reply_that_only_ends_in_id_names_no_queue_id() -> None:
    assert Reply(250, "2.0.0 mail valid for delivery").queue_id == ""


def test_lines_that_begin_with_a_dot_arrive_as_they_were(smtp: ScriptedServer) -> None:
    body = b"Subject: dots\r\n\r\n.\r\n..\r\n.hidden\r\nlast.\r\n"
    deliver(server_of(smtp), body=body)
    assert smtp.accepted[0].mail == body
    assert b"\r\n..\r\n...\r\n..hidden\r\nlast.\r\n" in smtp.accepted[0].wire


def test_a_body_without_a_line_end_gets_one(smtp: ScriptedServer) -> None:
    deliver(server_of(smtp), body=b"Subject: x\r\n\r\nno end")
    assert smtp.accepted[0].wire.endswith(b"no end\r\n")


def test_an_international_address_asks_for_smtputf8(smtp: ScriptedServer) -> None:
    deliver(server_of(smtp), to="jörg@example.org")
    assert smtp.accepted[0].to == "jörg@example.org"
    assert smtp.accepted[0].options == "SMTPUTF8 BODY=8BITMIME"


def test_an_international_address_is_refused_where_the_server_takes_none(
    smtp: ScriptedServer,
) -> None:
    smtp.extensions = "8BITMIME"
    with pytest.raises(SmtpFault, match=r"553 5.6.7 .* \(at rcpt\)"):
        deliver(server_of(smtp), to="jörg@example.org")
    assert smtp.said("MAIL") == []


def test_what_is_raised_before_the_dot_stops_the_mail(smtp: ScriptedServer) -> None:
    def stop() -> None:
        raise KeyError("no lease")

    session = SmtpSession(server_of(smtp))
    session.open()
    with pytest.raises(KeyError):
        send(session, before_dot=stop)
    assert session._smtp is None
    assert smtp.accepted == []


def test_what_is_raised_by_a_step_closes_the_connection(smtp: ScriptedServer) -> None:
    def stop(phase: str) -> None:
        raise KeyError(phase)

    session = SmtpSession(server_of(smtp))
    session.open()
    with pytest.raises(KeyError, match="rcpt"):
        send(session, say=stop)
    assert session._smtp is None


def test_the_conversation_is_kept_without_body_and_password(smtp: ScriptedServer) -> None:
    smtp.extensions = "AUTH_PLAIN"
    session = SmtpSession(server_of(smtp, username="me", password="hunter2"))
    session.open()
    send(session)
    session.quit()
    said = [line for _, way, line in session.lines if way == ">"]
    assert said == ["MAIL FROM:<no-reply@academy.example>", "RCPT TO:<ada@example.org>", "DATA"]
    assert "hello" not in str(session.lines)
    assert "hunter2" not in str(session.lines)


@pytest.mark.parametrize("reply", ["535 5.7.8 wrong password", "454 4.7.0 not now", "drop"])
def test_a_refused_password_is_a_fault_at_auth(smtp: ScriptedServer, reply: str) -> None:
    smtp.extensions = "AUTH_PLAIN"
    smtp.next(auth=reply)
    with pytest.raises(SmtpFault) as caught:
        deliver(server_of(smtp, username="me", password="hunter2"))
    assert (caught.value.phase, caught.value.lost) == ("auth", reply == "drop")
    assert "hunter2" not in str(caught.value)


# Connections that are kept


def test_a_kept_connection_carries_the_next_mail(smtp: ScriptedServer, pool: Pool) -> None:
    assert [through(pool) for _ in range(3)] == [False, True, True]
    assert smtp.connections == 1
    assert len(smtp.accepted) == 3


def test_a_connection_carries_a_hundred_mails(
    smtp: ScriptedServer, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "MAILS_EACH", 3)
    assert [through(pool) for _ in range(4)] == [False, True, True, False]
    assert smtp.connections == 2


@pytest.mark.parametrize("limit", ["AGE_S", "CLOSE_AFTER_IDLE_S"])
def test_an_old_or_idle_connection_is_replaced(
    smtp: ScriptedServer, pool: Pool, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    through(pool)
    monkeypatch.setattr(transport, limit, 0.0)
    assert through(pool) is False
    assert (smtp.connections, smtp.said("QUIT")) == (2, ["quit"])


def test_after_idling_the_server_is_asked_before_the_connection_is_used(
    smtp: ScriptedServer, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    through(pool)
    monkeypatch.setattr(transport, "CHECK_AFTER_IDLE_S", 0.0)
    assert through(pool) is True
    smtp.next(noop="421 4.4.2 idle too long|drop")
    assert through(pool) is False
    smtp.drop_all()
    assert through(pool) is False
    assert smtp.connections == 3


def test_a_new_connection_may_be_asked_for(smtp: ScriptedServer, pool: Pool) -> None:
    through(pool)
    session, reused = pool.take(new=True)
    session.close()
    assert (reused, smtp.connections) == (False, 2)


def test_a_forked_process_uses_no_connection_of_its_parent(
    smtp: ScriptedServer, pool: Pool
) -> None:
    through(pool)
    session, _ = pool.take()
    session.pid = os.getpid() + 1
    assert not session.fresh()
    pool.give(session)
    assert through(pool) is False
    assert smtp.said("QUIT") == []


def test_a_refused_mail_leaves_the_connection_for_the_next(
    smtp: ScriptedServer, pool: Pool
) -> None:
    session, _ = pool.take()
    for phase in ("rcpt", "dot"):
        smtp.next(**{phase: "550 5.1.1 nobody"})
        with pytest.raises(SmtpFault):
            send(session)
        assert session.reset()
        assert session._need.sock.gettimeout() == session.server.timeout_s
    send(session)
    session.quit()
    assert (smtp.connections, len(smtp.accepted)) == (1, 1)


@pytest.mark.parametrize("reply", ["drop", "421 4.3.2 closing|drop", "500 5.5.1 what?", "stall"])
def test_faults_at_quit_are_ignored(
    smtp: ScriptedServer, reply: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "QUIT_S", 0.2)
    smtp.next(quit=reply)
    session = SmtpSession(server_of(smtp))
    session.open()
    send(session)
    session.quit()
    assert len(smtp.accepted) == 1


def test_a_server_that_closes_right_after_the_250_took_the_mail(smtp: ScriptedServer) -> None:
    smtp.next(dot="250 2.0.0 OK|drop")
    session = SmtpSession(server_of(smtp))
    session.open()
    assert send(session).code == 250
    assert not session.reset()
    session.quit()
    assert len(smtp.accepted) == 1


# TLS
