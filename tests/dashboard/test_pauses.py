"""A pause of a task or a tag: said on every page, undone from there, in the audit and the API."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from browsing import Browser
from flask import Flask
from sqlalchemy import select

from dashboard import auth
from dashboard.api.calls import task_name
from dashboard.models import AuditEntry
from dashboard.rail import PAGES
from tasks import database as db
from tasks.engine import JobHuey, UnknownTask

TASK = "tasks.maintenance.clean_up"


def test_a_paused_task_is_said_on_every_page_until_it_is_resumed_there(
    admin: Browser, huey: JobHuey
) -> None:
    admin.post(f"/pauses/task/{TASK}/pause", {"reason": "disk full", "for": "1h"})
    (part,) = huey.reads.snapshot().paused_parts
    assert (part.pause.by, part.pause.until is not None) == ("admin@example.org", True)
    for page in PAGES:
        shown = admin.get(page.address).text
        assert "Task maintenance.clean_up is paused by admin@example.org" in shown, page.address
    answer = admin.post(f"/pauses/task/{TASK}/resume", {"next": "/audit"})
    assert (answer.status_code, answer.location) == (303, "/audit")
    assert "is paused" not in admin.get("/queues").text
    with db.reading() as session:
        acts = session.scalars(select(AuditEntry.action).where(AuditEntry.target == TASK))
        assert list(acts) == ["pause_task", "resume_task"]


def test_a_viewer_may_not_pause(enter: Callable[[str], Browser], huey: JobHuey) -> None:
    viewer = enter("viewer")
    assert viewer.post(f"/pauses/task/{TASK}/pause").status_code == 403
    assert huey.reads.snapshot().paused_parts == []


def test_a_jobs_page_offers_to_pause_its_task(admin: Browser, huey: JobHuey) -> None:
    from tasks.maintenance import clean_up

    job_id = huey.enqueue(clean_up.s()).id
    page = admin.get(f"/jobs/{job_id}").text
    assert f'action="/pauses/task/{TASK}/pause"' in page
    admin.post(f"/pauses/task/{TASK}/pause", {"reason": "later"})
    shown = admin.get(f"/jobs/{job_id}").text
    assert "The task is paused" in shown
    assert "later" in shown


def test_the_api_pauses_lists_and_resumes(app: Flask, admin: Browser) -> None:
    token, _ = auth.create_token("robot", "operator", "admin@example.org")
    client, bearer = app.test_client(), {"Authorization": f"Bearer {token}"}
    paused = client.post("/api/admin/tags/vip/pause", json={"reason": "slow down"}, headers=bearer)
    assert paused.status_code == 200
    assert paused.json["pause"]["reason"] == "slow down"
    (item,) = client.get("/api/admin/pauses", headers=bearer).json["items"]
    assert (item["kind"], item["name"], item["held"]) == ("tag", "vip", 0)
    health = client.get("/api/admin/queues/health", headers=bearer).json
    assert "pause:tag:vip" in {check["name"] for check in health["checks"]}
    resume = "/api/admin/tags/vip/resume"
    assert client.post(resume, json={"reason": "x"}, headers=bearer).status_code == 422
    resumed = client.post(resume, headers=bearer).json
    assert resumed == {"kind": "tag", "name": "vip", "paused": False}
    assert client.get("/api/admin/pauses", headers=bearer).json["items"] == []
    assert client.post("/api/admin/queues/vip/pause", headers=bearer).status_code == 404


def test_the_api_takes_a_tasks_last_part_or_says_what_was_meant(
    app: Flask, admin: Browser, huey: JobHuey
) -> None:
    token, _ = auth.create_token("robot", "operator", "admin@example.org")
    client, bearer = app.test_client(), {"Authorization": f"Bearer {token}"}

    def post(name: str, verb: str = "pause") -> Any:
        return client.post(f"/api/admin/tasks/{name}/{verb}", headers=bearer)

    for name in (TASK, "maintenance.clean_up", "clean_up"):
        assert post(name).json["name"] == TASK
        assert post(name, "resume").json == {"kind": "task", "name": TASK, "paused": False}
    with db.reading() as session:
        assert set(session.scalars(select(AuditEntry.target))) == {TASK}
    for verb in ("pause", "resume"):
        missed = post("claen_up", verb)
        said = f"there is no task 'claen_up' here. Did you mean {TASK}?"
        assert (missed.status_code, missed.json["detail"]) == (404, said)
        assert post("q", verb).json["detail"] == "there is no task 'q' here"
    huey.commands.pause_task(TASK)
    assert post("clean_up", "resume").status_code == 200
    assert huey.reads.snapshot().paused_parts == []


def test_a_last_part_that_several_tasks_share_is_answered_with_their_names() -> None:
    known = {"a.pull", "b.pull", "c.push", "pull"}
    assert task_name("pull", known) == "pull", "a whole name is meant before a part"
    with pytest.raises(UnknownTask, match=r"'pull' ends 2 tasks: say which, a\.pull or b\.pull"):
        task_name("pull", known - {"pull"})
