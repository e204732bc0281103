"""What programs get from the API beyond what pages share: refusals that name the field, and repeats."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from browsing import Browser
from flask import Flask
from sqlalchemy import select, update
from werkzeug.test import TestResponse

from dashboard import auth
from dashboard.models import AuditEntry, IdempotencyKey
from tasks import database as db
from tasks.database import utcnow
from tasks.engine import JobHuey

CODE = {"type": "verification_code", "to": "ada@example.org", "data": {"name": "Ada", "code": "918273"}}  # fmt: skip
WELCOME = {"type": "welcome", "to": "ada@example.org", "data": {"name": "Ada", "course": "Logic"}}
Call = Callable[..., TestResponse]


def caller(app: Flask, role: str) -> Call:
    token, _ = auth.create_token(role, role, "cli")

    def call(method: str, address: str, **more: Any) -> TestResponse:
        headers = {"Authorization": f"Bearer {token}", **more.pop("headers", {})}
        return app.test_client().open(address, method=method, headers=headers, **more)

    return call


@pytest.fixture
def call(app: Flask) -> Call:
    """Ask as a token of role operator."""
    return caller(app, "operator")


def fields(answer: TestResponse) -> list[str]:
    assert answer.status_code == 422, answer.text
    return [error["field"] for error in answer.get_json()["errors"]]


def audited() -> list[AuditEntry]:
    with db.reading() as session:
        return list(session.scalars(select(AuditEntry).order_by(AuditEntry.id)))


def test_the_audit_of_a_mail_holds_no_code(call: Call) -> None:
    assert call("POST", "/api/email", json=CODE).status_code == 202
    (entry,) = [entry for entry in audited() if entry.action == "send_email"]
    assert "918273" not in entry.detail
    assert "verification_code to ada@example.org" in entry.detail


def test_an_act_refused_at_the_door_is_audited(app: Flask) -> None:
    assert caller(app, "viewer")("POST", "/api/admin/queues/email/pause").status_code == 403
    (entry,) = audited()
    assert (entry.outcome, entry.actor) == ("refused", "token viewer")
    assert entry.target == "/api/admin/queues/email/pause"


def test_a_mail_for_a_moment_that_has_passed_is_refused_by_name(call: Call) -> None:
    answer = call("POST", "/api/email", json={**WELCOME, "send_at": "2020-01-01T00:00:00Z"})
    assert fields(answer) == ["send_at"]


@pytest.mark.parametrize(
    ("address", "field"),
    [
        ("/api/emails?state=nix", "state"),
        ("/api/emails?type=nix", "type"),
        ("/api/admin/queues/email/metrics?minutes=abc", "minutes"),
        ("/api/admin/queues/email/metrics?minutes=0", "minutes"),
    ],
)
def test_a_query_that_could_match_nothing_is_refused_by_name(
    call: Call, address: str, field: str
) -> None:
    assert fields(call("GET", address)) == [field]


def test_a_body_sent_in_chunks_is_refused_over_one_mebibyte(call: Call) -> None:
    from io import BytesIO

    body = BytesIO(b'{"type": "' + b"x" * (1024 * 1024) + b'"}')
    answer = call(
        "POST", "/api/email", input_stream=body, content_type="application/json",
        environ_overrides={"wsgi.input_terminated": True, "HTTP_TRANSFER_ENCODING": "chunked"},
    )  # fmt: skip
    assert answer.status_code == 413


def test_a_key_whose_request_died_is_free_again(call: Call, huey: JobHuey) -> None:
    with db.session() as session:
        row = IdempotencyKey(actor="token:1", key="k", body_hash="")
        session.add(row)
    headers = {"Idempotency-Key": "k"}
    assert call("POST", "/api/email", json=WELCOME, headers=headers).status_code == 409
    with db.session() as session:
        session.execute(update(IdempotencyKey).values(created_at=utcnow() - timedelta(minutes=3)))
    assert call("POST", "/api/email", json=WELCOME, headers=headers).status_code == 202


def test_a_pause_said_again_keeps_its_end_and_reason(call: Call) -> None:
    until = (utcnow() + timedelta(hours=1)).isoformat()
    address = "/api/admin/queues/email/pause"
    call("POST", address, json={"until": until, "reason": "storm"})
    pause = call("POST", address, json={}).get_json()["pause"]
    assert pause["reason"] == "storm"
    assert pause["until"]
    past = (utcnow() - timedelta(hours=1)).isoformat()
    assert call("POST", address, json={"until": past}).status_code == 422


def test_a_live_retention_is_answered_and_outlives_a_start(call: Call, huey: JobHuey) -> None:
    address = "/api/admin/queues/sync"
    answer = call("PATCH", address, json={"retention": "1d/100", "rate": "3/s"}).get_json()
    assert answer["retention"]["completed"] == "1d/100"
    huey.commands.configure()
    kept = huey.storage.call("HMGET", huey.storage.keys.of("queue", "sync"), "keep", "rl")
    assert kept == [b"100", b"3"]
    answer = call("PATCH", address, json={"retention": None, "rate": None}).get_json()
    assert answer["retention"]["completed"] == "7d/10000"
    huey.commands.configure()
    assert huey.storage.call("HGET", huey.storage.keys.of("queue", "sync"), "keep") == b"10000"


def test_the_reference_names_every_call_with_a_line_to_try_it(admin: Browser, app: Flask) -> None:
    page = admin.get("/api/docs").text
    paths = app.test_client().get("/api/openapi.json").get_json()["paths"]
    assert all(path in page for path in paths)
    assert "curl -s http://127.0.0.1:8000/api/email" in page
    assert app.test_client().get("/api/docs").status_code == 303


@pytest.mark.parametrize("slash", ["/", "%2F"])
def test_an_address_with_a_slash_is_suppressed_and_lifted(call: Call, slash: str) -> None:
    path = f"/api/emails/suppressions/sales{slash}eu@example.org"
    listed = "/api/emails/suppressions"
    assert call("PUT", path, json={"reason": "asked"}).json == {"address": "sales/eu@example.org"}
    assert [one["address"] for one in call("GET", listed).json["items"]] == ["sales/eu@example.org"]
    assert call("DELETE", path).status_code == 204
    assert call("GET", listed).json["items"] == []
