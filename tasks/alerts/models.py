"""Alert rules, channels, incidents and notices in SQL; and what is asked of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import (
    Column,
    Float,
    ForeignKey,
    Index,
    String,
    Table,
    Text,
    UniqueConstraint,
    func,
    select,
)
from sqlalchemy.orm import Mapped, Session, mapped_column, relationship

from tasks.database import Base, UtcDateTime, reading, utcnow
from tasks.mailer.models import EmailMessage

rule_channels = Table(
    "alert_rule_channels",
    Base.metadata,
    Column("rule_id", ForeignKey("alert_rules.id", ondelete="CASCADE"), primary_key=True),
    Column("channel_id", ForeignKey("alert_channels.id", ondelete="CASCADE"), primary_key=True),
)


class AlertChannel(Base):
    """Where notices go: mail to some addresses, or a webhook; its URL and secret are sealed."""

    __tablename__ = "alert_channels"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(80), unique=True)
    kind: Mapped[str] = mapped_column(String(10))  # mail or webhook
    addresses: Mapped[str] = mapped_column(Text, default="[]")  # a JSON list
    host: Mapped[str] = mapped_column(String(300), default="")  # what may be shown of the URL
    sealed: Mapped[str] = mapped_column(Text, default="")  # {"url", "secret"}, encrypted
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utcnow)

    @property
    def to(self) -> list[str]:
        """Return the addresses of a mail channel."""
        found: list[str] = json.loads(self.addresses)
        return found

    @property
    def shown(self) -> str:
        """Return where it goes, for everybody to see."""
        return ", ".join(self.to) if self.kind == "mail" else self.host


class AlertRule(Base):
    """A rule, and where it stands: `state` is ok, pending (true, not for long enough) or firing.

    `target` is empty for everything, or queue:email, task:tasks.emails.deliver_email, kpi:failed_rate.
    `calm_at` is since when a firing rule has been well; `note` says why there is no value.
    """

    __tablename__ = "alert_rules"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(80), unique=True)
    measure: Mapped[str] = mapped_column(String(40))
    target: Mapped[str] = mapped_column(String(200), default="")
    over_minutes: Mapped[int] = mapped_column(default=0)
    comparison: Mapped[str] = mapped_column(String(5), default="over")
    threshold: Mapped[float] = mapped_column(Float)
    for_minutes: Mapped[int] = mapped_column(default=0)
    least_samples: Mapped[int] = mapped_column(default=0)
    severity: Mapped[str] = mapped_column(String(10), default="warning")
    enabled: Mapped[bool] = mapped_column(default=True)
    owner: Mapped[str] = mapped_column(String(340), default="")
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utcnow)
    muted_until: Mapped[datetime | None] = mapped_column(UtcDateTime)
    muted_by: Mapped[str] = mapped_column(String(340), default="")
    state: Mapped[str] = mapped_column(String(10), default="ok")
    since_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    calm_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    value: Mapped[float | None] = mapped_column(Float)
    samples: Mapped[int] = mapped_column(default=0)
    note: Mapped[str] = mapped_column(String(200), default="")
    evaluated_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    fired_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    channels: Mapped[list[AlertChannel]] = relationship(
        secondary=rule_channels, lazy="selectin", order_by=AlertChannel.id
    )

    def muted(self, at: datetime) -> bool:
        """Tell whether nothing is said of it at an instant."""
        return self.muted_until is not None and self.muted_until > at


class AlertIncident(Base):
    """One firing of a rule, with what the rule said then; `open_of` is its rule while it lasts.

    At most one of a rule is open: `open_of` is unique. `ended` is well, changed, off or deleted.
    """

    __tablename__ = "alert_incidents"
    __table_args__ = (Index(None, "rule_id", "id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    rule_id: Mapped[int | None] = mapped_column(ForeignKey("alert_rules.id", ondelete="SET NULL"))
    open_of: Mapped[int | None] = mapped_column(unique=True)
    name: Mapped[str] = mapped_column(String(80))
    measure: Mapped[str] = mapped_column(String(40))
    target: Mapped[str] = mapped_column(String(200), default="")
    severity: Mapped[str] = mapped_column(String(10))
    said: Mapped[str] = mapped_column(String(400))
    comparison: Mapped[str] = mapped_column(String(5))
    threshold: Mapped[float] = mapped_column(Float)
    value: Mapped[float | None] = mapped_column(Float)
    worst: Mapped[float | None] = mapped_column(Float)
    samples: Mapped[int] = mapped_column(default=0)
    began_at: Mapped[datetime] = mapped_column(UtcDateTime)
    opened_at: Mapped[datetime] = mapped_column(UtcDateTime, index=True)
    closed_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    ended: Mapped[str] = mapped_column(String(10), default="")
    muted_by: Mapped[str] = mapped_column(String(340), default="")
    acknowledged_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    acknowledged_by: Mapped[str] = mapped_column(String(340), default="")


class AlertNotice(Base):
    """One event told, or to be told, to one channel; `event` is fired, resolved or test.

    Its unique key makes a second one of the same incident, channel and event impossible.
    """

    __tablename__ = "alert_notices"
    __table_args__ = (UniqueConstraint("incident_id", "channel_id", "event"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    incident_id: Mapped[int | None] = mapped_column(
        ForeignKey("alert_incidents.id", ondelete="CASCADE")
    )
    channel_id: Mapped[int | None] = mapped_column(
        ForeignKey("alert_channels.id", ondelete="SET NULL"), index=True
    )
    channel: Mapped[str] = mapped_column(String(80))
    kind: Mapped[str] = mapped_column(String(10))
    event: Mapped[str] = mapped_column(String(10))
    state: Mapped[str] = mapped_column(String(10), default="queued")  # queued, sent or failed
    detail: Mapped[str] = mapped_column(String(300), default="")
    attempts: Mapped[int] = mapped_column(default=0)
    job_id: Mapped[str] = mapped_column(String(64), default="")
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utcnow)
    updated_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utcnow, onupdate=utcnow)

    @property
    def ref(self) -> str:
        """Return what its mails are about, as the mail log has it."""
        return f"alert:{self.id}"


def rules(db: Session) -> list[AlertRule]:
    """Return every rule by name."""
    return list(db.scalars(select(AlertRule).order_by(func.lower(AlertRule.name))))


def channels(db: Session) -> list[AlertChannel]:
    """Return every channel by name."""
    return list(db.scalars(select(AlertChannel).order_by(func.lower(AlertChannel.name))))


def open_incident(db: Session, rule_id: int) -> AlertIncident | None:
    """Return a rule's incident that lasts."""
    return db.scalars(select(AlertIncident).where(AlertIncident.open_of == rule_id)).first()


def incidents(db: Session, rule_id: int | None = None, cursor: int | None = None,
              limit: int = 50) -> list[AlertIncident]:  # fmt: skip
    """Return incidents, the newest first; `cursor` is the id of the last one seen."""
    query = select(AlertIncident).order_by(AlertIncident.id.desc()).limit(limit)
    if rule_id is not None:
        query = query.where(AlertIncident.rule_id == rule_id)
    if cursor is not None:
        query = query.where(AlertIncident.id < cursor)
    return list(db.scalars(query))


OPEN = select(AlertIncident).where(AlertIncident.open_of.is_not(None))  # each look asks it


def open_incidents(db: Session) -> list[AlertIncident]:
    """Return what fires now: critical ones first, then the oldest."""
    found = db.scalars(OPEN)
    return sorted(found, key=lambda one: (one.severity != "critical", one.opened_at))


def firing(within: Session | None = None) -> list[AlertIncident]:
    """Return what fires now and is not muted."""
    with reading(within) as db:
        found = open_incidents(db)
        if not found:
            return []
        query = select(AlertRule.id, AlertRule.muted_until).where(AlertRule.state == "firing")
        muted = {rule_id for rule_id, until in db.execute(query) if until and until > utcnow()}
        return [one for one in found if one.open_of not in muted]


def notices(db: Session, incident_ids: Sequence[int]) -> list[AlertNotice]:
    """Return the notices of incidents, oldest first, each mail's as the mail log has it."""
    query = select(AlertNotice).where(AlertNotice.incident_id.in_(incident_ids))
    return told(db, list(db.scalars(query.order_by(AlertNotice.id))))


def tests(db: Session) -> dict[int, AlertNotice]:
    """Return {channel: its newest test}."""
    query = select(func.max(AlertNotice.id)).where(AlertNotice.event == "test")
    newest = query.where(AlertNotice.channel_id.is_not(None)).group_by(AlertNotice.channel_id)
    found = db.scalars(select(AlertNotice).where(AlertNotice.id.in_(newest)))
    return {one.channel_id: one for one in told(db, list(found)) if one.channel_id}


def told(db: Session, found: list[AlertNotice]) -> list[AlertNotice]:
    """Give each mail's notice the state of its mails. The rows are detached: nothing is written."""
    refs = [one.ref for one in found if one.kind == "mail"]
    mails: dict[str, list[EmailMessage]] = {}
    if refs:
        for mail in db.scalars(select(EmailMessage).where(EmailMessage.ref.in_(refs))):
            mails.setdefault(mail.ref or "", []).append(mail)
    db.expunge_all()
    for one in found:
        if sent := mails.get(one.ref):
            one.state, one.detail = _state(sent)
    return found


def _state(mails: Sequence[EmailMessage]) -> tuple[str, str]:
    """Return (state, detail) of several mails together."""
    by_state: Mapping[str, int] = _counted([mail.state for mail in mails])
    sent, lost = by_state.get("sent", 0), [m for m in mails if m.state in LOST]
    if lost:
        why = lost[0].smtp_text or lost[0].reason or lost[0].state
        return "failed", f"{len(lost)} of {len(mails)} failed: {why}"[:300]
    return ("sent", "") if sent == len(mails) else ("queued", f"{sent} of {len(mails)} sent")


def _counted(words: Sequence[str]) -> dict[str, int]:
    return {word: words.count(word) for word in words}


LOST = ("failed", "expired", "cancelled", "bounced", "complained", "held", "skipped")


def as_plain(rule: AlertRule) -> dict[str, Any]:
    """Return what somebody decided about a rule, for the audit."""
    names = ("name", "measure", "target", "over_minutes", "comparison", "threshold", "for_minutes",
             "least_samples", "severity", "enabled")  # fmt: skip
    return {name: getattr(rule, name) for name in names} | {
        "channels": [channel.name for channel in rule.channels]
    }
