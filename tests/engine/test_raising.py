"""How a task says by what it raises what becomes of its job."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from driving import Span, States, command, counts, run_all, run_one, state_of

from tasks.engine import Defer, JobHuey, Permanent, RetryAfter, Skip, State

S = State


def test_retry_after_uses_up_an_attempt_and_waits(huey: JobHuey) -> None:
    @huey.task(retries=1)
    def busy() -> None:
        raise RetryAfter(3600, "the other side is busy")

    job_id = busy().id
    with Span() as span:
        run_all(huey)
    job = huey.reads.job(job_id)
    assert (job.state, job.attempts_made, job.max_attempts) == (S.RETRYING, 1, 2)
    assert span.ahead(job.scheduled_for, 3600, 3600)
    assert (job.deferred_reason, job.attempts[0].outcome) == ("the other side is busy", "retrying")
    assert (job.why_waiting or "").endswith(". Reason: the other side is busy")
    command(huey, "run_now", job_id)
    run_all(huey)
    job = huey.reads.job(job_id)
    assert (job.state, job.attempts_made, job.error.type) == (S.FAILED, 2, "RetryAfter")


def test_defer_uses_up_no_attempt(huey: JobHuey) -> None:
    until = datetime.now(UTC) + timedelta(hours=2)

    @huey.task(retries=1)
    def too_early() -> None:
        raise Defer(until, "quiet hours")

    job_id = too_early().id
    for _ in range(3):
        run_all(huey)
        job = huey.reads.job(job_id)
        assert (job.state, job.attempts_made) == (S.SCHEDULED, 0)
        assert abs(job.scheduled_for - until) < timedelta(milliseconds=2)
        assert job.why_waiting.endswith("quiet hours")
        command(huey, "run_now", job_id)
    assert [attempt.outcome for attempt in job.attempts] == ["deferred"] * 3


def test_permanent_fails_at_once_and_names_the_cause(huey: JobHuey) -> None:
    @huey.task(retries=5)
    def refused() -> None:
        try:
            raise KeyError("no such mailbox")
        except KeyError as exc:
            raise Permanent("the address does not exist") from exc

    job_id = refused().id
    run_all(huey)
    job = huey.reads.job(job_id)
    assert (job.state, job.attempts_made, job.max_attempts) == (S.FAILED, 1, 6)
    assert (job.error.type, job.reason) == ("KeyError", "the address does not exist")


def test_skip_completes_with_its_reason(huey: JobHuey) -> None:
    @huey.task()
    def unneeded() -> None:
        raise Skip("verified meanwhile")

    job_id = unneeded().id
    run_all(huey)
    job = huey.reads.job(job_id)
    assert (job.state, job.result, job.reason) == (S.COMPLETED, "skipped", "verified meanwhile")
    assert [attempt.outcome for attempt in job.attempts] == ["skipped"]


def test_a_failure_keeps_every_attempt_with_its_traceback(huey: JobHuey) -> None:
    @huey.task(retries=2)
    def breaks() -> None:
        raise ValueError("broken")

    job_id = breaks().id
    run_all(huey)
    job = huey.reads.job(job_id)
    assert (job.state, job.attempts_made) == (S.FAILED, 3)
    assert [attempt.outcome for attempt in job.attempts] == ["retrying", "retrying", "failed"]
    assert all('raise ValueError("broken")' in a.error.traceback for a in job.attempts)
    assert len({attempt.error.fingerprint for attempt in job.attempts}) == 1


def fails(how: int) -> None:
    raise {0: ValueError("0"), 1: Permanent("1"), 2: RetryAfter(1, "2")}[how]


@pytest.mark.parametrize("args", [(0,), (1,), (2,), ()])
def test_a_traceback_and_its_group_name_no_line_of_the_engine(
    huey: JobHuey, args: tuple[int, ...]
) -> None:
    """Without arguments no line of the task ran at all."""
    job_id = huey.task(name="fails")(fails)(*args).id
    run_all(huey)
    error = huey.reads.job(job_id).error
    assert "attempts.py" not in error.traceback
    (group,) = huey.reads.error_groups().items
    assert group.place == "" if not args else group.place.endswith(" in fails")


def test_a_task_that_exits_fails_and_its_worker_lives(huey: JobHuey) -> None:
    @huey.task()
    def leaves() -> None:
        raise SystemExit(3)

    job_id = leaves().id
    run_all(huey)
    job = huey.reads.job(job_id)
    assert (job.state, job.error.type) == (S.FAILED, "SystemExit")


class Mute(Exception):
    def __str__(self) -> str:
        raise ValueError("no words")


def deeper(n: int = 0) -> int:
    return deeper(n + 1)


def mute() -> None:
    raise Mute


@pytest.mark.parametrize(("act", "error"), [(mute, "Mute"), (deeper, "RecursionError")])
def test_what_can_hardly_be_told_fails_and_its_neighbour_runs(
    huey: JobHuey, act: Callable[[], Any], error: str
) -> None:
    bad, good = huey.task(name="bad")(act)(), huey.task(name="good")(lambda: "well")()
    run_all(huey)
    job = huey.reads.job(bad.id)
    assert (job.state, job.error.type) == (S.FAILED, error)
    assert state_of(huey, good.id) is S.COMPLETED


def test_backoff_grows_from_the_first_delay(huey: JobHuey) -> None:
    @huey.task(retries=3, retry_delay=100, retry_backoff=3)
    def breaks() -> None:
        raise ValueError("broken")

    def waits(seconds: float) -> bool:
        with Span() as span:
            run_all(huey)
        return span.ahead(huey.reads.job(job_id).scheduled_for, seconds, seconds)

    job_id = breaks().id
    for seconds in (100, 300, 900):
        assert waits(seconds)
        command(huey, "run_now", job_id)
    run_all(huey)
    command(huey, "retry", job_id)
    assert waits(100)


def test_a_job_whose_task_is_gone_fails_and_its_bytes_are_kept(
    make_huey: Callable[..., JobHuey], huey: JobHuey
) -> None:
    job_id = States(huey).task("completed").id
    stranger = make_huey(huey.name)
    assert run_one(stranger) is None
    job = huey.reads.job(job_id)
    assert (job.state, list(job.args)) == (S.FAILED, ["completed"])
    command(huey, "retry", job_id)
    run_all(huey)
    assert state_of(huey, job_id) is S.COMPLETED


def test_an_undecodable_envelope_fails_and_its_neighbour_runs(huey: JobHuey) -> None:
    huey.storage.enqueue(b"\x80not json")
    good = States(huey).task("completed").id
    assert run_one(huey) is None
    assert run_all(huey) == [good]
    assert counts(huey) == {S.FAILED: 1, S.COMPLETED: 1}
