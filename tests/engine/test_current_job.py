"""What a job says while it runs."""

from __future__ import annotations

from typing import Any

import pytest
from driving import States, run_all, state_of

from tasks.engine import CancelRequested, EngineError, JobHuey, LeaseLost, State, current_job

S = State


def test_progress_log_and_marks_are_kept(huey: JobHuey) -> None:
    seen: list[Any] = []

    @huey.task(retries=1)
    def speaks() -> None:
        job = current_job()
        job.progress(40, "half of it")
        job.log("begun")
        assert job.mark("sent", "id-1")
        seen.append((job.attempt, job.max_attempts, huey.reads.job(job.id).progress))
        if job.attempt == 1:
            raise ValueError("once")
        seen.append(job.marks())

    job_id = speaks().id
    run_all(huey)
    assert [(a, m, p.percent, p.message) for a, m, p in (seen[0], seen[1])] == [
        (1, 2, 40, "half of it"), (2, 2, 40, "half of it"),
    ]  # fmt: skip
    assert seen[2] == {"sent": "id-1"}
    assert [event.text for event in huey.reads.logs(job_id)] == ["begun", "begun"]


def test_a_worker_that_lost_its_job_hears_it_before_what_must_not_happen_twice(
    huey: JobHuey,
) -> None:
    heard: list[str] = []

    @huey.task()
    def sends() -> str:
        job = current_job()
        if heard:
            return "sent"
        huey.storage.scripts.run("goodbye", 0, huey.lease.proc)  # as a sweep would
        for say in (lambda: job.mark("sending"), lambda: job.progress(1), job.check):
            with pytest.raises(LeaseLost, match="no longer has job"):
                say()
            heard.append("lost")
        return "never counted"

    job_id = sends().id
    run_all(huey)
    job = huey.reads.job(job_id)
    assert (heard, job.state, job.result) == (["lost"] * 3, S.COMPLETED, "sent")
    assert huey.storage.marks(job_id) == {}


def test_a_worker_holds_nothing_that_it_ended(huey: JobHuey) -> None:
    States(huey).task("completed")
    task = huey.dequeue()
    assert list(huey.lease.held()) == [task.id]
    huey.execute(task)
    assert huey.lease.held() == {}


def test_current_job_outside_a_task_says_so() -> None:
    with pytest.raises(EngineError, match="inside a running task"):
        current_job()


def test_check_raises_only_when_asked_to_stop(huey: JobHuey) -> None:
    seen: list[str] = []

    @huey.task()
    def checks() -> None:
        job = current_job()
        job.check()
        seen.append("went on")
        huey.commands.cancel([job.id])
        try:
            job.check()
        except CancelRequested:
            seen.append("heard")
            raise

    job_id = checks().id
    run_all(huey)
    assert seen == ["went on", "heard"]
    assert state_of(huey, job_id) is S.CANCELLED
