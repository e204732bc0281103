"""The pages of operations: looked at first, carried on, watched, taken back; all without script."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from browsing import Browser
from driving import run_all
from sqlalchemy import select

from dashboard import words
from dashboard.models import AuditEntry
from tasks import database as db
from tasks import emails
from tasks.engine import JobFilter, JobHuey, Permanent, State
from tasks.engine.records import Term
from tasks.mailer import models

_tasks: dict[str, Any] = {}


@pytest.fixture
def ends(huey: JobHuey) -> Any:
    """Return a task that fails when told."""
    if not _tasks:

        @huey.task(name="pages.ends", queue="maintenance")
        def ends(how: str = "well", note: str = "") -> str:
            if how == "failed":
                raise Permanent("the door is <locked>")
            return how

        _tasks["ends"] = ends
    return _tasks["ends"]


@pytest.fixture
def failed(huey: JobHuey, ends: Any) -> list[str]:
    """Return the ids of twelve failed jobs."""
    calls = [ends.s("failed") for _ in range(12)]
    huey.enqueue_many(calls)
    run_all(huey)
    return [call.id for call in calls]


def form_of(page: str, action: str) -> dict[str, Any]:
    """Return the fields that a page's form would send as it stands; ids as a list."""
    found = re.search(rf'<form method="post"[^>]*action="{action}".*?</form>', page, re.DOTALL)
    assert found, action
    fields: dict[str, Any] = {}
    for tag in re.findall(r"<input [^>]*>", found[0]):
        name, value = re.search(r'name="([^"]*)"', tag), re.search(r'value="([^"]*)"', tag)
        if not name or ("radio" in tag and "checked" not in tag):
            continue
        text = html.unescape(value[1]) if value else ""
        fields[name[1]] = [*fields.get(name[1], []), text] if name[1] == "id" else text
    return fields


def operate(huey: JobHuey) -> None:
    while huey.commands.step_operations():
        pass


def audit() -> list[tuple[str, str, str]]:
    with db.reading() as session:
        rows = session.scalars(select(AuditEntry).where(AuditEntry.action != "sign_in"))
        return [(row.action, row.target, row.outcome) for row in rows]


def test_all_that_match_are_looked_at_then_retried_as_they_were_shown(
    admin: Browser, failed: list[str], huey: JobHuey, ends: Any
) -> None:
    page = admin.get("/operations/new?kind=retry&status=failed&queue=maintenance").text
    assert "Retry 12 jobs" in page
    assert "Failed jobs of queue maintenance. Frozen at" in page
    assert "nothing has happened yet" in page
    assert "10 samples" in page
    assert "Try 2 first, go on if 2 complete" in page
    ends("failed")
    run_all(huey)
    form = form_of(page, "/operations")
    assert form["canary"] == "2"
    answer = admin.post("/operations", {**form, "reason": "the lock was changed"})
    assert answer.status_code == 303
    operation = huey.reads.operation(answer.location.rsplit("/", 1)[1])
    assert (operation.matched, operation.canary, operation.reason) == (
        12,
        2,
        "the lock was changed",
    )
    operate(huey)
    shown = admin.get(answer.location).text
    assert "2 of 12" in shown
    assert "trying 2 first" in shown
    run_all(huey)
    operate(huey)
    shown = admin.get(answer.location).text
    assert "Paused itself" in shown
    assert "canary: 0 of 2 completed, 95 % was asked for" in shown
    assert "Go on with all" in shown
    why = html.unescape(shown).partition("Why the canary's jobs failed")[2]
    why = why.partition("</section>")[0]
    assert "<b>Permanent</b> the door is <locked>" in why
    newest = huey.reads.operation_outcomes(operation.id, which="failed")[0].id
    assert f'href="/jobs/{newest}">the newest of 2 jobs</a>' in why
    assert f'href="/errors/{huey.reads.job(newest).group}"' in why
    admin.post(f"{answer.location}/resume")
    operate(huey)
    assert huey.reads.operation(operation.id).done == 12
    assert huey.reads.queue("maintenance").counts[State.FAILED] == 3  # its two and the late one
    failed_again = admin.get(f"{answer.location}?which=failed").text
    assert "Why they failed again" in failed_again
    assert "failed again 2" in failed_again
    assert "the door is &lt;locked&gt;" in failed_again


def test_other_samples_and_the_skipped_ones_are_shown_before_anything_happens(
    admin: Browser, huey: JobHuey
) -> None:
    from tasks.maintenance import clean_up

    ids = [str(clean_up.schedule(delay=3600).id) for _ in range(15)]
    huey.commands.cancel(ids[:12])
    page = admin.get("/operations/new?kind=retry").text
    first = samples(page)
    assert len(first) == 10
    other = re.search(r'href="([^"]+)#samples">[^<]*<svg[^>]*>.*?</svg>Other samples', page)
    assert other
    page = admin.get(other[1].replace("&amp;", "&")).text
    assert set(samples(page)) == set(ids) - set(first)
    assert "The newest again" in page
    skipped = admin.get("/operations/new?kind=retry&show=skipped").text
    assert set(samples(skipped)) == set(ids[12:])
    assert "<h1>Retry 15 jobs</h1>" in skipped
    none = admin.get("/operations/new?kind=retry&status=cancelled&show=skipped").text
    assert "No job of it would be skipped" in none
    assert admin.get("/operations/new?kind=retry&samples=x").status_code == 400


def test_mails_that_were_sent_are_marked_as_skipped_among_the_samples(
    admin: Browser, huey: JobHuey
) -> None:
    message = {"name": "Ada", "course": "Logic"}
    queued = [
        emails.send(emails.Message(type="welcome", to=f"{who}@example.org", data=message))
        for who in ("ada", "bo")
    ]
    huey.commands.cancel([one.job_id for one in queued])
    with db.session() as session:
        models.by_job(session, queued[0].job_id).state = "sent"
    page = admin.get("/operations/new?kind=retry&status=cancelled").text
    assert page.count(">skipped</span>") == 1
    assert "Mail already sent, or held: 1 of the 2 samples." in page
    with db.reading() as session:
        assert models.by_job(session, queued[1].job_id).state == "queued"  # nothing was changed


def samples(page: str) -> list[str]:
    part = page.partition('id="samples"')[2].partition("</table>")[0]
    return re.findall(r'href="/jobs/([^"]+)"', part)


KINDS: dict[str, dict[str, str]] = {
    "move": {"to": "sync"}, "reschedule": {"delay": "2h"}, "priority": {"priority": "7"},
    "tag": {"tags": "one two"}, "untag": {"tags": "old"}, "patch": {"name": "note", "value": "new"},
}  # fmt: skip


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_ticked_jobs_are_asked_for_what_the_kind_takes(
    admin: Browser, huey: JobHuey, ends: Any, kind: str
) -> None:
    ids = [ends("well").id for _ in range(3)]
    huey.commands.tag(ids, "old")
    page = admin.post("/jobs/bulk", {"kind": kind, "id": ids[:2]})
    assert page.status_code == 200
    assert "2 jobs that you ticked" in page.text
    form = form_of(page.text, "/operations")
    assert form["id"] == ids[:2]
    answer = admin.post("/operations", {**form, **KINDS[kind]})
    assert answer.status_code == 303, answer.text
    operate(huey)
    operation = huey.reads.operation(answer.location.rsplit("/", 1)[1])
    assert (operation.done, operation.state) == (2, "done")
    job = huey.reads.job(ids[0])
    changed = {
        "move": job.queue == "sync", "reschedule": job.state is State.SCHEDULED,
        "priority": job.priority == 7, "tag": job.tags == ("old", "one", "two"), "untag": job.tags == (),
        "patch": job.kwargs.get("note") == "new",
    }  # fmt: skip
    assert changed[kind], job
    assert admin.get(answer.location).status_code == 200
    assert "by <a href=" in admin.get(f"/jobs/{ids[0]}").text
    assert answer.location in admin.get(f"/jobs/{ids[0]}").text


@pytest.mark.parametrize(
    ("kind", "given", "says"),
    [("tag", {"tags": "a,b"}, "is no tag"), ("priority", {"priority": "x"}, "is no priority"),
     ("reschedule", {}, "Say when"), ("reschedule", {"at": "soon"}, "is no time"),
     ("patch", {"name": "a b", "value": "1"}, "is no argument"), ("priority", {"priority": "500"}, "is no priority")],
)  # fmt: skip
def test_what_is_wrong_is_said_and_what_was_typed_stays(
    admin: Browser, ends: Any, huey: JobHuey, kind: str, given: dict[str, str], says: str
) -> None:
    ends("well")
    form = form_of(admin.get(f"/operations/new?kind={kind}&status=waiting").text, "/operations")
    answer = admin.post("/operations", {**form, **given, "reason": "because"})
    assert answer.status_code == 422
    assert says in html.unescape(answer.text)
    assert 'value="because"' in answer.text
    assert huey.reads.operations() == []


def test_deleting_ticked_jobs_asks_once_more(admin: Browser, failed: list[str]) -> None:
    page = admin.post("/jobs/bulk", {"kind": "delete", "id": failed[:3]})
    assert page.status_code == 200
    assert "Delete 3 jobs" in page.text
    assert "do not come back" in page.text


@pytest.mark.parametrize("query", ["{", "[]", '{"state": "none"}', '{"queue": 5}', '{"until": "x"}'])  # fmt: skip
def test_a_query_that_was_made_up_is_refused(admin: Browser, query: str) -> None:
    answer = admin.post("/operations", {"kind": "retry", "query": query})
    assert answer.status_code == 400


def test_the_jobs_page_offers_the_kinds_for_its_state(
    enter: Callable[[str], Browser], failed: list[str]
) -> None:
    page = enter("operator").get("/jobs?status=failed").text
    menus = [menu.split("</details>")[0] for menu in page.split('class="menu-list"')]
    menu = next(menu for menu in menus if 'value="export"' in menu)
    assert 'value="tag"' in menu
    assert 'value="export"' in menu
    assert 'value="move"' not in menu
    assert "Change an argument, needs admin" in re.sub(r"<svg.*?</svg>", "", menu)


def test_a_jobs_page_offers_to_change_it_alone(admin: Browser, huey: JobHuey, ends: Any) -> None:
    job_id = ends("well").id
    page = admin.get(f"/jobs/{job_id}").text
    form = form_of(page, "/jobs/bulk")
    assert form["id"] == [job_id]
    asked = admin.post("/jobs/bulk", {**form, "kind": "priority"}).text
    assert "Change priority of 1 job<" in asked
    admin.post("/operations", {**form_of(asked, "/operations"), "priority": "9"})
    operate(huey)
    assert huey.reads.job(job_id).priority == 9


def test_more_without_a_tick_is_for_all_that_match(admin: Browser, failed: list[str]) -> None:
    answer = admin.post("/jobs/bulk", {"kind": "tag", "status": "failed", "queue": "maintenance"})
    assert answer.location == "/operations/new?kind=tag&queue=maintenance&status=failed"


def test_a_page_of_outcomes_leads_to_the_next(admin: Browser, huey: JobHuey, ends: Any) -> None:
    calls = [ends.s("well") for _ in range(60)]
    huey.enqueue_many(calls)
    answer = admin.post("/jobs/bulk", {"kind": "cancel", "id": [call.id for call in calls]})
    operate(huey)
    first = admin.get(answer.location).text
    assert f"{answer.location}?which=all&amp;start=50" in first
    second = admin.get(f"{answer.location}?which=all&start=50").text
    assert "51 to 60" in second
    assert admin.get(f"{answer.location}?which=none").status_code == 400


def test_what_was_cancelled_is_taken_back_from_its_page(
    admin: Browser, huey: JobHuey, ends: Any
) -> None:
    job_id = ends("well").id
    answer = admin.post("/jobs/bulk", {"kind": "cancel", "id": job_id})
    operate(huey)
    assert "Retry what it cancelled" in admin.get(answer.location).text
    back = admin.post(f"{answer.location}/undo")
    operate(huey)
    assert huey.reads.job(job_id).state is State.WAITING
    assert f"takes back operation {answer.location.rsplit('/', 1)[1]}" in admin.get(back.location).text  # fmt: skip


def test_an_export_is_downloaded_from_its_page(
    enter: Callable[[str], Browser], failed: list[str]
) -> None:
    viewer = enter("viewer")
    form = form_of(viewer.get("/operations/new?kind=export&status=failed").text, "/operations")
    answer = viewer.post("/operations", form)
    assert "CSV" in viewer.get(answer.location).text
    file = viewer.get(f"{answer.location}/csv")
    assert file.mimetype == "text/csv"
    assert len(file.text.splitlines()) == 13
    assert audit()[-1][0] == "download_export"


def test_a_queue_is_emptied_only_by_typing_its_name(
    admin: Browser, huey: JobHuey, ends: Any
) -> None:
    ends("well")
    ends.schedule(("well",), delay=3600)
    at = "/queues/maintenance/empty"
    admin.post(at, {"typed": "maint"})
    assert huey.reads.operations() == []
    answer = admin.post(at, {"typed": "maintenance", "reason": "a storm"})
    operate(huey)
    counts = huey.reads.queue("maintenance").counts
    assert {s: n for s, n in counts.items() if n} == {State.SCHEDULED: 1}
    assert "Empty: delete 1 job" in admin.get(answer.location).text


def test_an_open_page_carries_an_operation_on_while_no_worker_lives(
    admin: Browser, huey: JobHuey, ends: Any, app: Any
) -> None:
    calls = [ends.s("well") for _ in range(30)]
    huey.enqueue_many(calls)
    huey.lease.close()
    huey.storage.call("DEL", huey.storage.keys.one("procs"))
    app.extensions["watch"].forget()
    answer = admin.post("/jobs/bulk", {"kind": "cancel", "id": [call.id for call in calls]})
    app.extensions["watch"].forget()
    admin.get(answer.location)
    assert huey.reads.operation(answer.location.rsplit("/", 1)[1]).state == "done"


def test_a_query_is_told_in_words() -> None:
    query = JobFilter(state=State.FAILED, queue="email", error="554 5.7.1", tag="vip")
    assert words.sentence(query) == (
        "Failed jobs of queue email tagged vip whose error contains “554 5.7.1”"
    )
    assert words.chips(query) == [("queue", "email"), ("state", "failed"), ("error", '"554 5.7.1"'),
                                  ("tag", "vip")]  # fmt: skip
    assert words.sentence(JobFilter()) == "Jobs of any state"
    more = JobFilter(terms=(Term("task", ("a", "b"), True), Term("text", ("two words",))))
    assert words.chips(more) == [("-task", "a,b"), ("", '"two words"')]
    twice = JobFilter(state=State.FAILED, terms=(Term("state", ("failed",)),))
    assert words.chips(twice) == [("state", "failed")]
    assert words.sentence(more) == 'Jobs of any state matching -task:a,b "two words"'


def test_ticked_jobs_and_what_a_search_found_are_exported_and_nothing_else(
    admin: Browser, failed: list[str], huey: JobHuey
) -> None:
    def ids_of(page: str) -> list[str]:
        answer = admin.post("/operations", form_of(page, "/operations"))
        assert "The file is read when you download it" in admin.get(answer.location).text
        file = admin.get(f"{answer.location}/ndjson").text
        return [json.loads(line)["id"] for line in file.splitlines()]

    ticked = {"kind": "export", "id": failed[:3], "status": "failed"}
    page = admin.post("/jobs/bulk", ticked).text
    assert "<h1>Export 3 jobs</h1>" in page
    assert ids_of(page) == failed[:3]
    search = admin.post("/jobs/search", {"q": f"{failed[4]},{failed[5]}"}).location
    operate(huey)
    assert 'value="export"' in admin.get(search).text
    leads = admin.post("/jobs/bulk", {"kind": "export", "search": search.rsplit("/", 1)[1]})
    assert sorted(ids_of(admin.get(leads.location).text)) == sorted(failed[4:6])


def test_what_cannot_be_changed_is_told_beside_what_was_skipped(
    admin: Browser, failed: list[str], huey: JobHuey
) -> None:
    page = admin.post("/jobs/bulk", {"kind": "patch", "id": failed[:1]}).text
    form = form_of(page, "/operations")
    answer = admin.post("/operations", {**form, "name": "how", "value": "5"})
    operate(huey)
    shown = admin.get(answer.location).text
    assert "Started on 1 job<" in shown
    assert "ends is str; int was given" in shown
    assert "skipped or not changed 1</a>" in shown
