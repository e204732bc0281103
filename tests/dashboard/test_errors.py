"""Error groups on their pages and in the API: found, decided about, retried as one."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from typing import Any

import pytest
from browsing import Browser
from driving import run_one
from flask import Flask
from sqlalchemy import select

from dashboard import auth
from dashboard.models import AuditEntry
from tasks import database as db
from tasks.engine import JobFilter, JobHuey, Permanent, State

_tasks: dict[str, Any] = {}
COUNTS = re.compile(
    r'(?s)class="n"( data-bad)?\s+title="open, (\w+) of them with failed jobs">(\d+)<.*'
    r'Open\s+<span class="n">(\d+)<.*failed jobs carry (\w+) of them now'
)


@pytest.fixture
def mailing(huey: JobHuey) -> Any:
    """Return a task that fails for an address."""
    if not _tasks:

        @huey.task(name="demo.mailing", queue="maintenance")
        def mailing(type: str, to: str) -> None:  # noqa: A002
            raise Permanent(f"554 5.7.1 <{to}> blocked by zen")

        _tasks["mailing"] = mailing
    return _tasks["mailing"]


@pytest.fixture
def group(huey: JobHuey, mailing: Any) -> str:
    """Return the group of three failed jobs for two people."""
    for type_, to in (("welcome", "ada@a.example"), ("welcome", "bob@b.example"), ("receipt", "ada@a.example")):  # fmt: skip
        mailing(type_, to)
        run_one(huey)
    return huey.reads.error_groups().items[0].id


@pytest.fixture
def token(app: Flask, database: str) -> Callable[[str], dict[str, str]]:
    def header(role: str) -> dict[str, str]:
        made, _ = auth.create_token("test", role, "cli")
        return {"Authorization": f"Bearer {made}"}

    return header


def test_the_list_and_the_overview_show_open_groups(admin: Browser, group: str) -> None:
    for path in ("/errors", "/"):
        page = admin.get(path).text
        assert f"/errors/{group}" in page
        assert "554 5.7.1 &lt;ada@a.example&gt; blocked by zen" in page
    assert "No error group is muted" in admin.get("/errors?state=muted").text


def test_the_rail_counts_the_groups_that_the_page_calls_open(
    admin: Browser, app: Flask, huey: JobHuey, group: str, ends: Any
) -> None:
    gone = ends("failed").id
    run_one(huey)

    def shown() -> tuple[str | Any, ...]:
        app.extensions["watch"].forget()
        found = re.search(COUNTS, admin.get("/errors").text)
        assert found
        return found.groups("")

    assert shown() == (" data-bad", "2", "2", "2", "2")
    huey.commands.delete([gone])
    assert shown() == (" data-bad", "1", "2", "2", "1"), "no failed job carries one of them now"
    for job in huey.reads.jobs(JobFilter(state=State.FAILED)).items:
        huey.commands.delete([job.id])
    assert shown() == ("", "none", "2", "2", "none"), "both are still open"


def test_what_is_new_or_back_since_yesterday_is_listed_alone(
    admin: Browser, huey: JobHuey, mailing: Any, group: str
) -> None:
    assert '<a href="/errors?new=1">1 new or back since yesterday</a>' in admin.get("/errors").text
    key = huey.storage.keys.of("group", group)
    huey.storage.client.hset(key, "first", huey.reads.now_ms() - 25 * 3600_000)
    assert "since yesterday" not in admin.get("/errors").text
    only = admin.get("/errors?new=1").text
    assert f"/errors/{group}" not in only
    assert "No open error group is new since yesterday" in only
    admin.post(f"/errors/{group}/resolve")
    mailing("welcome", "eve@a.example")
    run_one(huey)  # it is back
    assert f'href="/errors/{group}"' in admin.get("/errors?new=1").text


def test_one_group_says_what_it_hit_and_offers_exactly_its_jobs(admin: Browser, group: str) -> None:
    page = admin.get(f"/errors/{group}").text
    assert "&lt;ada@a.example&gt; blocked by zen" in page
    assert "Retry 3 jobs" in page
    assert "<b>2</b>people affected" in page
    for value in ("a.example", "b.example", "welcome", "receipt", "new, first seen"):
        assert value in page
    assert f"kind=retry&amp;status=failed&amp;q=group:{group}" in page
    sample = html.unescape(re.findall(r'<tr data-href="(/jobs/[^"]+)"', page)[0])
    assert "<span>1 of 3</span>" in admin.get(sample).text  # its arrows lead through the group
    listed = admin.get(f"/jobs?status=failed&q=group:{group}").text
    assert listed.count("demo.mailing") >= 3


def test_a_group_is_resolved_reopened_muted_and_noted(
    admin: Browser, huey: JobHuey, group: str, mailing: Any
) -> None:
    admin.get(f"/errors/{group}")
    for what, form, state in (
        ("resolve", {}, "resolved"), ("reopen", {}, "open"), ("mute", {"for": "4h"}, "muted"),
        ("note", {"note": "Delisted,\nsafe to retry"}, "muted"),
    ):  # fmt: skip
        assert admin.post(f"/errors/{group}/{what}", form).status_code == 303
        assert huey.reads.error_group(group).state == state
    page = admin.get(f"/errors/{group}").text
    assert "Delisted,\nsafe to retry" in page
    assert "Muted by admin@example.org until" in page
    admin.post(f"/errors/{group}/resolve")
    mailing("welcome", "eve@e.example")
    run_one(huey)
    assert "returned after" in admin.get(f"/errors/{group}").text
    with db.reading() as session:
        acts = list(session.scalars(select(AuditEntry.action).where(AuditEntry.target == group)))
    assert acts == ["resolve_group", "reopen_group", "mute_group", "note_group", "resolve_group"]


def test_a_viewer_sees_and_may_not_decide(
    enter: Callable[[str], Browser], huey: JobHuey, group: str
) -> None:
    viewer = enter("viewer")
    assert "needs the role operator" in viewer.get(f"/errors/{group}").text
    assert viewer.post(f"/errors/{group}/resolve").status_code == 403
    assert huey.reads.error_group(group).state == "open"


def test_a_group_that_is_not_kept_is_404(admin: Browser) -> None:
    assert admin.get("/errors/0123456789abcdef").status_code == 404


def test_the_api_lists_shows_and_decides(
    app: Flask, group: str, token: Callable[[str], dict[str, str]]
) -> None:
    client, headers = app.test_client(), token("operator")
    listed = client.get("/api/admin/errors?state=open", headers=headers).get_json()
    assert [item["id"] for item in listed["items"]] == [group]
    assert listed["counts"] == {"open": 1, "muted": 0, "resolved": 0, "returned": 0}
    one = client.get(f"/api/admin/errors/{group}", headers=headers).get_json()
    assert (one["type"], one["times"], one["jobs"]["failed"]) == ("Permanent", 3, 3)
    assert (sum(one["hours"]), sum(one["minutes"])) == (3, 3)
    for what, sent, state in (
        ("mute", {"until": "2036-01-01T00:00:00Z"}, "muted"), ("reopen", {}, "open"),
        ("note", {"note": "seen"}, "open"), ("resolve", {}, "resolved"),
    ):  # fmt: skip
        answer = client.post(f"/api/admin/errors/{group}/{what}", json=sent, headers=headers)
        assert (answer.status_code, answer.get_json()["state"]) == (200, state)
    assert client.get("/api/admin/errors/none", headers=headers).status_code == 404
    jobs = client.get(f"/api/admin/queues/all/jobs?q=group:{group}", headers=headers).get_json()
    assert (jobs["total"], len(jobs["items"])) == (3, 3)
    refused = client.get("/api/admin/queues/all/jobs?q=errorr:x", headers=headers)
    assert refused.status_code == 422
    assert "There is no field errorr." in refused.get_data(as_text=True)
    viewer = token("viewer")
    assert client.post(f"/api/admin/errors/{group}/resolve", json={}, headers=viewer).status_code == 403  # fmt: skip
