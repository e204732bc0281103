"""An outcome that is sent again, since no answer came to it, says truly whether it counted."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import redis
from driving import now, run_all, state_of
from slots import add, know_functions, register

from tasks.engine import Defer, JobHuey, Permanent, RetryAfter, State, Unreachable

ENDS: dict[str, tuple[Callable[[], Any], State]] = {
    "completed": (lambda: "done", State.COMPLETED),
    "failed": (lambda: _fail(Permanent("no")), State.FAILED),
    "retrying": (lambda: _fail(RetryAfter(3600, "later")), State.RETRYING),
    "deferred": (lambda: _fail(Defer(now() + timedelta(hours=1), "later")), State.SCHEDULED),
}


def _fail(error: Exception) -> None:
    raise error


def _no_reply(huey: JobHuey, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the next call reach Redis and its reply be lost."""
    know_functions(huey)
    hear, lost = huey.storage.scripts._heard, list[bool]()

    def once(connection: Any) -> Any:
        answer = hear(connection)
        if not lost:
            lost.append(True)
            raise redis.ConnectionError("the reply is lost")
        return answer

    monkeypatch.setattr(huey.storage.scripts, "_heard", once)


@pytest.mark.parametrize("how", ENDS)
def test_an_outcome_that_is_sent_again_is_not_called_dropped(
    no_runner: None, slot: JobHuey, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture, how: str,
) -> None:  # fmt: skip
    act, state = ENDS[how]
    job_id = slot.task(name="ends", retries=1)(act)().id
    slot.execute(slot.dequeue())
    _no_reply(slot, monkeypatch)
    with pytest.raises(Unreachable):
        slot.dequeue()
    assert state_of(slot, job_id) is state
    before = slot.reads.job(job_id)
    slot.dispatch.flush()
    assert "dropped" not in caplog.text
    assert slot.reads.job(job_id) == before
    assert slot.lease.held() == {}


def test_outcomes_that_counted_before_the_fetch_failed_are_not_called_dropped(
    no_runner: None, slot: JobHuey, caplog: pytest.LogCaptureFixture
) -> None:
    (job_id,) = add(slot, 1)
    slot.execute(slot.dequeue())
    slot.storage.call("SET", slot.storage.keys.one("pauses"), "no hash")
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        slot.dequeue()
    slot.storage.call("DEL", slot.storage.keys.one("pauses"))
    assert state_of(slot, job_id) is State.COMPLETED
    assert slot.dequeue() is None
    assert "dropped" not in caplog.text


def test_an_outcome_sent_again_after_another_worker_took_the_job_over_is_dropped(
    no_runner: None, slot: JobHuey, make_huey: Callable[..., JobHuey],
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    other = make_huey(slot.name)
    register(other)
    (job_id,) = add(slot, 1)
    slot.execute(slot.dequeue())
    with monkeypatch.context() as cut:
        cut.setattr(
            slot.storage.scripts, "_sent", lambda *_, **__: _fail(redis.ConnectionError("no"))
        )
        with pytest.raises(Unreachable):
            slot.dequeue()
    other.lease.sweep({slot.lease.proc: "killed"})
    assert run_all(other) == [job_id]
    slot.dispatch.flush()
    assert f"job {job_id} was no longer ours: its outcome is dropped" in caplog.text
    assert slot.reads.job(job_id).recovered == 1
