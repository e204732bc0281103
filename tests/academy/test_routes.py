"""The JSON endpoints: who may call them, what they answer, and every refusal as a problem."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from waiting import wait_until

from academy.routes import blueprint
from tasks import domain, outbox
from tasks.domain import Proof

PUBLIC = {"registrations", "registrations/confirm", "password-resets", "password-resets/confirm"}


def post(client: FlaskClient, path: str, body: Any) -> Any:
    return client.post(f"/api/academy/{path}", json=body)


def test_only_the_first_steps_are_public_everything_else_takes_an_operator(app: Flask) -> None:
    rules = [rule for rule in app.url_map.iter_rules() if rule.endpoint.startswith("academy.")]
    assert len(rules) == 10
    for rule in rules:
        view = app.view_functions[rule.endpoint]
        path = rule.rule.removeprefix("/api/academy/")
        assert view.role == ("public" if path in PUBLIC else "operator")


def test_without_a_token_401_and_with_another_role_403(client: FlaskClient) -> None:
    answer = client.get("/api/academy/courses")
    assert answer.status_code == 401
    assert answer.mimetype == "application/problem+json"
    answer = client.get("/api/academy/courses", headers={"Authorization": "Bearer viewer"})
    assert answer.status_code == 403
    assert "operator" in answer.json["detail"]


def test_a_view_without_a_role_is_refused(client: FlaskClient, app: Flask) -> None:
    del app.view_functions["academy.list_courses"].role
    try:
        answer = client.get("/api/academy/courses", headers={"Authorization": "Bearer operator"})
    finally:
        app.view_functions["academy.list_courses"].role = "operator"
    assert answer.status_code == 403


def test_from_registration_to_a_finished_course(
    client: FlaskClient, operator: Any, platform: Any
) -> None:
    person = {"email": "ada@example.org", "name": "Ada", "timezone": "Europe/Berlin"}
    answer = post(client, "registrations", person)
    assert (answer.status_code, answer.json) == (202, {})
    code = domain.code_of(platform.all(Proof)[0])
    answer = post(client, "registrations/confirm", {"email": "ada@example.org", "code": code})
    assert (answer.status_code, answer.json) == (200, {"user_id": 1})
    platform.course()
    [course] = operator("get", "/courses").json["items"]
    assert course == {
        "id": 1,
        "slug": "logic",
        "title": "Logic",
        "price_minor": 4900,
        "currency": "EUR",
    }
    answer = operator("post", "/enrollments", {"user_id": 1, "course_id": 1})
    assert (answer.status_code, answer.json) == (201, {"enrollment_id": 1})
    answer = operator(
        "post", "/payments", {"enrollment_id": 1, "amount_minor": 4900, "currency": "eur"}
    )
    assert (answer.status_code, answer.json) == (201, {"payment_id": 1})
    answer = operator("post", "/payments/1/verify")
    assert answer.json["state"] == "succeeded"
    assert operator("post", "/enrollments/1/complete").status_code == 200
    assert operator("post", "/enrollments/1/finish-course").json["state"] == "completed"
    assert [mail.type for mail in platform.mails()] == [
        "verification_code", "payment_receipt", "welcome", "course_completion",
    ]  # fmt: skip


def test_a_known_and_an_unknown_address_get_the_same_answer(
    client: FlaskClient, platform: Any
) -> None:
    platform.person("ada@example.org")
    for path, extra in (("registrations", {"name": "Ada"}), ("password-resets", {})):
        known = post(client, path, {"email": "ada@example.org", **extra})
        unknown = post(client, path, {"email": "nobody@example.org", **extra})
        assert (
            (known.status_code, known.data) == (unknown.status_code, unknown.data) == (202, b"{}\n")
        )


def test_a_reset_by_link(client: FlaskClient, platform: Any) -> None:
    platform.person()
    post(client, "password-resets", {"email": "ada@example.org"})
    token = domain.token_of(platform.all(Proof)[0])
    answer = post(client, "password-resets/confirm", {"token": token, "password": "a new password"})
    assert answer.status_code == 200
    answer = post(client, "password-resets/confirm", {"token": token, "password": "a new password"})
    assert answer.status_code == 422
    assert "ask for a new one" in answer.json["detail"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"email": "ada@example.org", "name": "Ada", "admin": True}, "admin"),
        ({"email": "ada@example.org"}, "name"),
        ({"email": "ada@example.org", "name": ""}, "name"),
        ({"email": "ada", "name": "Ada"}, "email"),
        ({"email": "ada@example.org\r\nBcc: x@example.org", "name": "Ada"}, "email"),
        ({"email": ["ada@example.org"], "name": "Ada"}, "email"),
        ({"email": "ada@example.org", "name": "A\nB"}, "name"),
        ({"email": "ada@example.org", "name": "x" * 121}, "name"),
        ({"email": "ada@example.org", "name": "Ada", "locale": "../x"}, "locale"),
        ({"email": "ada@example.org", "name": "Ada", "timezone": "/etc/passwd"}, "timezone"),
    ],
)
def test_a_wrong_field_is_named(client: FlaskClient, platform: Any, body: Any, field: str) -> None:
    answer = post(client, "registrations", body)
    assert answer.status_code == 422
    assert [error["field"] for error in answer.json["errors"]] == [field]
    assert platform.mails() == []


@pytest.mark.parametrize(
    ("method", "path", "kwargs", "status"),
    [
        ("post", "/registrations", {"data": b"{", "content_type": "application/json"}, 400),
        ("post", "/registrations", {"json": [1]}, 400),
        ("post", "/registrations", {"data": b"[" * 100_000, "content_type": "application/json"}, 400),
        ("post", "/registrations", {"data": b'{"a":' * 100_000, "content_type": "application/json"}, 400),
        ("post", "/registrations", {"data": b"\xff\xfe", "content_type": "application/json"}, 400),
        ("post", "/registrations", {"data": b'{"email": "a@x.org", "name": "\\ud800"}', "content_type": "application/json"}, 422),
        ("post", "/enrollments", {"data": b'{"user_id": ' + b"9" * 9000 + b', "course_id": 1}', "content_type": "application/json"}, 400),
        ("post", "/registrations", {"data": b"x", "content_type": "text/plain"}, 415),
        ("post", "/registrations", {"data": b"x" * 2_000_000, "content_type": "application/json"}, 413),
        ("post", "/registrations", {"data": b'{"email": "\\ud800@x.org", "name": "A"}', "content_type": "application/json"}, 422),
        ("get", "/registrations", {}, 405),
        ("post", "/enrollments", {"json": {"user_id": 10**30, "course_id": 1}}, 422),
        ("post", "/enrollments", {"json": {"user_id": "1", "course_id": 1}}, 422),
        ("post", "/enrollments", {"json": {"user_id": 1, "course_id": 1}}, 404),
        ("post", "/enrollments/99999999999999999999/complete", {}, 404),
        ("post", "/enrollments/1/complete", {}, 404),
        ("post", "/payments/1/verify", {"json": {"evidence": 7}}, 422),
        ("post", "/payments", {"json": {"enrollment_id": 1, "amount_minor": -1, "currency": "EUR"}}, 422),
        ("post", "/payments", {"json": {"enrollment_id": 1, "amount_minor": 1, "currency": "XYQ"}}, 422),
    ],
)  # fmt: skip
def test_nothing_that_a_client_sends_makes_a_500(
    client: FlaskClient, method: str, path: str, kwargs: Any, status: int
) -> None:
    answer = client.open(f"/api/academy{path}", method=method.upper(),
                         headers={"Authorization": "Bearer operator"}, **kwargs)  # fmt: skip
    assert answer.status_code == status
    assert b"Traceback" not in answer.data


def test_a_state_that_does_not_allow_it_is_409(operator: Any, platform: Any) -> None:
    platform.enrollment()
    answer = operator("post", "/enrollments/1/finish-course")
    assert answer.status_code == 409
    assert (
        answer.json["detail"] == "enrollment 1 is pending_payment; only an active one is finished"
    )


def test_a_full_outbox_is_503_with_a_time_to_come_back(
    client: FlaskClient, platform: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: Any) -> None:
        raise outbox.OutboxFull("100000 jobs wait in the outbox")

    monkeypatch.setattr(outbox, "_check_room", full)
    answer = post(client, "registrations", {"email": "ada@example.org", "name": "Ada"})
    assert answer.status_code == 503
    assert answer.headers["Retry-After"]
    assert platform.all(Proof) == []


def test_with_redis_away_a_registration_is_accepted_and_its_mail_goes_later(
    client: FlaskClient, platform: Any, redis_server: Any
) -> None:
    redis_server.stop()
    answer = post(client, "registrations", {"email": "ada@example.org", "name": "Ada"})
    assert answer.status_code == 202
    assert outbox.waiting()[0] == 1
    redis_server.start()
    wait_until(lambda: outbox.waiting()[0] == 0)
    assert len(platform.jobs()) == 1


def test_each_answer_is_observed_for_the_figure_of_response_times(
    client: FlaskClient, platform: Any
) -> None:
    client.get("/api/academy/courses")
    post(client, "registrations", {"email": "ada@example.org", "name": "Ada"})
    samples, mean_ms = wait_until(
        lambda: (seen := platform.huey.reads.observed("api")) and seen[0] >= 2 and seen,
        "both answers are observed",
    )
    assert samples == 2
    assert mean_ms > 0


def test_the_blueprint_is_mounted_where_the_contract_says() -> None:
    assert blueprint.url_prefix == "/api/academy"
