"""Making and changing rules and channels: what is accepted, and what becomes of a firing rule."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from tasks import kpis
from tasks.alerts import incidents, measures, webhook
from tasks.alerts.models import AlertChannel, AlertIncident, AlertRule, open_incident
from tasks.alerts.opening import opened, seal
from tasks.database import utcnow
from tasks.engine.records import MASK
from tasks.mailer.messages import address

MOST_RULES, MOST_CHANNELS, MOST_ADDRESSES = 200, 50, 20
SEVERITIES = ("critical", "warning")
CONTROL = re.compile(r"[\x00-\x1f\x7f\u2028\u2029]")


class BadRule(ValueError):
    """A rule or channel cannot be kept; `field` is the one that is wrong."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field, self.message = field, message


def _line(value: str) -> str:
    if CONTROL.search(value):
        raise ValueError("one line is expected")
    if not value.strip():
        raise ValueError("a name is expected")
    return value.strip()


def _measure(value: str) -> str:
    if value not in measures.BY_NAME:
        raise ValueError(f"one of {', '.join(measures.BY_NAME)} is expected")
    return value


Name = Annotated[str, Field(max_length=80), AfterValidator(_line)]
Minutes = Annotated[int, Field(ge=0, le=1440)]


class RuleIn(BaseModel):
    """What an admin decides about a rule; what is left out is as the measure has it."""

    model_config = ConfigDict(extra="forbid")

    name: Name
    measure: Annotated[str, AfterValidator(_measure)]
    target: Annotated[str, Field(max_length=200)] = ""
    over_minutes: Annotated[int, Field(ge=0, le=1440)] | None = None
    comparison: Literal["over", "under"] | None = None
    threshold: Annotated[float, Field(ge=0, le=1e12, allow_inf_nan=False)] | None = None
    for_minutes: Minutes | None = None
    least_samples: Annotated[int, Field(ge=0, le=1_000_000)] | None = None
    severity: Literal["critical", "warning"] = "warning"
    enabled: bool = True
    channels: Annotated[list[int], Field(max_length=MOST_CHANNELS)] = []

    @model_validator(mode="after")
    def _complete(self) -> RuleIn:
        row = measures.BY_NAME[self.measure]
        for name, value in measures.begins_with(self.measure, self.target).items():
            if getattr(self, name) is None:
                setattr(self, name, value)
        self.over_minutes = (self.over_minutes or row.over_minutes) if row.windowed else 0
        self.least_samples = self.least_samples if row.samples else 0
        return self


class ChannelIn(BaseModel):
    """What an admin decides about a channel; a `url` or `secret` of •••• stays as it is."""

    model_config = ConfigDict(extra="forbid")

    name: Name
    kind: Literal["mail", "webhook"]
    addresses: Annotated[list[str], Field(max_length=MOST_ADDRESSES)] = []
    url: Annotated[str, Field(max_length=webhook.LONGEST_URL)] = ""
    secret: Annotated[str, Field(max_length=200)] = ""


# Rules


def check_target(measure: str, target: str, queues: Sequence[str], tasks: Sequence[str]) -> None:
    """Refuse a target that the measure cannot be asked of. Raises BadRule."""
    row = measures.BY_NAME[measure]
    kind, _, name = target.partition(":")
    kind = kind or "everything"
    if kind not in row.scopes:
        scopes = ", ".join(row.scopes)
        raise BadRule("target", f"{row.label} is asked of {scopes}; not of {kind}")
    known = {"queue": queues, "task": tasks, "kpi": tuple(kpis.BY_NAME)}.get(kind)
    if known is not None and name not in known:
        raise BadRule("target", f"there is no {kind} {name!r}")


def save_rule(db: Session, given: RuleIn, by: str, rule: AlertRule | None = None) -> AlertRule:
    """Make a rule, or change one: where what it watches changed, it begins anew.

    Raises: BadRule.
    """
    _check_free(db, AlertRule, given.name, rule)
    found = _channels(db, given.channels)
    values = given.model_dump(exclude={"channels"})
    if rule is None:
        if (db.scalar(select(func.count()).select_from(AlertRule)) or 0) >= MOST_RULES:
            raise BadRule("name", f"there are {MOST_RULES} rules already; delete one first")
        rule = AlertRule(**values, owner=by)
        rule.channels = found
        db.add(rule)
        db.flush()
        return rule
    again = any(getattr(rule, name) != values[name] for name in WATCHED)
    for name, value in values.items():
        setattr(rule, name, value)
    rule.channels = found
    if again or not rule.enabled:
        incidents.restart(db, rule, utcnow(), "changed" if rule.enabled else "off")
    return rule


WATCHED = (
    "measure",
    "target",
    "over_minutes",
    "comparison",
    "threshold",
    "for_minutes",
    "least_samples",
)


def turn(db: Session, rule: AlertRule, *, on: bool) -> None:
    """Turn a rule on or off."""
    if rule.enabled != on:
        rule.enabled = on
        incidents.restart(db, rule, utcnow(), "off")


def delete_rule(db: Session, rule: AlertRule) -> None:
    """Delete a rule; its incidents stay in the history."""
    incidents.restart(db, rule, utcnow(), "deleted")
    db.flush()
    db.delete(rule)


def mute(db: Session, rule: AlertRule, until: datetime, by: str) -> None:
    """Tell nobody of a rule until a time."""
    rule.muted_until, rule.muted_by = until, by
    incident = open_incident(db, rule.id)
    if incident is not None:
        incident.muted_by = by


def unmute(rule: AlertRule) -> None:
    """Tell of a rule again; one that fires is told at the next look."""
    rule.muted_until, rule.muted_by = None, ""


def acknowledge(incident: AlertIncident, by: str) -> bool:
    """Note that somebody is on it; False where somebody is already, or it is over."""
    if incident.acknowledged_at is not None or incident.closed_at is not None:
        return False
    incident.acknowledged_at, incident.acknowledged_by = utcnow(), by
    return True


# Channels


def save_channel(
    db: Session, given: ChannelIn, channel: AlertChannel | None = None
) -> tuple[AlertChannel, str]:
    """Make or change a channel. Returns: it, and the secret where one was made here.

    Raises: BadRule.
    """
    _check_free(db, AlertChannel, given.name, channel)
    if channel is None:
        if (db.scalar(select(func.count()).select_from(AlertChannel)) or 0) >= MOST_CHANNELS:
            raise BadRule("name", f"there are {MOST_CHANNELS} channels already; delete one first")
        channel = AlertChannel(name=given.name, kind=given.kind)
    elif channel.kind != given.kind:
        raise BadRule("kind", "the kind of a channel stays; make another channel")
    channel.name = given.name
    made = ""
    if given.kind == "mail":
        channel.addresses = json.dumps(_addresses(given.addresses))
    else:
        made = _seal(channel, given)
    db.add(channel)
    db.flush()
    return channel, made


def _addresses(given: Sequence[str]) -> list[str]:
    if not given:
        raise BadRule("addresses", "at least one address is expected")
    try:
        return list(dict.fromkeys(address(one) for one in given))
    except ValueError as exc:
        raise BadRule("addresses", str(exc)) from exc


def _seal(channel: AlertChannel, given: ChannelIn) -> str:
    """Keep URL and secret encrypted. Returns: the secret where it was made here."""
    before = opened(channel) if channel.sealed else {"url": "", "secret": ""}
    url = before["url"] if given.url in ("", MASK, channel.host) and before["url"] else given.url
    try:
        host = webhook.shown(url)
    except ValueError as exc:
        raise BadRule("url", str(exc)) from exc
    keep = before["secret"] if given.secret in ("", MASK) else given.secret
    made = "" if keep else webhook.new_secret()
    if len(keep or made) < webhook.SHORTEST_SECRET:
        raise BadRule("secret", f"at least {webhook.SHORTEST_SECRET} characters are expected, or nothing: then one is made")  # fmt: skip
    channel.host = host
    seal(channel, url, keep or made)
    return made


def _check_free(db: Session, model: Any, name: str, own: Any) -> None:
    known = db.scalars(select(model).where(func.lower(model.name) == name.lower())).first()
    if known is not None and (own is None or known.id != own.id):
        raise BadRule("name", f"there is one named {known.name} already")


def _channels(db: Session, ids: Sequence[int]) -> list[AlertChannel]:
    found = list(db.scalars(select(AlertChannel).where(AlertChannel.id.in_(ids)))) if ids else []
    missing = set(ids) - {channel.id for channel in found}
    if missing:
        raise BadRule("channels", f"there is no channel {min(missing)}")
    return found


# One-click suggestions: nothing of them is made by itself, and none tells anybody yet.
SUGGESTIONS: tuple[RuleIn, ...] = (
    RuleIn(name="Jobs fail", measure="failed_share", severity="critical"),
    RuleIn(name="Jobs wait too long", measure="oldest"),
    RuleIn(name="Nothing starts while jobs wait", measure="stalled", severity="critical"),
    RuleIn(name="The outside cannot be reached", measure="breaker"),
    RuleIn(name="A periodic task did not run", measure="missed"),
    RuleIn(name="A new kind of error", measure="new_errors"),
)
