"""Each state a job may be in, each way out of it, and each way that is shut."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from driving import Span, States, run_all, run_one, state_of
from huey.exceptions import TaskException
from waiting import wait_until

from tasks.engine import (
    FINAL,
    MASK,
    CancelRequested,
    Defer,
    EngineError,
    JobFilter,
    JobHuey,
    LeaseLost,
    NotSerializable,
    Permanent,
    RetryAfter,
    Skip,
    State,
    TooLarge,
    UnknownJob,
    UnknownQueue,
    current_job,
)

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


def command(huey: JobHuey, verb: str, *ids: str, **options: Any) -> Any:
    found = getattr(huey.commands, verb)(ids, **options)
    return found[0] if len(ids) == 1 else found


def sets_holding(huey: JobHuey, job_id: str) -> list[str]:
    """Return the state sets a job is in, over all queues."""
    keys = [key.decode() for key in huey.storage.client.keys(huey.storage.keys.of("state", "*"))]
    found = [key for key in keys if huey.storage.call("ZSCORE", key, job_id) is not None]
    return [key.rpartition(":")[2] for key in found]


def counts(huey: JobHuey, queue: str = "default") -> dict[State, int]:
    return {state: many for state, many in huey.reads.queue(queue).counts.items() if many}


# Commands


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


# What a task raises


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


def test_a_task_that_exits_fails_and_its_worker_lives(huey: JobHuey) -> None:
    @huey.task()
    def leaves() -> None:
        raise SystemExit(3)

    job_id = leaves().id
    run_all(huey)
    job = huey.reads.job(job_id)
    assert (job.state, job.error.type) == (S.FAILED, "SystemExit")


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


# Adding


def test_an_id_added_twice_is_one_job(huey: JobHuey) -> None:
    task = States(huey).task
    for _ in range(3):
        task.schedule(("completed",), id="welcome:7", delay=0.001)
    assert wait_until(lambda: run_all(huey), "it is due") == ["welcome:7"]
    assert run_all(huey) == []


def test_a_repeat_of_an_add_whose_reply_was_lost_is_no_second_run(huey: JobHuey) -> None:
    call = States(huey).task.s("completed")
    spec, data = {**huey.spec_of(call), "rq": "the same request"}, huey.envelope(call)
    assert huey.storage.add([(spec, data)]) == [("new", call.id)]
    assert huey.storage.add([(spec, data)]) == [("same", call.id)]
    assert run_all(huey) == [call.id]
    assert huey.storage.add([(spec, data)]) == [("same", call.id)]
    assert run_all(huey) == []


def test_pushed_twice_is_one_job_also_after_it_ran_and_was_deleted(huey: JobHuey) -> None:
    call = States(huey).task.s("completed")
    row = (call.id, huey.envelope(call), None)
    assert [outcome.done for outcome in huey.push([row])] == [True]
    assert run_all(huey) == [call.id]
    huey.push([row])
    command(huey, "delete", call.id)
    huey.push([row])
    assert run_all(huey) == []


@pytest.mark.parametrize("bad", ["", "a b", "x" * 65, "tab\t"])
def test_an_id_that_could_break_a_key_is_refused(huey: JobHuey, bad: str) -> None:
    task = States(huey).task.s("completed")
    task.id = bad
    with pytest.raises(EngineError, match="is refused"):
        huey.enqueue(task)


def test_a_task_of_an_unknown_queue_is_refused_at_once(huey: JobHuey) -> None:
    with pytest.raises(UnknownQueue, match="there are default, email"):
        huey.task(queue="emial")(print)


def test_an_argument_without_a_json_form_is_refused_by_name(huey: JobHuey) -> None:
    with pytest.raises(NotSerializable, match="argument how of .*ends"):
        States(huey).task(object())
    assert counts(huey) == {}


def test_an_envelope_over_its_limit_is_refused(huey: JobHuey) -> None:
    with pytest.raises(TooLarge, match="pass an id"):
        States(huey).task("x" * 70_000)


def test_many_jobs_are_added_in_their_order_and_may_be_delayed(huey: JobHuey) -> None:
    task = States(huey).task
    calls = [task.s("completed") for _ in range(450)]
    later = task.s("completed", delay=3600)
    results = huey.enqueue_many([*calls, later])
    assert [result.id for result in results] == [call.id for call in [*calls, later]]
    assert counts(huey) == {S.WAITING: 450, S.SCHEDULED: 1}
    assert run_all(huey) == [call.id for call in calls]


def test_many_added_jobs_keep_unique_keys_and_expiry(huey: JobHuey) -> None:
    @huey.task(unique="code:{user}", expires=3600)
    def send(user: int) -> None:
        """Nothing."""

    first = send(1).id
    results = huey.enqueue_many([send.s(1), send.s(2)])
    assert results[0].id == first
    assert counts(huey) == {S.WAITING: 2}
    assert all(huey.dequeue().expires_resolved for _ in range(2))


# Unique


def test_a_second_job_of_a_unique_key_is_the_first(huey: JobHuey) -> None:
    @huey.task(unique="code:{user}")
    def send(user: int, text: str = "") -> None:
        """Nothing."""

    first, second, other = send(1), send(1, "again"), send(2)
    assert (second.id, other.id == first.id) == (first.id, False)
    assert run_all(huey) == [first.id, other.id]
    assert send(1).id != first.id


def test_a_unique_key_is_free_after_every_end_and_held_while_retrying(huey: JobHuey) -> None:
    fails = [True]

    @huey.task(unique="one", retries=1, retry_delay=3600)
    def send() -> None:
        if fails[0]:
            raise ValueError("no")

    first = send().id
    run_all(huey)
    assert state_of(huey, first) is S.RETRYING
    assert send().id == first
    command(huey, "cancel", first)
    second = send().id
    assert second != first
    outcome = command(huey, "retry", first)
    assert not outcome.done
    assert second in outcome.detail
    fails[0] = False
    run_all(huey)
    assert command(huey, "retry", first).done
    run_all(huey)
    assert huey.storage.client.keys(huey.storage.keys.of("unique", "*")) == []


# Secrets


@pytest.fixture
def sender(huey: JobHuey) -> Any:
    opened: list[str] = []

    @huey.task(name="send_code", secret=("code",), retries=1)
    def send_code(user: int, code: str, fail: bool = False) -> str:
        opened.append(code)
        if fail:
            raise ValueError(f"cannot send {code}")
        return f"sent {code}"

    send_code.opened = opened
    return send_code


def test_a_secret_is_masked_in_every_read_and_opened_for_the_task(
    huey: JobHuey, sender: Any
) -> None:
    job_id = sender(7, "847-193").id
    assert list(huey.reads.job(job_id).args) == [7, MASK]
    assert list(huey.reads.jobs(JobFilter()).items[0].args) == [7, MASK]
    named = sender(user=7, code="555-666").id
    assert huey.reads.job(named).kwargs == {"user": 7, "code": MASK}
    run_all(huey)
    assert sender.opened == ["847-193", "555-666"]
    assert huey.reads.job(job_id).result == f"sent {MASK}"


def test_a_secret_lies_nowhere_in_redis_also_after_a_failure(huey: JobHuey, sender: Any) -> None:
    job_id = sender(7, "847-193", fail=True).id
    run_all(huey)
    job = huey.reads.job(job_id)
    assert (job.state, job.error.message) == (S.FAILED, f"cannot send {MASK}")
    client, kept = huey.storage.client, b""
    readers = {b"string": client.get, b"hash": client.hgetall, b"set": client.smembers,
               b"list": lambda key: client.lrange(key, 0, -1),
               b"zset": lambda key: client.zrange(key, 0, -1)}  # fmt: skip
    for key in client.scan_iter(huey.storage.keys.prefix + "*"):
        kept += key + repr(readers[client.type(key)](key)).encode()
    assert job_id.encode() in kept
    assert b"847-193" not in kept


def test_a_changed_retry_keeps_the_secret_that_came_back_masked(huey: JobHuey, sender: Any) -> None:
    job_id = sender(7, "847-193", fail=True).id
    run_all(huey)
    command(huey, "retry", job_id, args=[8, MASK], kwargs={})
    run_all(huey)
    assert sender.opened[-1] == "847-193"
    assert huey.reads.job(job_id).args[0] == 8


def test_a_secret_task_without_a_cipher_is_refused(make_huey: Callable[..., JobHuey]) -> None:
    with pytest.raises(EngineError, match="give JobHuey a cipher"):
        make_huey(cipher=None).task(secret=("code",))(lambda code: None)


def test_a_secret_may_not_be_an_index_or_in_a_unique_key(huey: JobHuey) -> None:
    for shown in ({"index": ("code",)}, {"unique": "code:{code}"}):
        with pytest.raises(EngineError, match="is secret"):
            huey.task(secret=("code",), **shown)(lambda code: None)


# The order of work


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


# Results


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


# Follow-ups are part of the commit


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


# What a running job says


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
