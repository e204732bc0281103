"""A result and what follows a job are written with its end, and only then."""

from __future__ import annotations

import pytest
from driving import States, command, counts, run_all, state_of
from huey.exceptions import TaskException

from tasks.engine import JobHuey, State

S = State


def test_a_result_is_read_once_and_stays_on_the_jobs_page(huey: JobHuey) -> None:
    result = States(huey).task("completed")
    run_all(huey)
    assert huey.result(result.id, preserve=True) == "done"
    assert huey.result(result.id) == "done"
    assert huey.result(result.id) is None
    assert huey.reads.job(result.id).result == "done"
    assert huey.storage.result_store_size() == 0


def test_a_failure_is_the_result_of_its_job(huey: JobHuey) -> None:
    result = States(huey).task("failed")
    run_all(huey)
    with pytest.raises(TaskException, match="Permanent"):
        result()


def test_a_result_run_again_is_the_new_one(huey: JobHuey) -> None:
    states = States(huey)
    result = states.task("completed")
    run_all(huey)
    states.ends["completed"] = lambda: "done anew"
    command(huey, "retry", result.id)
    assert huey.result(result.id) is None
    run_all(huey)
    assert huey.result(result.id) == "done anew"


def test_a_result_without_a_json_form_is_kept_as_text_and_the_job_completes(huey: JobHuey) -> None:
    states = States(huey)
    states.ends["completed"] = lambda: object
    job_id = states.make(S.COMPLETED)
    assert "object" in huey.reads.job(job_id).result


def test_the_next_job_of_a_pipeline_comes_with_the_commit_and_only_then(huey: JobHuey) -> None:
    @huey.task()
    def add(a: int, b: int) -> int:
        return a + b

    results = huey.enqueue(add.s(1, 2).then(add, 10).then(add, 100))
    assert counts(huey) == {S.WAITING: 1}
    run_all(huey)
    assert results.get() == [3, 13, 113]
    second = huey.reads.job(results._results[1].id)
    assert second.enqueued_by == results._results[0].id


def test_a_late_commit_changes_nothing_at_all(huey: JobHuey) -> None:
    states = States(huey)
    task = states.task.s("completed").then(states.task, "more")
    huey.enqueue(task)
    mine = huey.dequeue()
    huey.lease.close()  # another worker may have it from here on
    huey.execute(mine)
    assert state_of(huey, mine.id) is S.WAITING
    assert counts(huey) == {S.WAITING: 1}


def test_a_job_added_in_a_task_is_there_at_once_and_says_by_whom(huey: JobHuey) -> None:
    states, seen = States(huey), []

    def add_one() -> None:
        seen.append(states.task("completed").id)
        seen.append(counts(huey)[S.WAITING])

    states.ends["adds"] = add_one
    parent = states.task("adds").id
    run_all(huey)
    assert seen[1] == 1
    assert huey.reads.job(seen[0]).enqueued_by == parent
