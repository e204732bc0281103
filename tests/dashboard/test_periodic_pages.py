"""Periodic tasks on their pages and in the API: strip, missed ticks, off and on, run now."""

from __future__ import annotations

import re

import pytest
from browsing import Browser
from driving import fire_due, run_one
from flask import Flask
from sqlalchemy import select

from dashboard import auth
from dashboard.models import AuditEntry
from tasks import database as db
from tasks.engine import JobHuey, State, crontab

SCAN = "tasks.reminders.scan"
PAGE = f"/periodic/{SCAN}"


def acts() -> list[tuple[str, str]]:
    with db.reading() as session:
        rows = session.scalars(select(AuditEntry).where(AuditEntry.target == SCAN))
        return [(row.action, row.outcome) for row in rows]


@pytest.fixture
def away(huey: JobHuey) -> None:
    """Fire ticks of an hour ago, then have no worker since."""
    fire_due(huey, huey.reads.now_ms() - 60 * 60_000)


def test_missed_ticks_are_red_and_said_first(admin: Browser, huey: JobHuey, away: None) -> None:
    page = admin.get("/periodic").text
    assert "reminders.scan should have run at" in page
    (row,) = (row for row in page.split("<tr")[1:] if f'"{PAGE}"' in row)
    assert len(re.findall(r'<rect class="missed"', row)) == 30
    assert "every minute" in page
    assert "every day at 03:17" in page
    assert "missed its tick at" in admin.get("/").text
    assert 'data-label="ran"></td>' in admin.get(PAGE).text, (
        "it did not run: nothing is said of how long"
    )
    late = [one for one in huey.reads.periodic() if one.late]
    assert re.search(rf'data-bad title="missed">{len(late)}<', admin.get("/queues").text)


def test_missed_ticks_are_told_on_the_overview_whatever_else_is_wrong(
    admin: Browser, app: Flask, huey: JobHuey, away: None
) -> None:
    for queue in huey.declared:
        huey.commands.pause(queue)
    app.extensions["watch"]._made = 0.0
    assert "missed its tick at" in admin.get("/").text.partition('<div class="kpis">')[0]


def test_a_page_of_its_own_shows_ticks_the_next_ten_and_the_policy(
    admin: Browser, huey: JobHuey
) -> None:
    fire_due(huey, huey.reads.now_ms())
    job_id = huey.reads.periodic_task(SCAN).ticks[0].job_id
    page = admin.get(PAGE).text
    assert f'href="/jobs/{job_id}"' in page
    assert "the latest runs when a worker is back" in page
    assert page.count("<ol") == 1
    assert page.split("Next ten")[1].split("</ol>")[0].count("<li>") == 10
    assert admin.get("/periodic/nope").status_code == 404


def test_the_next_ten_are_told_in_the_zone_of_the_task_too(admin: Browser, huey: JobHuey) -> None:
    @huey.periodic_task(crontab(minute="30", hour="2", tz="Asia/Kolkata"), name="tidy_there")
    def tidy() -> None:
        """Nothing."""

    name = next(one.task for one in huey.reads.periodic() if one.task.endswith("tidy_there"))
    page = admin.get(f"/periodic/{name}").text.split("Next ten")[1].split("</ol>")[0]
    huey._registry.unregister(tidy.task_class)
    assert "UTC, and in Asia/Kolkata" in page
    assert len(re.findall(r"21:00, <span[^>]*>\w\w\w 02:30<", page)) == 10


def test_run_now_makes_a_job_and_an_audit_row(admin: Browser, huey: JobHuey) -> None:
    answer = admin.post(f"{PAGE}/run")
    assert (answer.status_code, answer.location) == (303, PAGE)
    assert "runs now as job" in admin.get(PAGE).text
    assert huey.reads.snapshot().totals[State.WAITING] == 1
    task = run_one(huey)
    tick = huey.reads.periodic_task(SCAN).ticks[-1]
    assert (tick.job_id, tick.by_hand) == (task.id, True)
    assert "by hand" in admin.get(PAGE).text
    assert acts() == [("run_periodic", "done")]


def test_a_task_is_turned_off_until_and_on_again(admin: Browser, huey: JobHuey) -> None:
    admin.post(f"{PAGE}/disable", {"for": "4h", "reason": "moving"})
    shown = admin.get(PAGE).text
    assert "by admin@example.org, until" in shown
    assert "moving" in shown
    assert "off until" in admin.get("/periodic").text
    fire_due(huey, huey.reads.now_ms())
    assert [tick.state for tick in huey.reads.periodic_task(SCAN).ticks] == ["off"]
    admin.post(f"{PAGE}/enable")
    assert huey.reads.periodic_task(SCAN).off is None
    assert acts() == [("disable_periodic", "done"), ("enable_periodic", "done")]


def test_a_viewer_may_only_look(enter: object, huey: JobHuey) -> None:
    viewer = enter("viewer")  # type: ignore[operator]
    for what in ("run", "disable", "enable"):
        assert viewer.post(f"{PAGE}/{what}").status_code == 403
    assert viewer.get(PAGE).status_code == 200
    assert huey.reads.snapshot().totals[State.WAITING] == 0


def test_the_api_says_and_does_the_same(
    app: Flask, admin: Browser, huey: JobHuey, away: None
) -> None:
    token, _ = auth.create_token("robot", "operator", "admin@example.org")
    client, bearer = app.test_client(), {"Authorization": f"Bearer {token}"}
    listed = client.get("/api/admin/periodic", headers=bearer).json["items"]
    scan = next(item for item in listed if item["task"] == SCAN)
    assert (scan["when"], scan["timezone"], scan["late_since"] is None) == (
        "every minute",
        "UTC",
        False,
    )
    off = client.post(
        f"/api/admin/periodic/{SCAN}/disable", json={"reason": "x"}, headers=bearer
    ).json
    assert off["off"]["reason"] == "x"
    assert client.post(f"/api/admin/periodic/{SCAN}/enable", headers=bearer).json["off"] is None
    ran = client.post(f"/api/admin/periodic/{SCAN}/run", headers=bearer)
    assert ran.status_code == 202
    one = client.get(f"/api/admin/periodic/{SCAN}", headers=bearer).json
    assert one["ticks"][-1]["job"] == ran.json["job"]
    assert len(one["upcoming"]) == 10
    for item in listed:
        if item["late_since"] and item["task"] != SCAN:
            client.post(f"/api/admin/periodic/{item['task']}/run", headers=bearer)
    checks = client.get("/api/admin/queues/health", headers=bearer).json["checks"]
    assert next(c for c in checks if c["name"] == "periodic")["status"] == "healthy"
    assert client.get("/api/admin/periodic/nope", headers=bearer).status_code == 404
    short = client.post("/api/admin/periodic/reminders.scan/disable", headers=bearer).json
    assert (short["task"], client.get("/api/admin/periodic/scan", headers=bearer).json["task"]) == (SCAN, SCAN)  # fmt: skip
    assert acts()[-1] == ("disable_periodic", "done"), "in the audit stands its whole name"
