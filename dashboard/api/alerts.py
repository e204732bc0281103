"""The JSON API of alerts: rules and what the last week says of one, incidents, channels."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from flask import Response, jsonify
from pydantic import Field

from dashboard import actions, answers, shapes
from dashboard.alert_acts import channel_of, rule_of
from dashboard.api.calls import act, body, call, query
from dashboard.api.idempotency import idempotent
from tasks.alerts import models, preview, saying
from tasks.alerts.measures import MEASURES, Now, unit_of
from tasks.alerts.models import AlertChannel, AlertIncident, AlertNotice, AlertRule
from tasks.alerts.rules import ChannelIn, RuleIn, check_target
from tasks.database import reading, utcnow

ROOT = "/api/admin/alerts"
ONE = f"{ROOT}/<int:rule_id>"
CHANNEL = f"{ROOT}/channels/<int:channel_id>"
MASKED = "••••"


class RuleChange(shapes.Body):
    """What changes of a rule; its measure stays."""

    name: Annotated[str, Field(max_length=80)] | None = None
    target: Annotated[str, Field(max_length=200)] | None = None
    over_minutes: Annotated[int, Field(ge=0, le=1440)] | None = None
    comparison: Literal["over", "under"] | None = None
    threshold: Annotated[float, Field(ge=0, le=1e12)] | None = None
    for_minutes: Annotated[int, Field(ge=0, le=1440)] | None = None
    least_samples: Annotated[int, Field(ge=0, le=1_000_000)] | None = None
    severity: Literal["critical", "warning"] | None = None
    enabled: bool | None = None
    channels: list[int] | None = None


class ChannelChange(shapes.Body):
    """What changes of a channel; its kind stays, and so do a url and a secret that are left out."""

    name: Annotated[str, Field(max_length=80)] | None = None
    addresses: list[str] | None = None
    url: Annotated[str, Field(max_length=1000)] | None = None
    secret: Annotated[str, Field(max_length=200)] | None = None


class MuteUntil(shapes.Body):
    """Until when a rule is muted."""

    until: shapes.Instant


class Incidents(shapes.Body):
    """The query of the history."""

    rule: shapes.RowId | None = None
    cursor: shapes.RowId | None = None
    limit: Annotated[int, Field(ge=1, le=500)] = 50


# Records -> JSON


def rule_json(rule: AlertRule) -> dict[str, Any]:
    """Return a rule and how it stands; a threshold and a value in % are shares of 1."""
    return {
        "id": rule.id, "name": rule.name, "measure": rule.measure, "target": rule.target or None,
        "over_minutes": rule.over_minutes, "comparison": rule.comparison, "threshold": rule.threshold,
        "unit": unit_of(rule.measure, rule.target), "for_minutes": rule.for_minutes,
        "least_samples": rule.least_samples, "severity": rule.severity, "enabled": rule.enabled,
        "channels": [channel.id for channel in rule.channels], "says": saying.rule_in_words(rule),
        "state": rule.state, "since": answers.when(rule.since_at), "value": rule.value, "samples": rule.samples,
        "note": rule.note, "evaluated_at": answers.when(rule.evaluated_at), "fired_at": answers.when(rule.fired_at),
        "muted_until": answers.when(rule.muted_until) if rule.muted(utcnow()) else None, "owner": rule.owner,
    }  # fmt: skip


def incident_json(incident: AlertIncident, told: list[AlertNotice]) -> dict[str, Any]:
    """Return one firing of a rule, with whom it was told."""
    return {
        "id": incident.id, "rule": incident.rule_id, "name": incident.name, "severity": incident.severity,
        "measure": incident.measure, "target": incident.target or None, "says": incident.said,
        "value": incident.value, "worst": incident.worst, "samples": incident.samples,
        "unit": unit_of(incident.measure, incident.target), "began_at": answers.when(incident.began_at),
        "opened_at": answers.when(incident.opened_at), "closed_at": answers.when(incident.closed_at),
        "ended": incident.ended or None, "muted_by": incident.muted_by or None,
        "acknowledged_at": answers.when(incident.acknowledged_at), "acknowledged_by": incident.acknowledged_by or None,
        "notices": [notice_json(one) for one in told],
    }  # fmt: skip


def notice_json(notice: AlertNotice) -> dict[str, Any]:
    """Return one event told to one channel."""
    return {"id": notice.id, "channel": notice.channel, "kind": notice.kind, "event": notice.event,
            "state": notice.state, "detail": notice.detail, "attempts": notice.attempts,
            "job": notice.job_id or None, "created_at": answers.when(notice.created_at)}  # fmt: skip


def channel_json(channel: AlertChannel) -> dict[str, Any]:
    """Return a channel; of a webhook's URL the host alone, and never its secret."""
    return {"id": channel.id, "name": channel.name, "kind": channel.kind, "addresses": channel.to,
            "url": channel.host or None, "secret": MASKED if channel.kind == "webhook" else None}  # fmt: skip


# Rules


@call("GET", ROOT, "viewer", "Alert rules by name, each with how it stands")
def alerts() -> Any:
    with reading() as db:
        found = models.rules(db)
    return jsonify({"items": [rule_json(rule) for rule in found],
                    "firing": sum(rule.state == "firing" for rule in found)})  # fmt: skip


@call("GET", f"{ROOT}/measures", "viewer", "What a rule may watch, and what a new one begins with")
def alert_measures() -> Any:
    return jsonify({"items": [
        {"name": row.name, "label": row.label, "meaning": row.meaning, "unit": row.unit, "scopes": list(row.scopes),
         "over_minutes": row.over_minutes, "comparison": row.comparison, "threshold": row.threshold,
         "for_minutes": row.for_minutes, "least_samples": row.least_samples, "samples": row.samples or None}
        for row in MEASURES
    ]})  # fmt: skip


@call(
    "POST",
    ROOT,
    "admin",
    "Make an alert rule; Idempotency-Key makes a repeat answer the same",
    body=RuleIn,
    status=201,
)
def create_alert() -> Any:
    return idempotent(_create)


def _create() -> Response:
    made = act("save_rule", "new", data=body(RuleIn)).value
    response = jsonify(rule_json(rule_of(made.id)))
    response.status_code = 201
    return response


@call(
    "POST",
    f"{ROOT}/preview",
    "viewer",
    "When a rule would have fired in the last week; makes nothing",
    body=RuleIn,
)
def preview_alert() -> Any:
    asked, huey = body(RuleIn), actions.huey()
    check_target(asked.measure, asked.target, huey.reads.names(), huey.reads.tasks())
    found = preview.look(Now(huey), asked)
    firings = [
        {"at": answers.when(one.at), "until": answers.when(one.until), "worst": one.worst}
        for one in found.firings
    ]
    now = (
        {"value": found.now.value, "samples": found.now.samples, "note": found.now.note}
        if found.now
        else None
    )
    return jsonify({"firings": firings, "times": len(firings) if not found.why else None, "now": now, "holds": found.breached,
                    "since": answers.when(found.since), "why": found.why, "note": found.note,
                    "unit": unit_of(asked.measure, asked.target)})  # fmt: skip


@call("GET", ONE, "viewer", "One alert rule")
def alert(rule_id: int) -> Any:
    return jsonify(rule_json(rule_of(rule_id)))


@call(
    "PATCH",
    ONE,
    "admin",
    "Change an alert rule; what watches another figure begins anew",
    body=RuleChange,
)
def change_alert(rule_id: int) -> Any:
    rule, given = rule_of(rule_id), body(RuleChange).model_dump(exclude_none=True)
    names = ("name", "measure", "target", "over_minutes", "comparison", "threshold", "for_minutes", "least_samples",
             "severity", "enabled")  # fmt: skip
    now = {name: getattr(rule, name) for name in names} | {
        "channels": [c.id for c in rule.channels]
    }
    act("save_rule", str(rule_id), data=RuleIn.model_validate(now | given))
    return alert(rule_id)


@call("DELETE", ONE, "admin", "Delete an alert rule; its incidents stay", status=204)
def delete_alert(rule_id: int) -> Any:
    act("delete_rule", str(rule_id))
    return "", 204


@call("POST", f"{ONE}/mute", "operator", "Tell nobody of a rule until a time", body=MuteUntil)
def mute_alert(rule_id: int) -> Any:
    act("mute_rule", str(rule_id), until=body(MuteUntil).until)
    return alert(rule_id)


@call("POST", f"{ONE}/unmute", "operator", "Tell of a rule again", body=shapes.Body)
def unmute_alert(rule_id: int) -> Any:
    body(shapes.Body)
    act("unmute_rule", str(rule_id))
    return alert(rule_id)


@call(
    "POST", f"{ONE}/<any(enable, disable):verb>", "admin", "Turn a rule on or off", body=shapes.Body
)
def turn_alert(rule_id: int, verb: str) -> Any:
    body(shapes.Body)
    act(f"{verb}_rule", str(rule_id))
    return alert(rule_id)


# Incidents


@call(
    "GET",
    f"{ROOT}/incidents",
    "viewer",
    "What fired, the newest first; closed_at is null while it fires",
    query=Incidents,
)
def alert_incidents() -> Any:
    asked = query(Incidents)
    with reading() as db:
        found = models.incidents(db, asked.rule, asked.cursor, asked.limit + 1)
        told = models.notices(db, [one.id for one in found])
    shown = found[: asked.limit]
    items = [incident_json(one, [n for n in told if n.incident_id == one.id]) for one in shown]
    return jsonify({"items": items, "next": shown[-1].id if len(found) > asked.limit else None})


@call(
    "POST",
    f"{ROOT}/incidents/<int:incident_id>/acknowledge",
    "operator",
    "Say that somebody is on it",
    body=shapes.Body,
)
def acknowledge_alert(incident_id: int) -> Any:
    body(shapes.Body)
    found = act("acknowledge_incident", str(incident_id)).value
    with reading() as db:
        told = models.notices(db, [found.id])
    return jsonify(incident_json(found, told))


# Channels


@call("GET", f"{ROOT}/channels", "viewer", "Where alerts go")
def alert_channels() -> Any:
    with reading() as db:
        found = models.channels(db)
    return jsonify({"items": [channel_json(channel) for channel in found]})


@call("POST", f"{ROOT}/channels", "admin", "Make a channel; a secret that is made here is shown this once", body=ChannelIn,
      status=201)  # fmt: skip
def create_alert_channel() -> Any:
    made, secret = act("save_channel", "new", data=body(ChannelIn)).value
    return jsonify({**channel_json(made), **({"secret": secret} if secret else {})}), 201


@call("PATCH", CHANNEL, "admin", "Change a channel", body=ChannelChange)
def change_alert_channel(channel_id: int) -> Any:
    channel, given = channel_of(channel_id), body(ChannelChange).model_dump(exclude_none=True)
    now = {
        "name": channel.name,
        "kind": channel.kind,
        "addresses": channel.to,
        "url": channel.host,
        "secret": MASKED,
    }
    act("save_channel", str(channel_id), data=ChannelIn.model_validate(now | given))
    return jsonify(channel_json(channel_of(channel_id)))


@call("DELETE", CHANNEL, "admin", "Delete a channel; no rule tells it any more", status=204)
def delete_alert_channel(channel_id: int) -> Any:
    act("delete_channel", str(channel_id))
    return "", 204


@call("POST", f"{CHANNEL}/test", "admin", "Send a test to a channel", body=shapes.Body, status=202)
def test_alert_channel(channel_id: int) -> Any:
    body(shapes.Body)
    return jsonify(notice_json(act("test_channel", str(channel_id)).value)), 202
