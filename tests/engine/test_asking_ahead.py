"""A slot asks for more jobs and goes on; whoever is the first without a job hears the answer."""

from __future__ import annotations

import threading

import pytest
from driving import state_of
from slots import add, know_functions, listen, states, work
from waiting import wait_until

from tasks.engine import JobHuey, State
from tasks.engine.errors import Unreachable
from tasks.engine.running.pace import MOST_HELD


def keep_pace(slot: JobHuey) -> None:
    """Let tasks stay as quick as they are known to be, also where the machine stands still."""
    slot.dispatch.pace.note = lambda *_: None  # type: ignore[method-assign]


def test_more_is_fetched_while_half_of_what_is_held_is_left(
    held_long: None, slot: JobHuey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.engine.running.pace.MOST_HELD", 8)
    keep_pace(slot)
    ids = add(slot, 20)
    for _ in range(4):
        slot.execute(slot.dequeue())
    started = slot.dequeue()  # the fifth: three of the first eight are left
    wait_until(lambda: states(slot, ids).count(State.COMPLETED) == 4, what="four are committed")
    wait_until(lambda: states(slot, ids).count(State.ACTIVE) > 4, what="more than those are held")
    slot.execute(started)
    assert started.id == ids[4]
    assert work(slot, 15) == ids[5:]


def test_beside_more_than_are_to_be_held_none_is_asked_for(slot: JobHuey) -> None:
    """A number below none would have Redis read all that wait."""
    assert slot.dispatch.pace.refill(1, held=MOST_HELD + 1)["most"] == 0


def ask_ahead(slot: JobHuey, ids: list[str]) -> None:
    """Run jobs until one is started with whose start more are asked for, and nobody heard yet."""
    keep_pace(slot)
    for job_id in ids:
        assert (task := slot.dequeue()).id == job_id
        if slot.dispatch._call is not None:
            return
        slot.execute(task)
    raise AssertionError("more was never asked for")


def test_what_was_asked_ahead_is_heard_while_the_slot_runs_for_long(
    held_long: None, slot: JobHuey
) -> None:
    ids = add(slot, 200)
    ask_ahead(slot, ids)  # and the job runs for long
    wait_until(lambda: slot.dispatch._call is None, what="the runner heard")
    held = slot.lease.held()
    active = {job_id for job_id in ids if state_of(slot, job_id) is State.ACTIVE}
    assert active == held.keys()
    assert len(active) > MOST_HELD // 2


@pytest.mark.parametrize("how", ["flush", "give_back", "stop"])
def test_what_was_asked_ahead_is_not_forgotten_by_who_ends(
    no_runner: None, held_long: None, slot: JobHuey, how: str
) -> None:
    ids = add(slot, 200)
    ask_ahead(slot, ids)
    getattr(slot.dispatch, how)()
    slot.dispatch.flush()
    assert slot.dispatch._call is None
    active = {job_id for job_id in ids if state_of(slot, job_id) is State.ACTIVE}
    assert active == slot.lease.held().keys()
    assert len(active) == 1 or how == "flush"
    if how != "stop":
        slot.dispatch.give_back()


def test_an_answer_that_is_lost_loses_no_outcome_and_no_job(
    no_runner: None, held_long: None, slot: JobHuey, monkeypatch: pytest.MonkeyPatch
) -> None:
    know_functions(slot)
    ids = add(slot, 100)
    ask_ahead(slot, ids)
    ours = slot.lease.held().keys()
    active = lambda: {job_id for job_id in ids if state_of(slot, job_id) is State.ACTIVE}  # noqa: E731
    wait_until(lambda: active() - ours, what="Redis handed out more")
    slot.dispatch._call.begun.connection.disconnect()  # type: ignore[union-attr]
    with pytest.raises(Unreachable):
        slot.dispatch.flush()
    slot.dispatch.give_back()
    monkeypatch.setattr(slot.lease, "beat_s", 0.01)

    def beaten() -> bool:
        slot.lease.beat()
        return active() == slot.lease.held().keys()

    wait_until(beaten, what="a beat gives back what only Redis knows of")
    running = next(job_id for job_id in ids if state_of(slot, job_id) is State.ACTIVE)
    before = states(slot, ids).count(State.COMPLETED)
    assert running not in work(slot, 99 - before)
    assert {slot.reads.job(job_id).attempts_made for job_id in ids} == {1}


@pytest.mark.parametrize("ahead", [True, False])
@pytest.mark.parametrize("waiting", [True, False])
def test_a_slot_that_takes_longer_than_known_leaves_the_rest_to_another(
    held_long: None, slot: JobHuey, ahead: bool, waiting: bool
) -> None:
    """Others are left asleep beside jobs of microseconds; this one hangs."""
    slot.dispatch.ahead = ahead
    slot.dispatch._alone = True  # as after a job
    hangs, ended = threading.Event(), threading.Event()
    slow = slot.task(name="slow")(lambda: hangs.wait(30))
    keep_pace(slot)
    slot.dispatch.pace._quick[slot._registry.task_to_string(slow.task_class)] = 16
    slots = [threading.Thread(target=listen, args=(slot, ended)) for _ in range(2)]
    jobs = [] if not waiting else [slow().id, *add(slot, 5)]
    for one in slots:
        one.start()
    if not waiting:
        wait_until(lambda: slot.dispatch._idle == 2, what="both slots wait")
        jobs = [slow().id, *add(slot, 5)]
    first, *rest = jobs
    wait_until(lambda: states(slot, rest) == [State.COMPLETED] * 5, what="the rest ran")
    assert state_of(slot, first) is State.ACTIVE
    hangs.set()
    wait_until(lambda: state_of(slot, first) is State.COMPLETED, what="all ran")
    ended.set()
    for one in slots:
        one.join()


@pytest.mark.parametrize(("ahead", "wanted"), [(True, 1), (False, 4)])
def test_beside_quick_jobs_one_starts_at_once_unless_none_is_taken_ahead(
    held_long: None, slot: JobHuey, ahead: bool, wanted: int
) -> None:
    keep_pace(slot)
    slot.dispatch.ahead = ahead
    add(slot, 1)
    slot.execute(slot.dequeue())
    assert slot.dispatch._plan(4)["want"] == wanted
