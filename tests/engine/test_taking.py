"""Which job a worker gets next: priority, turns, times, pauses, limits."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from driving import States, run_all, run_one
from waiting import wait_until

from tasks.engine import JobFilter, JobHuey, State

S = State


def test_the_highest_priority_runs_first_and_equals_in_their_order(huey: JobHuey) -> None:
    task = States(huey).task
    calls = [task.s("completed", priority=p) for p in (0, 10, None, -5, 10, 100)]
    for call in calls:
        huey.enqueue(call)
    assert run_all(huey) == [calls[n].id for n in (5, 1, 4, 0, 2, 3)]


def test_queues_of_equal_priority_take_turns(huey: JobHuey) -> None:
    task, queues = States(huey).task, []

    @huey.task(queue="email")
    def mail() -> None:
        """Nothing."""

    for _ in range(3):
        task("completed")
    for _ in range(3):
        mail()
    while (found := run_one(huey)) is not None:
        queues.append(huey.queue_of(found))
    assert set(map(tuple, (queues[:2], queues[2:4], queues[4:]))) <= {
        ("default", "email"), ("email", "default"),
    }  # fmt: skip


def test_a_worker_takes_of_the_queues_it_serves_alone(make_huey: Callable[..., JobHuey]) -> None:
    both = make_huey()
    mails = make_huey(both.name, serve=["email"])
    for one in (both, mails):
        one.task(name="mail", queue="email")(lambda: None)
        one.task(name="note", priority=50)(lambda: None)
    note = both.enqueue(both._registry._registry["test_taking.note"]()).id
    mail = both.enqueue(both._registry._registry["test_taking.mail"]()).id
    assert run_all(mails) == [mail]
    assert run_all(both) == [note]


def test_a_due_job_waits_for_its_time_and_then_runs(huey: JobHuey) -> None:
    job_id = States(huey).task.schedule(("completed",), delay=0.2).id
    due = huey.reads.job(job_id).scheduled_for
    assert wait_until(lambda: run_all(huey), "it is due") == [job_id]
    assert huey.reads.job(job_id).started_at >= due


def test_a_paused_queue_keeps_its_jobs_and_says_why(huey: JobHuey) -> None:
    job_id = States(huey).make(S.WAITING)
    stats = huey.commands.pause("default", by="ada", reason="bad release")
    assert (stats.paused, stats.pause.by, stats.pause.reason) == (True, "ada", "bad release")
    assert run_all(huey) == []
    assert huey.reads.job(job_id).why_waiting == "queue default is paused by ada: bad release"
    assert not huey.commands.resume("default").paused
    assert run_all(huey) == [job_id]


def test_a_pause_ends_by_itself(huey: JobHuey) -> None:
    job_id = States(huey).make(S.WAITING)
    until = datetime.now(UTC) + timedelta(seconds=0.3)
    huey.commands.pause("default", until=until)
    assert wait_until(lambda: run_all(huey), "the pause is over") == [job_id]
    assert huey.reads.job(job_id).started_at >= until - timedelta(milliseconds=1)
    assert not huey.reads.queue("default").paused


def test_no_more_jobs_run_at_once_than_the_queue_allows(
    huey: JobHuey, make_huey: Callable[..., JobHuey]
) -> None:
    other = make_huey(huey.name)
    for one in (huey, other):

        @one.task(name="mail", queue="email")
        def mail() -> None:
            """Nothing."""

    for _ in range(3):
        huey.enqueue(mail.s())
    first, second = huey.dequeue(), other.dequeue()
    assert None not in (first, second)
    assert huey.dequeue() is None
    assert "2 of 2 email jobs are running" in next(
        huey.reads.job(job.id).why_waiting
        for job in huey.reads.jobs(JobFilter(state=S.WAITING)).items
    )
    huey.execute(first)
    assert huey.dequeue() is not None


def test_a_live_limit_beats_the_configured_one_and_none_gives_it_back(huey: JobHuey) -> None:
    assert huey.commands.set_limits("email", concurrency=7).concurrency == 7
    huey.commands.configure()
    assert huey.reads.queue("email").concurrency == 7
    assert huey.commands.set_limits("email", concurrency=None).concurrency == 2


def test_a_rate_lets_so_many_start_and_the_next_when_a_token_is_back(huey: JobHuey) -> None:
    huey.commands.set_limits("default", rate="2/h")
    ids = [States(huey).task("completed").id] + [huey.enqueue(
        huey._registry.string_to_task("driving.ends")(("completed",))).id for _ in range(2)]  # fmt: skip
    assert run_all(huey) == ids[:2]
    huey.commands.set_limits("default", rate=None)
    assert run_all(huey) == ids[2:]


@pytest.mark.parametrize(
    ("option", "text"),
    [("rate", text) for text in ("20/0s", "20/0.0001s", "20/", "20", "0/s", f"{10**30}/s", f"5/{10**12}d")]
    + [("retention", f"{text}/5") for text in ("9000000d", f"{10**400}d", "7")],
)  # fmt: skip
def test_a_limit_that_cannot_be_reckoned_with_is_refused(
    huey: JobHuey, option: str, text: str
) -> None:
    before = huey.reads.queue("email")
    with pytest.raises(ValueError, match=r"write (20/s|200ms)"):
        huey.commands.set_limits("email", **{option: text})
    assert huey.reads.queue("email") == before
