"""Looking at every rule once a minute. However many consumers run, a minute counts once."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import delete, or_, select, update
from sqlalchemy.orm import Session

from tasks.alerts import incidents, measures, sending
from tasks.alerts.measures import Now, Seen
from tasks.alerts.models import AlertIncident, AlertNotice, AlertRule, open_incident
from tasks.database import reading, session, utcnow
from tasks.engine import Unreachable, crontab
from tasks.queues import huey

logger = logging.getLogger("tasks.alerts")
CALM = timedelta(minutes=2)  # a firing rule is well for so long before it ends: no flapping
GAP = timedelta(minutes=3)  # after a longer time without a look, "for so long" counts from anew
KEPT = timedelta(days=90)


@huey.periodic_task(crontab(), queue="maintenance", name="evaluate", priority=100, missed="latest",
                    expression="* * * * *")  # fmt: skip
def evaluate() -> str:
    """Look at every alert rule; open, close and tell what changed."""
    looked, firing = look_at_all()
    return f"{looked} looked at, {firing} firing"


@huey.periodic_task(crontab(minute="23", hour="3"), queue="maintenance", name="forget", missed="latest",
                    expression="23 3 * * *")  # fmt: skip
def forget() -> str:
    """Delete incidents that ended 90 days ago, with their notices, and tests as old."""
    before = utcnow() - KEPT
    with session() as db:
        old: Any = db.execute(delete(AlertIncident).where(AlertIncident.closed_at < before))
        tests = delete(AlertNotice).where(
            AlertNotice.event == "test", AlertNotice.created_at < before
        )
        db.execute(tests)
        return f"{old.rowcount} incidents deleted"


def look_at_all(at: datetime | None = None) -> tuple[int, int]:
    """Look at each enabled rule. Returns: how many this call looked at, how many of them fire.

    A rule that cannot be looked at stops no other. Raises: Unreachable.
    """
    minute = (at or utcnow()).replace(second=0, microsecond=0)
    with reading() as db:
        due = or_(AlertRule.evaluated_at.is_(None), AlertRule.evaluated_at < minute)
        rules = list(db.scalars(select(AlertRule).where(AlertRule.enabled, due)))
    if not rules:
        return 0, 0
    now = Now(huey)
    states = [_look(rule, now, minute) for rule in rules]
    return len([state for state in states if state]), states.count("firing")


def _look(rule: AlertRule, now: Now, minute: datetime) -> str:
    """Look at one rule. Returns: its state after, empty where another worker has this minute."""
    try:
        seen = measures.look(measures.BY_NAME[rule.measure], now, rule)
    except Unreachable:
        raise
    except Exception as exc:
        logger.exception("alert rule %s cannot be looked at", rule.name)
        seen = Seen(None, note=f"{type(exc).__name__}: {exc}"[:200])
    with session() as db:
        return settle(db, rule.id, seen, minute)


def settle(db: Session, rule_id: int, seen: Seen, minute: datetime) -> str:
    """Note what was seen of a rule in a minute, and what follows; the first to come has the minute."""
    due = or_(AlertRule.evaluated_at.is_(None), AlertRule.evaluated_at < minute)
    claim = update(AlertRule).where(AlertRule.id == rule_id, AlertRule.enabled, due)
    before = db.scalar(select(AlertRule.evaluated_at).where(AlertRule.id == rule_id))
    won: Any = db.execute(claim.values(evaluated_at=minute), execution_options=UNSYNCED)
    rule = db.get(AlertRule, rule_id, populate_existing=True)
    if won.rowcount != 1 or rule is None:
        return ""
    rule.value, rule.samples, rule.note = seen.value, seen.samples, why_silent(rule, seen)
    if rule.state == "firing":
        _go_on(db, rule, seen, minute)
    else:
        _rise(db, rule, seen, minute, gap=before is None or minute - before > GAP)
    if rule.state == "firing" and not rule.muted(minute):
        incident = open_incident(db, rule.id)
        if incident is not None:
            sending.tell(db, incident, "fired", rule.channels)
    return rule.state


UNSYNCED = {"synchronize_session": False}


def why_silent(rule: Any, seen: Seen) -> str:
    """Say why a look says nothing; empty where it does."""
    if seen.value is None:
        return seen.note or "no value"
    few = measures.BY_NAME[rule.measure].samples and seen.samples < rule.least_samples
    return (
        f"{seen.samples} of {rule.least_samples} {measures.BY_NAME[rule.measure].samples}"
        if few
        else ""
    )


def breached(rule: Any, seen: Seen) -> bool:
    """Tell whether a rule's condition holds for what was seen; without enough samples it does not."""
    if seen.value is None or why_silent(rule, seen):
        return False
    limit = float(rule.threshold)
    return seen.value > limit if rule.comparison == "over" else seen.value < limit


def _rise(db: Session, rule: AlertRule, seen: Seen, at: datetime, *, gap: bool) -> None:
    """From ok over pending to firing."""
    if not breached(rule, seen):
        rule.state, rule.since_at = "ok", None
        return
    if rule.state == "ok" or gap or rule.since_at is None:
        rule.state, rule.since_at = "pending", at
    if at - rule.since_at >= timedelta(minutes=rule.for_minutes):
        incidents.begin(db, rule, seen, at)


def _go_on(db: Session, rule: AlertRule, seen: Seen, at: datetime) -> None:
    """What a firing rule does: get worse, calm down, end."""
    incident = open_incident(db, rule.id)
    if incident is None:
        rule.state, rule.since_at = "ok", None
    elif breached(rule, seen):
        rule.calm_at = None
        worse = max if rule.comparison == "over" else min
        known = [value for value in (seen.value, incident.worst) if value is not None]
        incident.worst = worse(known, default=None)
    else:
        rule.calm_at = rule.calm_at or at
        if at - rule.calm_at >= CALM:
            incidents.close(db, rule, incident, rule.calm_at, "well")
