"""One job's page and its forms: errors by attempt, typed edits, new jobs, secrets, comparing."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from browsing import Browser
from driving import run_one
from sqlalchemy import select

from dashboard.models import AuditEntry
from tasks import database as db
from tasks.emails import Message, send
from tasks.engine import JobHuey, Permanent, State, UnknownJob, current_job
from tasks.mailer import models

_tasks: dict[str, Any] = {}
SECRET = "correct horse"


@pytest.fixture
def tasks(huey: JobHuey) -> dict[str, Any]:
    """Return tasks with arguments of each type, and one with a secret."""
    if not _tasks:

        @huey.task(name="demo.typed", queue="maintenance")
        def typed(course: str, seats: int = 1, ratio: float | None = None, loud: bool = False,
                  data: dict[str, Any] | None = None) -> str:  # fmt: skip
            current_job().log(f"{course} has {seats} seats")
            if course == "none":
                raise Permanent("there is no such course")
            return f"{course} {seats} {ratio} {loud} {data}"

        @huey.task(name="demo.opens", queue="maintenance", secret=("password",), retries=1)
        def opens(who: str, password: str) -> str:
            raise ValueError(f"the door stays shut for {who}")

        @huey.task(name="demo.parent", queue="maintenance")
        def parent(many: int) -> None:
            for n in range(many):
                typed(f"child {n}")

        _tasks.update(typed=typed, opens=opens, parent=parent)
    return _tasks


@pytest.fixture
def failed(huey: JobHuey, tasks: dict[str, Any]) -> str:
    job_id = str(tasks["typed"]("none", seats=2).id)
    run_one(huey)
    return job_id


def audit() -> list[tuple[str, str, str]]:
    with db.reading() as session:
        rows = session.scalars(select(AuditEntry).where(AuditEntry.action != "sign_in"))
        return [(row.action, row.target, row.outcome) for row in rows]


def form(page: str) -> dict[str, str]:
    """Return the values of a page's argument fields."""
    inputs = re.findall(r'name="(arg\.[^"]+)" value="([^"]*)"', page)
    hidden = re.findall(r'type="hidden" name="(task|from|job_id)" value="([^"]*)"', page)
    return dict(inputs + hidden)


def test_a_failed_job_shows_log_arguments_runs_and_where_it_broke(
    admin: Browser, failed: str
) -> None:
    page = admin.get(f"/jobs/{failed}").text
    assert "none has 2 seats" in page
    assert "Last 1 run of typed" in page
    assert "test_job_page.py" in page
    assert "there is no such course" in page
    assert "own frames" in page
    assert len(re.findall("trace-frame", admin.get(f"/jobs/{failed}?frames=all").text)) > len(
        re.findall("trace-frame", page)
    )
    raw = admin.get(f"/jobs/{failed}?args=raw").text
    assert "&#34;seats&#34;: 2" in raw


def test_errors_of_earlier_attempts_are_reached_by_an_arrow(
    admin: Browser, huey: JobHuey, tasks: dict[str, Any]
) -> None:
    job_id = str(tasks["opens"]("ada", SECRET).id)
    run_one(huey)
    huey.commands.retry([job_id])
    run_one(huey)
    page = admin.get(f"/jobs/{job_id}").text
    before = re.search(r'title="Attempt before" href="([^"]+)"', page)
    assert before
    assert "2 of 2" in page
    assert "1 of 2" in admin.get(before[1].replace("&amp;", "&")).text


def test_an_edit_shows_its_difference_before_it_runs(
    admin: Browser, failed: str, huey: JobHuey
) -> None:
    shown = form(admin.get(f"/jobs/{failed}/edit").text)
    assert (shown["arg.course"], shown["arg.seats"]) == ("none", "2")
    sent = {**shown, "arg.course": "logic", "arg.data": '{"room": 4}'}
    looked = admin.post(f"/jobs/{failed}/edit", {**sent, "step": "look"})
    assert "Retry with 2 changes" in looked.text
    assert huey.reads.job(failed).state is State.FAILED
    assert admin.post(f"/jobs/{failed}/edit", {**sent, "step": "run"}).status_code == 303
    run_one(huey)
    job = huey.reads.job(failed)
    assert job.result == "logic 2 None False {'room': 4}"
    assert ("edit_retry", failed, "done") in audit()


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [("seats", "many", "a whole number"), ("ratio", "x", "a number"), ("data", "{", "JSON")],
)
def test_an_edit_that_does_not_fit_the_task_says_what_is_accepted(
    admin: Browser, failed: str, huey: JobHuey, name: str, text: str, said: str
) -> None:
    sent = {**form(admin.get(f"/jobs/{failed}/edit").text), f"arg.{name}": text, "step": "run"}
    answer = admin.post(f"/jobs/{failed}/edit", sent)
    assert answer.status_code == 422
    assert f"{name} takes {said}" in answer.text
    assert huey.reads.job(failed).state is State.FAILED


def test_an_operator_may_not_edit(enter: Callable[[str], Browser], failed: str) -> None:
    operator = enter("operator")
    sent = {**form(operator.get(f"/jobs/{failed}/edit").text), "arg.course": "x", "step": "run"}
    assert operator.post(f"/jobs/{failed}/edit", sent).status_code == 403
    assert ("edit_retry", failed, "refused") in audit()


def test_a_new_job_is_queued_once_however_often_the_form_is_sent(
    enter: Callable[[str], Browser], huey: JobHuey, tasks: dict[str, Any]
) -> None:
    operator = enter("operator")
    (name,) = [task for task in huey.reads.tasks() if task.endswith("demo.typed")]
    assert name in operator.get("/jobs/new").text
    sent = {**form(operator.get(f"/jobs/new?task={name}").text), "arg.course": "logic"}
    for _ in range(2):
        answer = operator.post("/jobs/new", sent)
        assert (answer.status_code, answer.location) == (303, f"/jobs/{sent['job_id']}")
    assert huey.reads.snapshot().totals[State.WAITING] == 1
    run_one(huey)
    assert huey.reads.job(sent["job_id"]).result == "logic 1 None False None"


def test_a_new_job_may_be_due_later(admin: Browser, huey: JobHuey, tasks: dict[str, Any]) -> None:
    name = next(task for task in huey.reads.tasks() if task.endswith("demo.typed"))
    sent = {**form(admin.get(f"/jobs/new?task={name}").text), "arg.course": "x", "delay": "2h"}
    admin.post("/jobs/new", sent)
    assert huey.reads.job(sent["job_id"]).state is State.SCHEDULED
    wrong = {**form(admin.get(f"/jobs/new?task={name}").text), "arg.course": "x", "delay": "soon"}
    assert admin.post("/jobs/new", wrong).status_code == 422


def test_a_task_with_secrets_is_queued_by_an_admin_only_and_a_copy_keeps_the_secret(
    enter: Callable[[str], Browser], huey: JobHuey, tasks: dict[str, Any]
) -> None:
    source = str(tasks["opens"]("ada", SECRET).id)
    operator, admin = enter("operator"), enter("admin")
    page = operator.get(f"/jobs/new?from={source}").text
    assert "needs the role admin" in page
    assert operator.post("/jobs/new", form(page)).status_code == 403
    sent = form(admin.get(f"/jobs/new?from={source}").text)
    assert sent["arg.password"] == "••••"
    assert admin.post("/jobs/new", {**sent, "arg.who": "bob"}).status_code == 303
    assert huey.reads.revealed(sent["job_id"])[1] == {"who": "bob", "password": SECRET}


def test_secrets_are_revealed_to_an_admin_alone_and_the_audit_says_so(
    enter: Callable[[str], Browser], huey: JobHuey, tasks: dict[str, Any]
) -> None:
    job_id = str(tasks["opens"]("ada", SECRET).id)
    operator, admin = enter("operator"), enter("admin")
    assert SECRET not in admin.get(f"/jobs/{job_id}").text
    assert operator.post(f"/jobs/{job_id}/reveal").status_code == 403
    shown = admin.post(f"/jobs/{job_id}/reveal")
    assert SECRET in shown.text
    assert shown.headers["Cache-Control"] == "no-store"
    assert audit() == [("reveal", job_id, "refused"), ("reveal", job_id, "done")]


def test_two_jobs_stand_side_by_side_and_what_differs_is_marked(
    admin: Browser, failed: str, huey: JobHuey, tasks: dict[str, Any]
) -> None:
    good = str(tasks["typed"]("logic", seats=2).id)
    run_one(huey)
    assert f"/jobs/compare?a={failed}&amp;b={good}" in admin.get(f"/jobs/{failed}").text
    page = admin.get(f"/jobs/compare?a={failed}&b={good}").text
    rows = dict(re.findall(r'<tr( data-differs)?>\s*<th scope="row"[^>]*>(\w+)<', page))
    assert rows
    differing = re.findall(r'<tr data-differs>\s*<th scope="row"[^>]*>([^<]+)<', page)
    assert {"state", "course", "error", "result"} <= set(differing)
    assert "seats" not in differing
    assert "Two ids make a comparison" in admin.get("/jobs/compare").text


@pytest.mark.parametrize(
    "address", ["/jobs/new?task=no.such", "/jobs/new?from=01J0000000000000000000000A"]
)
def test_a_form_of_nothing_is_404(admin: Browser, address: str) -> None:
    assert admin.get(address).status_code == 404


@pytest.mark.parametrize(
    ("kind", "data", "leads"),
    [
        ("welcome", {"name": "Ada", "course": "Logic"}, "#resend-to"),
        ("verification_code", {"name": "Ada", "code": "918273"}, "/emails/suppressions"),
    ],
)
def test_a_refused_mail_leads_on_to_where_something_can_be_done(
    admin: Browser, huey: JobHuey, kind: str, data: dict[str, Any], leads: str
) -> None:
    with db.session() as session:
        models.suppress(session, "ada@example.org", "hard", "550 5.1.1 no such user")
    queued = send(Message(type=kind, to="ada@example.org", data=data))
    run_one(huey)
    page = admin.get(f"/jobs/{queued.job_id}").text
    primary = re.findall(r'<a class="button primary"[^>]* href="([^"]+)"', page)
    assert [address for address in primary if address.endswith(leads)] == primary
    assert primary
    assert ("Lift the suppression" in page) == (leads == "#resend-to")
    lifted = {"address": "ada@example.org", "next": f"/jobs/{queued.job_id}"}
    assert admin.post("/emails/suppressions/lift", lifted).location == f"/jobs/{queued.job_id}"
    assert "Lift the suppression" not in admin.get(f"/jobs/{queued.job_id}").text
    assert (leads == "#resend-to") == ('id="resend-to"' in admin.get(f"/emails/{queued.email_id}").text)  # fmt: skip


def test_a_run_that_asked_no_server_is_not_shown_with_the_talk_of_the_run_before(
    admin: Browser, huey: JobHuey
) -> None:
    queued = send(
        Message(type="welcome", to="ada@example.org", data={"name": "Ada", "course": "Logic"})
    )
    job_id = queued.job_id
    with db.session() as session:
        models.suppress(session, "ada@example.org", "hard", "550 5.1.1 no such user")
    run_one(huey)
    with db.session() as session:
        first = huey.reads.job(job_id).attempts[0]
        session.add(models.EmailAttempt(email_id=queued.email_id, number=1, phase="rcpt", server="relay",
                                        outcome="bounced", started_at=first.started_at))  # fmt: skip
    assert "<h2>SMTP, attempt 1</h2>" in admin.get(f"/jobs/{job_id}").text
    admin.post(f"/jobs/{job_id}/retry")
    run_one(huey)
    page = admin.get(f"/jobs/{job_id}").text
    assert [a.run for a in huey.reads.job(job_id).attempts] == [1, 2]
    assert "<h2>SMTP, attempt 1 of run 1</h2>" in page
    assert "attempt 1 of run 2 asked no server" in page
    lines = page.split('class="events"')[1].split("</ol>")[0]
    shown = re.findall(r'<li><time datetime="([^"]+)"', lines)
    assert len(shown) == 5, "queued, two attempts, an act, the suppression"
    assert shown == sorted(shown)
    assert lines.index("suppression list") < lines.index("retried")


def test_deleting_a_job_asks_once_more(admin: Browser, huey: JobHuey, failed: str) -> None:
    assert f'href="/jobs/{failed}/delete"' in admin.get(f"/jobs/{failed}").text
    page = admin.get(f"/jobs/{failed}/delete").text
    assert "This cannot be undone" in page
    assert huey.reads.job(failed)
    admin.post(f"/jobs/{failed}/delete", {"reason": "done with"})
    with pytest.raises(UnknownJob):
        huey.reads.job(failed)


def test_a_live_job_is_not_deleted_and_says_why(
    admin: Browser, huey: JobHuey, tasks: dict[str, Any]
) -> None:
    waiting = str(tasks["typed"]("one").id)
    page = admin.get(f"/jobs/{waiting}/delete").text
    assert "Nothing to delete: the job is waiting" in page
    assert "<form" not in page.partition("<main")[2].partition("</main>")[0]


def test_a_job_lists_what_it_queued_and_what_follows_it(
    admin: Browser, huey: JobHuey, tasks: dict[str, Any]
) -> None:
    chain = tasks["parent"].s(2).then(tasks["typed"], "after")
    parent, after = (result.id for result in huey.enqueue(chain)._results)
    stranger = tasks["typed"]("stranger").id
    assert "Jobs it queued" not in admin.get(f"/jobs/{parent}").text
    run_one(huey)
    page = admin.get(f"/jobs/{parent}").text
    listed = re.search(r'id="children".*?</section>', page, re.DOTALL)
    assert listed
    assert "child 0" in listed[0]
    assert "child 1" in listed[0]
    assert re.search(rf'/jobs/{after}"[^/]*typed.*?<span class="tag">then', listed[0], re.DOTALL)
    assert stranger not in listed[0]
    children = re.findall(r'<tr data-href="/jobs/([^"]+)"', listed[0])
    assert len(children) == 3
    found = admin.get(f"/jobs?q=by:{parent}").text
    assert all(child in found for child in children)
    assert stranger not in found
    assert f'href="/jobs/{parent}"' in admin.get(f"/jobs/{children[-1]}").text
    assert "Show all" not in page


def test_a_job_that_queued_many_says_how_many_and_leads_to_all(
    admin: Browser, huey: JobHuey, tasks: dict[str, Any]
) -> None:
    parent = str(tasks["parent"](24).id)
    run_one(huey)
    page = admin.get(f"/jobs/{parent}").text
    assert '<span class="sub">20 of 24</span>' in page
    assert f'<a href="/jobs?q=by:{parent}">Show all 24</a>' in page
    assert "<b>24</b> match" in admin.get(f"/jobs?q=by:{parent}").text


def test_a_copy_and_its_source_name_each_other(admin: Browser, failed: str, huey: JobHuey) -> None:
    sent = form(admin.get(f"/jobs/new?from={failed}").text)
    copy = sent["job_id"]
    assert admin.post("/jobs/new", sent).location == f"/jobs/{copy}"
    assert re.search(rf'<dt>Copies</dt><dd><a[^>]* href="/jobs/{copy}"', admin.get(f"/jobs/{failed}").text)  # fmt: skip
    page = admin.get(f"/jobs/{copy}").text
    assert re.search(rf'<dt>Copy of</dt><dd><a[^>]* href="/jobs/{failed}"', page)
    assert "admin@example.org</b> queued it" in page
    assert audit() == [("duplicate", failed, "done"), ("queue_job", copy, "done")]
