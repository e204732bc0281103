"""What begins and ends a firing: an incident, and the notices of it, in the caller's transaction."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy.orm import Session

from tasks.alerts import saying, sending
from tasks.alerts.measures import Seen
from tasks.alerts.models import AlertIncident, AlertRule, open_incident


def begin(db: Session, rule: AlertRule, seen: Seen, at: datetime) -> AlertIncident:
    """Open the incident of a rule that begins to fire; its unique `open_of` lets no second one be."""
    incident = AlertIncident(
        rule_id=rule.id, open_of=rule.id, name=rule.name, measure=rule.measure, target=rule.target,
        severity=rule.severity, said=saying.fired(rule, seen.value)[:400], comparison=rule.comparison,
        threshold=rule.threshold, value=seen.value, worst=seen.value, samples=seen.samples,
        began_at=rule.since_at or at, opened_at=at,
        muted_by=rule.muted_by if rule.muted(at) else "",
    )  # fmt: skip
    db.add(incident)
    db.flush()
    rule.state, rule.since_at, rule.calm_at, rule.fired_at = "firing", at, None, at
    return incident


def close(db: Session, rule: AlertRule, incident: AlertIncident, at: datetime, why: str) -> None:
    """End an incident, and tell those who were told that it began; also of a muted rule."""
    incident.open_of, incident.closed_at, incident.ended = None, max(at, incident.opened_at), why
    rule.state, rule.since_at, rule.calm_at = "ok", None, None
    sending.tell(db, incident, "resolved", sending.told_channels(db, incident))


def restart(db: Session, rule: AlertRule, at: datetime, why: str) -> None:
    """Let a rule begin anew; what fired ends."""
    incident = open_incident(db, rule.id)
    if incident is not None:
        close(db, rule, incident, at, why)
    rule.state, rule.since_at, rule.calm_at = "ok", None, None
    rule.value, rule.samples, rule.note, rule.evaluated_at = None, 0, "", None
