"""What a fault means: one pure function over phase and reply."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from tasks.mailer.transport import Reply, SmtpFault

Outcome = Literal["retry", "defer", "fail", "uncertain"]
HARD_ADDRESS = ("5.1.1", "5.1.2", "5.1.3", "5.1.6", "5.1.10", "5.2.1")
OURS = ("5.7.1", "5.7.26", "5.7.515", "5.7.0")
UNKNOWN_USER = re.compile(r"user unknown|no such (user|mailbox)|unknown (user|recipient)|does not exist|mailbox unavailable|invalid recipient", re.IGNORECASE)  # fmt: skip
GREYLISTED = re.compile(r"gr[ea]y-?list", re.IGNORECASE)
POLICY = re.compile(r"\bspam\b|\bpolicy\b|\bblocked\b|block ?list", re.IGNORECASE)
SERVER_TROUBLE = ("4.3", "4.4", "4.7.0")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to do: `breaker` tells the queue's breaker ("", "fault" or "open")."""

    outcome: Outcome
    reason: str
    breaker: Literal["", "fault", "open"] = ""
    suppress: bool = False
    greylisted: bool = False


def classify(fault: SmtpFault) -> Verdict:
    """Decide by the phase, then the first digit, then the enhanced code."""
    reply, phase = fault.reply, fault.phase
    if phase in ("connect", "tls", "auth"):
        hard = phase != "connect" and not fault.lost and not (reply and reply.code // 100 == 4)
        return Verdict(
            "defer",
            "unreachable" if phase == "connect" else f"{phase}_refused",
            "open" if hard else "fault",
        )
    if reply is None:
        return _cut(phase)
    if reply.code == 421:
        return Verdict("defer", "server_busy", "fault")
    if reply.code // 100 == 4:
        return _temporary(reply)
    return _permanent(phase, reply)


def _cut(phase: str) -> Verdict:
    """No reply: the connection was lost or timed out."""
    if phase == "dot":
        return Verdict("uncertain", "uncertain", "fault")
    if phase == "body":
        return Verdict("retry", "connection_lost", "fault")
    return Verdict("defer", "connection_lost", "fault")


def _temporary(reply: Reply) -> Verdict:
    grey = greylists(reply.code, reply.enhanced, reply.text)
    trouble = not grey and reply.enhanced.startswith(SERVER_TROUBLE)
    return Verdict(
        "retry",
        "greylisted" if grey else "refused_for_now",
        "fault" if trouble else "",
        greylisted=grey,
    )


def greylists(code: int, enhanced: str, text: str) -> bool:
    """Tell whether a server puts off whom it does not know yet, and takes the mail some minutes later."""
    says_so = GREYLISTED.search(text) is not None or enhanced in ("4.7.1", "4.2.0")
    return code // 100 == 4 and code != 421 and says_so


def _permanent(phase: str, reply: Reply) -> Verdict:
    if phase == "mail":
        return Verdict("fail", "sender_refused", "open")
    if phase == "rcpt" and _no_such_address(reply):
        return Verdict("fail", "no_such_address", suppress=True)
    if reply.enhanced in OURS or not reply.enhanced and POLICY.search(reply.text):
        return Verdict("fail", "policy", "fault")
    return Verdict("fail", "refused")


def _no_such_address(reply: Reply) -> bool:
    if reply.enhanced.startswith("4."):
        return False  # the two disagree: trust the basic code, but suppress nobody
    if reply.enhanced in HARD_ADDRESS:
        return True
    return not reply.enhanced and bool(UNKNOWN_USER.search(reply.text))
