"""Reminders: exactly one each, none where it is not needed, none lost after days off."""

from __future__ import annotations

import math
import threading
from datetime import timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import delete, update
from waiting import wait_until

from tasks import database as db
from tasks import domain, reminders, settings
from tasks.database import utcnow
from tasks.domain import Course, Enrollment, Payment, Reminder, User
from tasks.engine import JobFilter, State


def later(**span: float) -> Any:
    return utcnow() + timedelta(**span)


def opened(platform: Any, count: int = 1) -> list[int]:
    numbers = [platform.enrollment(email=f"p{n}@example.org") for n in range(count)]
    for number in numbers:
        platform.enrollments.complete_enrollment(number)
    return numbers


def test_nothing_is_sent_before_its_time(platform: Any) -> None:
    opened(platform)
    platform.payment(email="bob@example.org")
    assert reminders.queue_due(later(hours=23, minutes=59)) == (0, 0)


def test_an_enrollment_and_a_payment_get_one_reminder_each(platform: Any) -> None:
    opened(platform)
    platform.payment(email="bob@example.org")
    assert reminders.queue_due(later(hours=24, minutes=1)) == (1, 0)
    assert reminders.queue_due(later(days=7, minutes=1)) == (1, 0)
    assert reminders.queue_due(later(days=8)) == (0, 0)
    mails = platform.mails("payment_reminder") + platform.mails("enrollment_reminder")
    assert [mail.to_addr for mail in mails] == ["bob@example.org", "p0@example.org"]
    assert [row.job_id for row in platform.reminders("queued")] == [
        m.job_id for m in reversed(mails)
    ]
    assert {mail.job_id for mail in mails} <= {job.id for job in platform.jobs()}


def test_two_scans_at_once_send_each_reminder_once(platform: Any) -> None:
    opened(platform, 30)
    now, barrier, answers = later(days=7, minutes=1), threading.Barrier(4), []

    def scan() -> None:
        barrier.wait()
        answers.append(reminders.queue_due(now)[0])

    threads = [threading.Thread(target=scan) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(answers) == 30
    assert len(platform.mails("enrollment_reminder")) == 30
    assert len([job for job in platform.jobs() if job.args[1] == "enrollment_reminder"]) == 30


def test_paid_or_finished_meanwhile_there_is_none(platform: Any) -> None:
    [enrollment] = opened(platform)
    number = platform.payment(email="bob@example.org")
    platform.payments.verify_payment(number)
    platform.enrollments.mark_course_completed(enrollment)
    reminders.queue_due(later(days=6))
    assert platform.mails("payment_reminder") == []
    reminders.queue_due(later(days=7, minutes=1))
    assert [mail.ref for mail in platform.mails("enrollment_reminder")] == ["enrollment:2"]


def test_a_change_past_the_services_is_seen_by_the_scan_and_again_by_the_mail(
    platform: Any,
) -> None:
    number = platform.payment()
    platform.change(Payment, number, state="succeeded")
    assert reminders.queue_due(later(hours=25)) == (0, 1)
    assert [row.reason for row in platform.reminders()] == ["not_needed"]
    with db.reading() as session:
        assert domain.not_wanted(session, "payment_reminder", f"payment:{number}") == "not_needed"


def test_days_off_lose_no_reminder_and_too_late_ones_are_counted(platform: Any) -> None:
    opened(platform)
    platform.payment(email="bob@example.org")
    assert reminders.queue_due(later(days=1 + 3)) == (1, 0)  # three days off
    opened_late = later(days=7 + 8)
    assert reminders.queue_due(opened_late) == (0, 1)
    assert reminders.counts() == {"queued": 1, "skipped": 1, "too_late": 1}


def test_the_scan_makes_the_rows_of_what_came_past_the_services(platform: Any) -> None:
    opened(platform, 3)
    platform.payment(email="bob@example.org")
    planned = {(row.kind, row.ref, row.due_at) for row in platform.reminders()}
    with db.session() as session:
        session.execute(delete(Reminder))
    assert reminders.heal() == 4
    assert reminders.heal() == 0
    assert {(row.kind, row.ref, row.due_at) for row in platform.reminders()} == planned


def test_the_scan_makes_no_row_for_what_is_too_late_anyway(platform: Any) -> None:
    [number] = opened(platform)
    with db.session() as session:
        session.execute(delete(Reminder))
        session.execute(
            update(Enrollment).where(Enrollment.id == number).values(activated_at=later(days=-15))
        )
    assert reminders.heal() == 0


def test_at_most_five_hundred_go_in_one_scan(
    platform: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reminders, "AT_ONCE", 7)
    monkeypatch.setattr(reminders, "CHUNK", 3)
    opened(platform, 10)
    assert reminders.queue_due(later(days=7, minutes=1)) == (7, 0)
    assert reminders.queue_due(later(days=7, minutes=1)) == (3, 0)


def test_one_that_cannot_be_made_says_why_and_stops_no_other(platform: Any) -> None:
    first, second = opened(platform, 2)
    user_id = platform.get(Enrollment, first).user_id
    platform.change(User, user_id, email="no address")
    assert reminders.queue_due(later(days=7, minutes=1)) == (1, 1)
    states = {row.ref: (row.state, row.reason[:8]) for row in platform.reminders()}
    assert states[f"enrollment:{first}"] == ("skipped", "invalid:")
    assert states[f"enrollment:{second}"][0] == "queued"


def test_quiet_hours_hold_only_for_people_whose_zone_is_known(
    platform: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    hour = utcnow().astimezone(ZoneInfo("Europe/Berlin")).hour
    asleep = f"{(hour - 2) % 24}-{(hour + 20) % 24}"  # for 22 hours, of which this is the third
    monkeypatch.setenv("QUIET_HOURS", asleep)
    settings.reset()
    opened(platform, 2)
    platform.change(User, 1, timezone="Europe/Berlin")
    reminders.queue_due(later(days=7, minutes=1))
    due = {mail.to_addr: mail.due_at for mail in platform.mails("enrollment_reminder")}
    assert due["p1@example.org"] is None
    assert due["p0@example.org"] > utcnow()


def test_a_reminder_planned_less_than_a_minute_ahead_is_scanned_for_at_its_time(
    platform: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ENROLLMENT_REMINDER_AFTER", "20s")
    settings.reset()
    opened(platform, 3)
    scans = platform.jobs("scan_soon")
    seconds = {math.ceil(row.due_at.timestamp()) for row in platform.reminders()}
    assert len(scans) == len(seconds)  # one for each second, not for each reminder
    last = max(row.due_at for row in platform.reminders())
    found = platform.huey.reads.jobs(JobFilter(queue="maintenance")).items
    assert all(job.state == State.SCHEDULED for job in found)
    assert last <= max(job.scheduled_for for job in found) <= last + timedelta(seconds=1)


def test_with_one_second_a_worker_sends_the_reminder_by_itself(
    platform: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ENROLLMENT_REMINDER_AFTER", "1s")
    settings.reset()
    opened(platform)
    platform.jobs()

    def work() -> bool:
        task = platform.huey.dequeue()
        if task is not None and task.name == "scan_soon":
            platform.huey.execute(task)
        return bool(platform.mails("enrollment_reminder"))

    wait_until(work)
    assert reminders.counts()["queued"] == 1


def test_the_scan_is_a_periodic_task_of_the_maintenance_queue_that_says_what_it_did(
    platform: Any,
) -> None:
    opened(platform)
    [found] = [row for row in platform.huey.reads.periodic() if row.task.endswith("reminders.scan")]
    assert found.expression == "* * * * *"
    assert reminders.scan.call_local() == "0 queued, 0 skipped, 0 rows made"
    assert platform.all(Course)
