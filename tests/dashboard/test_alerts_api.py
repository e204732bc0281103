"""The API of alerts: the same rules, rights and audit as the pages."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from alerting import incidents, make_hook, make_mail, make_rule, rule_of
from flask import Flask
from sqlalchemy import select

from dashboard import auth
from dashboard.models import ROLES, AuditEntry
from tasks import database as db
from tasks.alerts import evaluation, models
from tasks.alerts.measures import MEASURES, Seen
from tasks.alerts.opening import opened
from tasks.database import utcnow
from tasks.engine import JobHuey

ROOT = "/api/admin/alerts"
RULE = {"name": "Sync fails", "measure": "failed_share", "target": "queue:sync", "threshold": 0.1}
Call = Callable[..., Any]


@pytest.fixture
def call(app: Flask) -> Call:
    """Call the API as a role: `call("POST", path, body, role="viewer")`."""
    tokens = {role: auth.create_token(role, role, "cli")[0] for role in ROLES}

    def ask(method: str, path: str, body: Any = None, role: str = "admin", **headers: str) -> Any:
        bearer = {"Authorization": f"Bearer {tokens[role]}", **headers}
        return app.test_client().open(ROOT + path, method=method, json=body, headers=bearer)

    return ask


def fire(rule: models.AlertRule) -> models.AlertIncident:
    with db.session() as session:
        evaluation.settle(session, rule.id, Seen(11), utcnow().replace(second=0, microsecond=0))
    return incidents()[-1]


def test_a_rule_is_made_read_changed_and_deleted(call: Call) -> None:
    channel = make_mail().id
    made = call("POST", "", RULE | {"channels": [channel]})
    assert made.status_code == 201
    found = made.get_json()
    assert (found["threshold"], found["unit"], found["over_minutes"], found["least_samples"]) == (
        0.1,
        "%",
        15,
        20,
    )
    assert (
        found["says"]
        == "Failed share of queue sync: over 10\u2009% in 15 min, of at least 20 finished jobs"
    )
    one = f"/{found['id']}"
    assert call("GET", one, role="viewer").get_json()["channels"] == [channel]
    changed = call("PATCH", one, {"threshold": 0.2, "severity": "critical"}).get_json()
    assert (changed["threshold"], changed["severity"], changed["channels"]) == (
        0.2,
        "critical",
        [channel],
    )
    assert call("GET", "", role="viewer").get_json()["items"] == [changed]
    assert call("POST", f"{one}/disable", {}).get_json()["enabled"] is False
    assert call("POST", f"{one}/enable", {}).get_json()["enabled"] is True
    assert call("DELETE", one).status_code == 204
    assert call("GET", one).status_code == 404
    with db.reading() as session:
        acts = session.scalars(
            select(AuditEntry.action).where(AuditEntry.target == f"alert:{found['id']}")
        )
        assert list(acts) == [
            "save_rule",
            "save_rule",
            "disable_rule",
            "enable_rule",
            "delete_rule",
        ]


def test_a_repeat_with_the_same_key_makes_one_rule(call: Call) -> None:
    answers = [call("POST", "", RULE, **{"Idempotency-Key": "k1"}) for _ in range(2)]
    assert answers[0].get_json() == answers[1].get_json()
    assert len(call("GET", "").get_json()["items"]) == 1
    assert (
        call("POST", "", RULE | {"threshold": 0.3}, **{"Idempotency-Key": "k1"}).status_code == 422
    )


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"measure": "luck"}, "measure"), ({"target": "queue:none"}, "target"), ({"threshold": -1}, "threshold"),
        ({"threshold": "lots"}, "threshold"), ({"comparison": "near"}, "comparison"), ({"over_minutes": 9999}, "over_minutes"),
        ({"channels": [77]}, "channels"), ({"name": " "}, "name"), ({"name": "a\nb"}, "name"), ({"loud": True}, "loud"),
        ({"severity": "mild"}, "severity"), ({"name": "x" * 81}, "name"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_by_its_field(
    call: Call, change: dict[str, Any], field: str
) -> None:
    answer = call("POST", "", RULE | change)
    assert answer.status_code == 422
    assert answer.mimetype == "application/problem+json"
    assert [error["field"] for error in answer.get_json()["errors"]] == [field]
    assert call("GET", "").get_json()["items"] == []


def test_a_preview_makes_nothing_and_says_what_it_cannot_tell(call: Call) -> None:
    found = call("POST", "/preview", {"name": "x", "measure": "breaker"}, role="viewer").get_json()
    assert found["times"] is None
    assert "No past is kept" in found["why"]
    found = call(
        "POST", "/preview", {"name": "x", "measure": "workers", "for_minutes": 0}, role="viewer"
    ).get_json()
    assert found["holds"] is True
    assert call("GET", "").get_json()["items"] == []


def test_the_measures_are_listed(call: Call) -> None:
    found = call("GET", "/measures", role="viewer").get_json()["items"]
    assert [row["name"] for row in found] == [row.name for row in MEASURES]


def test_an_operator_mutes_and_acknowledges(call: Call) -> None:
    rule = make_rule("waiting", threshold=10, for_minutes=0, channels=[make_mail().id])
    incident = fire(rule)
    until = utcnow() + timedelta(hours=4)
    muted = call("POST", f"/{rule.id}/mute", {"until": until.isoformat()}, role="operator")
    assert muted.get_json()["muted_until"] is not None
    assert (
        call(
            "POST", f"/{rule.id}/mute", {"until": "2020-01-01T00:00:00Z"}, role="operator"
        ).status_code
        == 409
    )
    assert call("POST", f"/{rule.id}/mute", {}, role="operator").status_code == 422
    assert call("POST", f"/{rule.id}/unmute", {}, role="operator").get_json()["muted_until"] is None
    done = call("POST", f"/incidents/{incident.id}/acknowledge", {}, role="operator")
    assert done.get_json()["acknowledged_by"] == "token operator"
    assert (
        call("POST", f"/incidents/{incident.id}/acknowledge", {}, role="operator").status_code
        == 409
    )
    (found,) = call("GET", f"/incidents?rule={rule.id}", role="viewer").get_json()["items"]
    assert (found["closed_at"], found["worst"], found["notices"][0]["event"]) == (None, 11, "fired")
    assert call("GET", "/incidents?cursor=1", role="viewer").get_json()["items"] == []


def test_a_channels_secret_is_answered_once_and_its_url_never(call: Call) -> None:
    url = "https://hooks.example.org/T0/secret-path"
    made = call("POST", "/channels", {"name": "Chat", "kind": "webhook", "url": url}).get_json()
    assert made["secret"].startswith("whsec_")
    (shown,) = call("GET", "/channels", role="viewer").get_json()["items"]
    assert (shown["url"], shown["secret"]) == ("https://hooks.example.org/••••", "••••")
    assert call("PATCH", f"/channels/{made['id']}", {"name": "Team"}).get_json()["name"] == "Team"
    with db.reading() as session:
        (channel,) = models.channels(session)
    assert opened(channel) == {"url": url, "secret": made["secret"]}
    call("PATCH", f"/channels/{made['id']}", {"url": "https://other.example/x"})
    with db.reading() as session:
        (channel,) = models.channels(session)
    assert opened(channel) == {"url": "https://other.example/x", "secret": made["secret"]}
    assert call("POST", f"/channels/{made['id']}/test", {}).status_code == 202
    assert call("DELETE", f"/channels/{made['id']}").status_code == 204


def test_nobody_acts_below_their_role(call: Call, huey: JobHuey) -> None:
    rule = make_rule("waiting", threshold=10, for_minutes=0)
    incident, channel = fire(rule), make_hook("https://x.example/hook")
    until = (utcnow() + timedelta(hours=1)).isoformat()
    admins = [("POST", "", RULE), ("PATCH", f"/{rule.id}", {"threshold": 1}), ("DELETE", f"/{rule.id}", None),
              ("POST", f"/{rule.id}/disable", {}), ("POST", "/channels", {"name": "x", "kind": "mail"}),
              ("PATCH", f"/channels/{channel.id}", {"name": "y"}), ("DELETE", f"/channels/{channel.id}", None),
              ("POST", f"/channels/{channel.id}/test", {})]  # fmt: skip
    operators = [("POST", f"/{rule.id}/mute", {"until": until}), ("POST", f"/{rule.id}/unmute", {}),
                 ("POST", f"/incidents/{incident.id}/acknowledge", {})]  # fmt: skip
    for method, path, body in admins:
        assert call(method, path, body, role="operator").status_code == 403, path
    for method, path, body in (*admins, *operators):
        assert call(method, path, body, role="viewer").status_code == 403, path
    assert rule_of(rule).enabled


def test_the_mail_of_alerts_is_for_rules_alone_and_is_found_in_the_log_and_the_preview(
    app: Flask, call: Call, admin: Any
) -> None:
    token = auth.create_token("robot", "admin", "cli")[0]
    body = {"type": "alert", "to": "a@example.org", "data": {}}
    answer = app.test_client().post(
        "/api/email", json=body, headers={"Authorization": f"Bearer {token}"}
    )
    assert answer.status_code == 422
    assert answer.get_json()["errors"] == [
        {"field": "type", "message": "alerts are sent by rules alone"}
    ]
    assert "Jobs fail" in admin.get("/emails/preview?type=alert").text
    assert '<option value="alert">' in admin.get("/emails").text
