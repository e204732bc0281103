"""The order of one delivery, each step a progress step of its job.

claimed → condition → rendered → suppression → connection → MAIL/RCPT → body → final dot → 250 → logged
"""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.utils import parseaddr
from functools import cache
from typing import Any

from pydantic import ValidationError

from tasks import domain, faults, settings
from tasks.database import reading, session, utcnow
from tasks.engine import CancelRequested, CurrentJob, Defer, Permanent, RetryAfter, Skip
from tasks.mailer import models
from tasks.mailer.classify import Verdict, classify
from tasks.mailer.messages import EmailType, email_type
from tasks.mailer.render import Brand, Rendered, build, render
from tasks.mailer.transport import Pool, Reply, Server, SmtpFault, SmtpSession

GREYLIST_S = (60, 300, 600, 600)


class RecipientRefused(Exception):
    """The receiving server refused the address."""


@dataclass(slots=True)
class Delivery:
    """One attempt to deliver one mail."""

    email_id: int
    kind: EmailType
    job: CurrentJob
    to: str
    message_id: str
    attempt_id: int = 0
    started: float = 0.0


def brand() -> Brand:
    """Return who sends, from settings."""
    found = settings.get()
    return Brand(found.product_name, found.mail_default_sender, found.support_email, found.base_url)


@cache
def pool() -> Pool:
    """Return this process's connections to the mail server."""
    found = settings.get()
    server = Server(
        host=found.mail_server or "127.0.0.1",
        port=found.mail_port if found.mail_server else found.inbox_smtp_port,
        username=found.mail_username, password=found.mail_password, starttls=found.mail_use_tls,
        tls=found.mail_use_ssl, timeout_s=found.mail_timeout_s,
    )  # fmt: skip
    return Pool(server)


def deliver(email_id: int, values: dict[str, Any], job: CurrentJob) -> str:
    """Deliver a mail once. Returns: the server's answer.

    Raises: what says what is to come: RetryAfter, Defer, Permanent, Skip.
    """
    job.progress(0, "claimed")
    mail = _claim(email_id, job)
    delivery = Delivery(email_id, email_type(mail.type), job, mail.to_addr, mail.message_id)
    try:
        rendered, reply = _deliver(delivery, mail, values)
    except CancelRequested as exc:
        with session() as db:
            _end(db, email_id, "cancelled", str(exc)[:80])
        raise
    with contextlib.suppress(CancelRequested):  # too late: it is sent
        job.progress(100, "logged")
    return f"{reply.code} {reply.text}"[:300]


def _deliver(
    delivery: Delivery, mail: models.EmailMessage, values: dict[str, Any]
) -> tuple[Rendered, Reply]:
    job = delivery.job
    _answer_marks(delivery)
    _check(delivery, mail)
    job.progress(10, "condition checked")
    rendered, raw = _render(delivery, mail, values)
    job.progress(25, "rendered")
    _check_suppressed(delivery)
    job.progress(40, "suppression checked")
    _start(delivery, rendered, len(raw))
    reply, used, reused = _send(delivery, raw)
    try:
        job.mark("accepted", f"{reply.code} {reply.text}"[:300])
    finally:  # also when the lease is gone: whoever has the job now finds it sent
        _log_attempt(delivery, "dot", "sent", reply, used, reused)
        _sent(delivery, reply, rendered)
        pool().give(used)
    job.healthy()
    return rendered, reply


def _claim(email_id: int, job: CurrentJob) -> models.EmailMessage:
    with session() as db:
        mail = models.get(db, email_id)
        if mail is None:
            raise Permanent(f"there is no mail {email_id} in the log", "MailMissing")
        if mail.state in models.ENDED and mail.state != "failed":
            raise Skip(f"the mail is {mail.state}")
        mail.attempts = job.attempt
        return mail


def _answer_marks(delivery: Delivery) -> None:
    """After a crash: what was accepted is finished, what is uncertain goes by the type's policy."""
    marks = delivery.job.marks()
    if "accepted" in marks:
        code, _, text = marks["accepted"].partition(" ")
        reply = Reply(int(code), text)
        with session() as db:
            _end(db, delivery.email_id, "sent", "recovered", sent_at=utcnow(), **_of(reply))
        raise Skip("accepted before the crash; nothing is sent twice")
    with reading() as db:
        mail = models.get(db, delivery.email_id)
        doubt = mail is not None and models.in_doubt(db, mail, marks.get("dot"))
    if doubt:
        _uncertain(delivery, "its worker died after the final dot")


def _uncertain(delivery: Delivery, why: str) -> None:
    """Hold the mail, or say that the next copy may be a second one."""
    with session() as db:
        mail = models.get(db, delivery.email_id)
        if mail is not None:
            mail.possible_duplicate = True
        if delivery.kind.uncertain == "hold":
            _end(db, delivery.email_id, "held", "uncertain")
        models.decide(db, delivery.email_id)  # what comes next is judged by itself
    if delivery.kind.uncertain == "hold":
        raise Permanent(f"uncertain: {why}; an operator decides", "Uncertain")


def _check(delivery: Delivery, mail: models.EmailMessage) -> None:
    if mail.expires_at <= utcnow():
        with session() as db:
            _end(db, mail.id, "expired", "too late")
        raise Permanent(f"expired at {mail.expires_at:%Y-%m-%d %H:%M:%S} UTC", "Expired")
    with reading() as db:
        reason = domain.not_wanted(db, mail.type, mail.ref)
    if reason:
        with session() as db:
            _end(db, mail.id, "skipped", reason)
        raise Skip(reason)


def _render(
    delivery: Delivery, mail: models.EmailMessage, values: dict[str, Any]
) -> tuple[Rendered, bytes]:
    try:
        rendered = render(delivery.kind, delivery.kind.data.model_validate(values), brand())
        return rendered, build(
            rendered, to=delivery.to, brand=brand(), msg_id=delivery.message_id, at=mail.created_at
        )
    except Exception as exc:
        why = _without_values(exc)
    with session() as db:
        _end(db, delivery.email_id, "failed", "template")
    raise Permanent(f"the mail cannot be rendered: {why}", "NotRendered")


def _without_values(exc: Exception) -> str:
    """Say what is wrong; a pydantic error would name the value, which may be a code or a link."""
    if not isinstance(exc, ValidationError):
        return f"{type(exc).__name__}: {exc}"
    return "; ".join(f"{field}: {wrong}" for field, wrong in faults.fields(exc))


def _check_suppressed(delivery: Delivery) -> None:
    with reading() as db:
        found = models.suppressed(db, delivery.to)
    if found is not None:
        with session() as db:
            _end(db, delivery.email_id, "failed", "suppressed")
        raise Permanent(
            f"{delivery.to} is suppressed since {found.created_at:%Y-%m-%d %H:%M} UTC: {found.reason}",
            "Suppressed",
        )


def _start(delivery: Delivery, rendered: Rendered, size: int) -> None:
    delivery.started = time.monotonic()
    with session() as db:
        mail = models.get(db, delivery.email_id)
        if mail is None:
            return
        mail.state, mail.subject, mail.size_bytes = "sending", rendered.subject[:300], size
        attempt = models.EmailAttempt(
            email_id=mail.id, number=delivery.job.attempt, server=pool().server.name
        )
        db.add(attempt)
        db.flush()
        delivery.attempt_id = attempt.id


def _send(delivery: Delivery, raw: bytes) -> tuple[Reply, SmtpSession, bool]:
    """Send over a kept connection; one that the server gave up is replaced by a new one."""
    for second in (False, True):
        used: SmtpSession | None = None
        reused = False
        try:
            used, reused = pool().take(new=second)
            delivery.job.progress(50, "connected")
            reply = used.send(
                _sender(), delivery.to, raw, before_dot=_gate(delivery), say=_say(delivery)
            )
        except SmtpFault as fault:
            if used and reused and fault.phase == "mail" and _given_up(fault):
                used.close()
                continue
            _refused(delivery, fault, used, reused)
        except BaseException:  # cancelled, not wanted, or the lease is gone: it goes no further
            if used is not None:
                used.close()
            raise
        else:
            return reply, used, reused
    raise AssertionError("a mail is sent or refused")


def _given_up(fault: SmtpFault) -> bool:
    return fault.reply is None or fault.reply.code == 421


def _sender() -> str:
    return parseaddr(brand().sender)[1]


def _say(delivery: Delivery) -> Callable[[str], None]:
    steps = {"rcpt": (60, "MAIL and RCPT accepted"), "body": (80, "body sent")}
    return lambda phase: delivery.job.progress(*steps[phase])


def _gate(delivery: Delivery) -> Callable[[], None]:
    """Return what runs before the final dot: durable, and refused when the lease is gone."""

    def before_dot() -> None:
        with reading() as db:
            mail = models.get(db, delivery.email_id)
            reason = domain.not_wanted(db, delivery.kind.name, mail.ref if mail else None)
        if reason:
            with session() as db:
                _end(db, delivery.email_id, "skipped", reason)
            raise Skip(reason)
        if not delivery.job.mark("dot", str(delivery.attempt_id)):  # LeaseLost stops the mail
            _note_dot(delivery)

    return before_dot


def _note_dot(delivery: Delivery) -> None:
    """Carry the mark in SQL while Redis is away."""
    with session() as db:
        attempt = db.get(models.EmailAttempt, delivery.attempt_id)
        if attempt is not None:
            attempt.phase = "dot"


def _refused(delivery: Delivery, fault: SmtpFault, used: SmtpSession | None, reused: bool) -> None:
    """Log a fault, tell the breaker, and raise what is to come."""
    verdict = classify(fault)
    if used is not None and fault.reply is not None:
        pool().give(used) if used.reset() else used.close()
    # Of a doubt it is noted with what is decided: a crash between the two leaves the doubt.
    outcome = "" if verdict.outcome == "uncertain" else verdict.outcome
    _log_attempt(delivery, fault.phase, outcome, fault.reply, used, reused, str(fault))
    if verdict.breaker:
        delivery.job.fault(str(fault), open_now=verdict.breaker == "open")
    else:
        delivery.job.healthy()
    if verdict.outcome == "defer":
        _keep(delivery, "deferred", verdict.reason, fault, used_up=False)
        raise Defer(None, f"{pool().server.name}: {fault}")
    if verdict.outcome == "fail":
        _fail(delivery, verdict, fault)
    if verdict.outcome == "uncertain":
        _uncertain(delivery, "no reply to the final dot")
    _retry(delivery, verdict, fault)


def _fail(delivery: Delivery, verdict: Verdict, fault: SmtpFault) -> None:
    with session() as db:
        _end(db, delivery.email_id, "failed", verdict.reason, **_said(fault))
        if verdict.suppress:
            models.suppress(db, delivery.to, "hard", str(fault))
    raise Permanent(
        str(fault), "RecipientRefused" if fault.phase == "rcpt" else "MailRefused"
    ) from RecipientRefused(str(fault))


def _retry(delivery: Delivery, verdict: Verdict, fault: SmtpFault) -> None:
    number = delivery.job.attempt
    delays = GREYLIST_S if verdict.greylisted else delivery.kind.delays_s
    delay_s = delays[min(number, len(delays)) - 1] * random.uniform(0.8, 1.2)  # noqa: S311
    if number >= delivery.job.max_attempts:
        with session() as db:
            _end(db, delivery.email_id, "failed", verdict.reason, **_said(fault))
        raise Permanent(str(fault), "MailRefused") from fault
    with reading() as db:
        mail = models.get(db, delivery.email_id)
    if mail is not None and utcnow() + timedelta(seconds=delay_s) > mail.expires_at:
        with session() as db:
            _end(db, delivery.email_id, "expired", verdict.reason, **_said(fault))
        raise Permanent(
            f"expires before the next attempt; last said: {fault}", "Expired"
        ) from fault
    _keep(delivery, "deferred", verdict.reason, fault)
    raise RetryAfter(delay_s, str(fault)) from fault


def _said(fault: SmtpFault) -> dict[str, Any]:
    if fault.reply is not None:
        return {**_of(fault.reply), "phase": fault.phase}
    return {"phase": fault.phase, "smtp_code": None, "enhanced": "", "smtp_text": str(fault)[:500]}


def _of(reply: Reply) -> dict[str, Any]:
    return {"phase": "dot", "smtp_code": reply.code, "enhanced": reply.enhanced,
            "smtp_text": reply.text[:500]}  # fmt: skip


def _keep(
    delivery: Delivery, state: str, reason: str, fault: SmtpFault, used_up: bool = True
) -> None:
    """Note how a mail stands that goes on; its attempts are counted as the job counts them."""
    with session() as db:
        mail = models.get(db, delivery.email_id)
        if mail is not None:
            mail.state, mail.reason = state, reason
            mail.attempts = delivery.job.attempt if used_up else delivery.job.attempt - 1
            for name, value in _said(fault).items():
                setattr(mail, name, value)


def _log_attempt(delivery: Delivery, phase: str, outcome: str, reply: Reply | None,
                 used: SmtpSession | None, reused: bool, text: str = "") -> None:  # fmt: skip
    lines = used.lines if used else []
    with session() as db:
        attempt = db.get(models.EmailAttempt, delivery.attempt_id)
        if attempt is None:
            return
        attempt.phase, attempt.outcome, attempt.reused = phase, outcome, reused
        attempt.duration_ms = round((time.monotonic() - delivery.started) * 1000)
        attempt.code, attempt.enhanced = (reply.code, reply.enhanced) if reply else (None, "")
        attempt.text = (reply.text if reply else text)[:500]
        attempt.transcript = "\n".join(
            f"{at * 1000:.0f}\t{way}\t{line}" for at, way, line in lines
        )[:8000]


def _sent(delivery: Delivery, reply: Reply, rendered: Rendered) -> None:
    took = round((time.monotonic() - delivery.started) * 1000)
    with session() as db:
        _end(db, delivery.email_id, "sent", "", sent_at=utcnow(), **_of(reply),
             remote_queue_id=reply.queue_id[:80], duration_ms=took)  # fmt: skip
        if delivery.kind.keep_body and models.body(db, delivery.email_id) is None:
            db.add(
                models.EmailBody(email_id=delivery.email_id, html=rendered.html, text=rendered.text)
            )


def _end(db: Any, email_id: int, state: str, reason: str, **fields: Any) -> None:
    mail = models.get(db, email_id)
    if mail is None:
        return
    mail.state, mail.reason = state, reason
    for name, value in fields.items():
        setattr(mail, name, value)


def next_morning(at: datetime, quiet: tuple[int, int], spread_s: float) -> datetime:
    """Return `at`, or the end of the quiet hours it lies in plus a spread; `at` is local."""
    start, end = quiet
    asleep = at.hour >= start or at.hour < end if start > end else start <= at.hour < end
    if not asleep:
        return at
    morning = at.replace(hour=end, minute=0, second=0, microsecond=0)
    if morning <= at:
        morning += timedelta(days=1)
    return morning + timedelta(seconds=spread_s)


__all__ = ["brand", "deliver", "next_morning", "pool"]
