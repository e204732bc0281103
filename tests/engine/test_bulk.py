"""Bulk operations: exactly the jobs that matched, each once, whoever steps and whoever dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from driving import States, run_all, run_one, state_of
from waiting import wait_until

from tasks.engine import EngineError, JobFilter, JobHuey, State, Term, UnknownJob
from tasks.engine.operating.bulk import KINDS, Plan
from tasks.engine.operating.freezing import frozen, thaw

S = State


def add(huey: JobHuey, how_many: int, name: str = "note", queue: str = "default",
        delay: float | None = None) -> list[str]:  # fmt: skip
    """Add jobs. Returns: their ids, oldest first."""
    known = huey.__dict__.setdefault("made_here", {})
    if name not in known:
        known[name] = huey.task(name=name, queue=queue)(_note)
    calls = [known[name].s(f"{name} {n}", delay=delay) for n in range(how_many)]
    huey.enqueue_many(calls)
    return [call.id for call in calls]


def _note(text: str) -> str:
    return text


def cancelled(huey: JobHuey, how_many: int, name: str = "note") -> list[str]:
    ids = add(huey, how_many, name)
    huey.commands.cancel(ids)
    return ids


def operate(huey: JobHuey) -> None:
    """Step every operation to its end."""
    while huey.commands.step_operations():
        pass


@pytest.fixture
def tens(huey: JobHuey, monkeypatch: pytest.MonkeyPatch) -> JobHuey:
    """Return a Huey whose operations go in chunks of ten."""
    monkeypatch.setattr(huey.commands.stepper, "size", 10)
    monkeypatch.setattr(huey.commands.stepper, "_fit", lambda many, took_s: None)
    return huey


def test_one_process_at_a_time_steps_and_none_for_long(tens: JobHuey) -> None:
    now = tens.reads.now_ms()

    def hears(proc: str, ms: int) -> list[str]:
        reply = tens.storage.scripts.run("house", now + ms, 10, proc)
        return [op_id.decode() for op_id in reply[3]]

    assert hears("first", 0) == []
    started = tens.commands.start_operation("cancel", ids=add(tens, 25), by="ada", reason="a test")
    assert hears("first", 0) == [started.id]
    assert hears("second", 1000) == []
    assert hears("first", 1400) == [started.id]
    assert hears("second", 1499) == []
    assert hears("second", 1501) == [started.id], "also where the first asks but cannot go on"
    assert hears("first", 1502) == []
    assert hears("third", 3001) == [started.id]
    assert hears("first", -3_600_000) == [started.id], "the server's clock stepped back"


# Exactly what matched


KIND_ROWS: list[tuple[str, State, State | None, dict[str, Any]]] = [
    ("cancel", S.WAITING, S.CANCELLED, {}),
    ("discard", S.WAITING, None, {}),
    ("run_now", S.SCHEDULED, S.WAITING, {}),
    ("retry", S.CANCELLED, S.WAITING, {}),
    ("retry", S.CANCELLED, S.SCHEDULED, {"delay_s": 60}),
    ("delete", S.CANCELLED, None, {}),
    ("reschedule", S.WAITING, S.SCHEDULED, {"delay_s": 3600}),
    ("priority", S.WAITING, S.WAITING, {"priority": 9}),
    ("tag", S.CANCELLED, S.CANCELLED, {"tags": ["outage"]}),
    ("untag", S.CANCELLED, S.CANCELLED, {"tags": ["old"]}),
    ("patch", S.CANCELLED, S.CANCELLED, {"name": "text", "value": "new"}),
]


@pytest.mark.parametrize(("kind", "before", "after", "given"), KIND_ROWS)
def test_an_operation_acts_on_all_that_match(
    tens: JobHuey, kind: str, before: State, after: State | None, given: dict[str, Any]
) -> None:
    chosen = add(tens, 25, delay=3600 if before is S.SCHEDULED else None)
    if before is S.CANCELLED:
        tens.commands.cancel(chosen)
    tens.commands.tag(chosen, "old")
    other = add(tens, 1, "mail", queue="email")[0]
    started = tens.commands.start_operation(
        kind, filter=JobFilter(queue="default", state=before), by="ada", reason="a test", **given
    )
    assert (started.matched, started.exact, started.state) == (25, True, "running")
    assert (started.by, started.reason) == ("ada", "a test")
    tens.commands.step_operations()
    assert tens.reads.operation(started.id).progress == 40
    operate(tens)
    ended = tens.reads.operation(started.id)
    assert (ended.state, ended.done, ended.skipped, ended.progress) == ("done", 25, 0, 100)
    assert ended.finished_at >= ended.created_at
    counts = tens.reads.queue("default").counts
    assert {s: n for s, n in counts.items() if n} == ({after: 25} if after else {})
    assert state_of(tens, other) is S.WAITING
    outcomes = tens.reads.operation_outcomes(started.id, 100)
    assert [outcome.id for outcome in outcomes] == chosen
    assert all(outcome.done and outcome.at for outcome in outcomes)


def test_every_kind_is_tried_here() -> None:
    assert {row[0] for row in KIND_ROWS} | {"move", "export", "search"} == set(KINDS)


def test_all_that_match_move_to_another_queue(tens: JobHuey) -> None:
    chosen = add(tens, 25)
    tens.commands.start_operation("move", filter=JobFilter(queue="default"), queue="email")
    operate(tens)
    assert tens.reads.queue("email").counts[S.WAITING] == 25
    assert run_all(tens) == chosen


def test_what_is_added_or_comes_to_match_later_is_not_touched(tens: JobHuey) -> None:
    early, other = add(tens, 25), cancelled(tens, 5)
    operation = tens.commands.start_operation("cancel", filter=JobFilter(state=S.WAITING), by="ada")
    late = add(tens, 5)
    tens.commands.step_operations()
    tens.commands.retry(other)
    operate(tens)
    assert tens.reads.operation(operation.id).done == 25
    assert {state_of(tens, job_id) for job_id in early} == {S.CANCELLED}
    assert {state_of(tens, job_id) for job_id in late + other} == {S.WAITING}


def test_a_job_that_changes_while_it_runs_is_left_alone_and_counted(tens: JobHuey) -> None:
    ids = cancelled(tens, 25)
    operation = tens.commands.start_operation("retry", filter=JobFilter(state=S.CANCELLED))
    tens.commands.step_operations()
    tens.commands.retry([ids[0]])  # its turn would come last
    tens.commands.cancel([ids[0]])
    operate(tens)
    ended = tens.reads.operation(operation.id)
    assert (ended.done, ended.skipped, ended.changed, ended.matched) == (24, 0, 1, 25)
    assert state_of(tens, ids[0]) is S.CANCELLED


def test_a_job_that_changes_between_reading_and_acting_is_skipped(
    tens: JobHuey, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = add(tens, 2)
    started = tens.commands.start_operation("cancel", filter=JobFilter(state=S.WAITING))

    def meanwhile(kind: str, ids: Any) -> dict[str, str]:
        run_one(tens)
        return {}

    monkeypatch.setattr(tens.commands.stepper, "before", meanwhile)
    operate(tens)
    assert (state_of(tens, first), state_of(tens, second)) == (S.COMPLETED, S.CANCELLED)
    (skipped,) = tens.reads.operation_outcomes(started.id, which="skipped")
    assert skipped.id == first
    assert skipped.detail == "changed since the query was frozen: the job is completed"


def test_a_tag_that_came_after_the_freeze_does_not_make_a_job_match(tens: JobHuey) -> None:
    ids = cancelled(tens, 25)
    tens.commands.tag(ids[5:], "outage")
    started = tens.commands.start_operation("delete", filter=JobFilter(tag="outage"))
    tens.commands.step_operations()
    tens.commands.tag(ids[:5], "outage")
    operate(tens)
    ended = tens.reads.operation(started.id)
    assert (ended.done, ended.skipped) == (20, 5)
    assert {state_of(tens, job_id) for job_id in ids[:5]} == {S.CANCELLED}


def test_the_job_added_just_before_the_start_is_touched(huey: JobHuey) -> None:
    for _ in range(20):
        job_id = add(huey, 1)[0]
        operation = huey.commands.start_operation("cancel", filter=JobFilter(), by="ada")
        operate(huey)
        assert state_of(huey, job_id) is S.CANCELLED, operation


def test_an_operation_reaches_past_jobs_that_do_not_match(
    huey: JobHuey, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = add(huey, 3, "rare")
    add(huey, 650)
    monkeypatch.setattr("tasks.engine.reading.finding.SEARCH_ROWS", 200)
    monkeypatch.setattr("tasks.engine.operating.dry_run.BUDGET_S", 0.0)
    operation = huey.commands.start_operation("cancel", filter=JobFilter(task="rare"), by="ada")
    operate(huey)
    ended = huey.reads.operation(operation.id)
    assert (ended.done, ended.matched, ended.exact, ended.changed) == (3, 3, True, 0)
    assert {state_of(huey, job_id) for job_id in wanted} == {S.CANCELLED}


def test_an_operation_may_spare_what_is_young(huey: JobHuey) -> None:
    job_id = States(huey).make(S.FAILED)
    huey.commands.start_operation("delete", filter=JobFilter(state=S.FAILED), older_than_s=3600)
    operate(huey)
    assert state_of(huey, job_id) is S.FAILED


def test_every_field_of_a_filter_survives_freezing() -> None:
    at = datetime(2026, 11, 25, 12, 6, 24, 123456, UTC)
    samples = {"state": S.FAILED, "since": at, "until": at + timedelta(hours=1)}
    for field in fields(JobFilter):
        value = samples.get(field.name, "x")
        if isinstance(field.default, tuple):
            continue
        wanted = replace(JobFilter(), **{field.name: value})
        assert thaw(frozen(wanted)) == wanted, field.name
    assert thaw('{"state": "failed", "gone": "x"}') == JobFilter(state=S.FAILED)


# Whoever steps, whoever dies


def test_two_workers_that_step_at_once_do_each_job_once(
    huey: JobHuey, make_huey: Callable[..., JobHuey]
) -> None:
    ids = cancelled(huey, 400)
    operation = huey.commands.start_operation("retry", filter=JobFilter(state=S.CANCELLED))
    threads = [threading.Thread(target=operate, args=(h,)) for h in (huey, make_huey(huey.name))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    operate(huey)
    ended = huey.reads.operation(operation.id)
    assert (ended.state, ended.done, ended.skipped) == ("done", 400, 0)
    assert sorted(o.id for o in huey.reads.operation_outcomes(operation.id, 500)) == sorted(ids)


STEPPER = """
import os, signal, sys
sys.path[:0] = sys.argv[1:]
from tasks.engine import JobHuey, Queue
huey = JobHuey(os.environ["APP_NAME"], url=os.environ["APP_REDIS"], queues=(Queue("default"), Queue("email")))
huey.commands.stepper.size = 10
huey.commands.stepper._fit = lambda many, took_s: None
run, acts = huey.storage.scripts.run, []

def dies_after_the_fourth(name, *args):
    answer = run(name, *args)
    acts.append(name)
    if acts.count("bulk_step") == 4:
        os.kill(os.getpid(), signal.SIGKILL)  # it has acted, and heard nothing of it
    return answer

huey.storage.scripts.run = dies_after_the_fourth
while huey.commands.step_operations():
    pass
"""


def test_an_operation_goes_on_after_its_stepper_was_killed(
    huey: JobHuey, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = cancelled(huey, 600)
    operation = huey.commands.start_operation("retry", filter=JobFilter(state=S.CANCELLED))
    root = str(Path(__file__).parents[2])
    stepper = subprocess.run(
        [sys.executable, "-c", STEPPER, root], check=False,
        env={**os.environ, "APP_NAME": huey.name, "APP_REDIS": redis_url},
    )  # fmt: skip
    assert stepper.returncode == -signal.SIGKILL
    half = huey.reads.operation(operation.id)
    assert (half.state, half.done) == ("running", 40)
    assert half.done == len(huey.reads.operation_outcomes(operation.id, 1000))
    operate(huey)
    ended = huey.reads.operation(operation.id)
    assert (ended.state, ended.done, ended.skipped) == ("done", 600, 0)
    assert {huey.reads.job(job_id).run for job_id in ids[::50]} == {2}
    outcomes = [o.id for o in huey.reads.operation_outcomes(operation.id, 1000)]
    assert sorted(outcomes) == sorted(ids)


def test_a_step_made_from_an_old_cursor_changes_nothing(tens: JobHuey) -> None:
    add(tens, 25)
    operation = tens.commands.start_operation("cancel", filter=JobFilter(state=S.WAITING))
    stepper = tens.commands.stepper
    record = stepper.bulk.record(operation.id)
    stale = stepper._chunk(operation.id, record, 10)
    tens.commands.step_operations()
    stepper._act(operation.id, record, stale, 0)
    ended = tens.reads.operation(operation.id)
    assert (ended.done, ended.seen) == (10, 10)


def test_a_fault_of_the_applications_part_leaves_the_chunk_for_later(
    tens: JobHuey, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(tens, 5)
    operation = tens.commands.start_operation("cancel", filter=JobFilter(state=S.WAITING))

    def broken(kind: str, ids: Any) -> dict[str, str]:
        raise RuntimeError("no database")

    monkeypatch.setattr(tens.commands.stepper, "before", broken)
    assert tens.commands.step_operations() == 0
    assert tens.reads.operation(operation.id).done == 0
    told: list[Any] = []
    monkeypatch.setattr(tens.commands.stepper, "before", lambda kind, ids: {ids[0]: "not this one"})
    monkeypatch.setattr(tens.commands.stepper, "after", lambda *args: told.append(args))
    operate(tens)
    ended = tens.reads.operation(operation.id)
    assert (ended.done, ended.skipped) == (4, 1)
    assert [(kind, len(ids)) for kind, ids, _ in told] == [("cancel", 4)]
    (skipped,) = tens.reads.operation_outcomes(operation.id, which="skipped")
    assert (skipped.detail, skipped.state) == ("not this one", S.WAITING)


# Pause, pace, canary


def test_an_operation_pauses_goes_on_and_stops(tens: JobHuey) -> None:
    add(tens, 35)
    op_id = tens.commands.start_operation("cancel", filter=JobFilter(state=S.WAITING), by="a").id
    tens.commands.step_operations()
    assert tens.commands.pause_operation(op_id, by="ada").state == "paused"
    assert tens.commands.step_operations() == 0
    assert tens.commands.resume_operation(op_id).state == "running"
    tens.commands.step_operations()
    assert tens.commands.stop_operation(op_id).state == "stopped"
    assert tens.commands.step_operations() == 0
    assert tens.commands.resume_operation(op_id).state == "stopped"
    assert tens.reads.operation(op_id).done == 20
    assert tens.reads.queue("default").counts[S.WAITING] == 15
    said = [event.text for event in tens.reads.operation_events(op_id)]
    assert said == ["started by a", "paused by ada", "resumed", "stopped"]


def test_a_pace_is_kept_by_the_servers_clock(
    tens: JobHuey, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(tens, 25)
    op_id = tens.commands.start_operation(
        "cancel", filter=JobFilter(state=S.WAITING), plan=Plan(pace=4)
    ).id
    now = int(tens.commands.stepper.bulk.record(op_id)["created"])
    done = []
    for second in range(6):
        monkeypatch.setattr(tens.reads, "now_ms", lambda at=now + 1000 * second: at)
        tens.commands.step_operations()
        key = tens.storage.keys.of("op", op_id)
        tens.storage.call("HSET", key, "stepped", now + 1000 * second)
        done.append(tens.reads.operation(op_id).done)
    assert done[0] == 1
    steps = [b - a for a, b in zip(done, done[1:], strict=False)]
    assert all(step in (4, 5) for step in steps), done
    monkeypatch.setattr(tens.reads, "now_ms", lambda: now + 3_600_000)
    tens.commands.step_operations()
    assert tens.reads.operation(op_id).done - done[-1] <= 10  # an hour's rest saves up little


def canary(huey: JobHuey, states: States, share: int, how_many: int = 30) -> Any:
    calls = [states.task.s("failed") for _ in range(how_many)]
    huey.enqueue_many(calls)
    run_all(huey)
    return huey.commands.start_operation(
        "retry", filter=JobFilter(state=S.FAILED), plan=Plan(canary=4, share=share)
    ).id


def test_a_canary_that_fares_well_lets_the_others_go(tens: JobHuey) -> None:
    states = States(tens)
    op_id = canary(tens, states, share=75)
    operate(tens)
    assert tens.reads.operation(op_id).trying
    assert tens.reads.operation(op_id).done == 4
    states.ends["failed"] = _in_turn(True, False, True, True)
    run_all(tens)
    assert tens.commands.step_operations() == 1
    operate(tens)
    ended = tens.reads.operation(op_id)
    assert (ended.state, ended.done, ended.trying) == ("done", 30, False)
    assert ended.ends == {"completed": 3, "failed": 1}
    said = [event.text for event in tens.reads.operation_events(op_id)]
    assert said == ["started", "canary: 3 of 4 completed, going on", "done"]
    (again,) = tens.reads.operation_outcomes(op_id, which="failed")
    assert state_of(tens, again.id) is S.FAILED


def test_a_canary_that_fares_badly_pauses_the_operation_and_says_why(tens: JobHuey) -> None:
    states = States(tens)
    op_id = canary(tens, states, share=90)
    operate(tens)
    run_all(tens)
    assert tens.commands.step_operations() == 1
    paused = tens.reads.operation(op_id)
    assert (paused.state, paused.done) == ("paused", 4)
    assert paused.why == "canary: 0 of 4 completed, 90 % was asked for"
    assert tens.commands.step_operations() == 0
    assert tens.reads.queue("default").counts[S.FAILED] == 30
    resumed = tens.commands.resume_operation(op_id)
    assert (resumed.trying, resumed.why) == (False, "")
    operate(tens)
    assert tens.reads.operation(op_id).done == 30


def test_an_operation_waits_until_its_canary_has_ended(tens: JobHuey) -> None:
    states = States(tens)
    op_id = canary(tens, states, share=50)
    operate(tens)
    states.ends["failed"] = _in_turn(True, True, True)
    for _ in range(3):
        run_one(tens)
        assert tens.commands.step_operations() == 0
    assert tens.reads.operation(op_id).done == 4
    assert tens.reads.operation(op_id).left_s() is None


def _in_turn(*well: bool) -> Callable[[], str]:
    left = list(well)

    def end() -> str:
        from tasks.engine import Permanent

        if not left.pop(0):
            raise Permanent("again")
        return "well"

    return end


@pytest.mark.parametrize(
    ("kind", "plan", "says"),
    [("cancel", Plan(canary=5), "try some jobs first"), ("retry", Plan(pace=0), "no pace"),
     ("retry", Plan(pace=-1), "no pace"), ("retry", Plan(canary=5, share=0), "per cent")],
)  # fmt: skip
def test_a_plan_that_cannot_be_kept_is_refused(
    huey: JobHuey, kind: str, plan: Plan, says: str
) -> None:
    with pytest.raises(EngineError, match=says):
        huey.commands.start_operation(kind, filter=JobFilter(), plan=plan)


# Ids, outcomes, links


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


# Looking first


def test_a_dry_run_counts_by_state_and_shows_ten(huey: JobHuey) -> None:
    cancelled(huey, 12)
    waiting = add(huey, 3)
    found = huey.reads.dry_run("retry", JobFilter(queue="default"))
    assert (found.count, found.exact, found.applies) == (15, True, 12)
    assert found.by_state == {S.CANCELLED: 12, S.WAITING: 3}
    assert [job.id for job in found.samples[:3]] == waiting[::-1]
    assert len(found.samples) == 10
    narrow = huey.reads.dry_run("cancel", JobFilter(text="NOTE 2", state=S.WAITING))
    assert (narrow.count, narrow.exact, narrow.applies) == (1, True, 1)


def test_a_dry_run_shows_other_samples_and_those_it_would_skip(huey: JobHuey) -> None:
    gone, waiting = cancelled(huey, 12), add(huey, 3)
    first = huey.reads.dry_run("retry", JobFilter(queue="default"))
    more = huey.reads.dry_run("retry", JobFilter(queue="default"), first.next)
    assert {job.id for job in (*first.samples, *more.samples)} == {*gone, *waiting}
    assert (len(more.samples), more.next) == (5, None)
    skipped = huey.reads.dry_run("retry", JobFilter(queue="default"), skipped=True)
    assert {job.id for job in skipped.samples} == set(waiting)
    assert (skipped.count, skipped.applies) == (15, 12)
    assert huey.reads.dry_run("tag", JobFilter(), skipped=True).samples == ()
    ids = [*gone, *waiting]
    assert len(huey.reads.dry_run_of("retry", ids).samples) == 10
    assert [j.id for j in huey.reads.dry_run_of("retry", ids, 10).samples] == ids[10:]
    assert len(huey.reads.dry_run_of("retry", ids, skipped=True).samples) == 3


def test_a_dry_run_that_ends_early_says_how_far_it_got(
    huey: JobHuey, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(huey, 700)
    monkeypatch.setattr("tasks.engine.operating.dry_run.BUDGET_S", -1.0)
    found = huey.reads.dry_run("cancel", JobFilter(task="note"))
    assert not found.exact
    assert 0 < found.count <= found.searched < found.of == 700


def test_an_export_is_read_when_asked_for_and_acts_on_nothing(huey: JobHuey) -> None:
    add(huey, 3)
    operation = huey.commands.start_operation("export", filter=JobFilter(state=S.WAITING))
    assert (operation.state, operation.matched, operation.progress) == ("done", 3, 100)
    assert huey.commands.step_operations() == 0
    assert huey.reads.queue("default").counts[S.WAITING] == 3


# A search to the end


@pytest.mark.parametrize("wanted", [JobFilter(text="note 1"), JobFilter(terms=(Term("attempt", ("0",)),)),
                                    JobFilter(state=S.WAITING)])  # fmt: skip
def test_a_search_goes_to_the_end_in_chunks_and_keeps_what_it_found(
    huey: JobHuey, monkeypatch: pytest.MonkeyPatch, wanted: JobFilter
) -> None:
    add(huey, 40)
    monkeypatch.setattr("tasks.engine.reading.finding.SEARCH_ROWS", 7)
    started = huey.commands.start_operation("search", filter=wanted, by="ada")
    assert (started.state, started.matched, started.done) == ("running", 40, 0)
    late = add(huey, 3)  # changed after the search was frozen
    assert huey.commands.stepper.step() == 1
    assert huey.reads.operation(started.id).seen == 7
    operate(huey)
    ended = huey.reads.operation(started.id)
    monkeypatch.undo()
    expected = [job.id for job in huey.reads.jobs(wanted, limit=500).items if job.id not in late]
    assert huey.reads.operation_found(started.id) == expected
    assert huey.reads.operation_found(started.id, limit=2, start=1) == expected[1:3]
    assert (ended.state, ended.done, ended.seen, ended.matched) == ("done", len(expected), 40, 40)
    assert huey.reads.queue("default").counts[S.WAITING] == 43


def test_a_search_that_finds_more_than_it_keeps_counts_on(
    huey: JobHuey, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = add(huey, 9)
    monkeypatch.setattr("tasks.engine.operating.stepping.MOST_FOUND", 4)
    started = huey.commands.start_operation("search", filter=JobFilter(state=S.WAITING))
    operate(huey)
    assert huey.reads.operation(started.id).done == 9
    assert huey.reads.operation_found(started.id) == made[::-1][:4]
    assert huey.storage.client.ttl(huey.storage.keys.of("op_ids", started.id)) > 86400


def test_a_search_is_stopped_and_a_step_of_another_counts_once(
    huey: JobHuey, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(huey, 20)
    monkeypatch.setattr("tasks.engine.reading.finding.SEARCH_ROWS", 5)
    started = huey.commands.start_operation("search", filter=JobFilter(text="note"))
    record = huey.reads.bulk.record(started.id)
    stepper = huey.commands.stepper
    assert stepper._look_on(started.id, record)
    assert not stepper._look_on(started.id, record)
    assert huey.reads.operation(started.id).seen == 5
    huey.commands.stop_operation(started.id, by="ada")
    operate(huey)
    stopped = huey.reads.operation(started.id)
    assert (stopped.state, stopped.seen) == ("stopped", 5)
    assert len(huey.reads.operation_found(started.id)) == 5
    with pytest.raises(EngineError, match="a search takes a filter"):
        huey.commands.start_operation("search", ids=["x"])


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
