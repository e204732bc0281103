"""The audit log: filters, before and after, the file; what is too long and what a spreadsheet would run."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable

import pytest
from browsing import Browser
from driving import run_one
from flask import Flask

from dashboard import actions, audit_log, audit_rows, auth, formats, rights
from dashboard.asking import Ask, Result
from dashboard.models import AuditEntry
from tasks import database as db
from tasks.engine import JobFilter, JobHuey, new_id
from tasks.maintenance import clean_up

ADA = auth.Actor("ada@example.org", "admin")


@pytest.fixture
def acts(app: Flask, huey: JobHuey) -> str:
    """Do a few acts, one of which changes something; return the job they are on."""
    job_id = str(clean_up.schedule(delay=3600).id)
    with app.app_context():
        actions.run(huey, ADA, "set_priority", job_id, priority=7)
        actions.run(huey, ADA, "set_limits", "email", concurrency=2)
        actions.run(huey, ADA, "pause", "email", reason="=cmd|' /C calc'!A0")
        with pytest.raises(actions.Refused):
            actions.run(huey, ADA, "empty", "email", typed="no")
    return job_id


def test_an_act_shows_what_was_before_and_is_after(admin: Browser, acts: str) -> None:
    page = admin.get(f"/audit?target={acts}").text
    assert '<td class="value">0 → <b>7</b></td>' in page
    page = admin.get("/audit?action=set_limits").text
    assert ">5 → <b>2</b></td>" in page
    assert "rate</th>" not in page  # what is as it was is left out
    assert "<summary>changes</summary>" in page


def test_acts_on_an_operation_name_it_as_one(
    app: Flask, admin: Browser, huey: JobHuey, acts: str
) -> None:
    with app.app_context():
        made = actions.run(huey, ADA, "bulk", "run_now", filter=JobFilter(task="none"))
        operation = made.operation.id
        actions.run(huey, ADA, "stop_operation", operation)
    page = " ".join(admin.get("/").text.split())
    assert f'href="/operations/{operation}">operation {operation[-6:]}</a>' in page
    assert f"job {operation[-6:]}" not in page
    assert f'href="/operations/{operation}">a run now of many jobs</a>' in page


def test_acts_on_a_task_lead_to_it_however_long_its_name(
    app: Flask, admin: Browser, huey: JobHuey
) -> None:
    with app.app_context():
        actions.run(huey, ADA, "pause_task", "tasks.maintenance.clean_up")
        actions.run(huey, ADA, "run_periodic", "tasks.maintenance.clean_up")
        queued = actions.run(huey, ADA, "queue_job", "tasks.maintenance.clean_up", job_id=new_id())
    page = " ".join(admin.get("/").text.split())
    for address in ("tasks", "periodic"):
        link = f'href="/{address}/tasks.maintenance.clean_up">maintenance.clean_up</a>'
        assert page.partition("Who did what")[2].count(link) >= 1
    assert "job ean_up" not in page
    assert f'href="/jobs/{queued.target}">job ' in page


def test_an_act_stands_before_what_it_sets_off(
    app: Flask, admin: Browser, huey: JobHuey, acts: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_now = actions.DO["run_now"]

    def by_a_quick_worker(ask: Ask) -> Result:
        result = run_now(ask)
        run_one(huey)
        return result

    monkeypatch.setitem(actions.DO, "run_now", by_a_quick_worker)
    with app.app_context():
        actions.run(huey, ADA, "run_now", acts)
    page = admin.get(f"/jobs/{acts}").text
    assert 0 < page.index("</b> ran now it") < page.index("<b>Attempt 1</b>")


def test_every_act_of_an_operator_has_its_words() -> None:
    assert {action.name for action in rights.ACTIONS} - set(formats.DID) == set()


def test_the_overview_tells_of_acts_and_leads_to_what_they_are_on(
    app: Flask, admin: Browser, acts: str
) -> None:
    with app.app_context():
        audit_rows.audit(ADA, "sign_in", ADA.name, "done")
        audit_rows.audit(ADA, "sign_in", "eve@example.org", "refused")
    page = admin.get("/").text
    assert f'href="/jobs/{acts}">job {acts[-6:]}</a>' in page
    assert "signed in" not in page
    assert "<b>Refused</b>: sign in" in page, "somebody may be guessing"
    assert "sign in" in admin.get("/audit").text


def test_the_audit_is_narrowed_by_outcome_and_time(admin: Browser, acts: str) -> None:
    refused = admin.get("/audit?outcome=failed").text
    assert "type email to empty it" in refused
    assert acts not in refused
    assert acts in admin.get("/audit?since=1h").text
    assert "No act matches" in admin.get("/audit?until=2020-01-01T00:00:00Z").text
    wrong = admin.get("/audit?since=soonish")
    assert wrong.status_code == 422
    assert "since is &#39;soonish&#39;" in wrong.text


def test_the_filtered_audit_is_a_file_and_the_download_an_act(
    enter: Callable[[str], Browser], acts: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_log, "AT_ONCE", 2)  # more than one page
    viewer = enter("viewer")
    answer = viewer.get("/audit.ndjson?who=ada@example.org")
    assert answer.content_type == "application/x-ndjson"
    assert 'filename="audit-' in answer.headers["Content-Disposition"]
    lines = [json.loads(line) for line in answer.text.splitlines()]
    assert [line["action"] for line in lines] == ["empty", "pause", "set_limits", "set_priority"]
    assert (lines[3]["before"], lines[3]["after"]) == ({"priority": 0}, {"priority": 7})
    rows = list(csv.DictReader(io.StringIO(viewer.get("/audit.csv?action=pause").text)))
    assert rows[0]["reason"] == "'=cmd|' /C calc'!A0"
    (newest, *_) = audit_log.page(audit_log.Wanted(action="export_audit"))
    assert (newest.actor, newest.said["filters"]) == ("viewer@example.org", {"action": "pause"})
    assert viewer.get("/audit.csv?outcome=perhaps").status_code == 422


def test_what_an_act_was_told_is_cut_where_it_is_long_and_can_still_be_read(
    admin: Browser, app: Flask
) -> None:
    with app.app_context():
        audit_rows.audit(
            ADA, "tag", "x", "done", "said", {"tags": ["é" * 900] * 50, "queue": "email"}
        )
        audit_rows.audit(
            ADA, "tag", "x", "done", "m" * 5000, {f"n{n}": "v" * 300 for n in range(60)}
        )
    short, long = audit_log.page(audit_log.Wanted(target="x"))[::-1]
    assert (short.said["queue"], short.said["cut"]) == ("email", True)
    assert long.said == {"message": "m" * 2000, "cut": True}
    with db.session() as session:  # as an older version wrote it
        session.add(AuditEntry(actor="ada", action="tag", target="old", detail='{"message": "half'))
    assert "half" in admin.get("/audit?target=old").text
