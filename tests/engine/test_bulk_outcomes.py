"""What an operation says of each job, and what it refuses."""

from __future__ import annotations

import pytest
from bulking import add, canary, cancelled, operate
from driving import States, run_all
from waiting import wait_until

from tasks.engine import EngineError, JobFilter, JobHuey, State, UnknownJob

S = State


def test_an_operation_on_ids_answers_for_each_and_counts_what_it_skipped(huey: JobHuey) -> None:
    states = States(huey)
    failed, done = states.make(S.FAILED), states.make(S.WAITING)
    operation = huey.commands.start_operation(
        "retry", ids=[failed, done, failed, "nothing"], by="a"
    )
    assert operation.matched == 3
    operate(huey)
    ended = huey.reads.operation(operation.id)
    assert (ended.done, ended.skipped, ended.progress) == (1, 2, 100)
    outcomes = {o.id: (o.done, o.detail) for o in huey.reads.operation_outcomes(operation.id)}
    assert outcomes == {failed: (True, ""), done: (False, "the job is waiting"),
                        "nothing": (False, "there is no such job")}  # fmt: skip
    skipped = huey.reads.operation_outcomes(operation.id, which="skipped")
    assert {o.id for o in skipped} == {done, "nothing"}


def test_outcomes_are_read_page_by_page_the_newest_first(tens: JobHuey) -> None:
    ids = add(tens, 25)
    op_id = tens.commands.start_operation("cancel", ids=ids).id
    operate(tens)
    read = [o.id for n in range(0, 30, 10) for o in tens.reads.operation_outcomes(op_id, 10, n)]
    assert read == ids[::-1]


def test_a_job_knows_the_operations_that_touched_it(huey: JobHuey) -> None:
    (job_id,) = cancelled(huey, 1)
    retried = huey.commands.start_operation("retry", ids=[job_id]).id
    operate(huey)
    tagged = huey.commands.start_operation("tag", ids=[job_id], tags=["x"]).id
    operate(huey)
    assert [(t.operation, t.kind) for t in huey.reads.touched(job_id)] == [
        (retried, "retry"), (tagged, "tag")]  # fmt: skip
    run_all(huey)
    assert len(huey.reads.touched(job_id)) == 2
    huey.commands.delete([job_id])
    assert huey.reads.touched(job_id) == []


def test_what_does_not_fit_a_patch_fails_and_the_others_are_patched(huey: JobHuey) -> None:
    task = huey.task(name="whole")(_whole)
    calls = [task.s(1), task.s(2)]
    other = add(huey, 1)[0]
    huey.enqueue_many(calls)
    operation = huey.commands.start_operation(
        "patch", filter=JobFilter(state=S.WAITING), name="number", value=7
    )
    operate(huey)
    ended = huey.reads.operation(operation.id)
    assert (ended.done, ended.skipped, ended.failed) == (2, 0, 1)
    assert [huey.reads.job(call.id).args for call in calls] == [[7], [7]]
    (failed,) = huey.reads.operation_outcomes(operation.id, which="skipped")
    assert (failed.id, failed.failed) == (other, True)
    assert "do not fit" in failed.detail


def _whole(number: int) -> int:
    return number


def test_a_secret_value_of_a_patch_is_kept_and_shown_nowhere(huey: JobHuey) -> None:
    call = huey.task(name="secretive", secret=("code",))(_secretive).s("1111")
    huey.enqueue_many([call])
    operation = huey.commands.start_operation(
        "patch", filter=JobFilter(state=S.WAITING), name="code", value="sesame-9"
    )
    client = huey.storage.client
    kept = b"".join(client.dump(key) or b"" for key in client.keys("*"))
    assert b"sesame-9" not in kept
    assert huey.reads.operation(operation.id).options == {"name": "code", "value": "••••"}
    operate(huey)
    assert run_all(huey) == [call.id]
    assert huey.result(call.id) == len("sesame-9")


def _secretive(code: str) -> int:
    return len(code)


def test_an_operation_without_a_target_or_of_an_unknown_kind_is_refused(huey: JobHuey) -> None:
    with pytest.raises(EngineError, match="ids or a filter"):
        huey.commands.start_operation("retry", by="ada")
    with pytest.raises(EngineError, match="no operation 'explode'"):
        huey.commands.start_operation("explode", filter=JobFilter(), by="ada")
    for kind, given in (("move", {"queue": "x"}), ("priority", {"priority": 101}), ("tag", {}),
                        ("reschedule", {}), ("patch", {"name": "a b"})):  # fmt: skip
        with pytest.raises(EngineError):
            huey.commands.start_operation(kind, filter=JobFilter(), **given)
    with pytest.raises(UnknownJob):
        huey.reads.operation("nothing")
    assert huey.reads.operations() == []


def test_no_key_of_an_operation_is_without_an_end(tens: JobHuey) -> None:
    states = States(tens)
    canary(tens, states, share=1)
    operate(tens)
    run_all(tens)
    tens.commands.start_operation("cancel", ids=["nothing", *add(tens, 1)])
    operate(tens)
    keys = tens.storage.keys
    for kind in ("op", "op_ids", "op_events", "op_outcomes", "op_skipped", "op_failed"):
        found = tens.storage.client.keys(keys.of(kind, "*"))
        assert found, kind
        assert all(tens.storage.client.ttl(key) > 86400 for key in found), kind


def test_a_worker_that_is_busy_with_an_operation_stops_soon(tens: JobHuey) -> None:
    add(tens, 500)
    tens.commands.start_operation("cancel", filter=JobFilter(state=S.WAITING))
    assert tens.commands.stepper.step_for(0.0)
    wait_until(lambda: not tens.commands.stepper.step_for(1.0), what="all chunks are done")
    assert tens.reads.queue("default").counts[S.WAITING] == 0
