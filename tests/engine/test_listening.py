"""An idle slot listens with a wish for a job: one trip brings it, and none is lost by who is to end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from driving import state_of
from slots import add, is_called, listen, register, states
from waiting import wait_until

from tasks.engine import JobHuey, State
from tasks.engine.errors import Unreachable
from tasks.engine.running.talking import Call
from tasks.engine.storage import BLOCK_S


@pytest.fixture
def listener(slot: JobHuey) -> Iterator[Callable[[], None]]:
    """Return what lets another slot of the process listen for jobs, until the test ends."""
    ended = threading.Event()
    thread = threading.Thread(target=listen, args=(slot, ended))

    def start() -> None:
        slot.storage.read_timeout = BLOCK_S
        thread.start()
        wait_until(lambda: slot.dispatch.talk._listening, what="the other slot listens")

    yield start
    ended.set()
    slot.dispatch.talk.hush()
    if thread.ident:
        thread.join()


def test_an_idle_slot_has_its_job_after_one_trip(slot: JobHuey) -> None:
    assert slot.dequeue() is None  # it asked, and heard that nothing waits
    before = slot.storage.scripts.asked
    assert slot.dequeue() is None
    assert slot.storage.scripts.asked - before == 1, "it listened, and asked with the same trip"
    ids = add(slot, 1)
    before = slot.storage.scripts.asked
    assert slot.dequeue().id == ids[0]
    assert slot.storage.scripts.asked - before == 1
    assert not is_called(slot, "default")


def test_a_job_that_comes_while_another_slot_asks_is_taken_by_who_listens(
    no_runner: None, slot: JobHuey, listener: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the other slot hears was said before: that nothing waits is not so any more."""
    (first,) = add(slot, 1)
    task, later, heard = slot.dequeue(), list[str](), list[bool]()
    listener()
    slot.execute(task)
    hear = slot.storage.answer

    def called_after(*args: Any) -> Any:
        answer = hear(*args)
        if not heard:
            heard.append(True)
            later.extend(add(slot, 1))
        return answer

    monkeypatch.setattr(slot.storage, "answer", called_after)
    if (task := slot.dequeue()) is not None:
        slot.execute(task)
    slot.dispatch.flush()
    wait_until(lambda: states(slot, [first, *later]) == [State.COMPLETED] * 2, what="both ran")


@pytest.mark.parametrize("told", ["wish", "parent"])
def test_a_job_for_a_process_that_is_to_take_none_is_passed_on(
    slot: JobHuey, listener: Callable[[], None], make_huey: Callable[..., JobHuey], told: str
) -> None:
    """Its wish for a job lies with Redis since before it was told."""
    other = make_huey(slot.name)
    register(other)
    assert slot.dequeue() is None  # it asked, and heard that nothing waits
    listener()
    if told == "wish":
        other.commands.quiet(slot.lease.proc)
        slot.lease.beat()
    else:
        slot.dispatch.told_to_end = lambda: True
    (job_id,) = add(other, 1)
    wait_until(lambda: not slot.dispatch._watching, what="its wish is answered")
    wait_until(lambda: is_called(other, "default"), what="another is called")
    assert state_of(slot, job_id) is State.WAITING
    assert other.dequeue().id == job_id
    assert slot.lease.held() == {}


def test_a_job_that_is_heard_of_too_late_is_left_to_others(
    slot: JobHuey, make_huey: Callable[..., JobHuey], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process was stopped or its machine slept, and the job may be another's by now."""
    other = make_huey(slot.name)
    register(other)
    assert slot.dequeue() is None
    assert not slot.lease.outlived(time.monotonic() - BLOCK_S)
    since = time.monotonic() - slot.lease.lease_s - BLOCK_S - 1
    monkeypatch.setattr(slot.dispatch.talk, "listen", _begun(slot, since))
    (job_id,) = add(slot, 1)
    assert slot.dequeue() is None
    slot.dispatch.flush()
    assert state_of(slot, job_id) is State.WAITING
    assert other.dequeue().id == job_id
    assert slot.reads.job(job_id).recovered == 0


def _begun(slot: JobHuey, since: float) -> Callable[..., Call]:
    """Return a `listen` whose wish was sent long ago."""
    listen = slot.dispatch.talk.listen

    def listened(*args: Any) -> Call:
        call = listen(*args)
        slot.lease.fetching(since)
        slot.lease.fetched(call.sent_s)
        call.sent_s = since
        return call

    return listened


def test_a_process_that_is_stopped_listens_no_longer(slot: JobHuey) -> None:
    assert slot.dequeue() is None
    slot.storage.read_timeout = BLOCK_S
    heard: list[Any] = []

    def dequeue() -> None:
        slot.join_loop()
        try:
            heard.append(slot.dequeue())
        except Unreachable as exc:
            heard.append(exc)
        slot.leave_loop()

    thread = threading.Thread(target=dequeue)
    thread.start()
    wait_until(lambda: slot.dispatch.talk._listening, what="the other slot listens")
    slot.dispatch.stop()
    thread.join()
    assert [type(one) for one in heard] == [Unreachable]
    ids = add(slot, 1)
    assert states(slot, ids) == [State.WAITING]


def test_a_process_that_is_stopped_as_it_begins_to_listen_does_not_wait(
    slot: JobHuey, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert slot.dequeue() is None
    slot.storage.read_timeout = BLOCK_S
    send = slot.storage.listen
    monkeypatch.setattr(slot.storage, "listen", lambda *to: (slot.dispatch.stop(), send(*to))[1])
    with pytest.raises(Unreachable):
        slot.dequeue()


@pytest.mark.parametrize("how", ["closed", "refused", "forgotten"])
def test_a_wait_that_redis_ends_by_an_error_costs_no_job(
    slot: JobHuey, held_long: None, listener: Callable[[], None], how: str
) -> None:
    assert slot.dequeue() is None
    wake = slot.storage.keys.of("wake", "default")
    if how == "refused":
        slot.storage.call("SET", wake, "no set")
        assert slot.dequeue() is None
        slot.storage.call("DEL", wake)
    elif how == "forgotten":
        slot.storage.call("SCRIPT", "FLUSH")
        assert slot.dequeue() is None
    else:
        listener()
        slot.storage.call("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    ids = add(slot, 3)

    def ran() -> bool:
        if (task := slot.dequeue()) is not None:
            slot.execute(task)
        slot.dispatch.flush()
        return states(slot, ids) == [State.COMPLETED] * 3

    wait_until(ran, what="all ran")
    assert {slot.reads.job(job_id).attempts_made for job_id in ids} == {1}
