"""Redis away: every page answers and says so, mails wait in the outbox, nothing changes unseen."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from browsing import Browser, audit
from flask import Flask
from sqlalchemy import update
from waiting import wait_until

from dashboard.rail import PAGES
from tasks import database as db
from tasks import outbox
from tasks.database import utcnow
from tasks.emails import Message, send


@pytest.fixture
def outage(admin: Browser, app: Flask, redis_server: Any) -> Any:
    """Stop Redis under a signed-in dashboard that has seen it."""
    admin.get("/")
    redis_server.stop()
    app.extensions["watch"]._made = 0.0
    return redis_server


def test_a_page_that_rests_on_redis_keeps_its_frame_while_that_is_away(
    outage: Any, admin: Browser
) -> None:
    for path in ("/tasks/demo", "/batches/demo", "/operations/demo"):
        answer = admin.get(path)
        assert (answer.status_code, 'class="rail"' in answer.text) == (503, True), path
        assert "comes back with it" in answer.text


def test_every_page_answers_and_says_that_redis_is_away(outage: Any, admin: Browser) -> None:
    for page in PAGES:
        answer = admin.get(page.address)
        assert answer.status_code in (200, 503), page.address
        assert "Redis unreachable since" in answer.text, page.address
        assert "Traceback" not in answer.text


def test_with_redis_away_a_mail_waits_in_the_outbox_and_is_shown(
    outage: Any, admin: Browser
) -> None:
    queued = send(
        Message(type="welcome", to="ada@example.org", data={"name": "Ada", "course": "Logic"})
    )
    assert outbox.waiting()[0] == 1
    listed = admin.get("/jobs").text
    assert queued.job_id in listed
    assert 'title="tasks.emails.deliver_email"' in listed
    assert "No job of it is kept" not in admin.get("/queues/email").text, "nobody knows"
    shown = admin.get(f"/jobs/{queued.job_id}")
    assert "In the outbox since" in shown.text
    assert "ada@example.org" in admin.get("/emails?to=ada@example.org").text


def test_a_job_that_may_have_been_pushed_a_day_ago_waits_for_an_operator_who_runs_it(
    outage: Any, admin: Browser, redis_server: Any
) -> None:
    queued = send(
        Message(type="welcome", to="ada@example.org", data={"name": "Ada", "course": "Logic"})
    )
    with db.session() as session:
        session.execute(update(outbox.OutboxRow).values(pushed_at=utcnow() - timedelta(days=2)))
    by_id = admin.get(f"/jobs?q={queued.job_id}")
    assert by_id.location == f"/jobs/{queued.job_id}"
    redis_server.start()
    wait_until(lambda: admin.get("/jobs").status_code == 200)
    assert queued.job_id in admin.get("/jobs?outbox=1").text, "also while Redis is well"
    assert "In the outbox" not in admin.get("/jobs").text
    shown = admin.get(f"/jobs/{queued.job_id}").text
    assert "look whether it ran, then run or cancel it" in shown
    admin.post(f"/jobs/{queued.job_id}/run_now", {})
    assert ("run_now", queued.job_id, "done") in audit()
    wait_until(lambda: outbox.waiting()[0] == 0)
    assert admin.get(f"/jobs/{queued.job_id}").status_code == 200


def test_with_redis_away_signing_in_and_out_work(outage: Any, app: Flask) -> None:
    other = Browser(app)
    assert other.sign_in("viewer@example.org").status_code == 303
    assert other.get("/audit").status_code == 200
    assert other.post("/logout").status_code == 303


def test_with_redis_away_an_act_changes_nothing_and_says_so(outage: Any, admin: Browser) -> None:
    admin.post("/queues/email/pause", {"next": "/audit"})
    page = admin.get("/audit").text
    assert 'data-kind="bad"' in page
    assert ("pause", "email", "failed") in audit()


def test_without_script_the_acts_of_a_queue_are_off_with_the_reason(
    outage: Any, admin: Browser
) -> None:
    page = " ".join(admin.get("/queues/email").text.split())
    for label in ("Pause…", "Move all to", "Empty"):
        found = re.search(rf'<a class="button[^>]*>(?:(?!</a>).)*{label}</a>', page)
        assert found, label
        assert ("data-act href=" in found[0], 'title="off while Redis is away"' in found[0]) == (
            False,
            True,
        )
    assert page.count("Off while Redis is away</p>") == 2, "of the pause and of the limits"
    assert 'href="/queues/email/empty"' not in page
    assert "disabled" not in admin.get("/emails/suppressions").text, "these rest on SQL"
    pause = next(
        found
        for found in re.findall(r"<button[^>]*>", admin.get("/queues").text)
        if "off while" in found
    )
    assert "aria-describedby" not in pause, "only a viewer's pages have the line that it would name"
    outage.start()
    wait_until(lambda: 'href="/queues/email/empty"' in admin.get("/queues/email").text)


def test_the_page_heals_when_redis_is_back(outage: Any, admin: Browser) -> None:
    assert "Redis unreachable" in admin.get("/").text
    outage.start()
    wait_until(lambda: "Redis unreachable" not in admin.get("/").text, what="the page is well")
