"""Slots share their calls to Redis: outcomes go together, quick jobs are held ready and go back."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from driving import state_of
from slots import add, know_functions, listen, register, states, work
from waiting import wait_until

from tasks.engine import JobHuey, RetryAfter, State
from tasks.engine.errors import Unreachable
from tasks.engine.running.leases import MOST_DEATHS
from tasks.engine.running.pace import MOST_HELD


def in_another_slot(huey: JobHuey, act: Callable[[], Any]) -> None:
    def run() -> None:
        huey._slot.dispatch = huey.dispatch
        act()

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()


def test_outcomes_of_two_slots_go_with_one_call(no_runner: None, slot: JobHuey) -> None:
    slot.prefetch = slot.dispatch.ahead = False
    mine, other = add(slot, 2)
    task = slot.dequeue()
    in_another_slot(slot, lambda: slot.execute(slot.dequeue()))
    slot.execute(task)
    assert states(slot, [mine, other]) == [State.ACTIVE] * 2
    assert slot.dequeue() is None
    ended = [slot.reads.job(job_id) for job_id in (other, mine)]
    assert [job.state for job in ended] == [State.COMPLETED] * 2
    assert ended[1].changed_at - ended[0].changed_at == timedelta(
        microseconds=1
    )  # one script's clock


def test_what_no_slot_takes_along_is_sent_all_the_same(slot: JobHuey) -> None:
    first, second = add(slot, 2)
    slot.execute(slot.dequeue())
    assert slot.dequeue().id == second  # and it runs for long
    wait_until(lambda: state_of(slot, first) is State.COMPLETED, what="the runner sent it")
    assert state_of(slot, second) is State.ACTIVE


def test_without_prefetch_no_more_is_fetched_than_slots_wait(
    no_runner: None, held_long: None, slot: JobHuey, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = slot.dispatch.pace.plan(4, ahead=False)
    monkeypatch.setattr(slot.dispatch, "_plan", lambda want: plan)  # as if four slots waited
    ids = add(slot, 20)
    slot.dequeue()
    slot.dequeue()  # half of those taken are left
    slot.dispatch.errand()
    assert states(slot, ids).count(State.ACTIVE) == 4


def test_a_call_for_one_queue_wakes_those_who_serve_it(make_huey: Callable[..., JobHuey]) -> None:
    mails = make_huey(read_timeout=1)
    others = make_huey(mails.name, read_timeout=0.01)
    others.serve(["default"])
    mails.serve(["email"])
    task = mails.task(name="mail", queue="email")(lambda: None)
    others.task(name="mail", queue="email")(lambda: None)
    job_id = task().id
    assert others.dequeue() is None, "and the call for mails is still there"
    assert mails.storage.wait(None), "it is heard"
    assert mails.dequeue().id == job_id


def test_who_leaves_jobs_in_several_queues_wakes_those_who_serve_each(
    make_huey: Callable[..., JobHuey],
) -> None:
    both = make_huey(read_timeout=1)
    mails = make_huey(both.name, read_timeout=1)
    mails.serve(["email"])
    register(both)
    both.mail(1)
    assert both.storage.wait(None), "the call for mails reaches one who serves all"
    for number in range(2):
        both.quick(number, priority=10)
    assert both.dequeue() is not None, "one of two goes before, and mail is left as well"
    assert mails.storage.wait(None), "who serves only mails is called in its place"


def test_a_task_that_was_never_seen_is_taken_one_at_a_time(slot: JobHuey) -> None:
    strange = slot.task(name="strange")(lambda: None)
    ids = [strange().id for _ in range(3)]
    assert slot.dequeue().id == ids[0]
    assert states(slot, ids[1:]) == [State.WAITING] * 2


def test_a_slow_task_is_taken_one_at_a_time(slot: JobHuey) -> None:
    slot.dispatch.pace.note(slot._registry.task_to_string(slot.quick.task_class), 1.0)
    ids = add(slot, 3)
    assert slot.dequeue().id == ids[0]
    assert states(slot, ids[1:]) == [State.WAITING] * 2


def test_held_jobs_are_active_and_not_started_and_start_in_their_order(
    slot: JobHuey, held_long: None
) -> None:
    ids = add(slot, 100)
    slot.execute(first := slot.dequeue())
    held = [slot.reads.job(job_id) for job_id in ids[1:MOST_HELD]]
    assert {(job.state, job.started_at) for job in held} == {(State.ACTIVE, None)}
    assert states(slot, ids[MOST_HELD:]) == [State.WAITING] * (100 - MOST_HELD)
    assert [first.id, *work(slot, 99)] == ids
    done = [slot.reads.job(job_id) for job_id in ids]
    assert {job.attempts_made for job in done} == {1}
    assert all(job.started_at and job.wait_ms is not None for job in done)
    assert all(job.started_at <= job.finished_at for job in done)


def test_a_held_job_that_started_and_runs_long_says_since_when(
    slot: JobHuey, held_long: None
) -> None:
    _, second = add(slot, 2)
    slot.execute(slot.dequeue())
    slot.dequeue()
    slot.lease.beat()
    assert slot.reads.job(second).started_at is not None


def test_jobs_held_too_long_go_back(slot: JobHuey) -> None:
    ids = add(slot, 5)
    assert slot.dequeue().id == ids[0]  # and it runs for long
    wait_until(lambda: states(slot, ids[1:]) == [State.WAITING] * 4, what="they went back")
    assert {slot.reads.job(job_id).attempts_made for job_id in ids[1:]} == {0}
    assert work(slot, 4) == ids[1:]


def test_a_process_that_stops_gives_back_what_it_holds(slot: JobHuey, held_long: None) -> None:
    ids = add(slot, 5)
    running = slot.dequeue()
    slot.dispatch.stop()
    wait_until(lambda: states(slot, ids[1:]) == [State.WAITING] * 4, what="they went back")
    slot.execute(running)
    assert slot.dequeue() is None
    assert states(slot, ids) == [State.COMPLETED, *[State.WAITING] * 4]


def test_slots_are_told_to_end_before_they_are_given_no_more_jobs(
    slot: JobHuey, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They would ask again without a pause: a greenlet that does so lets nobody else go on."""
    consumer, told = slot.create_consumer(workers=1), list[bool]()
    monkeypatch.setattr(slot.dispatch, "stop", lambda: told.append(consumer.stop_flag.is_set()))
    consumer.stop()
    assert told == [True]


def test_a_quiet_worker_gives_back_what_it_holds(slot: JobHuey, held_long: None) -> None:
    worker = slot.create_consumer(workers=1)._create_worker()
    ids = add(slot, 5)
    slot.execute(slot.dequeue())
    slot.lease.wish = "quiet"
    worker.stop_flag.set()  # it would wait a moment
    worker.loop()
    assert states(slot, ids) == [State.COMPLETED, *[State.WAITING] * 4]


@pytest.mark.parametrize("shut", ["pause", "breaker"])
def test_held_jobs_of_a_queue_that_shuts_go_back(slot: JobHuey, held_long: None, shut: str) -> None:
    ids = add(slot, 5)
    assert slot.dequeue().id == ids[0]
    if shut == "pause":
        slot.commands.pause("default")
    else:
        now = slot.reads.now_ms()
        fields = {"bs": "open", "bo": now, "bp": now + 60_000}
        slot.storage.client.hset(slot.storage.keys.of("queue", "default"), mapping=fields)
    wait_until(lambda: states(slot, ids[1:]) == [State.WAITING] * 4, what="they went back")
    assert slot.dequeue() is None


def test_a_queue_with_a_limit_is_never_taken_ahead(slot: JobHuey) -> None:
    ids = add(slot, 3, "mail")
    assert slot.dequeue().id == ids[0]
    assert states(slot, ids[1:]) == [State.WAITING] * 2


def test_the_last_slot_to_leave_gives_back_what_is_held(slot: JobHuey, held_long: None) -> None:
    ids = add(slot, 3)
    slot.execute(slot.dequeue())
    slot.leave_loop()
    assert states(slot, ids) == [State.COMPLETED, State.WAITING, State.WAITING]


def test_a_child_that_a_task_forks_takes_nothing_of_what_its_parent_holds(
    slot: JobHuey, held_long: None
) -> None:
    add(slot, 3)
    slot.execute(slot.dequeue())
    took, give = os.pipe()
    if not (child := os.fork()):
        signal.alarm(60)
        try:
            os.write(give, f"{slot.dequeue()}, lease kept: {slot.lease.kept}".encode())
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    os.close(give)
    with open(took) as said:
        assert said.read() == "None, lease kept: True"


def test_jobs_held_by_a_process_that_died_are_suspects_and_burn_no_attempt(
    slot: JobHuey, make_huey: Callable[..., JobHuey], held_long: None
) -> None:
    ids = add(slot, 3)
    slot.dequeue()
    rescuer = make_huey(slot.name)
    register(rescuer)
    rescuer.lease.sweep(died={slot.lease.proc: "killed"})
    found = [rescuer.reads.job(job_id) for job_id in ids]
    assert {(job.state, job.recovered, job.attempts_made) for job in found} == {
        (State.WAITING, 1, 0)
    }
    rescuer.join_loop()
    for _ in range(MOST_DEATHS):  # the pace is known from the first one on
        assert (task := rescuer.dequeue())
        assert sum(state is State.ACTIVE for state in states(rescuer, ids)) == 1
        rescuer.execute(task)
    rescuer.leave_loop()
    assert states(rescuer, ids) == [State.COMPLETED] * 3


def test_a_job_whose_fetch_is_under_way_for_long_is_not_given_back_by_a_beat(
    slot: JobHuey, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reply of a process that was frozen has come and is not read yet: it is not lost."""
    (job_id,) = add(slot, 1)
    hear, lease = slot.storage.answer, slot.lease
    lease.start()
    lease._stop.set()  # it beats here alone
    lease._thread.join()
    lease.beat_s = 0.01

    def frozen_after(*args: Any) -> Any:
        answer = hear(*args)
        handed = slot.reads.now_ms()
        wait_until(lambda: slot.reads.now_ms() > handed + 100)
        lease.beat()
        return answer

    monkeypatch.setattr(slot.storage, "answer", frozen_after)
    task = slot.dequeue()
    monkeypatch.undo()
    assert state_of(slot, job_id) is State.ACTIVE
    slot.execute(task)
    slot.dispatch.flush()
    assert slot.reads.job(job_id).state is State.COMPLETED


def test_a_process_that_stands_still_within_its_beat_loses_no_job_whose_fetch_is_under_way(
    slot: JobHuey, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the beat says is old when Redis hears it: the job may run by then."""
    know_functions(slot)
    (job_id,) = add(slot, 1)
    hear, run, lease = slot.storage.answer, slot.storage.scripts.run, slot.lease
    lease.start()
    lease._stop.set()  # it beats here alone
    lease._thread.join()

    def late(name: str, now_ms: int, *args: object) -> object:
        if name == "beat":
            seconds, micros = slot.storage.call("TIME")
            now_ms = int(seconds) * 1000 + int(micros) // 1000 + 10_000
        return run(name, now_ms, *args)

    def answer(begun: object) -> object:
        wait_until(lambda: state_of(slot, job_id) is State.ACTIVE)
        with monkeypatch.context() as patched:
            patched.setattr(slot.storage.scripts, "run", late)
            lease.beat()
        lease.beat()
        return hear(begun)

    monkeypatch.setattr(slot.storage, "answer", answer)
    task = slot.dequeue()
    monkeypatch.undo()
    assert task.id == job_id
    assert state_of(slot, job_id) is State.ACTIVE
    slot.execute(task)
    slot.dispatch.flush()
    assert state_of(slot, job_id) is State.COMPLETED


def test_an_outcome_that_redis_refuses_fails_alone(slot: JobHuey) -> None:
    def says_half_a_letter() -> None:
        raise RetryAfter(5, "\ud800")

    slot.dispatch.ahead = False
    bad = slot.task(name="bad", retries=1)(says_half_a_letter)().id
    good = add(slot, 1)[0]
    in_another_slot(slot, lambda: slot.execute(slot.dequeue()))
    slot.execute(slot.dequeue())
    assert slot.dequeue() is None
    assert states(slot, [bad, good]) == [State.FAILED, State.COMPLETED]
    assert slot.reads.job(bad).error.type == "UnicodeEncodeError"
    assert slot.lease.held() == {}


def _after_a_beat(huey: JobHuey, job_id: str) -> State:
    huey.lease.beat()
    return state_of(huey, job_id)


def test_a_job_that_cannot_be_ended_at_all_holds_up_no_other(slot: JobHuey) -> None:
    def fails() -> None:
        raise ValueError

    slot.dispatch.ahead = False
    bad = slot.task(name="bad")(fails)().id
    good = add(slot, 1)[0]
    attempts = slot.storage.keys.of("attempts", bad)
    slot.storage.client.set(attempts, "no list of attempts")
    in_another_slot(slot, lambda: slot.execute(slot.dequeue()))
    slot.execute(slot.dequeue())
    slot.dispatch.flush()
    assert state_of(slot, good) is State.COMPLETED
    assert slot.lease.held() == {}
    slot.storage.client.delete(attempts)
    assert slot.storage.client.hkeys(slot.storage.keys.of("held", slot.lease.proc)) == [
        bad.encode()
    ]
    wait_until(lambda: _after_a_beat(slot, bad) is State.WAITING, what="a beat gives it back")


def _away() -> None:
    raise Unreachable("it is over")


def test_who_ended_a_job_while_another_asked_is_woken_when_the_answer_is_there(
    no_runner: None, slot: JobHuey, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A third one listens, so the one that asked calls nobody; and the runner looks later."""
    ended = threading.Event()
    monkeypatch.setattr(slot.dispatch.talk, "listen", lambda *_: (ended.wait(60), _away()))
    slot.dispatch.ahead = False
    monkeypatch.setattr(slot.dispatch.pace, "alone", lambda _task: False)
    mine, others = add(slot, 2)
    first, second = slot.dequeue(), slot.dequeue()
    listener = threading.Thread(target=listen, args=(slot, ended))
    listener.start()
    wait_until(lambda: slot.dispatch._watching, what="the third slot listens")
    come = threading.Thread(target=in_this_slot, args=(slot, second))
    hear = slot.storage.answer

    def while_it_asks(*args: Any) -> Any:
        answer = hear(*args)
        if not come.ident:
            come.start()
            wait_until(lambda: slot.dispatch._idle == 3, what="the other slot waits")
        return answer

    monkeypatch.setattr(slot.storage, "answer", while_it_asks)
    add(slot, 1)
    in_this_slot(slot, first)
    wait_until(lambda: states(slot, [mine, others]) == [State.COMPLETED] * 2, what="both are sent")
    ended.set()
    listener.join(), come.join()


def in_this_slot(huey: JobHuey, task: Any) -> None:
    """Run a job in one more slot, and ask for the next."""
    huey._slot.dispatch = huey.dispatch
    huey.execute(task)
    with contextlib.suppress(Unreachable):
        huey.dequeue()
