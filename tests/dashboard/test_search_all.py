"""A search to the end as an operation; its kept result as a job table, and what acts on it."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from browsing import Browser
from driving import run_all
from flask import Flask
from playwright.sync_api import Page, expect
from sqlalchemy import select

from dashboard import auth
from dashboard.models import AuditEntry
from tasks import database as db
from tasks.engine import JobHuey, Permanent, State

_tasks: dict[str, Any] = {}


@pytest.fixture
def jobs(huey: JobHuey, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Make 9 jobs, three of them failed, and let a search look at four at once."""
    if not _tasks:

        @huey.task(name="demo.ends_so", queue="maintenance")
        def ends_so(how: str) -> None:
            if how == "badly":
                raise Permanent("554 5.7.1 blocked")

        _tasks["ends_so"] = ends_so
    huey.enqueue_many([_tasks["ends_so"].s("badly" if n < 3 else "well") for n in range(9)])
    run_all(huey)
    huey.lease.close()  # no worker lives from here on
    huey._dispatch = None
    monkeypatch.setattr("tasks.engine.reading.finding.SEARCH_ROWS", 4)
    return _tasks["ends_so"]


def begin(browser: Browser, **form: str) -> str:
    """Start a search and return the address of its page."""
    answer = browser.post("/jobs/search", form)
    assert answer.status_code == 303
    return str(answer.location)


def rows(page: str) -> list[str]:
    return re.findall(r'<tr data-href="/jobs/([^"?]+)', page)


def acts() -> list[str]:
    with db.reading() as session:
        entries = session.scalars(select(AuditEntry).where(AuditEntry.action != "sign_in"))
        return [entry.action for entry in entries]


def test_where_a_search_stopped_a_button_runs_it_to_the_end(
    admin: Browser, jobs: Any, huey: JobHuey
) -> None:
    page = admin.get("/jobs?q=args.how:badly").text
    assert 'formaction="/jobs/search"' in page
    assert "Search all 9" in page
    where = begin(admin, q="args.how:badly")
    page = admin.get(where).text  # no worker lives: the page itself goes on
    assert "<h1>3 found</h1>" in page
    assert "9 of 9</b> looked at, 100 %" in page
    failed = [job.id for job in huey.reads.recent_failures()]
    assert rows(page) == failed
    assert "Search 9 jobs" in admin.get("/operations").text
    assert acts() == ["search"]


def test_the_result_is_kept_when_its_jobs_have_changed(
    admin: Browser, jobs: Any, huey: JobHuey
) -> None:
    where = begin(admin, q="args.how:badly", status="failed")
    found = rows(admin.get(where).text)
    huey.commands.retry(found[:1])
    huey.commands.delete(found[1:2])
    page = admin.get(where).text
    assert rows(page) == [found[0], found[2]]
    assert "1 of this page are gone" in page
    assert huey.reads.job(found[0]).state is State.WAITING


def test_what_was_found_is_acted_on_all_or_some(admin: Browser, jobs: Any, huey: JobHuey) -> None:
    search = begin(admin, q="args.how:badly").rpartition("/")[2]
    found = rows(admin.get(f"/operations/{search}").text)
    looked = admin.get(f"/operations/new?kind=retry&search={search}").text
    assert "<h1>Retry 3 jobs</h1>" in looked
    assert f'name="search" value="{search}"' in looked
    answer = admin.post("/operations", {"kind": "retry", "search": search})
    operation = huey.reads.operation(answer.location.rpartition("/")[2])
    assert (operation.kind, operation.matched) == ("retry", 3)
    some = admin.post("/jobs/bulk", {"kind": "delete", "id": found[0], "search": search})
    assert "<h1>Delete 1 job</h1>" in some.text
    more = admin.post("/jobs/bulk", {"kind": "tag", "search": search})
    assert more.location == f"/operations/new?kind=tag&search={search}"
    assert admin.get("/operations/new?kind=retry&search=nothing").status_code == 404


def test_a_search_is_stopped_and_says_how_far_it_got(
    admin: Browser, jobs: Any, app: Flask, huey: JobHuey
) -> None:
    huey.lease.beat()  # a worker lives, so the page does not carry it on
    app.extensions["watch"].forget()
    where = begin(admin, q="args.how:badly")
    huey.commands.stepper.step()
    assert "so far</h1>" in admin.get(where).text
    admin.post(f"{where}/stop")
    page = admin.get(where).text
    assert "4 of 9</b> looked at" in page
    assert "Stopped" in page or "stopped" in page
    assert acts() == ["search", "stop_operation"]
    huey.lease.close()
    huey._dispatch = None


def test_a_viewer_may_search_but_only_a_few_at_once(
    enter: Callable[[str], Browser], jobs: Any, app: Flask, huey: JobHuey
) -> None:
    viewer = enter("viewer")
    for _ in range(3):
        assert begin(viewer, q="args.how:badly").startswith("/operations/")
    assert begin(viewer, q="args.how:badly") == "/jobs?q=args.how:badly"
    assert "3 searches run already" in viewer.get("/jobs").text
    assert len(huey.reads.operations()) == 3


def test_the_api_starts_a_search_and_pages_through_what_it_found(
    app: Flask, admin: Browser, jobs: Any, huey: JobHuey
) -> None:
    token, _ = auth.create_token("robot", "viewer", "admin@example.org")
    client, bearer = app.test_client(), {"Authorization": f"Bearer {token}"}
    at = "/api/admin/queues/all/search"
    started = client.post(at, json={"q": "args.how:badly"}, headers=bearer)
    assert (started.status_code, started.json["matched"]) == (202, 9)
    while huey.commands.step_operations():
        pass
    one = f"/api/admin/operations/{started.json['operation']}"
    assert client.get(one, headers=bearer).json["done"] == 3
    first = client.get(f"{one}/jobs?limit=2", headers=bearer).json
    rest = client.get(f"{one}/jobs?limit=2&start={first['next']}", headers=bearer).json
    assert [len(first["items"]), len(rest["items"]), rest["next"]] == [2, 1, None]
    assert all(item["kwargs"] == {} and item["args"] == ["badly"] for item in first["items"])
    assert client.post(at, json={"ids": ["x"]}, headers=bearer).status_code == 422
    assert client.post("/api/admin/queues/nope/search", json={}, headers=bearer).status_code == 404


def test_columns_are_chosen_by_a_form_and_kept_in_the_browser(admin: Browser, jobs: Any) -> None:
    page = admin.get("/jobs").text
    assert "Priority</th>" not in page
    chosen = {"column": ["priority", "queue", "nonsense"], "next": "/jobs?status=failed"}
    there = admin.post("/jobs/columns", chosen).location
    assert there == "/jobs?status=failed&columns=queue.priority"
    page = admin.get("/jobs").text
    assert heads(page) == ["Task", "Queue", "Priority", "Changed"]
    assert "Queue</th>" not in admin.get("/jobs?queue=maintenance").text
    again = {"usual": "1", "next": f"{there}&q=x"}
    assert admin.post("/jobs/columns", again).location == "/jobs?status=failed&q=x"
    assert "Arguments</th>" in admin.get("/jobs").text


def heads(page: str) -> list[str]:
    return re.findall(r'<th scope="col"[^>]*>\s*([^<]+)</th>', page)


def test_columns_stand_in_the_address_and_stay_while_the_search_changes(
    admin: Browser, jobs: Any
) -> None:
    here = "/jobs?q=-state:active&columns=id.tags.nonsense"
    page = admin.get(here).text
    assert heads(page) == ["Task", "Id", "Tags", "Changed"]
    assert 'href="/jobs?q=-state%3Aactive&amp;columns=id.tags.nonsense&amp;status=failed"' in page
    assert '<input type="hidden" name="columns" value="id.tags.nonsense">' in page
    assert "Arguments" in heads(admin.get("/jobs").text)  # of this browser, which chose none
    assert "Arguments" in heads(admin.get("/jobs?columns=nonsense").text)


def test_a_saved_view_brings_its_columns_along(enter: Callable[[str], Browser], jobs: Any) -> None:
    mine, theirs = enter("viewer"), enter("operator")
    mine.post("/jobs/columns", {"column": ["id", "worker"]})
    page = mine.get("/jobs?q=-state:active").text
    kept = re.search(r'name="columns" value="([^"]+)">\n<label[^>]+view-name', page)
    assert kept
    mine.post("/jobs/views", {"name": "Bad", "query": "-state:active", "columns": kept[1]})
    link = re.search(r'href="(/jobs\?q=[^"]+columns=[^"]+)"', theirs.get("/jobs").text)
    assert link
    page = theirs.get(link[1].replace("&amp;", "&")).text
    assert heads(page) == ["Task", "Id", "Worker", "Changed"]
    mine.post("/jobs/columns", {"usual": "1"})
    mine.post("/jobs/views", {"name": "Bad", "query": "-state:active", "columns": ""})
    assert "columns=" not in theirs.get("/jobs").text


@pytest.mark.browser
def test_in_a_browser_the_button_leads_to_the_result_and_its_boxes_count(
    page: Page, jobs: Any
) -> None:
    page.goto("/jobs?q=args.how:badly")
    page.get_by_role("button", name="Search all 9").click()
    page.wait_for_url("**/operations/*")
    expect(page.locator("h1")).to_have_text("3 found")
    page.wait_for_load_state()
    page.locator("tbody input[type=checkbox]").first.click()
    expect(page.locator("[data-verb=Retry]")).to_have_text("Retry 1 ticked")
    page.get_by_role("link", name="Retry all 3 found").click()
    expect(page.locator("h1")).to_have_text("Retry 3 jobs")
