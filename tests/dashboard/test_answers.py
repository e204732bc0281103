"""The OpenAPI document says what each call answers: real answers are held against it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from addresses import rules
from alerting import make_mail, make_rule
from browsing import Browser
from driving import run_one
from flask import Flask
from jsonschema import Draft202012Validator

from dashboard.api.calls import CALLS
from tasks import emails, reminders
from tasks.engine import JobHuey


def closed(known: Mapping[str, Any]) -> dict[str, Any]:
    """Return the document's shapes so that a field which they do not name is a fault."""
    return {name: _closed(shape, known) for name, shape in known.items()}


def _closed(shape: Mapping[str, Any], known: Mapping[str, Any]) -> dict[str, Any]:
    parts = [
        known[part["$ref"].rpartition("/")[2]] if "$ref" in part else part
        for part in shape.get("allOf", [shape])
    ]
    if "properties" not in parts[0]:
        return dict(shape)
    return {
        "type": "object", "additionalProperties": False,
        "properties": {name: of for part in parts for name, of in part["properties"].items()},
        "required": [name for part in parts for name in part.get("required", [])],
    }  # fmt: skip


def wrong(schema: Mapping[str, Any], value: Any, known: Mapping[str, Any]) -> list[str]:
    """Return where a value is not as its schema says."""
    whole = {**schema, "components": {"schemas": closed(known)}}
    found = Draft202012Validator(whole).iter_errors(value)
    return [f"{error.json_path}: {error.message[:200]}" for error in found][:5]


@pytest.fixture
def document(admin: Browser) -> dict[str, Any]:
    found: dict[str, Any] = admin.get("/api/openapi.json").json
    return found


def schema_of(document: Mapping[str, Any], path: str, method: str, status: int) -> Any:
    answer = document["paths"][path][method]["responses"][str(status)]
    return answer.get("content", {}).get("application/json", {}).get("schema")


def test_every_call_with_a_body_says_what_it_answers(document: Any) -> None:
    for one in CALLS:
        path = next(p for p, calls in document["paths"].items() if one.method.lower() in calls
                    and calls[one.method.lower()]["operationId"] == one.name)  # fmt: skip
        answer = document["paths"][path][one.method.lower()]["responses"][str(one.status)]
        assert ("content" in answer) == (one.status != 204), one.name


@pytest.fixture
def filled(huey: JobHuey, admin: Browser) -> Browser:
    """Have one of each thing; return who asks for them."""
    emails.send(
        emails.Message(type="welcome", to="a@example.org", data={"name": "Ada", "course": "Logic"})
    )
    ids = [str(reminders.scan(id=f"scan{n}").id) for n in range(2)]
    run_one(huey)
    huey.batch([reminders.scan.s()], name="import", by="ada")
    huey.commands.start_operation("cancel", ids=ids, by="ada", reason="test")
    huey.commands.step_operations()
    huey.commands.pause("sync", by="ada", reason="Moodle upgrade")
    huey.commands.pause_task("tasks.reminders.scan", by="ada", reason="broken")
    make_rule("waiting", name="Backlog", threshold=10, for_minutes=0, channels=[make_mail().id])
    return admin


def test_what_is_read_is_as_the_document_says(
    filled: Browser, app: Flask, huey: JobHuey, document: Any
) -> None:
    known, seen, found = document["components"]["schemas"], 0, {}
    real = {
        "/job/01J0000000000000000000000A": "/job/scan0",
        "/operations/none": f"/operations/{huey.reads.operations(1)[0].id}",
        "/batches/x": f"/batches/{huey.reads.batches(1)[0].id}",
        "/periodic/x": "/periodic/tasks.reminders.scan",
    }
    for rule, address in rules(app, "GET"):
        if not rule.endpoint.startswith("api.") or rule.endpoint == "api.openapi":
            continue
        for placeholder, name in real.items():
            address = address.replace(placeholder, name)
        answer = filled.get(address)
        path = str(rule).replace("<int:", "<").replace("<", "{").replace(">", "}")
        schema = schema_of(document, path, "get", 200)
        if answer.status_code in (200, 503) and schema:
            seen += 1
            if faults := wrong(schema, answer.json, known):
                found[address] = faults
    assert found == {}
    assert seen > 20
