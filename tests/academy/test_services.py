"""The services: one transaction for the change and its mails, one winner among many callers."""

from __future__ import annotations

import re
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, text
from waiting import wait_until

from academy import services
from academy.errors import Conflict, NotFound, ProviderAway, WrongProof
from academy.providers import NoProvider
from tasks import database as db
from tasks import domain, outbox, settings
from tasks.database import utcnow
from tasks.domain import Enrollment, Payment, Proof, User
from tasks.engine import MASK
from tasks.mailer.models import EmailMessage


def code_in(platform: Any) -> str:
    return domain.code_of(platform.all(Proof)[-1])


def test_a_registration_mails_a_code_that_makes_the_person_active(platform: Any) -> None:
    platform.users.start_registration("Ada@Example.org", "Ada")
    [mail] = platform.mails()
    assert (mail.type, mail.to_addr, mail.key) == (
        "verification_code",
        "ada@example.org",
        "verify:1",
    )
    assert len(platform.jobs()) == 1
    user_id = platform.users.confirm_registration("ADA@example.org", code_in(platform))
    assert platform.get(User, user_id).state == "active"


def test_a_code_works_once_and_a_newer_one_voids_it(platform: Any) -> None:
    platform.users.start_registration("ada@example.org", "Ada")
    first = code_in(platform)
    platform.users.start_registration("ada@example.org", "Ada")
    second = code_in(platform)
    if first != second:
        with pytest.raises(WrongProof):
            platform.users.confirm_registration("ada@example.org", first)
    platform.users.confirm_registration("ada@example.org", second)
    with pytest.raises(WrongProof):
        platform.users.confirm_registration("ada@example.org", second)


def test_a_code_takes_five_wrong_tries_and_no_more(platform: Any) -> None:
    platform.users.start_registration("ada@example.org", "Ada")
    right = code_in(platform)
    wrong = "000000" if right != "000000" else "000001"
    for _ in range(5):
        with pytest.raises(WrongProof):
            platform.users.confirm_registration("ada@example.org", wrong)
    with pytest.raises(WrongProof):
        platform.users.confirm_registration("ada@example.org", right)


def test_an_expired_code_is_not_taken(platform: Any) -> None:
    platform.users.start_registration("ada@example.org", "Ada")
    platform.change(Proof, 1, expires_at=utcnow() - timedelta(seconds=1))
    with pytest.raises(WrongProof):
        platform.users.confirm_registration("ada@example.org", code_in(platform))


def test_a_known_active_address_keeps_its_name_and_gets_a_code_like_any_other(
    platform: Any,
) -> None:
    user_id = platform.person()
    platform.users.start_registration("ada@example.org", "Somebody else")
    assert platform.get(User, user_id).name == "Ada"
    assert [mail.type for mail in platform.mails()] == ["verification_code"]


def test_the_sixth_code_within_an_hour_is_not_sent(platform: Any) -> None:
    for _ in range(7):
        platform.users.start_registration("ada@example.org", "Ada")
    assert len(platform.mails()) == services.CODES_AN_HOUR


def test_codes_and_links_are_readable_neither_in_redis_nor_in_the_database(
    platform: Any, tmp_path: Path, redis_url: str
) -> None:
    platform.users.start_registration("ada@example.org", "Ada")
    platform.auth.request_password_reset("ada@example.org")
    code_proof, reset_proof = platform.all(Proof)
    code, token = domain.code_of(code_proof), domain.token_of(reset_proof)
    jobs = platform.jobs()
    assert len(jobs) == 2
    assert all(MASK in str(job.args) for job in jobs)
    kept = b"".join(
        platform.huey.storage.call("GET", key) or b""
        for key in platform.huey.storage.client.scan_iter("*")
        if platform.huey.storage.call("TYPE", key) in (b"string", "string")
    )
    kept += b"".join(path.read_bytes() for path in tmp_path.glob("app.db*"))
    assert b"ada@example.org" in kept
    assert not re.search(rb"(?<![0-9])" + code.encode() + rb"(?![0-9])", kept)
    assert token.encode() not in kept


def test_a_reset_link_sets_a_password_once(platform: Any) -> None:
    user_id = platform.person()
    platform.auth.request_password_reset("ADA@example.org")
    token = domain.token_of(platform.all(Proof)[0])
    assert platform.auth.confirm_password_reset(token, "a new password") == user_id
    assert services.hasher.verify(platform.get(User, user_id).password_hash, "a new password")
    with pytest.raises(WrongProof):
        platform.auth.confirm_password_reset(token, "another password")
    with pytest.raises(WrongProof):
        platform.auth.confirm_password_reset("x" + token, "another password")


def test_a_link_signed_by_an_older_key_still_works(
    platform: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    user_id = platform.person()
    old = "an older key of at least thirty-two letters"
    monkeypatch.setenv("SECRET_KEY", old)
    settings.reset()
    platform.auth.request_password_reset("ada@example.org")
    token = domain.token_of(platform.all(Proof)[0])
    monkeypatch.setenv("SECRET_KEY", "a newer key of at least thirty-two letters")
    monkeypatch.setenv("SECRET_KEY_FALLBACKS", old)
    settings.reset()
    assert platform.auth.confirm_password_reset(token, "a new password") == user_id


def test_an_unknown_address_gets_no_reset_mail(platform: Any) -> None:
    platform.auth.request_password_reset("nobody@example.org")
    assert platform.mails() == []


def test_a_reset_does_the_same_work_for_an_unknown_address(platform: Any) -> None:
    platform.person()
    written: list[str] = []

    def note(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        if threading.current_thread() is threading.main_thread() and statement[:6] in (
            "INSERT",
            "UPDATE",
        ):
            written.append(statement)

    platform.auth.request_password_reset("ada@example.org")
    event.listen(db.engine(), "before_cursor_execute", note)
    platform.auth.request_password_reset("ada@example.org")
    known, written[:] = len(written), []
    platform.auth.request_password_reset("nobody@example.org")
    assert len(written) == known + 1  # an INSERT for the SELECT that counts earlier requests
    assert {mail.to_addr for mail in platform.mails()} == {"ada@example.org"}
    assert [user.email for user in platform.all(User)] == ["ada@example.org"]


def test_the_fourth_link_within_an_hour_is_not_sent(platform: Any) -> None:
    platform.person()
    for _ in range(5):
        platform.auth.request_password_reset("ada@example.org")
    assert len(platform.mails("password_reset")) == services.LINKS_AN_HOUR


def test_a_completed_enrollment_is_welcomed_once_and_reminded_in_seven_days(platform: Any) -> None:
    number = platform.enrollment()
    assert platform.enrollments.complete_enrollment(number)
    assert not platform.enrollments.complete_enrollment(number)
    assert [mail.type for mail in platform.mails()] == ["welcome"]
    enrollment = platform.get(Enrollment, number)
    [reminder] = platform.reminders()
    assert (reminder.kind, reminder.ref) == ("enrollment_reminder", f"enrollment:{number}")
    assert reminder.due_at - enrollment.activated_at == timedelta(days=7)


def test_a_finished_course_is_congratulated_and_reminded_no_more(platform: Any) -> None:
    number = platform.enrollment()
    with pytest.raises(Conflict, match="is pending_payment"):
        platform.enrollments.mark_course_completed(number)
    platform.enrollments.complete_enrollment(number)
    assert platform.enrollments.mark_course_completed(number)
    assert not platform.enrollments.mark_course_completed(number)
    assert [mail.type for mail in platform.mails()] == ["welcome", "course_completion"]
    assert [row.state for row in platform.reminders()] == ["cancelled"]


def test_a_payment_is_reminded_in_a_day_and_there_is_one_open_at_a_time(platform: Any) -> None:
    number = platform.payment()
    payment = platform.get(Payment, number)
    [reminder] = platform.reminders()
    assert (reminder.kind, reminder.ref) == ("payment_reminder", f"payment:{number}")
    assert reminder.due_at - payment.pending_since == timedelta(hours=24)
    with pytest.raises(Conflict, match=f"has an open payment: {number}"):
        platform.payments.create_payment(payment.enrollment_id, 4900, "EUR")


def test_a_verified_payment_sends_a_receipt_and_opens_the_course(platform: Any) -> None:
    number = platform.payment()
    found = platform.payments.verify_payment(number, "any")
    assert found.state == "succeeded"
    assert found.receipt_no == f"{utcnow().year}-000001"
    assert {mail.type for mail in platform.mails()} == {"payment_receipt", "welcome"}
    assert platform.get(Enrollment, 1).state == "active"
    assert {row.ref: row.state for row in platform.reminders()} == {
        f"payment:{number}": "cancelled", "enrollment:1": "due",
    }  # fmt: skip
    assert platform.payments.verify_payment(number) == found  # asked again: the same answer


def test_of_eight_verifications_at_once_one_wins(platform: Any) -> None:
    number = platform.payment()
    answers: list[Any] = []
    barrier = threading.Barrier(8)

    def verify() -> None:
        barrier.wait()
        answers.append(platform.payments.verify_payment(number))

    threads = [threading.Thread(target=verify) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {(a.state, a.receipt_no) for a in answers} == {("succeeded", f"{utcnow().year}-000001")}
    assert sorted(mail.type for mail in platform.mails()) == ["payment_receipt", "welcome"]
    assert len(platform.jobs()) == 2


def test_receipt_numbers_have_no_gaps_although_some_payments_roll_back(
    platform: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = [platform.payment(email=f"p{n}@example.org") for n in range(3)]
    real = services.activate
    monkeypatch.setattr(services, "activate", lambda *a: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        platform.payments.verify_payment(numbers[0])
    monkeypatch.setattr(services, "activate", real)
    assert platform.get(Payment, numbers[0]).state == "pending"
    receipts = [platform.payments.verify_payment(number).receipt_no for number in reversed(numbers)]
    assert receipts == [f"{utcnow().year}-00000{n}" for n in (1, 2, 3)]


def test_a_declined_payment_fails_without_a_receipt_and_is_reminded_no_more(platform: Any) -> None:
    number = platform.payment()
    assert platform.payments.verify_payment(number, "declined").state == "failed"
    assert platform.get(Payment, number).failure_code == "insufficient_funds"
    assert platform.mails() == []
    assert [row.state for row in platform.reminders()] == ["cancelled"]
    platform.payments.create_payment(1, 4900, "EUR")  # one may try again


def test_a_payment_in_process_stays_open(platform: Any) -> None:
    number = platform.payment()
    assert platform.payments.verify_payment(number, "processing").state == "processing"
    assert [row.state for row in platform.reminders()] == ["due"]
    assert platform.payments.verify_payment(number).state == "succeeded"


def test_another_amount_than_is_due_opens_nothing(platform: Any) -> None:
    number = platform.payment()
    with pytest.raises(Conflict, match="took 4899 EUR"):
        platform.payments.verify_payment(number, "short")
    assert platform.get(Payment, number).state == "pending"


def test_without_a_provider_a_payment_is_not_believed(platform: Any) -> None:
    number = platform.payment()
    platform.payments.provider = NoProvider()
    with pytest.raises(ProviderAway):
        platform.payments.verify_payment(number)
    assert platform.get(Payment, number).state == "pending"


def test_what_does_not_exist_is_named(platform: Any) -> None:
    platform.course()
    user_id = platform.person()
    with pytest.raises(NotFound, match="no course 99"):
        platform.enrollments.enroll(user_id, 99)
    with pytest.raises(NotFound, match="no enrollment 7"):
        platform.enrollments.complete_enrollment(7)
    with pytest.raises(NotFound, match="no payment 7"):
        platform.payments.verify_payment(7)
    platform.enrollments.enroll(user_id, 1)
    with pytest.raises(Conflict, match="in this course already: enrollment 1"):
        platform.enrollments.enroll(user_id, 1)


def test_a_rolled_back_change_mails_nothing(platform: Any) -> None:
    number = platform.enrollment()
    with pytest.raises(RuntimeError), db.session() as session:
        assert services.activate(session, number)
        assert session.scalar(text("SELECT count(*) FROM outbox")) == 1
        raise RuntimeError
    assert platform.mails() == []
    assert platform.reminders() == []
    assert platform.jobs() == []
    assert platform.get(Enrollment, number).state == "pending_payment"


def test_with_redis_away_every_service_succeeds_and_each_mail_goes_once_when_it_is_back(
    platform: Any, redis_server: Any
) -> None:
    redis_server.stop()
    platform.users.start_registration("grace@example.org", "Grace")
    platform.auth.request_password_reset("grace@example.org")
    number = platform.payment()
    platform.payments.verify_payment(number)
    platform.enrollments.mark_course_completed(1)
    assert outbox.waiting()[0] == 5
    redis_server.start()
    wait_until(lambda: outbox.waiting()[0] == 0)
    outbox.push()
    jobs = platform.jobs()
    assert sorted(job.id for job in jobs) == sorted(mail.job_id for mail in platform.mails())
    assert len(jobs) == 5


def test_with_redis_and_the_outbox_full_a_registration_is_refused_whole(
    platform: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "MOST_ROWS", 0)
    platform.person("first@example.org")
    with db.session() as session:
        session.add(
            outbox.OutboxRow(job_id="x", envelope=b"", pushed_at=utcnow() - timedelta(days=2))
        )
    with pytest.raises(outbox.OutboxFull):
        platform.users.start_registration("ada@example.org", "Ada")
    assert platform.all(Proof) == []
    assert platform.all(EmailMessage) == []
