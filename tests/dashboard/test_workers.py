"""Worker processes on their page and in the API."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from browsing import Browser
from flask import Flask
from playwright.sync_api import Page
from sqlalchemy import select

from dashboard import auth, formats
from dashboard.models import AuditEntry
from tasks import database as db
from tasks.engine import JobHuey
from tasks.engine.instance import Worker
from tasks.maintenance import clean_up


@pytest.fixture
def worker(huey: JobHuey) -> Worker:
    """Return a live worker that runs a job which has said how far it is."""
    job = huey.enqueue(clean_up.s())
    task = huey.dequeue()
    huey.lease._stop.set()  # it beats when a test says so
    huey.lease._thread.join()
    huey.storage.note(job.id, task.handed.token, "progress", "62", "310 of 498")
    huey.lease.beat()
    return huey.reads.workers()[0]


def acts() -> list[str]:
    with db.reading() as session:
        return list(
            session.scalars(select(AuditEntry.action).where(AuditEntry.action != "sign_in"))
        )


def test_the_page_says_what_each_worker_runs_and_how_far_it_is(
    admin: Browser, worker: Worker
) -> None:
    page = admin.get("/workers").text
    assert f", {worker.pid}" in page
    assert "MB" in page
    assert "clean_up" in page
    assert "62 % 310 of 498" in page
    assert f'action="/jobs/{worker.jobs[0].id}/cancel"' in page


def test_a_heartbeat_is_on_time_until_one_is_missing(
    admin: Browser, huey: JobHuey, worker: Worker, app: Flask
) -> None:
    huey.lease.lease_s = 600.0  # however slow this machine is, it lives
    huey.lease.beat()
    ahead_ms = round(worker.seen_at.timestamp() * 1000) + 600_000
    seen = ("HSET", huey.storage.keys.of("proc", worker.id), "seen")
    huey.storage.call(*seen, ahead_ms)
    assert "on time" in admin.get("/workers").text
    huey.storage.call(*seen, ahead_ms - 660_000)
    app.extensions["watch"].forget()
    page = admin.get("/workers").text
    assert "on time" not in page
    assert " ago</time>" in page


def test_what_a_silent_worker_holds_is_said_before_anybody_recovers_it(
    admin: Browser, huey: JobHuey, worker: Worker, app: Flask
) -> None:
    job = worker.jobs[0].id
    assert "Running on" in admin.get(f"/jobs/{job}").text
    huey.storage.call("ZADD", huey.storage.keys.one("procs"), 1, worker.id)  # its lease is over
    app.extensions["watch"].forget()
    page = admin.get("/workers").text
    assert "1 job not recovered yet: a worker that lives takes it over" in page
    assert "It held no job" not in page
    page = admin.get(f"/jobs/{job}").text
    assert "Was running on" in page
    assert "Its worker is silent: one that lives takes the job over; none is alive, start" in page


@pytest.mark.parametrize("what", ["quiet", "stop", "stop_now"])
def test_a_wish_reaches_the_worker_with_its_next_beat(
    admin: Browser, huey: JobHuey, worker: Worker, what: str
) -> None:
    assert admin.post(f"/workers/{worker.id}/{what}").status_code == 303
    huey.lease.beat()
    assert huey.lease.wish == {"quiet": "quiet", "stop": "stop", "stop_now": "halt"}[what]
    assert acts() == [what]


def test_all_are_quieted_and_resumed(admin: Browser, huey: JobHuey, worker: Worker) -> None:
    admin.post("/workers/quiet")
    page = admin.get("/workers").text
    assert "1 worker takes nothing new" in page
    assert "Resume all" in page
    admin.post("/workers/wake")
    assert huey.reads.workers()[0].state == "live"
    assert acts() == ["quiet", "wake"]


def test_the_dead_and_what_was_recovered_stay_for_a_day(
    admin: Browser, huey: JobHuey, worker: Worker
) -> None:
    job_id = worker.jobs[0].id
    beat = worker.seen_at - timedelta(minutes=2)
    seen_ms = round(beat.timestamp() * 1000)
    huey.storage.call("HSET", huey.storage.keys.of("proc", worker.id), "seen", seen_ms)
    huey.lease.sweep({worker.id: "killed by SIGKILL"})
    page = admin.get("/workers").text
    assert f'last heard of at <time datetime="{formats.iso(beat)}"' in page, "not when it was found"
    assert "given up after" in admin.get(f"/jobs/{job_id}").text, "how long it ran nobody knows"
    assert "No worker is alive" in page
    assert "killed by SIGKILL" in page
    assert "1 job recovered, none failed" in page
    assert f'href="/jobs/{job_id}"' in page


def test_the_death_a_job_fails_of_is_told_once(
    admin: Browser, huey: JobHuey, worker: Worker
) -> None:
    job_id = worker.jobs[0].id
    huey.storage.call("HSET", huey.storage.keys.of("job", job_id), "k", 2)  # two died before
    huey.lease.sweep({worker.id: "killed by SIGKILL"})
    page = admin.get(f"/jobs/{job_id}").text
    assert page.count("<b>Attempt 1</b>") == 1
    assert "the job went back" not in page
    assert "the worker died 3 times while it ran this job" in page
    assert "given up after" in page
    assert "after 0 attempts" not in page


@pytest.mark.browser
def test_a_long_name_of_a_host_does_not_push_the_acts_out_of_sight(
    page: Page, worker: Worker
) -> None:
    page.goto("/workers")
    page.locator("td.wraps").first.evaluate("cell => { cell.textContent = 'a1b2c3d4'.repeat(4); }")
    box = page.locator(".scroll").first
    assert box.evaluate("box => box.scrollWidth <= box.clientWidth")


def test_a_viewer_may_only_look(enter: Callable[[str], Browser], worker: Worker) -> None:
    viewer = enter("viewer")
    for address in (f"/workers/{worker.id}/stop_now", "/workers/quiet"):
        assert viewer.post(address).status_code == 403
    assert "disabled" in viewer.get("/workers").text


def test_the_api_says_the_same_and_stops(
    app: Flask, admin: Browser, huey: JobHuey, worker: Worker
) -> None:
    token, _ = auth.create_token("robot", "operator", "admin@example.org")
    client, bearer = app.test_client(), {"Authorization": f"Bearer {token}"}
    (item,) = client.get("/api/admin/workers", headers=bearer).json["items"]
    assert item["memory_bytes"] > 1_000_000
    assert item["outdated"] is False
    assert item["jobs"][0]["progress"] == {"percent": 62, "message": "310 of 498"}
    address = f"/api/admin/workers/{worker.id}"
    assert client.post(f"{address}/quiet", headers=bearer).json["state"] == "quiet"
    assert client.post(f"{address}/resume", headers=bearer).json["state"] == "live"
    assert client.post(f"{address}/stop", headers=bearer).json["state"] == "stopping"
    assert client.post(f"{address}/stop", json={"now": True}, headers=bearer).status_code == 200
    huey.lease.beat()
    assert huey.lease.wish == "halt"
    assert client.post("/api/admin/workers/nope/stop", headers=bearer).status_code == 404
