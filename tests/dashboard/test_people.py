"""One recipient on one page: mails, plans, courses, what keeps mail away, who did what."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from browsing import Browser
from sqlalchemy import insert, update

from dashboard import people
from tasks import database, domain
from tasks.database import utcnow
from tasks.emails import Message, send
from tasks.mailer.models import EmailAttempt, EmailMessage, suppress

ADA = "ada@example.org"


def mail(to: str = ADA, **row: Any) -> int:
    """Queue a mail, then give its row what a delivery would have written."""
    made = send(Message(type="welcome", to=to, data={"name": "Ada", "course": "Logic"}))
    if row:
        with database.session() as db:
            db.execute(update(EmailMessage).where(EmailMessage.id == made.email_id).values(**row))
    return made.email_id


@pytest.fixture
def enrolled(database: str) -> None:
    """Let Ada learn logic, with a reminder to come."""
    from tasks import database as sql

    with sql.session() as db:
        ada = domain.person(db, ADA, "Ada L.", "de", "Europe/Berlin")
        course = domain.Course(slug="logic", title="Logic for all", price_minor=1)
        db.add(course)
        db.flush()
        enrollment = domain.Enrollment(user_id=ada.id, course_id=course.id, state="active")
        db.add(enrollment)
        db.flush()
        due = utcnow() + timedelta(days=3)
        domain.add_reminders(db, "enrollment_reminder", [(f"enrollment:{enrollment.id}", due), ("enrollment:999", due)])  # fmt: skip


def test_a_page_gathers_everything_about_one_address(admin: Browser, enrolled: None) -> None:
    failed = mail(state="failed", smtp_code=550, smtp_text="5.1.1 user unknown", subject="Hello")
    old = mail(state="sent", updated_at=utcnow() - timedelta(days=3), subject="Of old")
    mail("adam@example.org", state="sent", subject="Of another")
    page = admin.get(f"/people/{ADA}").text
    for word in ("Ada L.", "Europe/Berlin", "Logic for all, active", "5.1.1 user unknown", "Of old",
                 "enrollment reminder", f"/emails/{failed}#resend-to", f"/emails/{old}", "1 of 2, 50\u2009%"):  # fmt: skip
        assert word in page, word
    assert "2 mails, 1 planned" in page
    order = [page.index(word) for word in (">Planned<", "user unknown", ">Before<", "Of old")]
    assert order == sorted(order)
    assert "Of another" not in page
    assert "enrollment 999" not in page
    assert "2 of 3, 66.7\u2009%" in page  # of the domain


def test_a_page_tells_how_the_mails_of_its_domain_fared(admin: Browser) -> None:
    now, said = utcnow(), {"code": 451, "enhanced": "4.7.1", "text": "greylisted, come back"}
    went = mail("bob@example.org", state="sent", sent_at=now)
    tries = [{"email_id": went, "number": n + 1, "started_at": now - timedelta(minutes=12 - 4 * n), "server": "mx1", **said}
             for n in range(2)]  # fmt: skip
    tries += [{**tries[0], "email_id": mail(), "code": None, "enhanced": "", "text": ""},
              {**tries[0], "email_id": mail("eve@other.example"), "server": "mx2"},
              {**tries[0], "started_at": now - timedelta(days=8)}]  # fmt: skip
    with database.session() as db:
        db.execute(insert(EmailAttempt), tries)
    text = re.sub(r"<[^>]+>|\s+", " ", admin.get(f"/people/{ADA}").text)
    assert re.search(r"example.org +7 days", text)
    assert re.search(r"Handed to +mx1 +Greylists +1 mail, 12 min at the median", text)
    assert re.search(r"Answers +451 4.7.1 +2×, +no answer +1×", text)
    assert "mx2" not in text


def test_an_address_is_suppressed_and_lifted_here(admin: Browser) -> None:
    mail()
    back = {"address": ADA, "next": f"/people/{ADA}"}
    assert admin.post("/emails/suppressions/suppress", back).location == f"/people/{ADA}"
    page = admin.get(f"/people/{ADA}").text
    assert "Suppressed since" in page
    assert "admin@example.org suppressed it" in page
    admin.post("/emails/suppressions/lift", back)
    assert "Suppressed since" not in admin.get(f"/people/{ADA}").text


def test_older_mails_have_a_page_of_their_own(
    admin: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(people, "AT_ONCE", 2)
    ids = [mail() for _ in range(3)]
    first = admin.get(f"/people/{ADA}").text
    assert f"/emails/{ids[0]}" not in first
    assert f"cursor={ids[1]}" in first
    assert f'"/emails/{ids[0]}"' in admin.get(f"/people/{ADA}?cursor={ids[1]}").text


def test_the_search_box_leads_to_whom_it_knows(admin: Browser, database: str) -> None:
    assert admin.get(f"/jobs?q={ADA}").location == f"/jobs?q=to:{ADA}"
    mail()
    assert admin.get(f"/jobs?q={ADA}").location == f"/people/{ADA}"
    assert f'href="/people/{ADA}"' in admin.get(f"/emails?to={ADA}").text


def test_who_is_only_suppressed_is_known_too(admin: Browser) -> None:
    from tasks import database as sql

    with sql.session() as db:
        suppress(db, ADA, "manual", "asked")
    assert admin.get(f"/jobs?q={ADA}").location == f"/people/{ADA}"


def test_nobody_is_said_to_be_nobody(admin: Browser) -> None:
    assert "Nothing is known of this address" in admin.get("/people/nobody@example.org").text
    for wrong in ("nobody", f"{'x' * 320}@example.org"):
        assert admin.get(f"/people/{wrong}").status_code == 404


def test_with_redis_away_the_page_shows_what_sql_knows(
    admin: Browser, app: Any, redis_server: Any
) -> None:
    mail(subject="Hello")
    admin.get("/")
    redis_server.stop()
    app.extensions["watch"]._made = 0.0
    answer = admin.get(f"/people/{ADA}")
    assert answer.status_code == 200
    assert "Hello" in answer.text
    assert "Redis does not answer" in answer.text


def test_a_viewer_reads_it_and_acts_on_nothing(enter: Callable[[str], Browser]) -> None:
    mail(state="failed")
    page = enter("viewer").get(f"/people/{ADA}").text
    assert "#resend-to" not in page
    assert "needs the role operator" in page


def test_an_address_with_a_slash_has_a_page_too(admin: Browser) -> None:
    mail("sales/eu@example.org")
    link = 'href="/people/sales/eu@example.org"'
    assert link in admin.get("/emails").text
    assert "sales/eu@example.org" in admin.get("/people/sales/eu@example.org").text
    assert admin.get("/people/sales/eu@example.org").status_code == 200


@pytest.mark.parametrize("asked", [ADA, "ADA@example.org"])
def test_an_address_given_in_another_case_is_the_same_person(admin: Browser, asked: str) -> None:
    sent = mail("Ada@example.org", state="sent")
    older = mail(state="sent", recipient="")  # as a version queues it that knows no recipient
    page = admin.get(f"/people/{asked}").text
    assert "2 mails" in page
    assert f"/emails/{sent}" in page
    assert f"/emails/{older}" in page
