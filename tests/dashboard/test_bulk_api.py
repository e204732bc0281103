"""Bulk acts by API and command line: who may, what is started, what is told, what the file holds."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from typing import Any

import pytest
from driving import run_all
from flask import Flask
from sqlalchemy import select

from dashboard import actions, auth, rights
from dashboard.models import ROLES, AuditEntry
from tasks import database as db
from tasks.emails import Message, send
from tasks.engine import JobHuey, Permanent, State
from tasks.mailer import models as mail

ADDRESS = "/api/admin/queues/maintenance"
Call = Callable[..., Any]
_tasks: dict[str, Any] = {}


@pytest.fixture
def ends(huey: JobHuey) -> Any:
    """Return a task that fails when told."""
    if not _tasks:

        @huey.task(name="bulk.ends", queue="maintenance", secret=("code",))
        def ends(how: str = "well", code: str = "") -> str:
            if how == "failed":
                raise Permanent("=no()")
            return how

        _tasks["ends"] = ends
    return _tasks["ends"]


@pytest.fixture
def call(app: Flask) -> Call:
    """Call the API as a role: `call("POST", path, body, role="viewer")`."""
    tokens = {role: auth.create_token(role, role, "cli")[0] for role in ROLES}

    def ask(method: str, path: str, body: Any = None, role: str = "admin") -> Any:
        bearer = {"Authorization": f"Bearer {tokens[role]}"}
        return app.test_client().open(path, method=method, json=body, headers=bearer)

    return ask


def audit() -> list[AuditEntry]:
    with db.reading() as session:
        return list(session.scalars(select(AuditEntry).order_by(AuditEntry.id)))


def operate(huey: JobHuey) -> None:
    while huey.commands.step_operations():
        pass


def test_the_table_of_actions_is_whole() -> None:
    assert set(actions.DO) == set(rights.BY_NAME)
    assert len(rights.BY_NAME) == len(rights.ACTIONS)
    for action in rights.ACTIONS:
        assert action.role in ROLES
        assert not action.undo or action.undo in rights.BY_NAME
        assert set(action.states) <= {state.value for state in State}


@pytest.mark.parametrize("name", [action.name for action in rights.ACTIONS])
def test_an_action_is_refused_below_its_role_and_the_refusal_is_in_the_audit(
    name: str, huey: JobHuey, database: str
) -> None:
    needs = ROLES.index(rights.BY_NAME[name].role)
    for role in [None, *ROLES[:needs]]:
        actor = auth.Actor("x@example.org", role, "operator") if role else None
        with pytest.raises(actions.Forbidden):
            actions.run(huey, actor, name, "some-target")
        last = audit()[-1]
        assert (last.action, last.target, last.outcome) == (name, "some-target", "refused")


ASKS: dict[str, tuple[str, dict[str, Any], str]] = {
    "retry": ("failed", {"canary": 1, "canary_share": 50, "pace": 20, "delay": "5m"}, "operator"),
    "run-now": ("scheduled", {"pace": 20}, "operator"),
    "cancel": ("waiting", {}, "operator"),
    "clean": ("failed", {"older_than": 0}, "operator"),
    "move": ("waiting", {"to": "payments"}, "operator"),
    "reschedule": ("waiting", {"delay": "2h"}, "operator"),
    "priority": ("waiting", {"priority": 5}, "operator"),
    "tag": ("failed", {"tags": ["outage"]}, "operator"),
    "untag": ("failed", {"tags": ["outage"]}, "operator"),
    "patch": ("failed", {"name": "how", "value": "well"}, "admin"),
    "export": ("failed", {}, "viewer"),
}


@pytest.mark.parametrize("kind", sorted(ASKS))
def test_each_kind_starts_an_operation_for_its_role_and_no_other(
    kind: str, huey: JobHuey, ends: Any, call: Call
) -> None:
    status, more, role = ASKS[kind]
    ends("failed")
    run_all(huey)
    ends("well")
    ends.schedule(("well",), delay=3600)
    body = {"status": status, "reason": "a test", **more}
    for below in ROLES[: ROLES.index(role)]:
        assert call("POST", f"{ADDRESS}/{kind}", body, below).status_code == 403
    answer = call("POST", f"{ADDRESS}/{kind}", body, role)
    assert answer.status_code == 202, answer.text
    assert set(answer.json) == {"operation", "matched"}
    assert answer.json["matched"] == 1
    last = audit()[-1]
    assert (last.outcome, last.reason) == ("done", "a test")
    assert json.loads(last.detail)["operation"] == answer.json["operation"]
    operate(huey)
    found = call("GET", f"/api/admin/operations/{answer.json['operation']}").json
    assert found["by"] == f"token {role}"
    if kind not in ("export", "retry"):
        assert (found["state"], found["progress"]) == ("done", 100)
        assert found["events"][-1]["text"] == "done"


@pytest.mark.parametrize(
    ("kind", "body", "field"),
    [("move", {"status": "waiting"}, "to"), ("priority", {"status": "waiting", "priority": 101}, "priority"),
     ("tag", {"status": "failed"}, "tags"), ("tag", {"status": "failed", "tags": ["a b"]}, ""),
     ("reschedule", {"status": "waiting"}, "at"), ("retry", {"status": "failed", "pace": 0}, "pace"),
     ("cancel", {"status": "waiting", "canary": 5}, "canary"), ("export", {"ids": ["x"]}, "ids"),
     ("patch", {"status": "failed", "name": "how"}, "value"), ("move", {}, "to"), ("tag", {"tags": ["x"]}, "status"),
     ("empty", {"name": "email"}, "name")],
)  # fmt: skip
def test_what_is_wrong_is_named(call: Call, kind: str, body: dict[str, Any], field: str) -> None:
    answer = call("POST", f"{ADDRESS}/{kind}", body)
    assert answer.status_code == 422, answer.text
    if field:
        assert answer.json["errors"][0]["field"] == field


def test_an_unknown_queue_is_404(call: Call) -> None:
    assert call("POST", f"{ADDRESS}/move", {"status": "waiting", "to": "x"}).status_code == 404
    assert call("POST", "/api/admin/queues/x/empty", {"name": "x"}).status_code == 404


def test_a_queue_is_emptied_by_its_name_and_only_of_what_waits(
    huey: JobHuey, ends: Any, call: Call
) -> None:
    ends("well")
    ends.schedule(("well",), delay=3600)
    refused = call("POST", f"{ADDRESS}/empty", {"name": "maintenance"}, "operator")
    assert refused.status_code == 403
    answer = call("POST", f"{ADDRESS}/empty", {"name": "maintenance", "reason": "a storm"})
    assert answer.json["matched"] == 1
    operate(huey)
    counts = huey.reads.queue("maintenance").counts
    assert {s: n for s, n in counts.items() if n} == {State.SCHEDULED: 1}
    assert [(row.action, row.target) for row in audit()[-1:]] == [("empty", "maintenance")]


def test_outcomes_are_paged_and_filtered(huey: JobHuey, ends: Any, call: Call) -> None:
    ids = [ends("well").id for _ in range(3)]
    operation = call("POST", f"{ADDRESS}/cancel", {"ids": [*ids, "nothing"]}).json["operation"]
    operate(huey)
    at = f"/api/admin/operations/{operation}/outcomes"
    first = call("GET", f"{at}?limit=3", role="viewer").json
    rest = call("GET", f"{at}?limit=3&start={first['next']}").json
    assert [one["id"] for one in first["items"] + rest["items"]] == ["nothing", *ids[::-1]]
    assert rest["next"] is None
    (skipped,) = call("GET", f"{at}?which=skipped").json["items"]
    assert (skipped["done"], skipped["detail"]) == (False, "there is no such job")
    assert call("GET", f"{at}?which=none").status_code == 422
    assert call("GET", "/api/admin/operations/none/outcomes").status_code == 404


def test_an_operation_is_paused_resumed_and_stopped(huey: JobHuey, ends: Any, call: Call) -> None:
    ends("well")
    started = call("POST", f"{ADDRESS}/cancel", {"status": "waiting"}).json["operation"]
    at = f"/api/admin/operations/{started}"
    assert call("POST", f"{at}/pause", {}, "viewer").status_code == 403
    for verb, state in (("pause", "paused"), ("pause", "paused"), ("resume", "running"),
                        ("cancel", "stopped"), ("resume", "stopped")):  # fmt: skip
        answer = call("POST", f"{at}/{verb}", {}, "operator")
        assert (answer.status_code, answer.json["state"]) == (200, state)
    assert [one["id"] for one in call("GET", "/api/admin/operations").json["items"]] == [started]


def test_what_can_be_taken_back_is(huey: JobHuey, ends: Any, call: Call) -> None:
    job_id = ends("well").id
    tagged = call("POST", f"{ADDRESS}/tag", {"ids": [job_id], "tags": ["x"]}).json["operation"]
    operate(huey)
    assert call("POST", f"/api/admin/operations/{tagged}/undo", {}).status_code == 202
    operate(huey)
    assert huey.reads.job(job_id).tags == ()
    gone = call("POST", f"{ADDRESS}/cancel", {"ids": [job_id]}).json["operation"]
    operate(huey)
    assert call("POST", f"/api/admin/operations/{gone}/undo", {}).status_code == 202
    operate(huey)
    assert huey.reads.job(job_id).state is State.WAITING
    moved = call("POST", f"{ADDRESS}/move", {"ids": [job_id], "to": "sync"}).json["operation"]
    operate(huey)
    assert call("POST", f"/api/admin/operations/{moved}/undo", {}).status_code == 409


@pytest.mark.parametrize("form", ["ndjson", "csv"])
def test_an_export_holds_what_matched_with_secrets_masked(
    huey: JobHuey, ends: Any, call: Call, form: str
) -> None:
    ids = [ends("failed", code="sesame").id for _ in range(3)]
    run_all(huey)
    started = call("POST", f"{ADDRESS}/export", {"status": "failed"}, "viewer").json["operation"]
    ends("failed")
    run_all(huey)
    answer = call("GET", f"/api/admin/operations/{started}/download?format={form}", role="viewer")
    assert f".{form}" in answer.headers["Content-Disposition"]
    assert "sesame" not in answer.text
    assert "••••" in answer.text
    if form == "csv":
        rows = list(csv.DictReader(io.StringIO(answer.text)))
        assert rows[0]["error_message"] == "'=no()"  # no spreadsheet takes it for a formula
    else:
        rows = [json.loads(line) for line in answer.text.splitlines()]
        assert rows[0]["error"]["message"] == "=no()"
    assert [row["id"] for row in rows] == ids[::-1]
    assert [row.action for row in audit()[-2:]] == ["export", "download_export"]


def test_what_is_no_export_has_no_file(ends: Any, call: Call) -> None:
    ends("well")
    started = call("POST", f"{ADDRESS}/cancel", {"status": "waiting"}).json["operation"]
    assert call("GET", f"/api/admin/operations/{started}/download").status_code == 409


def test_a_patched_secret_is_not_in_the_audit(ends: Any, call: Call) -> None:
    ends("well", code="old")
    body = {"status": "waiting", "name": "code", "value": "sesame"}
    assert call("POST", f"{ADDRESS}/patch", body).status_code == 202
    assert "sesame" not in audit()[-1].detail
    assert '\\"name\\": \\"code\\"' in audit()[-1].detail


def test_the_description_has_every_bulk_call(call: Call, app: Flask) -> None:
    paths = app.test_client().get("/api/openapi.json").json["paths"]
    for kind in ("retry", "run-now", "cancel", "clean", "move", "patch", "export", "empty"):
        at = f"/api/admin/queues/{{queue}}/{kind}"
        assert "requestBody" in paths[at]["post"], kind
    assert "/api/admin/operations/{operation_id}/outcomes" in paths


# Mails


def mails() -> list[str]:
    with db.reading() as session:
        return [row.state for row in session.scalars(select(mail.EmailMessage))]


def test_a_bulk_retry_leaves_mails_that_were_sent_and_opens_those_that_failed(
    huey: JobHuey, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [
        send(Message(type="welcome", to=f"{name}@example.org", data={"name": name, "course": "x"}))
        for name in ("ada", "bob")
    ]
    jobs = [queued.job_id for queued in ids]
    assert {huey.reads.job(job_id).state for job_id in jobs} == {State.WAITING}
    huey.commands.cancel(jobs)
    with db.session() as session:
        for row, state in zip(session.scalars(select(mail.EmailMessage)), ("sent", "failed"), strict=True):  # fmt: skip
            row.state = state
    started = call("POST", "/api/admin/queues/email/retry", {"status": "cancelled"}).json
    operate(huey)
    assert mails() == ["sent", "queued"]
    (skipped,) = huey.reads.operation_outcomes(started["operation"], which="skipped")
    assert (skipped.id, skipped.detail) == (jobs[0], "the mail was already sent; use resend")
    call("POST", "/api/admin/queues/email/cancel", {"status": "waiting", "reason": "storm"})
    operate(huey)
    assert mails() == ["sent", "cancelled"]


# The command line


def test_the_command_line_starts_an_operation_and_exports(
    app: Flask, huey: JobHuey, ends: Any
) -> None:
    job_id = ends("failed").id
    run_all(huey)
    run = app.test_cli_runner().invoke
    started = run(args=["jobs", "bulk", "tag", "--status", "failed", "--tag", "outage"])
    assert started.exit_code == 0, started.output
    operation, matched = started.output.split()
    assert matched == "1"
    operate(huey)
    assert huey.reads.operation(operation).done == 1
    exported = run(args=["jobs", "export", "--status", "failed", "--format", "csv"])
    (row,) = csv.DictReader(io.StringIO(exported.output))
    assert (row["id"], row["tags"]) == (job_id, "outage")
    assert run(args=["jobs", "bulk", "tag", "--tag", "x"]).exit_code == 2
    assert run(args=["jobs", "bulk", "move", "--status", "waiting", "--to", "x"]).exit_code == 1
    patched = run(args=["jobs", "bulk", "patch", "--status", "failed", "--argument", 'how="well"'])
    assert patched.exit_code == 0, patched.output
    operate(huey)
    assert huey.reads.job(job_id).args == ["well"]
    cleaned = run(args=["jobs", "clean", "--status", "failed"])
    assert cleaned.output == "1 of 1 jobs deleted\n"
