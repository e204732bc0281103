"""The job table as a search: chips, counts, strip, suggestions, saved views; and what it refuses."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from browsing import Browser
from driving import run_all
from flask import Flask, url_for

from dashboard.arrows import addresses
from tasks.engine import Job, JobHuey, Permanent, State, Unreachable
from tasks.engine.records import Survey
from tasks.engine.rows import EPOCH, score

_tasks: dict[str, Any] = {}


@pytest.fixture
def jobs(huey: JobHuey) -> Any:
    """Make 9 jobs for three people, three of them failed."""
    if not _tasks:

        @huey.task(name="demo.writes", queue="maintenance")
        def writes(to: str, how: str = "well") -> None:
            if how == "badly":
                raise Permanent("554 5.7.1 blocked")

        _tasks["writes"] = writes
    writes = _tasks["writes"]
    huey.enqueue_many([writes.s(f"p{n % 3}@example.org", "badly" if n < 3 else "well") for n in range(9)])  # fmt: skip
    run_all(huey)
    return writes


def shown(page: str) -> tuple[str, int]:
    """Return what the result bar says, and how many rows there are."""
    bar = re.search(r'<span class="matching"><b>([^<]+)</b>', page)
    assert bar
    return bar[1], len(re.findall(r'<tr data-href="/jobs/', page))


def test_a_search_in_a_time_that_is_no_longer_kept_says_so(admin: Browser, jobs: Any) -> None:
    said = "older than what is kept: ended jobs stay"
    assert f"{said} 30 days" in admin.get("/jobs?queue=email&status=failed&until=31d").text
    assert f"{said} 7 days" in admin.get("/jobs?q=queue:email+before:8d+state:completed").text
    assert said not in admin.get("/jobs?queue=email&status=completed&until=6d").text
    assert said not in admin.get("/jobs?queue=email&status=waiting&until=60d").text


def test_a_query_finds_and_its_chips_take_it_apart(admin: Browser, jobs: Any) -> None:
    page = admin.get("/jobs?status=failed&q=task:writes+-to:p1@example.org").text
    assert shown(page) == ("2", 2)
    chips = re.findall(r'<a class="chip" href="([^"]+)"', page)
    assert [chip.replace("&amp;", "&") for chip in chips] == [
        "/jobs?q=task%3Awrites+-to%3Ap1%40example.org",
        "/jobs?status=failed&q=-to%3Ap1%40example.org",
        "/jobs?status=failed&q=task%3Awrites",
    ]
    assert shown(admin.get(chips[1].replace("&amp;", "&")).text) == ("2", 2)
    assert "Retry all 2 that match" in page
    assert (
        "/operations/new?status=failed&amp;q=task%3Awrites+-to%3Ap1%40example.org&amp;kind=retry"
        in page
    )


def test_what_is_typed_joins_the_query_that_stands(admin: Browser, jobs: Any) -> None:
    answer = admin.get("/jobs?status=failed&q=task:writes&q=to:p1@example.org")
    assert answer.location == "/jobs?status=failed&q=task%3Awrites+to%3Ap1%40example.org"
    assert admin.get("/jobs?q=task:writes&q=").location == "/jobs?q=task%3Awrites"


def test_a_state_in_the_query_is_the_tab_and_another_tab_replaces_it(admin: Browser, jobs: Any) -> None:  # fmt: skip
    page = admin.get("/jobs?q=state:failed+task:writes").text
    current = re.search(r'<a href="([^"]+)" aria-current="page">Failed', page)
    assert current
    other = re.search(r'<a href="([^"]+)">Completed', page)
    assert other
    assert other[1].replace("&amp;", "&") == "/jobs?q=task%3Awrites&status=completed"
    assert shown(admin.get(other[1].replace("&amp;", "&")).text) == ("6", 6)


def test_a_query_that_cannot_be_read_shows_nothing_and_says_where(admin: Browser, jobs: Any) -> None:  # fmt: skip
    page = admin.get("/jobs?q=state:failed+errorr:x").text
    assert "The query stops at position 14. There is no field errorr." in page
    assert 'value="state:failed errorr:x"' in page
    assert 'class="result-bar"' not in page
    assert "<tr data-href" not in page
    unknown = admin.get("/jobs?q=queue:nowhere").text
    assert "there is no queue &#39;nowhere&#39;" in unknown
    assert 'class="result-bar"' not in unknown


def test_the_strip_draws_what_matches_over_time(admin: Browser, jobs: Any) -> None:
    for address in ("/jobs", "/jobs?q=task:writes", "/jobs?status=failed"):
        page = admin.get(address).text
        assert '<rect class="b"' in page, address
        assert '<rect class="f"' in page, address
    assert '<rect class="b"' not in admin.get("/jobs?status=cancelled").text


def test_a_bar_of_the_strip_narrows_the_search_to_its_time(admin: Browser, jobs: Any) -> None:
    page = admin.get("/jobs?status=completed").text
    bars = re.findall(r'<a href="([^"]+)" tabindex="-1" aria-label="[^"]*: (\d+)', page)
    assert sum(int(many) for _, many in bars) == 6
    address, many = bars[-1]
    narrowed = admin.get(address.replace("&amp;", "&")).text
    assert shown(narrowed) == (many, int(many))
    assert "status=completed" in address


def test_where_the_count_reached_the_end_a_page_without_a_job_does_not_go_on(
    admin: Browser, jobs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.engine.reading.finding.SEARCH_ROWS", 4)
    none = Survey(count=0, exact=True, searched=9, of=9)
    monkeypatch.setattr("dashboard.searching.survey", lambda *_: none)
    page = admin.get("/jobs?q=args.how:nowhere").text
    assert "No job matches args.how:nowhere" in page
    assert "Searched all 9 jobs" in page
    assert "Go on" not in page


def test_a_bounded_search_says_how_far_it_got_and_goes_on(
    admin: Browser, jobs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.engine.reading.finding.SEARCH_ROWS", 4)
    page = admin.get("/jobs?q=args.how:badly").text
    assert "searched the newest 4 of 9" in page
    assert ("Nothing found so far" in page, "No job matches" in page) == (
        shown(page)[1] == 0,
        False,
    )
    go_on = re.search(r'<a href="([^"]+)">go on</a>', page)
    rows = 0
    while go_on:
        page = admin.get(go_on[1].replace("&amp;", "&")).text
        rows += shown(page)[1]
        go_on = re.search(r'<a href="([^"]+)">go on</a>', page)
    assert rows == 3


@pytest.mark.parametrize(("typed", "expected"), [
    ("st", 'data-complete="state:"'),
    ("args", 'data-complete="args."'),
    ("state:fa", ">state:failed<"),
    ("-queue:main", ">-queue:maintenance<"),
    ("task:wri", ">task:demo.writes<"),
    ("error:", ">error:Permanent<"),
    ("group:", "Permanent 554 5.7.1 blocked, 3 jobs"),
    ("older:", ">older:10m<"),
    ("to:", "An address, or *@domain. An address is indexed: all jobs are searched."),
    ("recovered:", ">recovered:yes<"),
    ('"half', "Other words are looked for"),
])  # fmt: skip
def test_the_box_offers_what_completes_the_word(
    admin: Browser, jobs: Any, typed: str, expected: str
) -> None:
    from urllib.parse import quote_plus

    answer = admin.get(f"/jobs/suggest?q=tag:vip&q={quote_plus(typed)}")
    assert expected in answer.text.replace("test_search.", "")


def test_an_offered_value_joins_what_stands(admin: Browser, jobs: Any) -> None:
    page = admin.get("/jobs/suggest?status=failed&q=tag:vip&q=ada+state:fa").text
    assert 'href="/jobs?status=failed&amp;q=tag%3Avip+ada+state%3Afailed"' in page


def test_a_search_is_kept_for_everybody_and_deleted_by_its_owner(
    enter: Callable[[str], Browser], jobs: Any
) -> None:
    viewer, operator, admin = enter("viewer"), enter("operator"), enter("admin")
    page = viewer.get("/jobs?status=failed&q=task:writes+-tag:test").text
    whole = re.search(r'name="query" value="([^"]+)"', page)
    assert whole
    assert whole[1] == "state:failed task:writes -tag:test"
    viewer.post("/jobs/views", {"name": "Broken mail", "query": whole[1]})
    for browser in (viewer, operator):
        page = browser.get("/jobs").text
        link = re.search(r'<a href="([^"]+)" title="[^"]+">Broken mail</a>', page)
        assert link
        assert shown(browser.get(link[1].replace("&amp;", "&")).text) == ("3", 3)
    deleting = re.search(r'action="(/jobs/views/\d+/delete)"', viewer.get("/jobs").text)
    assert deleting
    assert deleting[1] not in operator.get("/jobs").text
    operator.post(deleting[1])
    assert "they or an admin may delete it" in operator.get("/jobs").text
    operator.post("/jobs/views", {"name": "Broken mail", "query": "tag:other"})
    assert "there is a view Broken mail of viewer@example.org already" in operator.get("/jobs").text
    operator.post("/jobs/views", {"name": "Wrong", "query": "errorr:x"})
    assert "There is no field errorr." in operator.get("/jobs").text
    admin.post(deleting[1])
    assert "Broken mail</a>" not in viewer.get("/jobs").text


def test_with_redis_away_the_search_stays_and_says_so(
    admin: Browser, huey: JobHuey, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: Any, **__: Any) -> None:
        raise Unreachable("Redis cannot be reached")

    monkeypatch.setattr(huey.reads, "jobs", away)
    answer = admin.get("/jobs?q=task:writes")
    assert answer.status_code == 503
    assert "In the outbox" in answer.text
    assert "task:" in answer.text


# Along a search, from job to job


ARROW = re.compile(r'rel="(prev|next)" href="(/jobs/[^"]+)"')


def arrows(page: str) -> dict[str, str]:
    """Return where the arrows of a job's page lead."""
    return {name: href.replace("&amp;", "&") for name, href in ARROW.findall(page)}


def rows(page: str) -> list[str]:
    """Return where the rows of the job table lead."""
    return [a.replace("&amp;", "&") for a in re.findall(r'<tr data-href="(/jobs/[^"]+)"', page)]


@pytest.mark.parametrize("search", ["status=failed&q=task:writes", "q=args.how:badly", "q=badly"])
def test_a_job_opened_from_a_search_leads_to_the_next_and_the_one_before(
    admin: Browser, jobs: Any, search: str
) -> None:
    first, second, third = rows(admin.get(f"/jobs?{search}").text)
    page = admin.get(first).text
    assert "<span>1 of 3</span>" in page
    assert arrows(page) == {"next": second}
    page = admin.get(second).text
    assert "<span>2 of 3</span>" in page
    assert arrows(page) == {"prev": first, "next": third}
    assert arrows(admin.get(third).text) == {"prev": second}
    back = re.search(r'<a class="cut" href="([^"]+)"', page)
    assert back
    assert rows(admin.get(back[1].replace("&amp;", "&")).text) == [first, second, third]


def test_a_retried_job_has_left_its_place_and_its_neighbours_have_not(
    admin: Browser, jobs: Any
) -> None:
    first, second, third = rows(admin.get("/jobs?status=failed").text)
    page = admin.get(second).text
    job_id = second.removeprefix("/jobs/").partition("?")[0]
    kept = re.search(r'name="next" value="([^"]+at=[^"]+)"', page)
    assert kept
    answer = admin.post(f"/jobs/{job_id}/retry", {"next": kept[1].replace("&amp;", "&")})
    assert answer.location.startswith(f"/jobs/{job_id}?")
    page = admin.get(answer.location).text
    assert "no longer in the list of 2" in page
    assert arrows(page) == {"prev": first, "next": third}


def test_an_arrow_that_meets_nothing_within_its_budget_leads_to_the_list(
    admin: Browser, jobs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, third = rows(admin.get("/jobs?q=args.how:badly").text)
    monkeypatch.setattr("tasks.engine.reading.finding.PLACE_LOOK", 1)
    jobs("p@example.org", "well")  # newer, and no match
    page = admin.get(first).text
    before = re.search(r'rel="prev" href="([^"]+)"', page)
    assert before
    assert before[1].startswith("/jobs?q=args.how:badly&amp;cursor=n")
    assert "<span>one of many</span>" in page


def test_a_search_in_the_address_that_cannot_be_read_is_said(admin: Browser, jobs: Any) -> None:
    (one, *_) = rows(admin.get("/jobs?status=failed").text)
    for wrong in ("q=nosuch:1", "status=nonsense", "queue=nowhere"):
        page = admin.get(one.partition("?")[0], query_string={"at": "1", "in": wrong})
        assert page.status_code == 200
        assert "The search in this address cannot be read" in page.text
    assert "crumbs" in admin.get(one.partition("?")[0] + "?at=x&in=y").text


@pytest.mark.parametrize(("given", "meant"), [
    ("q=errorr:x&limit=50", "/jobs?q=error%3Ax&limit=50"),
    ("q=task:delivr_emial", "/jobs?q=task%3Aemails.deliver_email"),
    ("task=delivr_emial&status=failed", "/jobs?q=state%3Afailed+task%3Aemails.deliver_email"),
    ("q=queue:emial,sync", "/jobs?q=queue%3Aemail%2Csync"),
])  # fmt: skip
def test_what_is_misspelt_leads_to_what_was_meant(admin: Browser, given: str, meant: str) -> None:
    page = admin.get(f"/jobs?{given}").text
    assert page.count("Did you mean") == 1
    assert f'href="{meant}"'.replace("&", "&amp;") in page


@pytest.mark.parametrize(
    "given",
    ["q=task:deliver_email", "q=task:zzzz", "q=queue:email", "q=-task:delivr_emial", "q=hello"],
)
def test_nobody_is_asked_whether_they_meant_what_they_wrote(admin: Browser, given: str) -> None:
    assert "Did you mean" not in admin.get(f"/jobs?{given}").text


def test_the_menu_offers_what_is_like_a_misspelt_word(admin: Browser) -> None:
    assert "emails.deliver_email" in admin.get("/jobs/suggest?q=task:delivr_emial").text
    assert 'data-complete="error:"' in admin.get("/jobs/suggest?q=errro").text
    assert "email" not in admin.get("/jobs/suggest?q=queue:zzzz").text


def test_the_height_of_rows_is_chosen_and_kept_in_this_browser(admin: Browser, jobs: Any) -> None:
    assert 'class="table jobs"' in admin.get("/jobs").text
    admin.post("/jobs/columns", {"next": "/jobs", "column": "state", "density": "dense"})
    page = admin.get("/jobs").text
    assert 'class="table jobs dense"' in page
    assert 'value="dense" checked' in page
    admin.post("/jobs/columns", {"next": "/jobs", "column": "state", "density": "x"})
    assert 'class="table jobs"' in admin.get("/jobs").text
    admin.post("/jobs/columns", {"next": "/jobs", "column": "state", "density": "roomy"})
    assert 'class="table jobs roomy"' in admin.get("/jobs").text
    admin.post("/jobs/columns", {"next": "/jobs", "usual": "1"})
    assert 'class="table jobs"' in admin.get("/jobs").text


def test_a_row_offers_what_its_state_and_the_role_allow(
    enter: Callable[[str], Browser], jobs: Any
) -> None:
    assert "row-actions" not in enter("viewer").get("/jobs?status=failed").text
    page = enter("operator").get("/jobs?status=failed").text
    assert re.search(r'form="row-act" formaction="/jobs/[^"]+/retry"', page)
    assert not re.search(r'form="row-act" formaction="/jobs/[^"]+/(cancel|run_now)"', page)


@pytest.mark.parametrize("text", ["", "status=failed&q=to:a+b@example.org"])
def test_the_address_of_a_job_in_a_list_is_the_one_that_flask_builds(app: Flask, text: str) -> None:
    job = Job(id="a/1 é", queue="q", task="t", state=State.FAILED, priority=0, args=(), kwargs={})
    moved = replace(job, changed_at=EPOCH + timedelta(days=20_000))
    within = {"at": score(EPOCH + timedelta(days=20_000))} | ({"in": text} if text else {})
    with app.test_request_context("/jobs", environ_overrides={"SCRIPT_NAME": "/jobs-admin"}):
        assert unquote(addresses(text)(job)) == unquote(url_for("jobs.show", job_id=job.id))
        found = urlsplit(addresses(text)(moved))
        built = urlsplit(url_for("jobs.show", job_id=job.id, **within))
    assert parse_qs(found.query) == parse_qs(built.query)
    assert unquote(found.path) == unquote(built.path)
