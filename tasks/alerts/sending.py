"""Telling channels what happened: one notice an incident, channel and event; each a job with retries.

A mail goes the way of every mail: log, retries, breaker, suppressions. A notice that fails is shown
on the page; its jobs are left out of what rules measure, so it is never the reason for another.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from tasks import emails, outbox, settings
from tasks.alerts import saying, webhook
from tasks.alerts.measures import said, unit_of
from tasks.alerts.models import AlertChannel, AlertIncident, AlertNotice
from tasks.alerts.opening import opened
from tasks.database import reading, session, utcnow
from tasks.engine import Permanent, RetryAfter, Skip, current_job, new_id
from tasks.outbox import OutboxFull
from tasks.queues import huey

DELAYS_S = (5, 30, 120, 600)


# In the transaction of what happened


def tell(db: Session, incident: AlertIncident, event: str, channels: Iterable[AlertChannel]) -> int:
    """Tell channels of an incident, each once. Returns: how many notices are new."""
    known = set(db.scalars(select(AlertNotice.channel_id).where(
        AlertNotice.incident_id == incident.id, AlertNotice.event == event
    )))  # fmt: skip
    new = [channel for channel in channels if channel.id not in known]
    for channel in new:
        _queue(db, _notice(db, channel, event, incident), channel, incident)
    return len(new)


def told_channels(db: Session, incident: AlertIncident) -> list[AlertChannel]:
    """Return the channels that were told that an incident began."""
    query = select(AlertChannel).join(AlertNotice, AlertNotice.channel_id == AlertChannel.id)
    return list(db.scalars(query.where(AlertNotice.incident_id == incident.id, AlertNotice.event == "fired")))  # fmt: skip


def test(db: Session, channel: AlertChannel) -> AlertNotice:
    """Send a test to a channel."""
    notice = _notice(db, channel, "test", None)
    _queue(db, notice, channel, None)
    return notice


def _notice(
    db: Session, channel: AlertChannel, event: str, incident: AlertIncident | None
) -> AlertNotice:
    made = AlertNotice(incident_id=incident.id if incident else None, channel_id=channel.id,
                       channel=channel.name, kind=channel.kind, event=event)  # fmt: skip
    db.add(made)
    db.flush()
    return made


def _queue(
    db: Session, notice: AlertNotice, channel: AlertChannel, incident: AlertIncident | None
) -> None:
    """Queue a notice's jobs; one that cannot be queued stops nothing else and says why."""
    try:
        with db.begin_nested():
            if channel.kind == "mail":
                _queue_mails(db, notice, channel, incident)
            else:
                notice.job_id = new_id()
                task = deliver_webhook.s(notice.id, id=notice.job_id)
                outbox.add(db, notice.job_id, huey.envelope(task), None)
    except (ValueError, OutboxFull) as exc:
        notice.state, notice.detail = "failed", str(exc)[:300]


def _queue_mails(db: Session, notice: AlertNotice, channel: AlertChannel,
                 incident: AlertIncident | None) -> None:  # fmt: skip
    for to in channel.to:
        mail = emails.Message(
            type="alert", to=to, data=_mail(notice.event, channel, incident), ref=notice.ref
        )
        emails.send(mail, session=db, key=f"{notice.ref}:{to}")


# What is said


def page(incident: AlertIncident | None) -> str:
    """Return the address of the page behind a notice."""
    base = settings.get().base_url
    if incident is None or incident.rule_id is None:
        return f"{base}/alerts"
    return f"{base}/alerts/{incident.rule_id}"


def headline(event: str, name: str) -> str:
    """Return a notice's first line: Firing: Jobs fail."""
    return {"fired": f"Firing: {name}", "resolved": f"Resolved: {name}"}.get(event, f"Test: {name}")


ENDS = {
    "well": "It is well again.", "changed": "The rule was changed, so it begins anew.",
    "off": "The rule was turned off.", "deleted": "The rule was deleted.",
}  # fmt: skip


def sentence(event: str, incident: AlertIncident | None) -> str:
    """Return what happened in a sentence."""
    if incident is None:
        return "This is a test of an alert channel. Nothing is wrong."
    if event == "fired":
        return f"{incident.said}, since {incident.began_at:%H:%M} UTC."
    lasted = saying.lasted(incident.opened_at, incident.closed_at or utcnow())
    return f"{ENDS.get(incident.ended, '')} It fired for {lasted}: {incident.said}."


def _mail(event: str, channel: AlertChannel, incident: AlertIncident | None) -> dict[str, Any]:
    name = incident.name if incident else channel.name
    found = {"event": event, "rule": name, "sentence": sentence(event, incident), "url": page(incident),
             "channel": channel.name}  # fmt: skip
    if incident is None:
        return found
    unit = unit_of(incident.measure, incident.target)
    closed = incident.closed_at if event == "resolved" else None
    return found | {
        "severity": incident.severity, "watched": saying.subject(incident)[:200],
        "value": said(incident.value, unit), "limit": saying.limit(incident),
        "opened_at": incident.opened_at.isoformat(), **({"closed_at": closed.isoformat()} if closed else {}),
        **({"worst": said(incident.worst, unit)} if closed else {}),
    }  # fmt: skip


def payload(notice: AlertNotice, incident: AlertIncident | None) -> dict[str, Any]:
    """Return what a webhook is sent: `text` alone is enough for a chat."""
    name = incident.name if incident else notice.channel
    line = sentence(notice.event, incident)
    return {
        "id": key(notice), "event": notice.event, "sent_at": _when(utcnow()),
        "text": f"{headline(notice.event, name)}. {line}", "url": page(incident),
        "incident": _incident(incident) if incident else None,
    }  # fmt: skip


def _incident(incident: AlertIncident) -> dict[str, Any]:
    return {
        "id": incident.id, "rule": incident.rule_id, "name": incident.name, "severity": incident.severity,
        "measure": incident.measure, "target": incident.target or None, "comparison": incident.comparison,
        "threshold": incident.threshold, "unit": unit_of(incident.measure, incident.target), "value": incident.value,
        "worst": incident.worst, "samples": incident.samples, "began_at": _when(incident.began_at),
        "opened_at": _when(incident.opened_at), "closed_at": _when(incident.closed_at),
        "ended": incident.ended or None,
    }  # fmt: skip


def _when(at: datetime | None) -> str | None:
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z") if at else None


def key(notice: AlertNotice) -> str:
    """Return a notice's idempotency key, the same on every try."""
    return f"jobdeck-alert-{notice.id}"


# The webhook's job


@huey.task(queue="notifications", retries=len(DELAYS_S), name="deliver_webhook", priority=100)
def deliver_webhook(notice_id: int) -> str:
    """POST a notice to its channel; tried five times in a quarter of an hour."""
    with reading() as db:
        notice = db.get(AlertNotice, notice_id)
        channel = db.get(AlertChannel, notice.channel_id) if notice and notice.channel_id else None
        incident = (
            db.get(AlertIncident, notice.incident_id) if notice and notice.incident_id else None
        )
    if notice is None or channel is None:
        raise Skip("the channel is gone")
    if notice.state == "sent":
        raise Skip("it was sent before")
    try:
        answer = _post(notice, channel, incident)
    except webhook.NotSent as exc:
        raise _failed(notice_id, exc) from exc
    except ValueError as exc:  # a URL or a key that no try mends
        raise _failed(notice_id, webhook.NotSent(str(exc), again=False)) from exc
    _note(notice_id, "sent", answer)
    return answer


def _post(notice: AlertNotice, channel: AlertChannel, incident: AlertIncident | None) -> str:
    found = opened(channel)
    body = json.dumps(payload(notice, incident), ensure_ascii=False).encode()
    head = webhook.headers(found["secret"], body, key(notice), notice.event)
    return webhook.post(found["url"], body, head, private=settings.get().alert_private_webhooks)


def _failed(notice_id: int, fault: webhook.NotSent) -> Exception:
    """Note a fault and return what says whether it is tried again."""
    job = current_job()
    last = job.attempt >= job.max_attempts or not fault.again
    _note(notice_id, "failed" if last else "queued", str(fault))
    if last:
        return Permanent(str(fault), "WebhookRefused")
    return RetryAfter(fault.after_s or DELAYS_S[min(job.attempt, len(DELAYS_S)) - 1], str(fault))


def _note(notice_id: int, state: str, detail: str) -> None:
    with session() as db:
        notice = db.get(AlertNotice, notice_id)
        if notice is not None:
            notice.state, notice.detail = state, detail[:300]
            notice.attempts += 1
