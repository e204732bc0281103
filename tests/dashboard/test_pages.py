"""Pages: fragment or whole, 304, filters in the address, acts and their audit, Redis away."""

from __future__ import annotations

import re
from collections.abc import Callable
from html import unescape
from typing import Any

import pytest
from browsing import Browser, audit
from driving import run_one
from flask import Flask

from dashboard import formats, pages
from dashboard.rail import PAGES
from tasks.emails import Message, send
from tasks.engine import JobHuey, State

FRAGMENT = {"HX-Request": "true"}


@pytest.fixture
def failed(huey: JobHuey, ends: Any) -> str:
    job_id = str(ends("failed").id)
    run_one(huey)
    return job_id


def test_filters_live_in_the_address(admin: Browser, failed: str, ends: Any) -> None:
    other = ends("well").id
    shown = admin.get("/jobs?status=failed&queue=maintenance&task=demo.ends").text
    assert failed in shown
    assert other not in shown
    assert failed not in admin.get("/jobs?status=failed&queue=email").text
    assert failed in admin.get("/jobs?q=locked").text
    assert 'value="locked"' in admin.get("/jobs?q=locked").text


@pytest.mark.parametrize(
    "query", ["status=nonsense", "since=yesterday-ish", "limit=9999", "cursor=%00", "cursor=zz", "queue=nope", "fresh=x",
              "task=" + "x" * 500, "q=" + "x" * 3000, "sort=up"],
)  # fmt: skip
def test_a_wrong_filter_is_told_and_never_a_fault(admin: Browser, query: str) -> None:
    answer = admin.get(f"/jobs?{query}")
    assert answer.status_code < 500, answer.text


def test_older_and_newer_walk_through_all_jobs_once(admin: Browser, ends: Any) -> None:
    made = {ends(f"n{n}").id for n in range(7)}
    seen: list[str] = []
    address: str | None = "/jobs?limit=3"
    pages = 0
    while address:
        page = admin.get(address).text
        seen += re.findall(r'name="id" value="([^"]+)"', page) or re.findall(
            r'<tr data-href="/jobs/([^"]+)"', page
        )
        older = re.search(r'rel="next" href="([^"]+)"', page)
        address = older[1].replace("&amp;", "&") if older else None
        pages += 1
    assert sorted(seen) == sorted(made)
    assert pages == 3


def test_an_id_and_an_address_in_the_search_lead_there_at_once(admin: Browser, failed: str) -> None:
    assert admin.get(f"/jobs?q={failed}").location == f"/jobs/{failed}"
    assert admin.get("/jobs?q=ada@example.org").location == "/jobs?q=to:ada@example.org"
    send(Message(type="welcome", to="ada@example.org", data={"name": "Ada", "course": "Sums"}))
    assert admin.get("/jobs?q=ada@example.org").location == "/people/ada@example.org"


def test_a_failed_job_explains_itself(admin: Browser, failed: str) -> None:
    page = admin.get(f"/jobs/{failed}").text
    assert "Permanent: the door is &lt;locked&gt;" in page
    assert "It will not run again by itself" in page
    assert "Attempt 1" in page
    assert "Traceback" in page or "traceback" in page


def test_retry_runs_again_and_stands_in_audit_and_timeline(
    admin: Browser, failed: str, huey: JobHuey
) -> None:
    answer = admin.post(f"/jobs/{failed}/retry")
    assert (answer.status_code, answer.location) == (303, f"/jobs/{failed}")
    assert huey.reads.job(failed).state is State.WAITING
    page = admin.get(f"/jobs/{failed}").text
    assert f"Job {failed} retried" in page
    assert "admin@example.org</b> retried it" in page
    assert audit() == [("retry", failed, "done")]


def test_an_act_that_the_state_forbids_is_refused_with_the_reason(
    admin: Browser, failed: str
) -> None:
    admin.post(f"/jobs/{failed}/cancel")
    page = admin.get(f"/jobs/{failed}").text
    assert 'data-kind="bad"' in page
    assert "Nothing cancelled: the job is failed" in page or "is failed" in page


def test_a_viewer_sees_buttons_off_and_is_refused_all_the_same(
    enter: Callable[[str], Browser], failed: str, huey: JobHuey
) -> None:
    viewer = enter("viewer")
    button = re.search(r"<button[^>]*>(?:(?!</button>).)*Retry", viewer.get(f"/jobs/{failed}").text)
    assert button
    assert 'disabled aria-describedby="onlooker"' in button[0]
    assert "Acts need the role operator or admin" in viewer.get("/queues").text
    assert viewer.post(f"/jobs/{failed}/retry").status_code == 403
    assert huey.reads.job(failed).state is State.FAILED
    assert audit() == [("retry", failed, "refused")]


def test_ticked_jobs_become_an_operation_that_ends(
    admin: Browser, failed: str, huey: JobHuey
) -> None:
    answer = admin.post("/jobs/bulk", {"kind": "retry", "id": failed, "status": "failed"})
    assert answer.location.startswith("/operations/")
    assert "Retry 1 job" in admin.get(answer.location).text
    huey.commands.step_operations()  # as the worker does that has just run the job
    assert huey.reads.operation(answer.location.rsplit("/", 1)[1]).state == "done"
    assert huey.reads.job(failed).state is State.WAITING


def test_acting_on_all_that_match_asks_once_more_with_the_count(
    admin: Browser, huey: JobHuey, ends: Any
) -> None:
    for _ in range(3):
        ends("failed")
        run_one(huey)
    asked = admin.get("/operations/new?kind=delete&status=failed").text
    assert "Delete 3 jobs" in asked
    assert "do not come back" in asked
    answer = admin.post("/operations", {"kind": "delete", "status": "failed", "reason": "old"})
    admin.get(answer.location)
    huey.commands.step_operations()  # as the worker does that has just run the jobs
    assert huey.reads.snapshot().totals[State.FAILED] == 0
    assert audit()[-1] == ("bulk", "delete", "done")


def test_a_paused_queue_is_said_on_every_page_until_it_is_resumed(
    admin: Browser, app: Flask, huey: JobHuey
) -> None:
    admin.post("/queues/email/pause", {"reason": "provider works", "for": "15m"})
    pause = huey.reads.queue("email").pause
    assert pause
    assert pause.until
    left = f'<time datetime="{formats.iso(pause.until)}" data-age'
    app.extensions["watch"]._made = 0.0
    for page in PAGES:
        shown = admin.get(page.address).text
        assert "email is paused by admin@example.org" in shown, page.address
        assert "provider works" in shown, page.address
        assert left in shown, page.address  # counted on by the second
        assert page.address == "/" or "</time>:</b> provider works." in shown, page.address
    admin.post("/queues/email/resume")
    assert not huey.reads.queue("email").paused
    assert [row[0] for row in audit()] == ["pause", "resume"]


def test_the_overview_tells_of_every_pause_whatever_else_is_wrong(
    admin: Browser, app: Flask, huey: JobHuey
) -> None:
    for queue in huey.declared:
        admin.post(f"/queues/{queue}/pause", {"reason": f"works on {queue}", "for": "15m"})
    app.extensions["watch"]._made = 0.0
    page = admin.get("/").text.partition('<div class="kpis">')[0]
    assert [queue for queue in huey.declared if f"orks on {queue}" not in page] == []


def test_a_queue_that_is_none_is_404(admin: Browser) -> None:
    assert admin.get("/queues/nope").status_code == 404


def test_a_job_that_is_none_is_404_and_says_why(admin: Browser) -> None:
    answer = admin.get("/jobs/01J0000000000000000000000A")
    assert answer.status_code == 404
    assert 'class="rail"' in answer.text
    assert "retention" in answer.text


def test_a_form_that_htmx_posted_gets_the_whole_page_and_its_faults_as_text(
    admin: Browser, failed: str
) -> None:
    boosted = {**FRAGMENT, "HX-Boosted": "true"}
    assert 'id="main"' in admin.get("/queues", headers=boosted).text
    answer = admin.post("/jobs/01J0000000000000000000000A/retry", headers=boosted)
    assert (answer.status_code, answer.mimetype) == (404, "text/plain")
    assert "there is no job" in answer.text


def test_help_names_every_state_and_role_and_switches_keys_off(admin: Browser) -> None:
    page = admin.get("/help").text
    for word in (*State, "viewer", "operator", "admin"):
        assert word in page, word
    assert "Switch single keys off" in page
    admin.post("/keys", {"keys": "off", "next": "/help"})
    assert 'data-keys="off"' in admin.get("/").text


def test_without_script_a_page_is_asked_for_anew_where_its_address_says_so(
    admin: Browser, failed: str
) -> None:
    meta, link = '<meta http-equiv="refresh" content="10">', "Refresh every 10 s"
    page = admin.get("/jobs?status=failed").text
    assert (meta in page, link in page) == (False, True)
    there = re.search(rf'href="([^"]+)">{link}', page)
    assert there
    page = admin.get(unescape(there[1])).text
    assert (meta in page, link in page) == (True, False)
    assert f"<noscript>{meta}</noscript>" in page  # the script asks by itself
    assert link not in admin.get("/jobs/new").text  # a form would lose what was typed


def test_a_row_shows_below_it_what_it_has_no_room_for(admin: Browser, failed: str) -> None:
    glance = admin.get(f"/jobs/{failed}/glance", headers=FRAGMENT).text
    assert glance.strip().startswith('<tr class="glance">')
    assert failed in glance
    assert admin.get(f"/jobs/{failed}/glance").headers["Location"] == f"/jobs/{failed}"


def test_a_dear_answer_asks_to_come_back_later(
    admin: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "SLOW_S", 60.0)
    assert "Retry-After" not in admin.get("/queues", headers=FRAGMENT).headers
    monkeypatch.setattr(pages, "SLOW_S", 0.0)
    waited = admin.get("/queues", headers=FRAGMENT).headers["Retry-After"]
    assert 1 <= int(waited) <= 60


def test_every_sample_of_every_mail_can_be_looked_at(admin: Browser) -> None:
    from tasks.mailer.messages import MESSAGES, NAMES

    for row in MESSAGES:
        for sample in NAMES:
            page = admin.get(f"/emails/preview?type={row.name}&sample={sample}")
            assert "<iframe" in page.text
            assert "sandbox" in page.text
            body = admin.get(f"/emails/preview/body?type={row.name}&sample={sample}")
            assert body.status_code == 200
            assert body.headers["Content-Security-Policy"].startswith("sandbox; default-src 'none'")
            assert "<script" not in body.text


@pytest.mark.parametrize("query", ["type=nope", "sample=nope", "type=" + "x" * 300])
def test_a_preview_of_nothing_is_told(admin: Browser, query: str) -> None:
    for address in ("/emails/preview", "/emails/preview/body"):
        assert 400 <= admin.get(f"{address}?{query}").status_code < 500


def test_an_address_is_suppressed_and_lifted(admin: Browser) -> None:
    admin.post("/emails/suppressions/suppress", {"address": "ada@example.org", "reason": "asked"})
    assert "ada@example.org" in admin.get("/emails/suppressions").text
    assert "is suppressed since" in admin.get("/emails?to=ada@example.org").text
    admin.post("/emails/suppressions/lift", {"address": "ada@example.org"})
    assert "No address is suppressed" in admin.get("/emails/suppressions").text
    assert [row[0] for row in audit()] == ["suppress", "lift"]


def test_the_audit_is_filtered_by_person_act_and_target(admin: Browser, failed: str) -> None:
    admin.post(f"/jobs/{failed}/retry")
    for query in (f"target={failed}", "who=admin@example.org", "action=retry"):
        assert failed in admin.get(f"/audit?{query}").text
    assert "No act matches" in admin.get("/audit?who=nobody").text


def test_a_page_shows_what_it_cost(admin: Browser) -> None:
    foot = admin.get("/queues").text.split('<footer class="foot">')[1]
    assert re.search(r"\d+ ms server, \d+ Redis calls?", foot)
    assert re.search(r"data as of \d\d:\d\d:\d\d", foot)


# Redis away


def test_a_role_is_offered_no_act_that_it_may_not_do(
    enter: Callable[[str], Browser], failed: str
) -> None:
    forms = ('href="#pause"', "/operations/new?kind=move", "/queues/email/empty")
    for role, offered in (("viewer", 0), ("operator", 2), ("admin", 3)):
        page = enter(role).get("/queues/email").text
        assert sum(form in page for form in forms) == offered, role
        assert page.count('aria-disabled="true"') == 3 - offered, role


def test_an_operation_begins_with_jobs_that_are_chosen(admin: Browser) -> None:
    assert admin.get("/operations/new").location == "/operations"
    assert "Choose jobs" in admin.get("/operations").text
