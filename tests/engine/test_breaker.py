"""A queue's breaker: five faults stop it, one probe at a time tries, a success lets all go on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from driving import Span, run_all, run_one, state_of

from tasks.engine import Defer, JobHuey, State, current_job
from tasks.engine.instance import QueueStats


class Outside:
    """What the mail task talks to; `answer` is what it does next."""

    def __init__(self, huey: JobHuey, queue: str = "email") -> None:
        self.huey, self.answer, self.queue = huey, "defer", queue

        @huey.task(name="mail", queue=queue, retries=3)
        def mail() -> str:
            return self.speak()

        self.mail = mail

    def speak(self) -> str:
        job = current_job()
        if self.answer == "healthy":
            job.healthy()
            return "sent"
        if self.answer == "silent":
            return "sent"
        job.fault("connection refused", open_now=self.answer == "at once")
        raise Defer(None, "the server is away")

    def stats(self) -> QueueStats:
        return self.huey.reads.queue(self.queue)

    def add(self, how_many: int) -> list[str]:
        calls = [self.mail.s() for _ in range(how_many)]
        self.huey.enqueue_many(calls)
        return [call.id for call in calls]


@pytest.fixture
def outside(huey: JobHuey) -> Outside:
    return Outside(huey)


def opened(outside: Outside, more: int = 3) -> tuple[list[str], list[str]]:
    """Open the breaker. Returns: the ids that met the fault, and those that wait behind it."""
    ids = outside.add(5 + more)
    assert run_all(outside.huey) == ids[:5]
    return ids[:5], ids[5:]


def test_five_faults_open_the_breaker_and_the_jobs_behind_wait(outside: Outside) -> None:
    with Span() as span:
        met, behind = opened(outside)
    breaker = outside.stats().breaker
    assert (breaker.state, breaker.reason) == ("open", "connection refused")
    assert span.ahead(breaker.next_probe_at, 12, 18)
    for job_id in behind:
        job = outside.huey.reads.job(job_id)
        assert (job.state, job.attempts_made) == (State.WAITING, 0)
        assert job.why_waiting.startswith("SMTP unreachable since")
    for job_id in met:
        job = outside.huey.reads.job(job_id)
        assert (job.state, job.attempts_made) == (State.SCHEDULED, 0)


def test_four_faults_and_a_success_leave_it_closed(outside: Outside) -> None:
    for answers in ("defer", "healthy", "defer"):
        outside.answer = answers
        outside.add(1 if answers == "healthy" else 4)
        run_all(outside.huey)
    assert outside.stats().breaker is None
    outside.answer = "defer"
    outside.add(1)
    run_all(outside.huey)
    assert outside.stats().breaker.state == "open"


def test_a_fault_may_open_it_at_once(outside: Outside) -> None:
    outside.answer = "at once"
    outside.add(2)
    assert len(run_all(outside.huey)) == 1
    assert outside.stats().breaker.state == "open"


def test_another_queue_goes_on(outside: Outside) -> None:
    opened(outside)
    note = outside.huey.task(name="note")(lambda: None)
    job_id = note().id
    assert run_all(outside.huey) == [job_id]


def test_one_probe_at_a_time_goes_out_when_its_time_has_come(
    outside: Outside, make_huey: Callable[..., JobHuey]
) -> None:
    _, behind = opened(outside)
    other = make_huey(outside.huey.name)
    Outside(other)
    assert run_one(outside.huey) is None
    assert outside.huey.commands.probe("email")
    probe = outside.huey.dequeue()
    assert probe.id == behind[0]
    assert outside.stats().breaker.state == "probing"
    assert outside.huey.dequeue() is None
    assert other.dequeue() is None
    outside.answer = "healthy"
    outside.huey.execute(probe)
    assert outside.stats().breaker is None
    assert run_all(outside.huey) == behind[1:]


def test_a_probe_that_says_nothing_of_a_fault_closes_it_too(outside: Outside) -> None:
    _, behind = opened(outside)
    outside.huey.commands.probe("email")
    outside.answer = "silent"
    assert run_all(outside.huey) == behind


def test_a_probe_that_fails_opens_it_for_twice_as_long(outside: Outside) -> None:
    opened(outside, more=7)
    for middle in (30, 60, 120, 240, 300, 300, 300):
        outside.huey.commands.probe("email")
        with Span() as span:
            assert run_one(outside.huey) is not None
        breaker = outside.stats().breaker
        assert breaker.state == "open"
        assert span.ahead(breaker.next_probe_at, middle * 0.8, middle * 1.2), middle


def test_a_probe_whose_worker_dies_is_no_answer_and_another_goes_out(
    outside: Outside, make_huey: Callable[..., JobHuey]
) -> None:
    opened(outside)
    dying = make_huey(outside.huey.name)
    Outside(dying)
    outside.huey.commands.probe("email")
    assert dying.dequeue() is not None
    dying.lease.close()
    again = outside.huey.dequeue()
    assert again is not None
    outside.answer = "healthy"
    outside.huey.execute(again)
    assert outside.stats().breaker is None


def test_a_success_from_before_the_fault_does_not_close_it(outside: Outside) -> None:
    outside.add(1)
    early = outside.huey.dequeue()
    outside.answer = "at once"
    outside.add(1)
    run_one(outside.huey)
    outside.answer = "healthy"
    outside.huey.execute(early)
    assert outside.stats().breaker.state == "open"


def test_a_success_from_before_the_fault_forgives_no_later_fault(outside: Outside) -> None:
    outside.add(1)
    early = outside.huey.dequeue()
    outside.answer = "at once"
    outside.add(2)
    run_one(outside.huey)
    outside.huey.commands.probe("email")
    outside.answer = "healthy"
    run_one(outside.huey)
    assert outside.stats().breaker is None
    for answer, how_many in (("defer", 4), ("defer", 1)):
        outside.answer = answer
        outside.add(how_many)
        run_all(outside.huey)
        if outside.stats().breaker is None:
            outside.answer = "healthy"
            outside.huey.execute(early)
    assert outside.stats().breaker.state == "open"


def test_deferring_to_a_closed_breaker_waits_fifteen_seconds(outside: Outside) -> None:
    (job_id,) = outside.add(1)
    with Span() as span:
        run_all(outside.huey)
    assert span.ahead(outside.huey.reads.job(job_id).scheduled_for, 15, 15)


def test_a_deferred_job_burns_no_attempt_however_long_the_outside_is_away(outside: Outside) -> None:
    met, _ = opened(outside, more=0)
    for _ in range(4):
        outside.huey.commands.run_now(met)
        outside.huey.commands.probe("email")
        run_all(outside.huey)
    assert {outside.huey.reads.job(job_id).attempts_made for job_id in met} == {0}
    outside.answer = "healthy"
    outside.huey.commands.run_now(met)
    outside.huey.commands.probe("email")
    run_all(outside.huey)
    assert {state_of(outside.huey, job_id) for job_id in met} == {State.COMPLETED}
    assert outside.huey.reads.job(met[0]).attempts_made == 1


def test_a_queue_without_a_breaker_is_stopped_by_no_fault(huey: JobHuey) -> None:
    outside: Any = Outside(huey, "default")
    outside.answer = "at once"
    ids = outside.add(7)
    assert run_all(huey) == ids
    assert outside.stats().breaker is None
    assert not huey.commands.probe("default")
