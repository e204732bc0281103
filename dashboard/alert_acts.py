"""What an operator does to alerts: rules, channels, mutes, acknowledgements. Joined to ACTIONS by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from dashboard import formats
from dashboard.asking import Ask, Refused, Result
from tasks import outbox, queues
from tasks.alerts import models, rules, sending
from tasks.alerts.models import AlertChannel, AlertIncident, AlertRule, as_plain
from tasks.database import reading, session, utcnow
from tasks.engine import EngineError

MOST_MUTED_DAYS = 90


class UnknownAlert(EngineError):
    """There is no rule, channel or incident with that id."""


def rule_of(rule_id: int) -> AlertRule:
    """Return a rule. Raises UnknownAlert."""
    with reading() as db:
        found: AlertRule = _found(db, AlertRule, str(rule_id), "alert rule")
        return found


def channel_of(channel_id: int) -> AlertChannel:
    """Return a channel. Raises UnknownAlert."""
    with reading() as db:
        found: AlertChannel = _found(db, AlertChannel, str(channel_id), "alert channel")
        return found


def _found(db: Any, model: Any, target: str, what: str) -> Any:
    found = db.get(model, int(target)) if target.isdigit() and len(target) < 10 else None
    if found is None:
        raise UnknownAlert(f"there is no {what} {target}: it was deleted, or never was")
    return found


def _save_rule(ask: Ask) -> Result:
    """Make a rule (target `new`) or change the one that the target names."""
    given: rules.RuleIn = ask.params["data"]
    rules.check_target(given.measure, given.target, ask.huey.reads.names(), ask.huey.reads.tasks())
    with session() as db:
        rule = None if ask.target == "new" else _found(db, AlertRule, ask.target, "alert rule")
        before = as_plain(rule) if rule else None
        rule = rules.save_rule(db, given, ask.actor.name, rule)
        after = as_plain(rule)
        noted = {"before": before, "after": after, "rule": rule.id}
    outbox.settle()
    other = [name.replace("_", " ") for name in after if before and before[name] != after[name]]
    said = f"changed: {', '.join(other)}" if other else "is as it was" if before else "made"
    return Result(
        message=f"Rule {rule.name} {said}", target=f"alert:{rule.id}", value=rule, noted=noted
    )


def _suggested(ask: Ask) -> Result:
    """Make the suggested rules that are not there."""
    with session() as db:
        known = {rule.name.lower() for rule in models.rules(db)}
        made = [
            rules.save_rule(db, one, ask.actor.name)
            for one in rules.SUGGESTIONS
            if one.name.lower() not in known
        ]
    if not made:
        raise Refused("Nothing made: the suggested rules are there")
    return Result(
        message=f"{len(made)} rules made; they tell nobody yet",
        noted={"names": [r.name for r in made]},
    )


def _delete_rule(ask: Ask) -> Result:
    with session() as db:
        rule = _found(db, AlertRule, ask.target, "alert rule")
        before = as_plain(rule)
        rules.delete_rule(db, rule)
    return Result(
        message=f"Rule {rule.name} is deleted", target=f"alert:{rule.id}", noted={"before": before}
    )


def _turn(on: bool) -> Callable[[Ask], Result]:
    def do(ask: Ask) -> Result:
        with session() as db:
            rule = _found(db, AlertRule, ask.target, "alert rule")
            rules.turn(db, rule, on=on)
        word = "on" if on else "off"
        return Result(
            message=f"Rule {rule.name} is {word}",
            target=f"alert:{rule.id}",
            value=rule,
            noted={"name": rule.name},
        )

    return do


def _mute(ask: Ask) -> Result:
    until: datetime = ask.params["until"]
    ahead = (until - utcnow()).total_seconds()
    if not 0 < ahead <= MOST_MUTED_DAYS * 86400:
        raise Refused(f"Nothing muted: a time from now to {MOST_MUTED_DAYS} days ahead is expected")
    with session() as db:
        rule = _found(db, AlertRule, ask.target, "alert rule")
        before = rule.muted_until
        rules.mute(db, rule, until, ask.actor.name)
    noted = {"name": rule.name, "before": before and str(before)}
    return Result(
        target=f"alert:{rule.id}",
        message=f"{rule.name} is muted{formats.until(until)}",
        value=rule,
        noted=noted,
    )


def _unmute(ask: Ask) -> Result:
    with session() as db:
        rule = _found(db, AlertRule, ask.target, "alert rule")
        rules.unmute(rule)
    return Result(
        message=f"{rule.name} is heard again",
        target=f"alert:{rule.id}",
        value=rule,
        noted={"name": rule.name},
    )


def _acknowledge(ask: Ask) -> Result:
    with session() as db:
        incident = _found(db, AlertIncident, ask.target, "incident")
        if not rules.acknowledge(incident, ask.actor.name):
            by = (
                f"{incident.acknowledged_by} is on it already"
                if incident.acknowledged_at
                else "it is over"
            )
            raise Refused(f"Nothing to acknowledge: {by}")
    return Result(
        message=f"You are on it: {incident.name}",
        target=f"alert:{incident.rule_id}",
        value=incident,
        noted={"name": incident.name},
    )


def _plain(channel: AlertChannel) -> dict[str, Any]:
    return {"name": channel.name, "kind": channel.kind, "to": channel.shown}


def _save_channel(ask: Ask) -> Result:
    """Make a channel (target `new`) or change one; the value is it and a secret made here."""
    with session() as db:
        channel = (
            None if ask.target == "new" else _found(db, AlertChannel, ask.target, "alert channel")
        )
        before = _plain(channel) if channel else None
        channel, made = rules.save_channel(db, ask.params["data"], channel)
        noted = {"before": before, "after": _plain(channel), "channel": channel.id}
    said = f"Channel {channel.name} {'changed' if before else 'made'}"
    return Result(message=said, target=f"channel:{channel.id}", value=(channel, made), noted=noted)


def _delete_channel(ask: Ask) -> Result:
    with session() as db:
        channel = _found(db, AlertChannel, ask.target, "alert channel")
        before = _plain(channel)
        db.delete(channel)
    return Result(
        message=f"Channel {channel.name} is deleted",
        target=f"channel:{channel.id}",
        noted={"before": before},
    )


def _test_channel(ask: Ask) -> Result:
    if ask.huey is not queues.huey:
        raise Refused("Nothing sent: the workers of this application send no alerts")
    with session() as db:
        channel = _found(db, AlertChannel, ask.target, "alert channel")
        notice = sending.test(db, channel)
    outbox.settle()
    if notice.state == "failed":
        raise Refused(f"Nothing sent: {notice.detail}")
    return Result(
        message=f"A test goes to {channel.name}",
        target=f"channel:{channel.id}",
        value=notice,
        noted={"name": channel.name},
    )


DO: Mapping[str, Callable[[Ask], Result]] = {
    "save_rule": _save_rule, "suggested_rules": _suggested, "delete_rule": _delete_rule,
    "enable_rule": _turn(True), "disable_rule": _turn(False), "mute_rule": _mute,
    "unmute_rule": _unmute, "acknowledge_incident": _acknowledge, "save_channel": _save_channel,
    "delete_channel": _delete_channel, "test_channel": _test_channel,
}  # fmt: skip
