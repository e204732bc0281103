"""Huey's words where a worker dies, a job is given back or a time runs out between them."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable
from typing import Any

import keyspace
import pytest
from driving import run_all, run_one, state_of
from huey import chord, group
from huey.exceptions import CancelExecution, RetryTask, TaskException, TaskTimeout
from waiting import wait_until

from tasks.engine import Defer, JobFilter, JobHuey, Permanent, RetryAfter, Skip, State

Make = Callable[..., JobHuey]


def dies_before_its_commit(huey: JobHuey, make_huey: Make) -> JobHuey:
    """Run the next job in a process that dies before it commits. Returns: who goes on."""
    victim = make_huey(huey.name)
    victim._registry = huey._registry
    task = victim.dequeue()
    victim.storage.ask = _away  # type: ignore[method-assign]
    with pytest.raises(ConnectionError):
        victim.execute(task)
    huey.lease.sweep({victim.lease.proc: "killed"})
    return huey


def _away(*_: Any, **__: Any) -> Any:
    raise ConnectionError("it died")


def done(huey: JobHuey, state: State = State.COMPLETED) -> list[Any]:
    return huey.reads.jobs(JobFilter(state=state)).items


def test_a_pipeline_whose_parent_ran_twice_has_one_child(huey: JobHuey, make_huey: Make) -> None:
    ran: list[str] = []
    first = huey.task(name="first")(lambda: ran.append("first") or 1)
    second = huey.task(name="second")(lambda n: ran.append("second") or n + 1)
    results = huey.enqueue(first.s().then(second))
    dies_before_its_commit(huey, make_huey)
    assert ran == ["first"]
    run_all(huey)
    assert ran == ["first", "first", "second"]
    assert results.get() == [1, 2]


def test_a_chord_whose_last_member_ran_twice_fires_once(huey: JobHuey, make_huey: Make) -> None:
    ends: list[Any] = []
    member = huey.task(name="member")(lambda n: n)
    end = huey.task(name="end")(lambda ns: ends.append(ns))
    huey.enqueue(chord([member.s(n) for n in range(3)], end.s()))
    run_one(huey), run_one(huey)
    dies_before_its_commit(huey, make_huey)
    run_all(huey)
    assert ends == [[0, 1, 2]]


def test_an_error_handler_whose_job_ran_twice_runs_once(huey: JobHuey, make_huey: Make) -> None:
    heard: list[str] = []
    bad = huey.task(name="bad")(lambda: 1 / 0)
    handler = huey.task(name="handler")(lambda exc: heard.append(type(exc).__name__))
    huey.enqueue(bad.s().error(handler))
    dies_before_its_commit(huey, make_huey)
    run_all(huey)
    assert heard == ["ZeroDivisionError"]


def test_a_retry_that_died_before_its_commit_uses_one_attempt(
    huey: JobHuey, make_huey: Make
) -> None:
    tries: list[int] = []

    @huey.task(name="flaky", retries=1)
    def flaky() -> str:
        tries.append(1)
        if len(tries) < 3:
            raise ValueError("not yet")
        return "well"

    job_id = flaky().id
    dies_before_its_commit(huey, make_huey)
    run_all(huey)
    job = huey.reads.job(job_id)
    assert (job.state, job.attempts_made, job.recovered, job.result) == (
        State.COMPLETED,
        2,
        1,
        "well",
    )


def test_a_job_added_in_the_body_of_a_job_that_died_is_there(
    huey: JobHuey, make_huey: Make
) -> None:
    inner = huey.task(name="inner")(lambda: "in")
    outer = huey.task(name="outer")(lambda: inner() and "out")
    outer()
    dies_before_its_commit(huey, make_huey)
    run_all(huey)
    assert sorted(job.result for job in done(huey)) == ["in", "in", "out"]


def test_a_revoked_job_that_waits_for_its_retry_is_cancelled(huey: JobHuey) -> None:
    @huey.task(name="slow", retries=2)
    def slow() -> None:
        raise RetryAfter(0.05, "later")

    result = slow()
    run_one(huey)
    result.revoke()
    wait_until(lambda: run_all(huey) or state_of(huey, result.id) is State.CANCELLED)
    assert state_of(huey, result.id) is State.CANCELLED
    assert huey.reads.job(result.id).reason == "revoked"


def test_revoking_a_task_cancels_its_jobs_and_restoring_lets_them_run(huey: JobHuey) -> None:
    work = huey.task(name="work")(lambda: "done")
    work.revoke()
    one = work().id
    run_all(huey)
    work.restore()
    two = work().id
    run_all(huey)
    assert (state_of(huey, one), state_of(huey, two)) == (State.CANCELLED, State.COMPLETED)


def test_revoke_once_stops_one_run_of_a_group(huey: JobHuey) -> None:
    work = huey.task(name="work")(lambda n: n)
    work.revoke(revoke_once=True)
    ids = [r.id for r in huey.enqueue(group([work.s(n) for n in range(3)]))]
    run_all(huey)
    assert sorted(state_of(huey, i).value for i in ids) == ["cancelled", "completed", "completed"]


def test_a_job_that_expired_while_it_waited_for_its_retry_does_not_run(huey: JobHuey) -> None:
    runs: list[int] = []

    @huey.task(name="late", retries=5, expires=600)
    def late() -> None:
        runs.append(1)
        raise RetryAfter(900)

    job_id = late().id
    run_one(huey)
    huey.commands.run_now([job_id])
    huey.execute(huey.dequeue(), huey._get_timestamp() + dt.timedelta(seconds=900))
    job = huey.reads.job(job_id)
    assert (runs, job.state, job.reason) == ([1], State.CANCELLED, "expired")


def test_cancel_execution_and_retry_task_keep_hueys_meaning(huey: JobHuey) -> None:
    tries: list[str] = []

    @huey.task(name="asks")
    def asks(what: str) -> str:
        tries.append(what)
        if tries.count(what) > 1:
            return what
        raise {"retry": RetryTask(delay=0), "cancel": CancelExecution(retry=False),
               "cancel and retry": CancelExecution(retry=True)}[what]  # fmt: skip

    ids = {what: asks(what).id for what in ("retry", "cancel", "cancel and retry")}
    run_all(huey)
    assert {what: state_of(huey, i).value for what, i in ids.items()} == {
        "retry": "completed", "cancel": "cancelled", "cancel and retry": "completed"}  # fmt: skip
    assert keyspace.faults(keyspace.read(huey)) == []


def test_a_timeout_is_a_failure_with_retries(huey: JobHuey) -> None:
    @huey.task(name="long", timeout=0.05, retries=1, context=True)
    def long(task: Any = None) -> None:
        while True:
            task.check_timeout()
            time.sleep(0.01)

    job_id = long().id
    run_all(huey)
    job = huey.reads.job(job_id)
    assert (job.state, job.attempts_made, job.error.type) == (State.FAILED, 2, TaskTimeout.__name__)


def test_immediate_mode_runs_at_once_without_redis() -> None:
    huey = JobHuey("now", url="redis://127.0.0.1:1", immediate=True)
    work = huey.task(name="work", retries=1)(lambda n: n + 1)
    assert work(1).get() == 2
    assert huey.enqueue(work.s(1).then(work)).get() == [2, 3]
    assert [result.get() for result in huey.enqueue_many([work.s(1), work.s(2)])] == [2, 3]
    assert huey.enqueue(chord([work.s(1), work.s(2)], huey.task(name="end")(sum).s())).get() == 5
    says = huey.task(name="says", retries=3)(_raise)
    says("skip")
    says("retry")
    assert huey.scheduled_count() == 1
    with pytest.raises(TaskException, match="Permanent"):
        says("no").get()


def _raise(what: str) -> None:
    raise {"skip": Skip("nothing"), "retry": RetryAfter(5), "no": Permanent("no")}[what]


def test_a_job_that_defers_without_end_fails(huey: JobHuey) -> None:
    @huey.task(name="defers")
    def defers() -> None:
        raise Defer(dt.datetime.now(dt.UTC) - dt.timedelta(seconds=1), "not yet")

    job_id = defers().id
    key = huey.storage.keys.of("job", job_id)
    run_one(huey)
    assert huey.storage.call("HGET", key, "df") == b"1"
    huey.storage.call("HSET", key, "df", "999")
    run_one(huey)
    assert state_of(huey, job_id) is State.WAITING
    run_one(huey)
    job = huey.reads.job(job_id)
    assert (job.state, job.reason) == (State.FAILED, "it deferred more than 1 000 times")
    assert (job.error.type, job.group) == ("DeferredTooOften", "DeferredTooOften")
    huey.commands.retry([job_id])
    run_one(huey)
    assert huey.storage.call("HGET", key, "df") == b"1"
