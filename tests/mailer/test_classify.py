"""What each fault means: the phase, then the first digit, then the enhanced code."""

from __future__ import annotations

import smtplib
import ssl

import pytest

from tasks.mailer.classify import classify
from tasks.mailer.transport import Reply, SmtpFault

LOST = smtplib.SMTPServerDisconnected("Connection unexpectedly closed")
CERT = ssl.SSLCertVerificationError("self-signed certificate")
NO_TLS = smtplib.SMTPNotSupportedError("STARTTLS extension not supported by server.")


def fault(phase: str, said: str | Exception) -> SmtpFault:
    if isinstance(said, Exception):
        return SmtpFault(phase, None, said)
    return SmtpFault(phase, Reply(int(said[:3]), said[4:]))


TABLE = [
    # phase, reply or cause, outcome, reason, breaker, suppress, greylisted
    ("connect", ConnectionRefusedError(), "defer", "unreachable", "fault", False, False),
    ("connect", TimeoutError(), "defer", "unreachable", "fault", False, False),
    ("connect", OSError("Name or service not known"), "defer", "unreachable", "fault", False, False),
    ("connect", "421 4.3.2 not now", "defer", "unreachable", "fault", False, False),
    ("connect", "554 no service", "defer", "unreachable", "fault", False, False),
    ("tls", CERT, "defer", "tls_refused", "open", False, False),
    ("tls", NO_TLS, "defer", "tls_refused", "open", False, False),
    ("tls", "501 no TLS", "defer", "tls_refused", "open", False, False),
    ("tls", "454 4.7.0 TLS not available", "defer", "tls_refused", "fault", False, False),
    ("tls", LOST, "defer", "tls_refused", "fault", False, False),
    ("auth", "535 5.7.8 wrong password", "defer", "auth_refused", "open", False, False),
    ("auth", "534 5.7.9 too weak", "defer", "auth_refused", "open", False, False),
    ("auth", "530 5.7.0 sign in first", "defer", "auth_refused", "open", False, False),
    ("auth", "454 4.7.0 for now", "defer", "auth_refused", "fault", False, False),
    ("auth", LOST, "defer", "auth_refused", "fault", False, False),
    ("mail", "421 4.3.2 closing", "defer", "server_busy", "fault", False, False),
    ("mail", LOST, "defer", "connection_lost", "fault", False, False),
    ("mail", "450 4.1.8 sender's domain", "retry", "refused_for_now", "", False, False),
    ("mail", "451 4.3.0 trouble", "retry", "refused_for_now", "fault", False, False),
    ("mail", "452 4.3.1 disk full", "retry", "refused_for_now", "fault", False, False),
    ("mail", "451 4.4.1 no route", "retry", "refused_for_now", "fault", False, False),
    ("mail", "450 4.7.0 too many", "retry", "refused_for_now", "fault", False, False),
    ("mail", "550 5.7.1 sender refused", "fail", "sender_refused", "open", False, False),
    ("mail", "553 5.1.8 sender's domain", "fail", "sender_refused", "open", False, False),
    ("rcpt", LOST, "defer", "connection_lost", "fault", False, False),
    ("rcpt", "452 4.2.2 mailbox full", "retry", "refused_for_now", "", False, False),
    ("rcpt", "450 4.7.1 come back", "retry", "greylisted", "", False, True),
    ("rcpt", "450 4.2.0 come back", "retry", "greylisted", "", False, True),
    ("rcpt", "451 Greylisted, see our page", "retry", "greylisted", "", False, True),
    ("rcpt", "451 4.3.0 gray-listed", "retry", "greylisted", "", False, True),
    ("rcpt", "451 4.3.2 busy, try again later", "retry", "refused_for_now", "fault", False, False),
    *(("rcpt", f"550 {code} no", "fail", "no_such_address", "", True, False)
      for code in ("5.1.1", "5.1.2", "5.1.3", "5.1.6", "5.1.10", "5.2.1")),
    ("rcpt", "552 5.2.2 mailbox full", "fail", "refused", "", False, False),
    ("rcpt", "550 4.1.1 user unknown", "fail", "refused", "", False, False),
    ("rcpt", "550 5.7.1 policy", "fail", "policy", "fault", False, False),
    ("rcpt", "550 5.7.26 unauthenticated", "fail", "policy", "fault", False, False),
    ("rcpt", "550 5.7.515 access denied", "fail", "policy", "fault", False, False),
    ("rcpt", "554 your host is blocked", "fail", "policy", "fault", False, False),
    ("rcpt", "550 User unknown", "fail", "no_such_address", "", True, False),
    ("rcpt", "550 No such mailbox here", "fail", "no_such_address", "", True, False),
    ("rcpt", "550 no", "fail", "refused", "", False, False),
    ("data", "451 4.3.0 trouble", "retry", "refused_for_now", "fault", False, False),
    ("data", "554 no valid recipients", "fail", "refused", "", False, False),
    ("data", "550 5.1.1 who?", "fail", "refused", "", False, False),
    ("data", LOST, "defer", "connection_lost", "fault", False, False),
    ("body", LOST, "retry", "connection_lost", "fault", False, False),
    ("dot", LOST, "uncertain", "uncertain", "fault", False, False),
    ("dot", TimeoutError(), "uncertain", "uncertain", "fault", False, False),
    ("dot", "421 4.3.2 closing", "defer", "server_busy", "fault", False, False),
    ("dot", "451 4.2.1 not now", "retry", "refused_for_now", "", False, False),
    ("dot", "452 4.2.2 full", "retry", "refused_for_now", "", False, False),
    ("dot", "552 5.3.4 too big", "fail", "refused", "", False, False),
    ("dot", "554 5.7.1 looks like spam", "fail", "policy", "fault", False, False),
    ("dot", "554 rejected as spam", "fail", "policy", "fault", False, False),
    ("dot", "550 5.1.1 who?", "fail", "refused", "", False, False),
]  # fmt: skip


@pytest.mark.parametrize(
    ("phase", "said", "outcome", "reason", "breaker", "suppress", "greylisted"), TABLE,
    ids=[f"{row[0]} {row[1] if isinstance(row[1], str) else type(row[1]).__name__}" for row in TABLE],
)  # fmt: skip
def test_a_fault_means(
    phase: str, said: str | Exception, outcome: str, reason: str, breaker: str, suppress: bool,
    greylisted: bool,
) -> None:  # fmt: skip
    found = classify(fault(phase, said))
    assert (found.outcome, found.reason, found.breaker) == (outcome, reason, breaker)
    assert (found.suppress, found.greylisted) == (suppress, greylisted)


def test_nobody_is_suppressed_for_what_is_our_fault() -> None:
    for phase in ("mail", "rcpt", "data", "dot"):
        for code in ("5.7.0", "5.7.1", "5.7.26", "5.7.515"):
            assert not classify(fault(phase, f"550 {code} user unknown")).suppress
