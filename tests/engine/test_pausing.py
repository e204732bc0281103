"""A paused task or tag starts nothing, its neighbours run, and its jobs come back in order."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from driving import run_all, state_of
from waiting import wait_until

from tasks.engine import EngineError, JobHuey, State, UnknownTask


@pytest.fixture
def tasks(huey: JobHuey) -> dict[str, Any]:
    """Return two tasks of the same queue; one names a course in its tags."""

    @huey.task(name="mail", tags=("vip", "course:{course}"))
    def mail(course: str) -> str:
        return course

    @huey.task(name="bill")
    def bill() -> None:
        """Nothing."""

    return {"mail": mail, "bill": bill}


def later(seconds: float) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=seconds)


def test_a_paused_task_waits_and_its_neighbours_run(huey: JobHuey, tasks: dict[str, Any]) -> None:
    held = [tasks["mail"]("a").id for _ in range(3)]
    other = tasks["bill"]().id
    huey.commands.pause_task("test_pausing.mail", by="ada", reason="wrong text")
    assert run_all(huey) == [other]
    assert {state_of(huey, job_id) for job_id in held} == {State.WAITING}
    (part,) = huey.reads.snapshot().paused_parts
    assert (part.kind, part.name, part.parked) == ("task", "test_pausing.mail", 3)
    assert (
        huey.reads.job(held[0]).why_waiting == "task test_pausing.mail is paused by ada: wrong text"
    )
    huey.commands.resume_task("test_pausing.mail")
    assert huey.reads.snapshot().paused_parts == []
    assert run_all(huey) == held


def test_a_paused_tag_holds_only_what_carries_it(huey: JobHuey, tasks: dict[str, Any]) -> None:
    first, second = tasks["mail"]("logic").id, tasks["mail"]("greek").id
    huey.commands.pause_tag("course:logic")
    assert huey.reads.job(first).tags == ("vip", "course:logic")
    assert run_all(huey) == [second]
    assert huey.reads.job(first).why_waiting == "tag course:logic is paused"
    huey.commands.resume_tag("course:logic")
    assert run_all(huey) == [first]


def test_a_pause_ends_by_itself(huey: JobHuey, tasks: dict[str, Any]) -> None:
    held = [tasks["mail"]("a").id for _ in range(2)]
    huey.commands.pause_task("test_pausing.mail", until=later(3600))
    assert run_all(huey) == []
    assert "until" in (huey.reads.job(held[0]).why_waiting or "")
    huey.commands.pause_task("test_pausing.mail", until=later(0.1))
    ran: list[str] = []
    wait_until(lambda: ran.extend(run_all(huey)) or len(ran) == 2, what="the pause is over")
    assert ran == held


def test_many_come_back_in_order_of_priority_and_age(huey: JobHuey, tasks: dict[str, Any]) -> None:
    calls = [tasks["mail"].s("a", priority=n % 3 + 5 * (n >= 110)) for n in range(120)]
    huey.enqueue_many(calls)
    expected = [c.id for c in sorted(calls, key=lambda call: -call.priority)]
    huey.commands.pause_task("test_pausing.mail")
    other = tasks["bill"]().id
    wait_until(lambda: other in run_all(huey), what="past all the parked ones")
    assert huey.reads.snapshot().paused_parts[0].parked == 120
    newer = tasks["mail"]("a").id
    huey.commands.resume_task("test_pausing.mail")
    assert run_all(huey) == [*expected, newer]
    assert huey.storage.call("EXISTS", huey.storage.keys.one("pauses")) == 0


def test_a_job_under_two_pauses_runs_when_both_are_over(
    huey: JobHuey, tasks: dict[str, Any]
) -> None:
    job_id = tasks["mail"]("a").id
    huey.commands.pause_task("test_pausing.mail")
    huey.commands.pause_tag("vip")
    assert run_all(huey) == []
    huey.commands.resume_task("test_pausing.mail")
    assert run_all(huey) == []
    assert huey.reads.job(job_id).why_waiting == "tag vip is paused"
    huey.commands.resume_tag("vip")
    assert run_all(huey) == [job_id]


def test_a_parked_job_is_cancelled_and_forgotten_like_any_waiting_one(
    huey: JobHuey, tasks: dict[str, Any]
) -> None:
    job_id, flushed = tasks["mail"]("a").id, tasks["mail"]("b").id
    huey.commands.pause_task("test_pausing.mail")
    assert run_all(huey) == []
    huey.commands.cancel([job_id])
    assert state_of(huey, job_id) is State.CANCELLED
    huey.storage.flush_queue()
    huey.commands.resume_task("test_pausing.mail")
    assert run_all(huey) == []
    assert huey.storage.call("EXISTS", huey.storage.keys.of("parked", "t:test_pausing.mail")) == 0
    huey.commands.retry([job_id])
    assert run_all(huey) == [job_id]
    assert flushed


def test_a_job_that_comes_due_while_its_task_is_paused_waits(
    huey: JobHuey, tasks: dict[str, Any]
) -> None:
    job_id = tasks["mail"].schedule(("a",), delay=0.05).id
    huey.commands.pause_task("test_pausing.mail")
    wait_until(lambda: run_all(huey) == [] and state_of(huey, job_id) is State.WAITING)
    huey.commands.resume_task("test_pausing.mail")
    assert run_all(huey) == [job_id]


def test_a_job_that_loses_the_paused_tag_runs(huey: JobHuey, tasks: dict[str, Any]) -> None:
    job_id = tasks["mail"]("a").id
    huey.commands.pause_tag("vip")
    assert run_all(huey) == []
    huey.commands.untag([job_id], "vip")
    assert run_all(huey) == [job_id]


def test_saying_it_twice_changes_nothing(huey: JobHuey, tasks: dict[str, Any]) -> None:
    for _ in range(2):
        huey.commands.pause_task("test_pausing.mail", reason="x")
    assert len(huey.reads.snapshot().paused_parts) == 1
    for _ in range(2):
        huey.commands.resume_task("test_pausing.mail")
    assert huey.reads.snapshot().paused_parts == []


def test_what_is_none_is_refused(huey: JobHuey) -> None:
    with pytest.raises(UnknownTask, match="no task 'nope'"):
        huey.commands.pause_task("nope")
    with pytest.raises(EngineError, match="is no tag"):
        huey.commands.pause_tag("two words")


def test_a_secret_in_a_tag_is_refused(huey: JobHuey) -> None:
    with pytest.raises(EngineError, match="code is secret"):

        @huey.task(secret=("code",), tags=("code:{code}",))
        def mail(code: str) -> None:
            """Nothing."""
