"""What an operator may do to a job in each state, and each way that is shut."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from driving import States, command, run_all, sets_holding, state_of

from tasks.engine import FINAL, EngineError, JobHuey, State, UnknownJob, current_job

S = State
VERBS = {
    "retry": {S.RETRYING: S.WAITING, S.COMPLETED: S.WAITING, S.FAILED: S.WAITING,
              S.CANCELLED: S.WAITING},
    "cancel": {S.SCHEDULED: S.CANCELLED, S.WAITING: S.CANCELLED, S.RETRYING: S.CANCELLED,
               S.ACTIVE: S.ACTIVE},
    "run_now": {S.SCHEDULED: S.WAITING, S.RETRYING: S.WAITING},
    "delete": {state: state for state in FINAL},
}  # fmt: skip
ALLOWED = [(verb, state) for verb, ends in VERBS.items() for state in ends]
FORBIDDEN = [(verb, state) for verb in VERBS for state in State if state not in VERBS[verb]]


@pytest.mark.parametrize(("verb", "state"), ALLOWED)
def test_an_allowed_command_moves_the_job(huey: JobHuey, verb: str, state: State) -> None:
    job_id = States(huey).make(state)
    outcome = command(huey, verb, job_id)
    assert (outcome.id, outcome.done, outcome.state) == (job_id, True, VERBS[verb][state])
    if verb == "delete":
        with pytest.raises(UnknownJob):
            huey.reads.job(job_id)
        assert sets_holding(huey, job_id) == []
    else:
        assert state_of(huey, job_id) is VERBS[verb][state]
        assert sets_holding(huey, job_id) == [VERBS[verb][state].value]


@pytest.mark.parametrize(("verb", "state"), FORBIDDEN)
def test_a_forbidden_command_changes_nothing_and_says_why(
    huey: JobHuey, verb: str, state: State
) -> None:
    job_id = States(huey).make(state)
    before = huey.reads.job(job_id)
    outcome = command(huey, verb, job_id)
    assert (outcome.done, outcome.state, outcome.detail) == (False, state, f"the job is {state}")
    assert huey.reads.job(job_id) == before
    assert sets_holding(huey, job_id) == [state.value]


@pytest.mark.parametrize("verb", VERBS)
def test_a_command_on_an_unknown_job_says_so(huey: JobHuey, verb: str) -> None:
    outcome = command(huey, verb, "no-such-job")
    assert (outcome.done, outcome.state, outcome.detail) == (False, None, "there is no such job")


@pytest.mark.parametrize("verb", VERBS)
def test_a_command_said_twice_does_its_work_once(huey: JobHuey, verb: str) -> None:
    job_id = States(huey).make(next(s for s in VERBS[verb] if s is not S.ACTIVE))
    assert command(huey, verb, job_id).done
    again = command(huey, verb, job_id)
    assert not again.done
    assert len(run_all(huey)) == (1 if verb in ("retry", "run_now") else 0)


def test_one_command_takes_jobs_of_all_states_and_answers_each(huey: JobHuey) -> None:
    states = States(huey)
    ids = [states.make(state) for state in (S.FAILED, S.COMPLETED, S.CANCELLED, S.SCHEDULED)]
    answered = command(huey, "retry", *ids, "nothing")
    assert [outcome.id for outcome in answered] == [*ids, "nothing"]
    assert [outcome.done for outcome in answered] == [True, True, True, False, False]


def test_a_job_run_again_by_hand_counts_its_attempts_anew_and_its_run_up(huey: JobHuey) -> None:
    states = States(huey)
    job_id = states.make(S.FAILED)
    states.ends["failed"] = lambda: "well now"
    command(huey, "retry", job_id)
    run_all(huey)
    job = huey.reads.job(job_id)
    assert (job.state, job.run, job.attempts_made, job.result) == (S.COMPLETED, 2, 1, "well now")
    assert [(a.run, a.number, a.outcome) for a in job.attempts] == [
        (1, 1, "failed"), (2, 1, "completed"),
    ]  # fmt: skip


def test_a_retry_may_wait(huey: JobHuey) -> None:
    job_id = States(huey).make(S.FAILED)
    outcome = command(huey, "retry", job_id, delay_s=3600)
    assert (outcome.done, outcome.state) == (True, S.SCHEDULED)
    assert run_all(huey) == []


def test_a_retry_may_change_the_arguments(huey: JobHuey) -> None:
    job_id = States(huey).make(S.FAILED)
    command(huey, "retry", job_id, args=["completed"])
    run_all(huey)
    assert state_of(huey, job_id) is S.COMPLETED


def test_arguments_that_do_not_fit_are_refused_before_anything_changes(huey: JobHuey) -> None:
    job_id = States(huey).make(S.FAILED)
    with pytest.raises(EngineError, match="do not fit"):
        command(huey, "retry", job_id, args=["one", "too many"])
    assert state_of(huey, job_id) is S.FAILED


def test_a_cancelled_active_job_stops_at_its_next_word(huey: JobHuey) -> None:
    @huey.task()
    def cancels_itself() -> None:
        job = current_job()
        huey.commands.cancel([job.id], by="ada", reason="wrong list")
        job.progress(50, "half")

    job_id = cancels_itself().id
    run_all(huey)
    job = huey.reads.job(job_id)
    assert job.state is S.CANCELLED
    assert job.reason == "cancelled by ada: wrong list"


def test_a_job_that_hears_no_cancel_completes(huey: JobHuey) -> None:
    states = States(huey)
    states.ends["completed"] = lambda: huey.commands.cancel([current_job().id]) and "done"
    job_id = states.task("completed").id
    run_all(huey)
    assert state_of(huey, job_id) is S.COMPLETED


def test_a_job_asked_to_stop_is_not_tried_again(huey: JobHuey) -> None:
    @huey.task(retries=5)
    def stumbles() -> None:
        huey.commands.cancel([current_job().id])
        raise ValueError("before it heard")

    job_id = stumbles().id
    run_all(huey)
    assert state_of(huey, job_id) is S.CANCELLED


def test_a_job_asked_to_stop_does_not_come_back_when_its_worker_goes(
    huey: JobHuey, make_huey: Callable[..., JobHuey]
) -> None:
    other = make_huey(huey.name)
    died, stopped = States(other).task("completed").id, States(huey).task("completed").id
    assert (other.dequeue().id, huey.dequeue().id) == (died, stopped)
    huey.commands.cancel([died, stopped], by="ada")
    assert huey.lease.sweep({other.lease.proc: "killed"}) == [(died, "cancelled")]
    huey.lease.close()
    for job_id in (died, stopped):
        job = huey.reads.job(job_id)
        assert (job.state, job.reason) == (S.CANCELLED, "cancelled by ada")


def test_cancel_says_who_and_why(huey: JobHuey) -> None:
    job_id = States(huey).make(S.WAITING)
    command(huey, "cancel", job_id, by="ada", reason="a wrong\tlist\nof people")
    assert huey.reads.job(job_id).reason == "cancelled by ada: a wrong list of people"
