"""Batches on their pages and in the API: by state, failed first, retried as an operation."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from browsing import Browser
from driving import run_all
from flask import Flask

from dashboard import auth
from tasks.engine import JobFilter, JobHuey, State, Term


@pytest.fixture
def batch_id(huey: JobHuey, ends: Any) -> str:
    """Return a batch of four: two completed, one failed, one for later."""
    calls = [ends.s(), ends.s("failed"), ends.s(), ends.s(delay=3600)]
    made = huey.batch(calls, name="monthly import", by="ada", callback=ends.s())
    run_all(huey)
    return made


def test_the_list_says_how_far_each_is(admin: Browser, batch_id: str) -> None:
    page = admin.get("/batches").text
    assert "monthly import" in page
    assert "1 open, 0 ended" in page
    assert 'aria-label="75 per cent"' in page


def test_a_page_of_its_own_shows_members_by_state_and_the_failed_ones(
    admin: Browser, batch_id: str
) -> None:
    page = admin.get(f"/batches/{batch_id}").text
    assert "3 of 4 ended" in page
    assert "the door is &lt;locked&gt;" in page
    assert f"/jobs?q=batch:{batch_id}&amp;status=failed" in page or f"batch%3A{batch_id}" in page
    assert "Retry 1 failed" in page
    assert "Cancel the other 1" in page
    assert admin.get("/batches/nope").status_code == 404


def test_what_failed_is_retried_and_the_rest_cancelled_as_operations(
    admin: Browser, huey: JobHuey, batch_id: str
) -> None:
    answer = admin.post(f"/batches/{batch_id}/retry")
    assert answer.location.startswith("/operations/")
    while huey.commands.step_operations():
        pass
    batch = huey.reads.batch(batch_id)
    assert (batch.counts[State.WAITING], batch.counts[State.FAILED]) == (1, 0)
    admin.post(f"/batches/{batch_id}/cancel")
    while huey.commands.step_operations():
        pass
    batch = huey.reads.batch(batch_id)
    assert batch.counts[State.CANCELLED] == 2
    assert batch.callback_job is not None
    assert f'href="/jobs/{batch.callback_job}"' in admin.get(f"/batches/{batch_id}").text


def test_a_viewer_may_only_look(enter: Callable[[str], Browser], batch_id: str) -> None:
    viewer = enter("viewer")
    assert "disabled" in viewer.get(f"/batches/{batch_id}").text
    assert viewer.post(f"/batches/{batch_id}/retry").status_code == 403


def test_the_api_says_the_same(app: Flask, admin: Browser, batch_id: str) -> None:
    token, _ = auth.create_token("robot", "viewer", "admin@example.org")
    client, bearer = app.test_client(), {"Authorization": f"Bearer {token}"}
    (item,) = client.get("/api/admin/batches?limit=5", headers=bearer).json["items"]
    assert (item["id"], item["progress"], item["counts"]["failed"]) == (batch_id, 75, 1)
    one = client.get(f"/api/admin/batches/{batch_id}", headers=bearer).json
    assert (one["name"], one["total"], one["adding"]) == ("monthly import", 4, False)
    assert client.get("/api/admin/batches/nope", headers=bearer).status_code == 404
    assert client.get("/api/admin/batches?limit=0", headers=bearer).status_code == 422


def test_a_batch_that_a_worker_closed_says_so(
    admin: Browser, huey: JobHuey, ends: Any, app: Flask
) -> None:
    batch_id = huey.open_batch(name="half an import")
    huey.enqueue_many([ends.s()], batch=batch_id)
    page = admin.get(f"/batches/{batch_id}").text
    assert "a worker closes the batch 15 minutes after the last job" in page
    huey.storage.call("ZADD", huey.storage.keys.one("adding"), "1", batch_id)
    huey.lease.sweep()
    assert "Closed by a worker at " in admin.get(f"/batches/{batch_id}").text
    assert "closed by a worker" in admin.get("/batches").text


def test_a_search_for_a_batch_shows_its_jobs_and_does_not_open_its_callback(
    admin: Browser, huey: JobHuey, batch_id: str
) -> None:
    admin.post(f"/batches/{batch_id}/cancel")
    while huey.commands.step_operations():
        pass
    assert huey.reads.batch(batch_id).callback_job == f"batch:{batch_id}"
    answer = admin.get(f"/jobs?q=batch:{batch_id}")
    assert answer.status_code == 200
    assert len(re.findall(r'<tr data-href="/jobs/', answer.text)) == 4


def test_a_batch_whose_failed_jobs_were_deleted_does_not_say_that_none_failed(
    admin: Browser, huey: JobHuey, batch_id: str
) -> None:
    wanted = JobFilter(state=State.FAILED, terms=(Term("batch", (batch_id,)),))
    huey.commands.delete([job.id for job in huey.reads.jobs(wanted).items])
    page = admin.get(f"/batches/{batch_id}").text
    assert "The jobs that failed are no longer kept" in page
    assert "No member has failed" not in page


def test_a_callback_that_failed_is_said_with_its_job(
    app: Flask, admin: Browser, huey: JobHuey, ends: Any
) -> None:
    token, _ = auth.create_token("robot", "viewer", "admin@example.org")
    client, bearer = app.test_client(), {"Authorization": f"Bearer {token}"}
    calls = huey.task(name="demo.calls", queue="maintenance")(lambda batch_id: ends.func("failed"))
    batch_id = huey.batch([ends.s()], callback=calls.s())
    assert "The callback" not in admin.get(f"/batches/{batch_id}").text
    run_all(huey)
    callback = huey.reads.batch(batch_id).callback_job
    page = admin.get(f"/batches/{batch_id}").text
    assert "The callback calls failed" in page
    assert "</b> the door is &lt;locked&gt;" in page
    assert f'href="/jobs/{callback}">Show its job</a>' in page
    assert f'<a class="plain" href="/jobs/{callback}">' in admin.get("/batches").text
    one = client.get(f"/api/admin/batches/{batch_id}", headers=bearer).json
    assert (one["callback_state"], one["callback_error"]["type"]) == ("failed", "Permanent")
    assert callback
    huey.commands.retry([callback])
    assert "The callback" not in admin.get(f"/batches/{batch_id}").text, "it runs again"
    run_all(huey)
    huey.commands.delete([callback])
    assert "once; its job is no longer kept" in admin.get(f"/batches/{batch_id}").text
    (item,) = client.get("/api/admin/batches", headers=bearer).json["items"]
    assert (item["callback_state"], item["callback_error"]) == (None, None)
