"""A Redis whose memory is full takes no new job, loses none, and lets what runs end."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import pytest
import redis
from driving import States, fire_due, run_all, state_of

from tasks.engine import JobFilter, JobHuey, State, Unreachable, crontab, current_job
from tasks.engine.scripts import _engine_error


@contextlib.contextmanager
def memory_full(huey: JobHuey) -> Iterator[None]:
    """Let the server have less memory than it uses, until the end of the block."""
    huey.storage.call("CONFIG", "SET", "maxmemory", "1")
    try:
        yield
    finally:
        huey.storage.call("CONFIG", "SET", "maxmemory", "0")


@pytest.fixture
def states(huey: JobHuey) -> States:
    made = States(huey)
    huey.lease.start()
    run_all(huey)  # the scripts are loaded
    return made


def test_an_add_is_refused_and_leaves_nothing_behind(huey: JobHuey, states: States) -> None:
    with memory_full(huey):
        for add in (lambda: states.task("completed"),
                    lambda: states.task.schedule(("completed",), delay=60),
                    lambda: huey.enqueue_many([states.task.s("completed") for _ in range(3)])):  # fmt: skip
            with pytest.raises(Unreachable, match="its memory is full"):
                add()
    assert huey.reads.jobs(JobFilter()).items == []
    for kind in ("job", "envelope", "unique"):
        assert huey.storage.client.keys(huey.storage.keys.of(kind, "*")) == [], kind


def test_what_is_refused_goes_to_the_spill(huey: JobHuey, states: States) -> None:
    kept: list[str] = []
    huey.spill = lambda job_id, envelope, due: kept.append(job_id) or True
    with memory_full(huey):
        result = states.task("completed")
    assert kept == [result.id]


@pytest.mark.parametrize(
    ("how", "ends"),
    [("completed", State.COMPLETED), ("failed", State.FAILED), ("retrying", State.RETRYING),
     ("cancelled", State.CANCELLED)],
)  # fmt: skip
def test_a_job_is_taken_and_ends_in_every_way(
    huey: JobHuey, states: States, how: str, ends: State
) -> None:
    job_id = states.task(how).id
    with memory_full(huey):
        assert run_all(huey) == [job_id]
    assert state_of(huey, job_id) is ends
    assert len(huey.reads.job(job_id).attempts) == 1


def test_the_next_job_of_a_pipeline_and_a_running_jobs_words_pass(
    huey: JobHuey, states: States
) -> None:
    @huey.task()
    def speaks() -> str:
        job = current_job()
        job.progress(50)
        job.log("a line")
        assert job.mark("sent")
        return "completed"

    results = huey.enqueue(speaks.s().then(states.task))
    with memory_full(huey):
        assert len(run_all(huey)) == 2
    assert results.get() == ["completed", "done"]


def test_a_job_added_by_a_task_is_refused_to_the_task_and_comes_with_its_retry(
    huey: JobHuey, states: States
) -> None:
    @huey.task(retries=1)
    def adds() -> str:
        return states.task("completed").id

    job_id = adds().id
    with memory_full(huey):
        huey.execute(huey.dequeue())
    assert huey.reads.job(job_id).attempts[0].error.type == "Unreachable"
    assert len(run_all(huey)) == 2
    assert state_of(huey, job_id) is State.COMPLETED


def test_beats_and_recovery_pass(huey: JobHuey, make_huey: Callable[..., JobHuey]) -> None:
    states, other = States(huey), make_huey(huey.name)
    job_id = states.make(State.ACTIVE)
    with memory_full(huey):
        other.lease.beat()
        assert other.lease.sweep({huey.lease.proc: "killed"}) == [(job_id, "waiting")]
        assert run_all(huey) == [job_id]


def test_an_operator_may_still_make_room(huey: JobHuey, states: States) -> None:
    done, waiting = states.make(State.COMPLETED), states.make(State.WAITING)
    with memory_full(huey):
        huey.commands.configure()
        assert huey.commands.pause("default", reason="full — make room").pause.reason == (
            "full — make room"
        )
        assert not huey.commands.resume("default").paused
        assert huey.commands.set_limits("default", retention="1d/10").retention
        assert huey.commands.quiet(huey.lease.proc).state == "quiet"
        assert huey.commands.cancel([waiting])[0].done
        assert huey.commands.retry([waiting])[0].done
        assert huey.commands.delete([done])[0].done
        operation = huey.commands.start_operation("cancel", filter=JobFilter(), by="ada")
        while huey.commands.step_operations():
            pass
    assert huey.reads.operation(operation.id).done == 1
    assert state_of(huey, waiting) is State.CANCELLED


def test_a_tick_is_not_lost(huey: JobHuey, states: States) -> None:
    huey.periodic_task(crontab(), name="tidy")(lambda: None)
    now_ms = huey.reads.now_ms()
    with memory_full(huey):
        assert fire_due(huey, now_ms) == 0
    assert fire_due(huey, now_ms) == 1


def test_housekeeping_tries_a_tick_again_within_its_minute(huey: JobHuey, states: States) -> None:
    huey.periodic_task(crontab(), name="tidy")(lambda: None)
    house = huey.create_consumer(workers=1)._create_scheduler()
    with memory_full(huey), contextlib.suppress(Unreachable):
        house.keep_house()
    house.keep_house()
    assert [job.state for job in huey.reads.jobs(JobFilter()).items] == [State.WAITING]


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        ("@user_script: 356: -OOM command not allowed when used memory > 'maxmemory'.", "memory is full"),
        ("Error running script (call to f_5): @user_script:23: @user_script: 23: -OOM command not"
         " allowed when used memory > 'maxmemory'.", "memory is full"),
        ("@user_script: 7: -READONLY You can't write against a read only replica.", "read only"),
        ("@user_script: 7: -MISCONF Redis is configured to save RDB snapshots.", "cannot write to its disk"),
    ],
)  # fmt: skip
def test_the_words_of_redis_6_2_are_understood(reply: str, said: str) -> None:
    """It tells the place before the code, and the client knows none of these by its first word."""
    error = _engine_error(redis.ResponseError(reply))
    assert isinstance(error, Unreachable)
    assert said in str(error)
